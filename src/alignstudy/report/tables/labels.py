"""Tables of what labels of some responses say: of the rates, of their differences, of the judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.analysis.findings import Findings
from alignstudy.formatting import count
from alignstudy.records.labels import CorrectedFigure, LabelEvidence
from alignstudy.report.tables.table import (
    Cell,
    Column,
    Table,
    estimated,
    numeric,
    prompts_of,
    rounded,
)

_rate, _points = estimated(1, unit="%"), estimated(1, signed=True)


def label_tables(findings: Findings) -> tuple[Table, ...]:
    """Return the leading judge's rates and differences beside the labels, then every judge."""
    return (*_figures_tables(findings), _agreements_table(findings.labels))


def _figures_tables(findings: Findings) -> tuple[Table, Table]:
    first = findings.first
    evidence = next((each for each in findings.labels if each.judge == first.judge), None)
    rows: list[dict[str, Any]] = [
        {"figure": each, "title": first.metric(each.metric).heading}
        for each in (evidence.figures if evidence else ())
    ]
    rates = Table.of(
        [row for row in rows if not row["figure"].reference],
        Column("Model", "figure.model"),
        Column("Metric", "title"),
        numeric("By the judge", "figure.raw", _rate),
        numeric("Labels alone", "figure.labels_only", _rate),
        numeric("Corrected by labels", "figure.corrected", _rate),
        numeric("Judge says beyond the labels", "figure.bias", _points),
        numeric("Trust in the judge", "figure.trust", rounded(2)),
        numeric("Labels", "figure", _worth),
        note="Prediction-powered (PPI++): the judge's rate over all prompts, corrected by what"
        " people (or a better judge) say of the labelled ones. Trust (lambda): 0, the labels alone"
        " count; 1, the judge's rate counts in full. Labels and judge together are worth as many"
        " labels as stand below. The verdicts stand on the judge's rates.",
        title="Rates corrected by labels",
    )
    differences = Table.of(
        [row for row in rows if row["figure"].reference],
        Column("Model", "figure.model"),
        Column("Compared with", "figure.reference"),
        Column("Metric", "title"),
        numeric("By the judge", "figure.raw", _points),
        numeric("Labels alone", "figure.labels_only", _points),
        numeric("Corrected by labels", "figure.corrected", _points),
        numeric("Trust in the judge", "figure.trust", rounded(2)),
        numeric("Labels", "figure", _worth),
        note="Percentage points, each interval by itself: not corrected for the number of pairs."
        " Each difference has its own trust, so it needn't be that of the two corrected rates.",
        title="Differences corrected by labels",
    )
    return rates, differences


def _worth(figure: CorrectedFigure) -> Cell:
    return Cell(count(figure.num_labels), f"worth {figure.worth:.0f}")


def _agreements_table(evidence: Sequence[LabelEvidence]) -> Table:
    return Table.of(
        [{"judge": each.judge, "item": item} for each in evidence for item in each.agreements],
        Column("Judge", "judge"),
        Column("Prompts", "item.axis", prompts_of),
        Column("Responses of", "item.model", lambda name: name or Cell("all models", kind="plain")),
        numeric("Right", "item.agrees", _rate),
        numeric("Right, balanced", "item.balanced", _rate),
        numeric("Passes what passes", "item.finds_passes", _rate),
        numeric("Fails what fails", "item.finds_fails", _rate),
        numeric("Labels", "item.num_labels", count),
        note="On this study's own responses. Balanced: the mean of the two columns after it; 50 %"
        " is a coin. A judge that is right less often on one model's responses than on another's"
        " favours one of them.",
        title="The judge against the labels",
    )
