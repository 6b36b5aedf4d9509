"""Tables of whether findings hold under other thresholds, lengths, seeds and exclusions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from alignstudy.analysis.claims.words import WITHOUT
from alignstudy.analysis.results import Analysis
from alignstudy.formatting import number, short
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.figures import score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records.robustness import (
    LengthEffect,
    SeedSpread,
    Sensitivity,
    Sweep,
    VarianceSplit,
)
from alignstudy.report.tables.table import (
    Cell,
    Column,
    Table,
    estimated,
    for_files,
    numeric,
    prompts_of,
    rounded,
)


def thresholds_table(analyses: Sequence[Analysis]) -> Table:
    """The threshold of each axis, and where it comes from."""
    rows = [
        {
            "judge": analysis.judge,
            "axis": axis.name,
            "threshold": analysis.thresholds.of(axis.name),
            "equal": "counts" if analysis.thresholds.inclusive else "does not count",
            "origin": analysis.thresholds.origin.get(axis.name, "not stated"),
        }
        for analysis in analyses
        for axis in analysis.axes
    ]
    return Table.of(
        rows,
        Column("Judge", "judge"),
        Column("Prompts", "axis", prompts_of),
        numeric("Threshold", "threshold", partial(short, digits=4)),
        Column("A score equal to it", "equal"),
        Column("Origin", "origin"),
        title="The score that a response has to pass",
    )


def threshold_errors_table(analysis: Analysis) -> Table:
    """What a calibrated threshold leaves open of rates and differences."""
    told = {(m.model, "", n): e for m in analysis.models for n, e in m.estimates.items()}
    told |= {(c.model, c.reference, c.metric): c.difference for c in analysis.comparisons}
    rows = [
        {
            "error": error,
            "metric": analysis.metric(error.metric).heading,
            "told": told[error.model, error.reference, error.metric],
        }
        for error in analysis.threshold_errors
    ]
    return Table.of(
        rows,
        Column("Model", "error.model"),
        Column("Compared with", lambda row: row["error"].reference or None),
        Column("Metric", "metric"),
        numeric("As told elsewhere", "told", estimated(1)),
        numeric("By the threshold alone", "error.alone", estimated(1)),
        numeric("Both", "error.joined", estimated(1)),
        note="Percent, and percentage points of differences. The threshold was chosen on labelled"
        " pairs; other pairs would have given another one. Tests and verdicts take it as it is:"
        " they ask which model is better by one yardstick.",
        title="What the calibrated threshold leaves open",
    )


def rates_by_threshold_table(analysis: Analysis) -> Table:
    """Every model's rate at every threshold, for files."""
    return Table.of_values(
        "thresholds",
        ("axis", "threshold", "model", "rate", "low", "high", "leads"),
        (
            (
                *(sweep.axis, threshold, model),
                *(sweep.rates[model][i], sweep.low[model][i], sweep.high[model][i]),
                int(model in sweep.leaders[i]),
            )
            for sweep in analysis.sweeps
            for i, threshold in enumerate(sweep.thresholds)
            for model in sweep.rates
        ),
        caption="Rates in percent over thresholds, with 95 % intervals",
    )


def sweeps_table(analysis: Analysis) -> Table:
    """Who leads how often when the threshold moves."""
    sweeps = analysis.sweeps
    orders = "; ".join(
        f"{analysis.rate_on(sweep.axis).title}: {sweep.num_rankings} different orders over"
        f" {len(sweep.thresholds)} thresholds"
        for sweep in sweeps
    )
    return Table.of(
        [
            {"model": model, "sweep": sweep, "share": share, "rates": sweep.rates[model]}
            for sweep in sweeps
            for model, share in sweep.best_share.items()
        ],
        Column("Model", "model"),
        Column("Rate", lambda row: _swept(row["sweep"], analysis.rate_on(row["sweep"].axis))),
        numeric("Thresholds at which it leads", "share", rounded(0, unit="%")),
        numeric("Its rate", "rates", lambda r: f"{number(min(r), 1)} to {number(max(r), 1)}"),
        note=f"{orders}. A shared lead is divided equally.",
        title="Who leads when the threshold moves",
    )


