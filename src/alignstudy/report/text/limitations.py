"""What a study's figures can't say, by rule from how it was made.

The paper protocol repeats the published study (arXiv:2509.09055) to the letter so that its numbers
can be checked; none of its defects is fixed silently, all are named in every report that uses it.
Their words are in `templates/known_defects.yaml`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from alignstudy.analysis.judge_panel.combine import PANEL
from alignstudy.data.ratings.rated import LOG
from alignstudy.formatting import listing, plural
from alignstudy.metrics.figures import combined, rate_of
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.text.recipes import existing_models, pooled_models
from alignstudy.report.text.words import setting

_ENOUGH_PROMPTS, _LOW_CAP = 200, 64


def limitations(inputs: ReportInputs) -> tuple[str, ...]:
    """Return the limits of what the figures say, a sentence or two each."""
    return (*_of_the_figures(inputs), *_of_the_prompts(inputs))


def _of_the_figures(inputs: ReportInputs) -> Iterator[str]:
    """Return what intervals, judges and corrected tests don't cover."""
    first, findings = inputs.findings.first, inputs.findings
    most = max((model.num_seeds for model in first.models), default=0)
    if most > 1:
        yield (
            f"The spread between training runs is estimated from {most} seeds a recipe, which tells"
            " it only roughly."
        )
    elif len(first.models) > 1:
        yield (
            "Each model is one training run: intervals and tests cover the choice of prompts, not"
            " the chance in training; other seeds may give another order."
        )
    if pooled := pooled_models(setting(inputs.settings, "recipes") or {}):
        was = "was" if len(pooled) == 1 else "were"
        yield (
            f"{listing(pooled)} {was} made once, of all seeds' models: intervals and tests take"
            " that model as it is, and don't cover what training again would change of it."
        )
    if first.judge == LOG:
        yield "Every metric is what a task of the logs measures, and no more."
    assessed = {PANEL, LOG, *(quality.judge for quality in findings.qualities)}
    unknown = [item.judge for item in inputs.analyses if item.judge not in assessed]
    agree = "agrees" if len(unknown) == 1 else "agree"
    tail = f" How well {listing(unknown)} {agree} with preferences was not measured here."
    if first.judge != LOG:
        opinion = "Every metric is a judge's opinion of a text, not a person's."
        yield f"{opinion}{tail if unknown else ''}"
    made = (item for item in first.comparisons if item.family and item.p_holm is not None)
    families = Counter(item.family for item in made)
    if families:
        said = [f"{name} ({plural(amount, 'test')})" for name, amount in families.items()]
        yield (
            f"p-values are corrected by Holm within each family of comparisons, {listing(said)},"
            " and not across families; other tests in this report are not corrected."
        )


def _of_the_prompts(inputs: ReportInputs) -> Iterator[str]:
    """Return what one source of prompts, one way of decoding and these axes leave out."""
    num_prompts = len({(row.axis, row.prompt_id) for row in inputs.responses})
    if num_prompts:
        yield (
            f"The figures hold for {plural(num_prompts, 'prompt')} of one source: its language, its"
            " topics, its kind of harm. They say nothing of other prompts."
        )
    if existing := existing_models(setting(inputs.settings, "recipes") or {}):
        was = "was" if len(existing) == 1 else "were"
        yield (
            f"{listing(existing)} {was} not trained here: whether what they learnt from held these"
            " prompts is not known."
        )
    generation = inputs.settings.get("generation")
    if isinstance(generation, dict) and isinstance(generation.get("do_sample"), bool):
        how = "one sample" if generation["do_sample"] else "the greedy response"
        yield f"Each model gave {how} to each prompt; other ways of decoding were not looked at."
    if setting(inputs.settings, "generation.engine") == "openai":
        yield (
            "Responses were written by a server, which was held against each model on a few prompts"
            " and not on all: asked again, it may write others, by its batches or its draws."
        )
    axes = inputs.findings.first.axes
    said = [
        f"{rate_of(axis).title} {'is ' if at == 0 else ''}about the {axis.prompts}"
        f" {'prompts' if at == 0 else 'ones'} alone"
        for at, axis in enumerate(axes)
    ]
    if len(axes) < 2:
        yield f"{listing(said)}: it tells of nothing else."
        return
    unseen = [axis.unseen for axis in axes if axis.unseen] or ["anything else"]
    none, alike = ("neither", "the two") if len(axes) == 2 else ("none", "them")
    yield (
        f"{listing(said)}: {none} tells of {listing(unseen, word='or of')}, and"
        f" {combined(axes).title} weighs {alike} alike by convention."
    )


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
    holds = {name: not settings or test(settings) for name, test in _CONDITIONS.items()}
    holds["few prompts"] = num_prompts < _ENOUGH_PROMPTS
    file = files("alignstudy.report.html").joinpath("templates/known_defects.yaml")
    found = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return tuple(
        Defect(name=item["name"], what=item["what"], effect=item["effect"])
        for item in found
        if "if" not in item or holds[item["if"]]
    )


def _dropout_is_kept(settings: Mapping[str, Any]) -> bool:
    methods = setting(settings, "methods")
    kept = ("reference" in m and m.get("dropout") == "keep" for m in (methods or {}).values())
    return methods is None or any(kept)


def _encoded_as_published(settings: Mapping[str, Any]) -> bool:
    methods = setting(settings, "methods")
    found = (m.get("encoding") == "published" for m in (methods or {}).values())
    return methods is None or any(found)


_CONDITIONS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "few new tokens": lambda study: (setting(study, "generation.max_new_tokens") or 0) <= _LOW_CAP,
    "thresholds by hand": lambda study: not setting(study, "thresholds.calibrated"),
    "judge of the same preferences": lambda study: (
        "openassistant/reward-model" in str(setting(study, "judges")).lower()
    ),
    "one seed": lambda study: len(setting(study, "seeds") or ()) < 2,
    "dropout kept": _dropout_is_kept,
    "published encoding": _encoded_as_published,
}
