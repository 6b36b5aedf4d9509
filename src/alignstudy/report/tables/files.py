"""Tables of all findings, for machines and people: `tables/*.csv` and `tables/*.md`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Comparison, ModelFigures
from alignstudy.formatting import listing
from alignstudy.metrics.axes import rate_of
from alignstudy.records import Estimate
from alignstudy.report.tables import finding_tables
from alignstudy.report.tables.plain_table import Cell, Table

__all__ = ["Cell", "Table", "comparisons_table", "tables_of", "write_tables"]

_NONE = (None, None, None)


def write_tables(findings: Findings, folder: Path) -> list[Path]:
    """Write every table as `<name>.csv` and `<name>.md`.

    Args:
        findings: What was found.
        folder: Where to write; made if it isn't there.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables_of(findings):
        for ending, text in ((".csv", table.to_csv()), (".md", table.to_markdown())):
            path = folder / (table.name + ending)
            path.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
            written.append(path)
    return written


def tables_of(findings: Findings) -> tuple[Table, ...]:
    """Return all tables: metrics, improvement, scores, comparisons, omnibus, and more if they hold.

    They are of the leading judge, but for `judges`, which is there with several. Thresholds,
    lengths, seeds, sensitivities and claims have a table where there is something in it.
    """
    first = findings.first
    always = (
        metrics_table(first),
        improvement_table(first),
        scores_table(first),
        comparisons_table(first),
        finding_tables.omnibus_table(first),
    )
    others = (
        finding_tables.thresholds_table(first),
        finding_tables.threshold_pairs_table(first),
        finding_tables.best_table(first),
        finding_tables.lengths_table(first),
        finding_tables.seeds_table(first),
        finding_tables.sensitivities_table(first),
        finding_tables.judges_table(findings.analyses),
        finding_tables.claims_table(findings.verdicts),
    )
    return always + tuple(table for table in others if table.rows)


def metrics_table(analysis: Analysis) -> Table:
    """Table 1 of the published study: rates and their mean in percent, intervals and counts."""
    rates = [rate.name for rate in analysis.rates]
    ends = tuple(f"{rate}_{end}" for rate in rates for end in ("low", "high"))
    return Table(
        name="metrics",
        title=f"{listing([rate.title for rate in analysis.rates])} in percent, with 95 % intervals",
        columns=("model", *rates, *ends, *(f"n_{axis.name}" for axis in analysis.axes)),
        rows=tuple(_metrics_row(figures, analysis) for figures in analysis.models),
    )


def _metrics_row(figures: ModelFigures, analysis: Analysis) -> tuple[Cell, ...]:
    rates = [figures.estimates.get(rate.name) for rate in analysis.rates]
    sizes = [_n(figures.estimates.get(rate_of(axis).name)) for axis in analysis.axes]
    ends = (end for rate in rates for end in _ends(rate))
    return (figures.model, *(_value(rate) for rate in rates), *ends, *sizes)


def improvement_table(analysis: Analysis) -> Table:
    """Table 2 of the published study: gain over the base, relative and in percentage points."""
    found = {(item.model, item.metric): item for item in analysis.improvements}
    models = dict.fromkeys(item.model for item in analysis.improvements)
    rates, rows = [rate.name for rate in analysis.rates], []
    for model in models:
        gains = [found.get((model, rate)) for rate in rates]
        relative = [None if gain is None else gain.relative_percent for gain in gains]
        points = [None if gain is None else gain.points for gain in gains]
        rows.append((model, *relative, *points))
    title = f"Gain over {analysis.base}" if analysis.base else "Gain: no base model was named"
    return Table(
        name="improvement",
        title=f"{title}: relative, in percent of its rate, and in percentage points",
        columns=(
            "model",
            *(f"{rate}_relative_percent" for rate in rates),
            *(f"{rate}_points" for rate in rates),
        ),
        rows=tuple(rows),
    )


def scores_table(analysis: Analysis) -> Table:
    """Mean scores by prompt set, with intervals."""
    columns = ["model"]
    for axis in (axis.name for axis in analysis.axes):
        columns += [axis, f"{axis}_low", f"{axis}_high", f"n_{axis}"]
    return Table(
        name="scores",
        title=f"Mean scores of {analysis.judge} by prompt set, with 95 % intervals",
        columns=tuple(columns),
        rows=tuple(
            (figures.model, *_score_cells([figures.estimates.get(s.name) for s in analysis.scores]))
            for figures in analysis.models
        ),
    )


def _score_cells(scores: Sequence[Estimate | None]) -> list[Cell]:
    return [cell for score in scores for cell in (_value(score), *_ends(score), _n(score))]


def comparisons_table(analysis: Analysis) -> Table:
    """Every pair of models in every metric, with paired tests."""
    return Table(
        name="comparisons",
        title="Paired comparisons: model minus reference, percentage points or score,"
        " with 95 % intervals; p_holm is adjusted within its family",
        columns=(
            "model",
            "reference",
            "metric",
            "difference",
            "low",
            "high",
            "p_value",
            "p_holm",
            "test",
            "wins",
            "losses",
            "ties",
            "n",
            "win_rate",
            "interval",
            "note",
            "family",
            "win_rate_low",
            "win_rate_high",
            "p_sign",
            "effect_size",
            "power",
            "detectable",
            "n_needed",
            "p_equivalent",
            "margin",
            "num_clusters",
        ),
        rows=tuple(_comparison_row(item) for item in analysis.comparisons),
    )


def _comparison_row(item: Comparison) -> tuple[Cell, ...]:
    return (
        item.model,
        item.reference,
        item.metric,
        item.difference.value,
        item.difference.low,
        item.difference.high,
        item.p_value,
        item.p_holm,
        item.test,
        item.wins,
        item.losses,
        item.ties,
        item.n,
        item.win_rate,
        item.difference.method,
        item.note,
        item.family,
        *_ends(item.win_interval),
        item.p_sign,
        item.effect_size,
        *((item.power.power, item.power.detectable, item.power.n_needed) if item.power else _NONE),
        item.p_equivalent,
        item.margin,
        item.num_clusters,
    )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _ends(estimate: Estimate | None) -> tuple[float | None, float | None]:
    return (None, None) if estimate is None else (estimate.low, estimate.high)


def _n(estimate: Estimate | None) -> int | None:
    return None if estimate is None else estimate.n
