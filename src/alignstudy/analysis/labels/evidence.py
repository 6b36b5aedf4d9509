"""Rates and differences corrected by labels of some responses, and how often the judge is right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from alignstudy.analysis.comparisons.pair_table import PairTable, pair_tables
from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.labels.axis_labels import AxisLabels, labels_on, recalls
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import build_matrices, usable
from alignstudy.formatting import listing
from alignstudy.metrics.metric import Metric
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.labels import CorrectedFigure, Label, LabelAgreement, LabelEvidence
from alignstudy.stats.intervals import mover_mean
from alignstudy.stats.ppi import (
    LABELS_METHOD,
    METHOD,
    corrected_mean,
    mean_of_labels,
    rate_interval,
    spread_of,
)
from alignstudy.stats.resampling.clustered_share import weighted_share
from alignstudy.stats.seed_tables import complete
from alignstudy.stats.seeds import mean_spread
from alignstudy.stats.spread import Spread

LEAST_SKILL = 0.25
"""Sensitivity plus specificity less 1 below which a judge's spread between seeds is stretched no
further: it hardly sees what seeds change."""


def label_evidence(
    analysis: Analysis,
    responses: Sequence[ScoredResponse],
    labels: Sequence[Label],
    *,
    clusters: Mapping[str, str] | None = None,
) -> LabelEvidence:
    """Correct a judge's rates and differences by labels, and say how often the judge is right.

    Args:
        analysis: Of the judge.
        responses: The rows that it was made of.
        labels: Of some of them; `checked_labels` has seen them.
        clusters: Prompt id -> its cluster of near-duplicates.
    """
    known = usable([row for row in responses if analysis.judge in row.scores])[0]
    panels = build_matrices(
        known, analysis.thresholds, axes=analysis.axes, judge=analysis.judge, clusters=clusters
    )
    axes = {
        name: found
        for name, panel in panels.items()
        if panel.passed_by_seed is not None and (found := labels_on(panel, labels)) is not None
    }
    tables = pair_tables(panels, axes=analysis.axes, base=analysis.base, lineages=analysis.lineages)
    figures = tuple(_figures(analysis, axes, tables))
    return LabelEvidence(
        judge=analysis.judge,
        figures=figures,
        agreements=tuple(each for name, axis in axes.items() for each in _agreements(name, axis)),
        notes=tuple(_notes(analysis, axes, figures)),
    )


def _figures(
    analysis: Analysis, axes: Mapping[str, AxisLabels], tables: Sequence[PairTable]
) -> Iterator[CorrectedFigure]:
    """Return the rates, and the differences, of which there are labels enough."""
    by_name = {table.metric.name: table for table in tables}
    for metric in analysis.rates:
        if not set(metric.axes) <= set(axes):
            continue
        parts = [axes[name] for name in metric.axes]
        for model in analysis.models:
            seeds = _seeds_of(parts, model.model)
            raw = model.estimates.get(metric.name)
            if raw is not None:
                yield from _figure(metric, (model.model,), raw, parts, seeds)
        for each in analysis.comparisons:
            if each.metric == metric.name:
                seeds = _seeds_of_pair(by_name[metric.name], (each.reference, each.model), parts)
                pair = (each.model, each.reference)
                yield from _figure(metric, pair, each.difference, parts, seeds)


def _figure(
    metric: Metric,
    models: tuple[str, ...],
    raw: Estimate,
    axes: Sequence[AxisLabels],
    seeds: tuple[float, float],
) -> Iterator[CorrectedFigure]:
    """Return a rate (one model) or a difference (two); nothing without labels enough."""
    samples = [sample for axis in axes if (sample := axis.sample(models)) is not None]
    if len(samples) < len(axes):
        return
    is_rate = len(models) == 1
    num_labels = sum(sample.truth.size for sample in samples)

    def estimate(trust: float | None, method: str) -> tuple[Estimate, list[float]]:
        made = [corrected_mean(sample, rate=is_rate, trust=trust) for sample in samples]
        spread = spread_of(made, seeds)
        if is_rate and len(made) == 1:
            found = rate_interval(spread, n=raw.n, num_labels=num_labels, method=method)
        else:
            whole = spread.in_unit(100.0)
            found = replace(whole.estimate(whole.value, raw.n, most=100.0), method=method)
            found = replace(found, low=max(0.0, found.low)) if is_rate else found
        return found, [each.trust for each in made]

    corrected, trusts = estimate(None, METHOD)
    labels_only, _ = estimate(0.0, LABELS_METHOD)
    wide, narrow = (each.high - each.low for each in (labels_only, corrected))
    [alone] = samples if len(samples) == 1 else [None]
    yield CorrectedFigure(
        metric=metric.name,
        model=models[0],
        reference="" if is_rate else models[1],
        raw=raw,
        labels_only=labels_only,
        corrected=corrected,
        bias=None if alone is None else mean_of_labels(alone.judged - alone.truth, alone),
        trust=None if alone is None else trusts[0],
        num_labels=num_labels,
        worth=num_labels * (wide / narrow) ** 2,
    )


def _seeds_of(axes: Sequence[AxisLabels], model: str) -> tuple[float, float]:
    """Return what training again adds to the variance of a model's rate, 0 to 1."""
    if not any(axis.panel.several_seeds for axis in axes):
        return 0.0, 1.0
    tables = [[axis.passed[axis.panel.row(model)]] for axis in axes]
    sides = [side for [side] in complete(tables, [axis.panel.cluster_of for axis in axes])]
    if not all(side.size for side in sides):
        return 0.0, 1.0
    return _stretched(mean_spread(sides, rate=True), axes)


