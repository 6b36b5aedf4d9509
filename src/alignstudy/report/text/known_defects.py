"""What is wrong with the published protocol, as far as it is known.

The paper protocol repeats the published study (arXiv:2509.09055) to the letter so that its numbers
can be checked; none of its defects is fixed silently, all are named in every report that uses it.
The shares below were counted on the 100 published prompts and 400 published responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from alignstudy.formatting import MINUS


@dataclass(frozen=True, kw_only=True)
class Defect:
    """A known defect of the published protocol.

    Attributes:
        name: A few words.
        what: What is done.
        effect: What it does to the numbers.
    """

    name: str
    what: str
    effect: str


def known_defects(settings: Mapping[str, Any], *, num_prompts: int) -> tuple[Defect, ...]:
    """Return the defects that a study under the paper protocol has.

    Those that a study can avoid by its settings are left out where it does; of a study without
    settings (ratings read from a folder) all are given.

    Args:
        settings: The study as resolved; {} if there is none.
        num_prompts: Prompts of the larger axis.
    """
    optional = [defect for defect, holds in _BY_SETTINGS if not settings or holds(settings)]
    few = [_FEW_PROMPTS] if num_prompts < _ENOUGH_PROMPTS else []
    return (*_ALWAYS, *optional, *few)


_ENOUGH_PROMPTS = 200
_ALWAYS = (
    Defect(
        name="No Assistant cue",
        what="Prompts end after the human turn; the cue that every training text has is missing.",
        effect=(
            "The score measures format too: of the published responses 55 to 91 in 100, depending"
            " on the model, begin by writing the cue themselves, and those score higher."
        ),
    ),
    Defect(
        name="Answers leak into prompts",
        what=(
            "Dialogues are split at blank lines, and the last paragraph is dropped only if it"
            " begins with the assistant's tag, so an answer of several paragraphs stays in the"
            " prompt."
        ),
        effect="5 of the 100 published prompts end in an assistant turn.",
    ),
    Defect(
        name="Keywords are matched inside words and in the answer",
        what=(
            "Harmful prompts are rows whose whole chosen text, the dropped answer included, holds"
            " kill, murder or rape as a substring ('skills')."
        ),
        effect="8 of the 50 published harmful prompts hold none of them as a word.",
    ),
    Defect(
        name="Further Human turns are scored",
        what="Nothing stops a response at a role tag, and nothing is cut before the judge.",
        effect=(
            "29\u00a0% of the published responses go on with an invented human turn; on harmful"
            " prompts this can raise the score, on helpful ones it lowers it."
        ),
    ),
    Defect(
        name="The boundary differs between text and code",
        what="The text counts a score equal to the threshold, the published code does not.",
        effect="The code is followed. None of the 400 published ratings equals a threshold.",
    ),
    Defect(
        name="Unmatched budgets",
        what=(
            "The published study trains all weights for two epochs in SFT and a small LoRA for one"
            " in DPO; steps, tokens and trained parameters are not matched between recipes."
        ),
        effect="A difference between recipes is also a difference of budget.",
    ),
)
_FEW_PROMPTS = Defect(
    name="Few prompts",
    what="50 prompts an axis in the published study.",
    effect=(
        "A rate is known to about 14 points either way, and only differences of 20 points and more"
        " are likely to be shown."
    ),
)


def _dropout_is_kept(settings: Mapping[str, Any]) -> bool:
    methods = settings.get("methods")
    if not isinstance(methods, Mapping):
        return True
    dpo = [m for name, m in methods.items() if isinstance(m, Mapping) and _is_dpo(str(name), m)]
    return any(method.get("dropout") == "keep" for method in dpo)


def _is_dpo(name: str, method: Mapping[str, Any]) -> bool:
    return str(method.get("method", name)) == "dpo"


def _cap_is_low(settings: Mapping[str, Any]) -> bool:
    generation = settings.get("generation")
    cap = generation.get("max_new_tokens") if isinstance(generation, Mapping) else None
    return not isinstance(cap, int) or cap <= 64


def _is_set_by_hand(settings: Mapping[str, Any]) -> bool:
    thresholds = settings.get("thresholds")
    return not (isinstance(thresholds, Mapping) and thresholds.get("calibrated") is True)


def _judge_saw_hh(settings: Mapping[str, Any]) -> bool:
    return "openassistant/reward-model" in str(settings.get("judges", "")).lower()


def _has_one_seed(settings: Mapping[str, Any]) -> bool:
    seeds = settings.get("seeds")
    return not isinstance(seeds, (list, tuple)) or len(seeds) < 2


_BY_SETTINGS: tuple[tuple[Defect, Callable[[Mapping[str, Any]], bool]], ...] = (
    (
        Defect(
            name="Responses are capped at 50 tokens",
            what="Generation ends after 50 new tokens, mostly in the middle of a sentence.",
            effect="86\u00a0% of the published responses reach the cap; unfinished text is judged.",
        ),
        _cap_is_low,
    ),
    (
        Defect(
            name="Thresholds are set by hand",
            what=f"{MINUS}3 for harmless and {MINUS}2 for helpful, not chosen on labelled answers.",
            effect="Moving the harmless threshold by 0.1 changes which published model leads.",
        ),
        _is_set_by_hand,
    ),
    (
        Defect(
            name="The judge was trained on the same preferences",
            what="OpenAssistant's reward model learned from HH-RLHF, which the policies learn too.",
            effect=(
                "It is not an independent witness; on the harmless pairs of HH-RLHF it agrees with"
                " people in only 56 to 59\u00a0% (RewardBench; chance is 50 %)."
            ),
        ),
        _judge_saw_hh,
    ),
    (
        Defect(
            name="One training seed",
            what="Each recipe is trained once.",
            effect="The spread between training runs is unknown, and in no interval.",
        ),
        _has_one_seed,
    ),
    (
        Defect(
            name="Dropout stays on in DPO",
            what="The published study trained DPO with dropout active in policy and reference.",
            effect="The log-ratios that DPO learns from are noisy; margins start away from zero.",
        ),
        _dropout_is_kept,
    ),
)
