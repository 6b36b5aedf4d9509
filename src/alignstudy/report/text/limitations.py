"""What a study's figures can't say, by rule from how it was made."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.judge_panel.combine import PANEL
from alignstudy.formatting import listing, plural
from alignstudy.metrics.figures import combined, rate_of
from alignstudy.records import Axis
from alignstudy.report.inputs import ReportInputs


def limitations(inputs: ReportInputs) -> tuple[str, ...]:
    """Return the limits of what the figures say, a sentence or two each."""
    found = [
        _seeds(inputs),
        _judges(inputs),
        _multiplicity(inputs),
        _prompts(inputs),
        _decoding(inputs),
        _axes(inputs.findings.first.axes),
    ]
    return tuple(sentence for sentence in found if sentence)


def _axes(axes: Sequence[Axis]) -> str:
    """Return what the rates don't look at."""
    said = [
        f"{rate_of(axis).title} {'is ' if at == 0 else ''}about the {axis.prompts}"
        f" {'prompts' if at == 0 else 'ones'} alone"
        for at, axis in enumerate(axes)
    ]
    unseen = [axis.unseen for axis in axes if axis.unseen] or ["anything else"]
    blind = f"{'neither' if len(axes) == 2 else 'none'} tells of {listing(unseen, word='or of')}"
    if len(axes) < 2:
        return f"{listing(said)}: it tells of nothing else."
    alike = "the two" if len(axes) == 2 else "them"
    return (
        f"{listing(said)}: {blind}, and {combined(axes).title} weighs {alike} alike by convention."
    )


def _seeds(inputs: ReportInputs) -> str:
    """Return what the intervals don't cover."""
    models = inputs.findings.first.models
    most = max((model.num_seeds for model in models), default=0)
    if most > 1:
        return (
            f"The spread between training runs is estimated from {most} seeds a recipe, which tells"
            " it only roughly."
        )
    if len(models) < 2:
        return ""
    return (
        "Each model is one training run: intervals and tests cover the choice of prompts, not the"
        " chance in training; other seeds may give another order."
    )


def _judges(inputs: ReportInputs) -> str:
    names = [analysis.judge for analysis in inputs.analyses]
    assessed = {quality.judge for quality in inputs.findings.qualities}
    unknown = [name for name in names if name not in assessed and name != PANEL]
    tail = (
        f" How well {listing(unknown)} {'agrees' if len(unknown) == 1 else 'agree'} with people was"
        " not measured here."
        if unknown
        else ""
    )
    return f"Every metric is a judge's opinion of a text, not a person's.{tail}"


def _multiplicity(inputs: ReportInputs) -> str:
    """Name the families of comparisons that were corrected together."""
    made = inputs.findings.first.comparisons
    families = dict.fromkeys(
        item.family for item in made if item.family and item.p_holm is not None
    )
    said = [
        f"{name} ({plural(sum(c.family == name and c.p_holm is not None for c in made), 'test')})"
        for name in families
    ]
    if not said:
        return ""
    return (
        f"p-values are corrected by Holm within each family of comparisons, {listing(said)}, and"
        " not across families; other tests in this report are not corrected."
    )


def _prompts(inputs: ReportInputs) -> str:
    rows = {(row.axis, row.prompt_id) for row in inputs.responses}
    if not rows:
        return ""
    return (
        f"The figures hold for {plural(len(rows), 'prompt')} of one source: its language, its"
        " topics, its kind of harm. They say nothing of other prompts."
    )


def _decoding(inputs: ReportInputs) -> str:
    """Say that one way of decoding was looked at."""
    generation = inputs.settings.get("generation")
    if not isinstance(generation, dict) or not isinstance(generation.get("do_sample"), bool):
        return ""
    how = "one sample" if generation["do_sample"] else "the greedy response"
    return f"Each model gave {how} to each prompt; other ways of decoding were not looked at."
