"""How far missing ratings could change figures, at worst: nothing is assumed of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, usable
from alignstudy.formatting import p_in_words, short
from alignstudy.metrics.figures import rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import ScoredResponse
from alignstudy.records.robustness import LeadBounds, MissingBounds
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.power.planning import ALPHA
from alignstudy.stats.resampling.permutation import sign_flip

_FLIPS = 20_000


@dataclass(frozen=True)
class _Table:
    """One metric of one axis, prompt by prompt.

    Attributes:
        values: Percent or the judge's unit, NaN where missing; shape (models, responses, prompts):
            a response for each seed and sample.
        low: What a missing one counts as at worst.
        high: And at best.
    """

    metric: Metric
    panel: ScoreMatrix
    values: NDArray[np.float64]
    low: float
    high: float

    def filled(self, model: str, end: float) -> NDArray[np.float64]:
        """Return a model's values, shape (responses, prompts), missing ones put at an end."""
        own = self.values[self.panel.row(model)]
        own = own[~np.isnan(own).all(axis=1)]
        return np.where(np.isnan(own), end, own)

    def against(self, item: Comparison) -> NDArray[np.float64]:
        """Return a pair's differences by prompt, each missing rating against what was found."""
        ends = (self.low, self.high) if item.difference.value > 0 else (self.high, self.low)
        ours, theirs = (
            self.filled(model, end).mean(axis=0)
            for model, end in zip((item.model, item.reference), ends, strict=True)
        )
        return np.asarray(ours - theirs)


def missing_bounds(
    rows: Sequence[ScoredResponse], analysis: Analysis
) -> tuple[tuple[MissingBounds, ...], tuple[LeadBounds, ...]]:
    """Bound each model's figures, and each difference that is shown, over all missing ratings.

    A missing rating fails or passes; of scores it is the lowest or the highest that any response
    on the axis has. What a model lacks is what another was rated for.

    Args:
        rows: Of all models, those on prompts that not all have ratings for included.
        analysis: Of the shared prompts: whose judge, thresholds and comparisons.

    Returns:
        By metric the models that lack a rating, and the differences that are shown.

    Source: the worst-case bounds of Manski 1989, doi:10.2307/145818.
    """
    tables = {table.metric.name: table for table in _tables(rows, analysis)}
    bounds = tuple(
        MissingBounds(
            metric=name,
            model=model,
            missing=int(np.isnan(table.filled(model, np.nan)).sum()),
            n=table.filled(model, 0.0).size,
            low=float(table.filled(model, table.low).mean()),
            high=float(table.filled(model, table.high).mean()),
        )
        for name, table in tables.items()
        for model in table.panel.known()
        if np.isnan(table.filled(model, np.nan)).any()
    )
    leads = []
    for item in analysis.comparisons:
        metric = analysis.metric(item.metric)
        parts = [t for t in tables.values() if t.metric.is_rate and t.metric.axes[0] in metric.axes]
        if not metric.is_rate:
            parts = [tables[item.metric]] if item.metric in tables else []
        if item.is_shown and len(parts) == len(metric.axes):
            leads.append(_lead(item, parts))
    return bounds, tuple(leads)


def _tables(rows: Sequence[ScoredResponse], analysis: Analysis) -> Iterator[_Table]:
    """Lay out rates and scores of the axes."""
    part = [row for row in usable(rows)[0] if analysis.judge in row.scores]
    panels = build_matrices(
        part,
        analysis.thresholds,
        axes=analysis.axes,
        judge=analysis.judge,
        clusters=analysis.clusters,
    )
    for panel in panels.values():
        if not panel.known():
            continue
        shape = (len(panel.models), -1, len(panel.prompt_ids))
        scores = panel.by_sample.reshape(shape)
        if panel.passed_by_sample is not None:
            passed = 100.0 * panel.passed_by_sample.reshape(shape)
            yield _Table(rate_of(panel.axis), panel, passed, 0.0, 100.0)
        low, high = float(np.nanmin(scores)), float(np.nanmax(scores))
        yield _Table(score_of(panel.axis), panel, scores, low, high)


def _lead(item: Comparison, parts: Sequence[_Table]) -> LeadBounds:
    """Return a difference at worst; the mean of rates weighs axes alike, however many prompts."""
    found = [(table.against(item), table.panel) for table in parts]
    worst = float(np.mean([differences.mean() for differences, _ in found]))
    [(first, panel), *others] = found
    if parts[0].metric.is_rate and not others and not panel.has_shares and panel.clusters is None:
        p = mcnemar_exact(int((first > 0).sum()), int((first < 0).sum()))
    else:
        rng = np.random.default_rng(0)
        weighed = np.concatenate([differences / differences.size for differences, _ in found])
        clusters = np.concatenate(
            [
                panel.cluster_of + sum(other.num_clusters for _, other in found[:at])
                for at, (_, panel) in enumerate(found)
            ]
        )
        [p] = sign_flip(weighed, rng=rng, flips=_FLIPS, clusters=clusters)
    same_side = worst * item.difference.value > 0
    return LeadBounds(
        metric=item.metric,
        model=item.model,
        reference=item.reference,
        difference=item.difference.value,
        worst=worst,
        p_value=float(p),
        survives=bool(same_side and p < ALPHA),
    )


def bounds_notes(analysis: Analysis) -> tuple[str, ...]:
    """Return what missing ratings could do to the figures, a sentence for each model and lead."""
    notes = []
    for item in analysis.bounds:
        metric = analysis.metric(item.metric)
        ends = (
            ("all failed", "all passed")
            if metric.is_rate
            else ("all the lowest", "all the highest")
        )
        low, high = (short(value, metric.digits) for value in (item.low, item.high))
        notes.append(
            f"{item.model} lacks {item.missing} of {item.n} ratings: with them its {metric.title}"
            f" lies between {low} (were they {ends[0]}) and {high} (were they {ends[1]})"
        )
    leads = [frail_in_words(analysis, lead) for lead in analysis.lead_bounds if not lead.survives]
    return (*leads, *notes)


def frail_in_words(analysis: Analysis, lead: LeadBounds) -> str:
    """Say that a difference which is shown doesn't survive the missing ratings."""
    metric, sign = analysis.metric(lead.metric), 1.0 if lead.difference > 0 else -1.0
    first, second = (lead.model, lead.reference)[:: int(sign)]
    found, worst = (
        short(sign * value, metric.digits, signed=True) for value in (lead.difference, lead.worst)
    )
    return (
        f"{first}'s lead over {second} in {metric.title} doesn't survive the missing ratings: were"
        f" they all against it, the difference of {found} would be {worst}{metric.points}"
        f" ({p_in_words(lead.p_value)})"
    )
