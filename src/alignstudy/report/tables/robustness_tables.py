"""Tables of whether findings hold under other thresholds, lengths, seeds and exclusions."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.comparisons.orientation import ALPHA
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import (
    ABSENT,
    NAMES,
    count,
    digits_of,
    interval,
    number,
    p_value,
    percent,
    short,
)
from alignstudy.records.robustness import LengthEffect, Sensitivity, Sweep
from alignstudy.report.tables.layout import Cell, Table

_RATE_OF = {"harmless": "HmR", "helpful": "HpR"}
_WITHOUT = {
    "empty": "without empty responses",
    "cap": "without responses cut at the limit",
    "role_tag": "without responses that run on",
    "loop": "without loops",
    "overlap": "without prompts that overlap training",
    "leak": "without prompts that hold an answer",
}


def sweeps_table(sweeps: Sequence[Sweep]) -> Table:
    """Who leads how often when the threshold moves."""
    rows = []
    for sweep in sweeps:
        span = f"{short(sweep.thresholds[0], 2)} to {short(sweep.thresholds[-1], 2)}"
        for model, share in sweep.best_share.items():
            rates = sweep.rates[model]
            rows.append(
                (
                    Cell(model),
                    Cell(_RATE_OF[str(sweep.axis)], f"{len(sweep.thresholds)} from {span}"),
                    Cell(percent(share, 0)),
                    Cell(f"{number(min(rates), 1)} to {number(max(rates), 1)}"),
                )
            )
    orders = "; ".join(
        f"{_RATE_OF[str(s.axis)]}: {s.num_rankings} different orders over"
        f" {len(s.thresholds)} thresholds"
        for s in sweeps
    )
    return Table(
        columns=("Model", "Rate", "Thresholds at which it leads#", "Its rate#"),
        rows=tuple(rows),
        note=f"{orders}. A shared lead is divided equally.",
        title="Who leads when the threshold moves",
    )


def pair_sweeps_table(sweeps: Sequence[Sweep]) -> Table:
    """At which share of thresholds each pair's difference has its sign, and is shown."""
    rows = tuple(
        (
            Cell(f"{pair.model} against {pair.reference}"),
            Cell(_RATE_OF[str(sweep.axis)]),
            Cell(percent(pair.better_share, 0)),
            Cell(percent(pair.worse_share, 0)),
            Cell(percent(pair.shown_share, 0)),
        )
        for sweep in sweeps
        for pair in sweep.pairs
    )
    return Table(
        columns=("Pair", "Rate", "Higher at#", "Lower at#", "Shown at#"),
        rows=rows,
        note=(
            "Share of the thresholds. Shown: an uncorrected p below 0.05, in the direction of the"
            " difference at the study's own threshold. A claim that holds at few of them is one"
            " about the threshold."
        ),
        title="At how many thresholds each difference holds",
    )


def lengths_table(lengths: Sequence[LengthEffect]) -> Table:
    """Whether scores go with length."""
    rows = tuple(
        (
            Cell(item.axis.prompts_name),
            Cell(number(item.rank_correlation, 2, signed=True)),
            Cell(number(item.within, 2, signed=True)),
        )
        for item in lengths
    )
    return Table(
        columns=("Prompts", "Rank correlation#", "Within prompt and model#"),
        rows=rows,
        note=(
            "Spearman's correlation of score and characters, raw and after subtracting what prompt"
            " and model account for; the second is the one that tells of the judge."
        ),
        title="Do scores go with length?",
    )


def adjusted_table(analysis: Analysis) -> Table:
    """Differences in mean score at equal length, beside the plain ones."""
    rows = []
    for item in analysis.lengths:
        for model, reference, estimate in item.adjusted:
            made = analysis.comparison(f"score_{item.axis}", model, reference)
            rows.append(
                (
                    Cell(f"{model} against {reference}"),
                    Cell(item.axis.prompts_name),
                    Cell(number(made.difference.value, 2, signed=True),
                         interval(made.difference, 2)) if made else Cell(ABSENT),
                    Cell(number(estimate.value, 2, signed=True), interval(estimate, 2)),
                )
            )  # fmt: skip
    return Table(
        columns=("Pair", "Prompts", "Difference in score#", "At equal length#"),
        rows=tuple(rows),
        note="In the judge's unit: the difference where both responses are equally long.",
        title="Differences adjusted for length",
    )


def omnibus_table(analysis: Analysis) -> Table:
    """Whether any model differs from any other."""
    rows = tuple(
        (
            Cell(_capital(NAMES.get(item.metric, item.metric))),
            Cell(item.test, item.note),
            Cell(number(item.statistic, 2)),
            Cell(p_value(item.p_value)),
            Cell("some model differs", kind="good")
            if item.p_value is not None and item.p_value < ALPHA
            else Cell("not shown" if item.p_value is not None else ABSENT),
            Cell(count(item.n)),
        )
        for item in analysis.omnibus
    )
    return Table(
        columns=("Metric", "Test", "Statistic#", "p#", "Verdict", "n#"),
        rows=rows,
        note="One test over all models, before any pair is looked at; not corrected.",
        title="Does any model differ from any other?",
    )


def seeds_table(analysis: Analysis) -> Table:
    """Metrics by training seed."""
    rows = tuple(
        (
            Cell(item.model),
            Cell(NAMES.get(item.metric, item.metric)),
            Cell(
                ", ".join(
                    f"{number(value, digits_of(item.metric))}" for value in item.by_seed.values()
                ),
                f"seeds {', '.join(str(seed) for seed in item.by_seed)}",
            ),
            Cell(number(item.sd, 2)),
            Cell(number(item.within, 2)),
        )
        for item in analysis.seed_spreads
    )
    return Table(
        columns=("Model", "Metric", "By seed", "Spread between seeds#",
                 "Error from prompts#"),
        rows=rows,
        note=(
            "Standard deviation between training runs, beside the standard error that the choice of"
            " prompts alone gives. With few seeds the spread itself is known poorly."
        ),
        title="Training seeds",
    )  # fmt: skip


def sensitivities_table(rows: Sequence[Sensitivity]) -> Table:
    """Rates with flagged responses left out, beside the full rate."""
    cells = tuple(
        (
            Cell(item.model),
            Cell(NAMES.get(item.metric, item.metric), _WITHOUT.get(item.without, item.without)),
            Cell(number(item.full, 1)),
            Cell(ABSENT, "none left")
            if item.value is None
            else Cell(number(item.value.value, 1), interval(item.value, 1)),
            Cell(ABSENT if item.value is None
                 else number(item.value.value - item.full, 1, signed=True)),
            Cell(count(item.n)),
        )
        for item in rows
    )  # fmt: skip
    return Table(
        columns=("Model", "Rate", "All responses#", "Without them#", "Change#", "n left#"),
        rows=cells,
        note="Nothing is left out of the main figures: these say what flagged responses matter.",
        title="Rates without flagged responses",
    )


def best_shares_table(analysis: Analysis) -> Table:
    """How often each model is first when prompts are drawn anew."""
    metrics = tuple(analysis.best_shares)
    rows = tuple(
        (
            Cell(model.model),
            *(Cell(percent(analysis.best_shares[m].get(model.model), 0)) for m in metrics),
        )
        for model in analysis.models
    )
    return Table(
        columns=("Model", *(f"{_capital(NAMES.get(metric, metric))}#" for metric in metrics)),
        rows=rows if metrics else (),
        note="Share of bootstrap draws of the prompts in which the model has the highest value.",
        title="How often each model comes first when prompts are drawn anew",
    )


def _capital(name: str) -> str:
    return f"{name[:1].upper()}{name[1:]}"