def _swept(sweep: Sweep, rate: Metric) -> Cell:
    span = f"{short(sweep.thresholds[0], 2)} to {short(sweep.thresholds[-1], 2)}"
    return Cell(rate.title, f"{len(sweep.thresholds)} from {span}")


def pair_sweeps_table(analysis: Analysis) -> Table:
    """At which share of thresholds each pair's difference has its sign, and is shown."""
    return Table.of(
        [{"sweep": sweep, "pair": pair} for sweep in analysis.sweeps for pair in sweep.pairs],
        Column("Pair", lambda row: f"{row['pair'].model} against {row['pair'].reference}"),
        Column("Rate", "sweep.axis", lambda axis: analysis.rate_on(axis).title),
        *for_files(axis="sweep.axis", model="pair.model", reference="pair.reference"),
        numeric("Higher at", "pair.better_share", rounded(0, unit="%"), name="higher"),
        numeric("Lower at", "pair.worse_share", rounded(0, unit="%"), name="lower"),
        numeric("Shown at", "pair.shown_share", rounded(0, unit="%"), name="shown"),
        Column(None, lambda row: len(row["sweep"].thresholds), name="thresholds"),
        name="threshold_pairs",
        caption="Share of thresholds, in percent, at which the model's rate is higher or lower than"
        " the reference's, and at which the study's difference has an uncorrected p below 0.05",
        note="Share of the thresholds. Shown: an uncorrected p below 0.05, in the direction of the"
        " difference at the study's own threshold. A claim that holds at few of them is one"
        " about the threshold.",
        title="At how many thresholds each difference holds",
    )


def lengths_table(lengths: Sequence[LengthEffect]) -> Table:
    """Whether scores go with length."""
    return Table.of(
        lengths,
        Column("Prompts", "axis", prompts_of),
        numeric("Rank correlation", "rank_correlation", rounded(2, signed=True)),
        numeric("Within prompt and model", "within", rounded(2, signed=True)),
        note="Spearman's correlation of score and characters, raw and after subtracting what prompt"
        " and model account for; the second is the one that tells of the judge.",
        title="Do scores go with length?",
    )


def adjusted_table(analysis: Analysis) -> Table:
    """Differences in mean score at equal length, beside the plain ones."""
    rows = [
        {
            "effect": item,
            "model": model,
            "reference": reference,
            "plain": analysis.comparison(score_of(axis_named(item.axis)).name, model, reference),
            "adjusted": estimate,
        }
        for item in analysis.lengths
        for model, reference, estimate in item.adjusted
    ]
    return Table.of(
        rows,
        Column("Pair", lambda row: f"{row['model']} against {row['reference']}"),
        Column("Prompts", "effect.axis", prompts_of),
        numeric("Difference in score", "plain.difference", estimated(2, signed=True)),
        numeric("At equal length", "adjusted", estimated(2, signed=True)),
        *for_files(axis="effect.axis", model="model", reference="reference"),
        *for_files(difference="adjusted.value", low="adjusted.low", high="adjusted.high"),
        *for_files(n="adjusted.n", rank_correlation="effect.rank_correlation"),
        *for_files(within="effect.within"),
        name="lengths",
        caption="Model minus reference in mean score at equal length, with 95 % intervals; rank"
        " correlations of score and length over all responses, and within prompt and model",
        note="In the judge's unit: the difference where both responses are equally long.",
        title="Differences adjusted for length",
    )


def seeds_table(analysis: Analysis) -> Table:
    """Metrics by training seed."""
    return Table.of(
        analysis.seed_spreads,
        Column("Model", "model"),
        Column("Metric", "metric", lambda name: analysis.metric(name).title),
        Column("By seed", lambda item: _by_seed(item, analysis.metric(item.metric))),
        numeric("Spread between seeds", "sd", rounded(2)),
        numeric("Error from prompts", "within", rounded(2)),
        note="Standard deviation between training runs, beside the standard error that the choice"
        " of prompts alone gives. With few seeds the spread itself is known poorly.",
        title="Training seeds",
    )


