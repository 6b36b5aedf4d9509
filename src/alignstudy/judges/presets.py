"""Known judges by one name: where they are, how they read, what they have learnt from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from alignstudy.judges.kinds.seqcls import SeqClsSettings

_SYNPREF = ("synpref-40m",)

_SEPARATORS = re.compile(r"[^a-z0-9]+")
_ALIASES = {"hh": "hhrlhf", "anthropichh": "hhrlhf", "anthropichhrlhf": "hhrlhf"}


@dataclass(frozen=True, kw_only=True)
class JudgePreset:
    """A judge that is known by name.

    Attributes:
        name: What a study writes.
        path: Hub id.
        settings: How it reads and scores.
        trained_on: Names of the preference data that it has learnt.
        licence: Of its weights, as its card gives it; read it before you use them.
        note: What to know about it, in one or two sentences.
    """

    name: str
    path: str
    settings: SeqClsSettings
    trained_on: tuple[str, ...]
    licence: str
    note: str

    @property
    def summary(self) -> str:
        """All of it in one line."""
        return f"{self.path} (licence: {self.licence}). {self.note}"


def _skywork(size: str, licence: str, *, wide: bool) -> JudgePreset:
    """Describe one of the Skywork-Reward-V2 models (Liu et al. 2025, arXiv:2507.01352)."""
    return JudgePreset(
        name=f"skywork-v2-{size.lower()}",
        path=f"Skywork/Skywork-Reward-V2-{size}",
        settings=SeqClsSettings(input="chat", dtype="bfloat16" if wide else "float32"),
        trained_on=_SYNPREF,
        licence=licence,
        note="Reads whole dialogues by chat template; trained on curated pairs of many sources,"
        " not on HH-RLHF's labels as they are: a second judge next to one that was.",
    )


PRESETS: dict[str, JudgePreset] = {
    each.name: each
    for each in (
        JudgePreset(
            name="oa-deberta-v2",
            path="OpenAssistant/reward-model-deberta-v3-large-v2",
            settings=SeqClsSettings(),
            trained_on=(
                "hh-rlhf",
                "webgpt_comparisons",
                "summarize_from_feedback",
                "synthetic-instruct-gptj-pairwise",
            ),
            licence="MIT",
            note="The published study's judge (0.4 billion parameters). Not independent of policies"
            " trained on HH-RLHF; RewardBench measured 56 to 59% pair accuracy on harmlessness, 70"
            " to 71% on helpfulness.",
        ),
        JudgePreset(
            name="sileod-deberta",
            path="sileod/deberta-v3-large-tasksource-rlhf-reward-model",
            settings=SeqClsSettings(),
            trained_on=("hh-rlhf",),
            licence="see its card",
            note="A drop-in for oa-deberta-v2; its card gives 75.16% pair accuracy on HH-RLHF's"
            " own validation rows. Not independent of policies trained on HH-RLHF.",
        ),
        _skywork("Qwen3-0.6B", "Apache-2.0", wide=False),
        _skywork("Qwen3-1.7B", "Apache-2.0", wide=True),
        _skywork("Qwen3-4B", "Apache-2.0", wide=True),
        _skywork("Qwen3-8B", "Apache-2.0", wide=True),
        _skywork("Llama-3.2-1B", "Llama 3.2 Community License", wide=False),
        _skywork("Llama-3.2-3B", "Llama 3.2 Community License", wide=True),
        _skywork("Llama-3.1-8B", "Llama 3.1 Community License", wide=True),
    )
}
"""Every known judge, by name."""


def independence_notes(
    judge_data: Sequence[str], policy_data: Sequence[str], *, trained_here: bool = False
) -> tuple[str, ...]:
    """Return where a judge is not independent of the models that it judges.

    A judge that learnt the same preferences as a policy rewards what the policy was trained to do,
    errors included; its scores are then no evidence apart from the training.

    Args:
        judge_data: Names of the preference data that the judge has learnt: "Anthropic/hh-rlhf".
        policy_data: Names, hub ids or folders of the data that trains the policies.
        trained_here: Whether the study itself trains the judge on (other) rows of that data.

    Returns:
        One note an overlap; nothing where none is known.

    Source: Gao et al. 2022, arXiv:2210.10760 (over-optimisation of a proxy).
    """
    theirs = {_canonical(name) for name in policy_data}
    shared = [name for name in dict.fromkeys(judge_data) if _canonical(name) in theirs]
    notes = [
        f"not independent: the judge was trained on {name}, which also trains the models"
        for name in shared
    ]
    if trained_here and not shared:
        notes.append("not independent: the judge was trained in this study, on the same source")
    return tuple(notes)


def _canonical(name: str) -> str:
    """Bring a name, hub id or path to one spelling."""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    plain = _SEPARATORS.sub("", last)
    return _ALIASES.get(plain, plain)