def _seeds_of_pair(
    table: PairTable, pair: tuple[str, str], axes: Sequence[AxisLabels]
) -> tuple[float, float]:
    """Return what training both again adds to the variance of their difference, -1 to 1."""
    spread = table.spread(table.pairs.index(pair)) if table.several_seeds else None
    return (0.0, 1.0) if spread is None else _stretched(spread.in_unit(0.01), axes)


def _stretched(spread: Spread, axes: Sequence[AxisLabels]) -> tuple[float, float]:
    """Return what seeds add by the judge, stretched by what it doesn't see of their changes.

    A judge with sensitivity plus specificity of 1 + J shows J of a change of the true rate.
    """
    skill = max(LEAST_SKILL, min(axis.skill for axis in axes))
    return spread.seeds / skill**2, spread.df_seeds


def _agreements(name: str, axis: AxisLabels) -> Iterator[LabelAgreement]:
    """Return how often the judge is right: on all models' responses, then on each model's."""
    rows: dict[str, list[int]] = {"": list(range(len(axis.panel.models)))}
    rows |= {model: [at] for at, model in enumerate(axis.panel.models)}
    for model, chosen in rows.items():
        truth, judged, weights = (
            part[chosen] for part in (axis.truth, axis.judged, axis.truth_weights)
        )
        there = np.isfinite(truth)
        if there.sum() < MIN_PROMPTS:
            continue
        prompts = truth.shape[-1]
        right = np.where(there, truth == judged, np.nan).reshape(-1, prompts)
        passes, fails = recalls(truth, judged, weights)
        yield LabelAgreement(
            axis=name,
            model=model,
            agrees=weighted_share(right, weights.reshape(-1, prompts)),
            balanced=mover_mean([passes, fails]) if passes and fails else None,
            finds_passes=passes,
            finds_fails=fails,
            num_labels=int(there.sum()),
        )


def _notes(
    analysis: Analysis, axes: Mapping[str, AxisLabels], figures: Sequence[CorrectedFigure]
) -> Iterator[str]:
    """Return where labels are too few, and where they contradict what the judge says."""
    there = {(figure.metric, figure.model) for figure in figures if not figure.reference}
    for name, axis in axes.items():
        rate = analysis.rate_on(name)
        few = [m for m in axis.panel.known() if (rate.name, m) not in there]
        if few:
            yield (
                f"fewer than {MIN_PROMPTS} labelled {axis.panel.axis.prompts} prompts of"
                f" {', '.join(few)}: no rate is corrected there"
            )
    for rate in analysis.rates:
        outside = [
            figure.model
            for figure in figures
            if (figure.metric, figure.reference) == (rate.name, "")
            and not figure.corrected.low <= figure.raw.value <= figure.corrected.high
        ]
        if outside:
            yield (
                f"labels contradict the judge's {rate.title} of {listing(outside)}: it lies outside"
                " the corrected interval"
            )
    if len(analysis.seeds) > 1:
        yield (
            "what training again would change is taken from the judge's rates, stretched by what"
            " the labels say that it doesn't see"
        )