def _by_seed(item: SeedSpread, metric: Metric) -> Cell:
    values = [number(value, metric.digits) for value in item.by_seed.values()]
    return Cell(", ".join(values), f"seeds {', '.join(map(str, item.by_seed))}")


def variances_table(analysis: Analysis) -> Table:
    """Where the spread of each figure comes from."""
    sources = dict.fromkeys(name for item in analysis.variances for name in item.sds)
    return Table.of(
        analysis.variances,
        Column("Model", "model", name="model"),
        Column("Metric", "metric", lambda name: analysis.metric(name).title, name="metric"),
        *(numeric(name.capitalize(), partial(_part, source=name)) for name in sources),
        *for_files(**{f"sd_{name.replace(' ', '_')}": f"sds.{name}" for name in sources}),
        *for_files(**{f"error_{name.replace(' ', '_')}": f"errors.{name}" for name in sources}),
        name="variance",
        caption="Standard deviation of one response's value by source (percent, or the judge's"
        " unit), and the standard error that the source gives the figure",
        note="Standard deviation of one response's value, and under it the standard error of the"
        " figure: more prompts, seeds or samples lessen their own part. Few seeds tell it poorly.",
        title="Where the spread comes from",
    )


def _part(item: VarianceSplit, source: str) -> Cell | None:
    if source not in item.sds:
        return None
    error = item.errors.get(source)
    return Cell(short(item.sds[source], 2), "" if error is None else f"error {short(error, 2)}")


def values_by_seed_table(analysis: Analysis) -> Table:
    """The same for files, a row a seed."""
    return Table.of_values(
        "seeds",
        ("model", "metric", "seed", "value", "sd", "within"),
        (
            (item.model, item.metric, seed, value, item.sd, item.within)
            for item in analysis.seed_spreads
            for seed, value in item.by_seed.items()
        ),
        caption="Metrics by training seed; sd is between seeds, within is the standard"
        " error of one seed's figure from the draw of prompts",
    )


def sensitivities_table(analysis: Analysis) -> Table:
    """Rates with flagged responses left out, beside the full rate."""
    return Table.of(
        analysis.sensitivities,
        *for_files("without", "metric"),
        Column("Model", "model", name="model"),
        Column("Rate", lambda item: _flagged(item, analysis.metric(item.metric))),
        *for_files(rate="value.value", low="value.low", high="value.high"),
        numeric("All responses", "full", rounded(1), name="all_responses"),
        numeric("Without them", "value", estimated(1), absent="none left"),
        numeric(
            "Change",
            lambda item: None if item.value is None else item.value.value - item.full,
            rounded(1, signed=True),
        ),
        numeric("n left", "n", name="n"),
        name="sensitivities",
        caption="Rates in percent without responses that are flagged",
        note="Nothing is left out of the main figures: these say what flagged responses matter.",
        title="Rates without flagged responses",
    )


def bounds_table(analysis: Analysis) -> Table:
    """Between which values figures lie, whatever the missing ratings are."""
    return Table.of(
        analysis.bounds,
        *for_files("metric"),
        Column("Model", "model", name="model"),
        Column("Figure", lambda item: analysis.metric(item.metric).heading),
        numeric("Ratings missing", "missing", name="missing"),
        numeric("of", "n", name="n"),
        numeric("At least", "low", rounded(2), name="low"),
        numeric("At most", "high", rounded(2), name="high"),
        name="missing_ratings",
        caption="Figures over all that missing ratings could be",
        note="At least: all missing ones failed, or had the lowest score of any response to these"
        " prompts; at most: all passed, or had the highest.",
        title="What missing ratings could change",
    )


def _flagged(item: Sensitivity, metric: Metric) -> Cell:
    return Cell(metric.title, WITHOUT.get(item.without, item.without))
