"""The table of all recipes: rates, who is among the best, the control, cost, divergence, length."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from alignstudy.analysis.comparisons.orientation import values_of
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.model_figures import ModelFigures
from alignstudy.formatting import ABSENT, interval, number, p_in_words, quantity
from alignstudy.metrics.metric import Metric
from alignstudy.records.ranking import ControlTest, RecipeCost
from alignstudy.report.tables.comparisons import mean_first
from alignstudy.report.tables.results import heading_of
from alignstudy.report.tables.table import Cell, Column, Table, for_files, numeric, rounded
from alignstudy.report.text.headline import broken_models
from alignstudy.report.text.ranking import ranked_by, ranking_in_words

_FLOPS = partial(quantity, unit="FLOP")


def ranking_table(findings: Findings, costs: Sequence[RecipeCost] = ()) -> Table:
    """Return one row a model, the highest mean of the rates first; no rows with one model.

    Args:
        findings: The leading judge's figures are shown.
        costs: What each model took; () where nothing was trained, and in files: a training that
            went on after a kill finds the same, and isn't counted whole.
    """
    first, metric = findings.first, ranked_by(findings)
    if metric is None or len(first.models) < 2:
        return Table.of((), title="All recipes")
    measured = mean_first(first) if metric.is_rate else first.scores
    metrics = [metric, *(m for m in measured if m.name != metric.name and values_of(first, m))]
    rows = _rows(findings, metric, metrics, costs)
    control = [_control(first.control, metric)] if first.control is not None else []
    return Table.of(
        rows,
        Column("Model", _name, name="model"),
        _figure(findings, metric),
        Column("Among the best", lambda row: _among(row, metric)),
        *(_figure(findings, other) for other in metrics[1:]),
        *control,
        *(
            [numeric("Training", _cost, absent="not counted whole")]
            if any(cost.flops for cost in costs)
            else []
        ),
        numeric("KL", "kl", rounded(1)),
        numeric("Words", "words", rounded(1)),
        *_in_files(metrics, has_control=bool(control), has_costs=bool(costs)),
        name="ranking",
        title="All recipes, best first",
        caption=f"All recipes by {metric.title}: percent, intervals cover 95 %; in_set: not"
        " distinguishable from the best",
        note=" ".join(ranking_in_words(first, metric, costs)),
    )


def _rows(
    findings: Findings, metric: Metric, metrics: Sequence[Metric], costs: Sequence[RecipeCost]
) -> list[dict[str, Any]]:
    """Return what is known of each model, the highest figure first, those without one last."""
    first, values = findings.first, values_of(findings.first, metric)
    sets = {m.name: found for m in metrics if (found := first.best_set(m)) is not None}
    tests = {test.model: test for test in first.control_tests if test.metric == metric.name}
    spent = {cost.model: cost for cost in costs}
    broken: dict[str, str] = {}
    for item in broken_models(first):
        broken.setdefault(item.model, item.what)

    def row(model: ModelFigures) -> dict[str, Any]:
        name = model.model
        return {
            "model": name,
            "estimates": model.estimates,
            "p": {key: found.p_values.get(name) for key, found in sets.items()},
            "in_set": {
                key: "yes" if name in found.members else "no"
                for key, found in sets.items()
                if name in found.p_values
            },
            "control": tests.get(name),
            "is_control": name == first.control,
            "cost": spent.get(name),
            "kl": _divergence(findings, name),
            "words": _mean([form.mean_words for form in model.hygiene.values()]),
            "broken": broken.get(name, ""),
        }

    order = sorted(
        first.models,
        key=lambda model: -values[model.model].value if model.model in values else np.inf,
    )
    return [row(model) for model in order]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _divergence(findings: Findings, model: str) -> float | None:
    """Return a model's divergence from the base in nats a response, mean over its seeds."""
    return _mean(
        [
            item.kl_per_sequence.value
            for item in findings.divergences
            if item.model == model and item.kl_per_sequence is not None
        ]
    )


def _name(row: dict[str, Any]) -> str:
    return str(row["model"])


def _figure(findings: Findings, metric: Metric) -> Column:
    """Return the column of a metric: coloured where the model is among the best in it."""

    def cell(row: dict[str, Any]) -> Cell | None:
        found = row["estimates"].get(metric.name)
        if found is None:
            return None
        kind = "good" if row["in_set"].get(metric.name) == "yes" else ""
        return Cell(number(found.value, metric.digits), interval(found, metric.digits), kind=kind)

    return numeric(heading_of(findings, findings.first, metric), cell, absent="not measured")


def _among(row: dict[str, Any], metric: Metric) -> Cell:
    """Say whether a model is among the best; below a no, the p-value of it."""
    found = row["in_set"].get(metric.name)
    if found is None:
        return Cell(ABSENT, row["broken"])
    said = p_in_words(row["p"][metric.name]) if found == "no" else ""
    detail = f"answers {row['broken']}" if row["broken"] else said
    return Cell("yes", detail, kind="good") if found == "yes" else Cell("no", detail)


def _control(control: str, metric: Metric) -> Column:
    """Return the column of differences from the control."""

    def cell(row: dict[str, Any]) -> Cell:
        test: ControlTest | None = row["control"]
        if test is None:
            return Cell("control" if row["is_control"] else ABSENT)
        digits, kind = metric.digits, ""
        if test.is_shown:
            kind = "good" if test.difference.value > 0.0 else "bad"
        ends = interval(test.difference, digits)
        return Cell(
            number(test.difference.value, digits, signed=True),
            f"{ends} {p_in_words(test.p_holm)}",
            kind=kind,
        )

    return numeric(f"Minus {control}", cell)


def _cost(row: dict[str, Any]) -> Cell | None:
    cost: RecipeCost | None = row["cost"]
    if cost is None or cost.flops is None:
        return None
    tuning = f"tuning {_FLOPS(cost.tuning_flops)}" if cost.tuning_flops else ""
    return Cell(_FLOPS(cost.flops), tuning)


def _in_files(
    metrics: Sequence[Metric], *, has_control: bool, has_costs: bool
) -> tuple[Column, ...]:
    """Return what files hold beside the model."""
    leading = metrics[0].name
    paths: dict[str, str] = {"in_set": f"in_set.{leading}", "p_best": f"p.{leading}"}
    for metric in metrics:
        name = metric.name
        paths |= {name: f"estimates.{name}.value"}
        paths |= {f"{name}_{end}": f"estimates.{name}.{end}" for end in ("low", "high")}
    for metric in metrics[1:]:
        paths |= {f"in_set_{metric.name}": f"in_set.{metric.name}"}
        paths |= {f"p_best_{metric.name}": f"p.{metric.name}"}
    if has_control:
        ends = {"": "value", "_low": "low", "_high": "high"}
        paths |= {f"difference{key}": f"control.difference.{end}" for key, end in ends.items()}
        paths |= {"p_control": "control.p_value", "p_control_holm": "control.p_holm"}
    if has_costs:
        paths |= {"flops": "cost.flops", "tuning_flops": "cost.tuning_flops"}
    paths |= {"kl_per_sequence": "kl", "mean_words": "words"}
    return for_files(**paths)
