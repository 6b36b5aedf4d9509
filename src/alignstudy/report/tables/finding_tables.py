"""Tables of how far findings carry: omnibus tests, thresholds, length, seeds, judges, claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.results import Analysis
from alignstudy.records import Estimate
from alignstudy.report.tables.plain_table import Cell, Table


def omnibus_table(analysis: Analysis) -> Table:
    """Whether any model differs from any other, a row per metric."""
    return Table(
        name="omnibus",
        title="One test over all models for each metric",
        columns=("metric", "test", "statistic", "p_value", "n", "note"),
        rows=tuple(
            (item.metric, item.test, item.statistic, item.p_value, item.n, item.note)
            for item in analysis.omnibus
        ),
    )


def thresholds_table(analysis: Analysis) -> Table:
    """Every model's rate at every threshold."""
    return Table(
        name="thresholds",
        title="Rates in percent over thresholds, with 95 % intervals",
        columns=("axis", "threshold", "model", "rate", "low", "high", "leads"),
        rows=tuple(_threshold_rows(analysis)),
    )


def _threshold_rows(analysis: Analysis) -> Iterator[tuple[Cell, ...]]:
    for sweep in analysis.sweeps:
        for index, threshold in enumerate(sweep.thresholds):
            for model, rates in sweep.rates.items():
                ends = (sweep.low[model][index], sweep.high[model][index])
                leads = int(model in sweep.leaders[index])
                yield sweep.axis, threshold, model, rates[index], *ends, leads


def threshold_pairs_table(analysis: Analysis) -> Table:
    """At which share of thresholds each difference holds."""
    return Table(
        name="threshold_pairs",
        title="Share of thresholds, in percent, at which the model's rate is higher or lower than"
        " the reference's, and at which the study's difference has an uncorrected p below 0.05",
        columns=("axis", "model", "reference", "higher", "lower", "shown", "thresholds"),
        rows=tuple(
            (
                sweep.axis,
                pair.model,
                pair.reference,
                pair.better_share,
                pair.worse_share,
                pair.shown_share,
                len(sweep.thresholds),
            )
            for sweep in analysis.sweeps
            for pair in sweep.pairs
        ),
    )


def best_table(analysis: Analysis) -> Table:
    """How often each model comes out first."""
    return Table(
        name="best",
        title="Share of resamples, in percent, in which a model has the highest value",
        columns=("metric", "model", "share"),
        rows=tuple(
            (metric, model, share)
            for metric, shares in analysis.best_shares.items()
            for model, share in shares.items()
        ),
    )


def lengths_table(analysis: Analysis) -> Table:
    """Mean score differences at equal length."""
    return Table(
        name="lengths",
        title="Model minus reference in mean score at equal length, with 95 % intervals; rank"
        " correlations of score and length over all responses, and within prompt and model",
        columns=(
            "axis",
            "model",
            "reference",
            "difference",
            "low",
            "high",
            "n",
            "rank_correlation",
            "within",
        ),
        rows=tuple(
            (item.axis, *names, *_ends(gap), gap.n, item.rank_correlation, item.within)
            for item in analysis.lengths
            for *names, gap in item.adjusted
        ),
    )


def seeds_table(analysis: Analysis) -> Table:
    """Every metric by training seed."""
    return Table(
        name="seeds",
        title="Metrics by training seed; sd is between seeds, within is the standard"
        " error of one seed's figure from the draw of prompts",
        columns=("model", "metric", "seed", "value", "sd", "within"),
        rows=tuple(
            (item.model, item.metric, seed, value, item.sd, item.within)
            for item in analysis.seed_spreads
            for seed, value in item.by_seed.items()
        ),
    )


def sensitivities_table(analysis: Analysis) -> Table:
    """Rates without flagged responses."""
    return Table(
        name="sensitivities",
        title="Rates in percent without responses that are flagged",
        columns=("without", "metric", "model", "rate", "low", "high", "all_responses", "n"),
        rows=tuple(
            (item.without, item.metric, item.model, *_ends(item.value), item.full, item.n)
            for item in analysis.sensitivities
        ),
    )


def judges_table(analyses: Sequence[Analysis]) -> Table:
    """Every judge's figures side by side; no rows with one judge."""
    return Table(
        name="judges",
        title="Metrics by judge, with 95 % intervals",
        columns=("judge", "model", "metric", "value", "low", "high", "n"),
        rows=tuple(_judge_rows(analyses)) if len(analyses) > 1 else (),
    )


def _judge_rows(analyses: Sequence[Analysis]) -> Iterator[tuple[Cell, ...]]:
    for analysis in analyses:
        for figures in analysis.models:
            for metric in (metric.name for metric in analysis.metrics):
                estimate = figures.estimates.get(metric)
                if estimate is not None:
                    yield analysis.judge, figures.model, metric, *_ends(estimate), estimate.n


def claims_table(verdicts: Sequence[Verdict]) -> Table:
    """The verdicts; a claim of several parts is followed by them."""
    rows: list[tuple[Cell, ...]] = []
    for verdict in verdicts:
        rows.append(_claim_row(verdict.claim, "", verdict))
        rows += [_claim_row(verdict.claim, part.claim, part) for part in verdict.parts]
    return Table(
        name="claims",
        title="Claims that were stated before the run, and what the data say of them",
        columns=("claim", "part", "verdict", "n_needed", "evidence"),
        rows=tuple(rows),
    )


def _claim_row(claim: str, part: str, verdict: Verdict) -> tuple[Cell, ...]:
    return (claim, part, verdict.verdict, verdict.n_needed, verdict.evidence)


def _ends(estimate: Estimate | None) -> tuple[Cell, ...]:
    """Return value, low and high."""
    return (None, None, None) if estimate is None else (estimate.value, estimate.low, estimate.high)
