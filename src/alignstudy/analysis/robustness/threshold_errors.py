"""What a threshold that was chosen on labelled pairs leaves open: other pairs give another one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, known_mean, usable
from alignstudy.formatting import number
from alignstudy.metrics.rates import above
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.robustness import ThresholdError

ALONE = "thresholds of resampled calibration pairs"
WIDER = 1.25
"""From so many times the interval on a note says what a threshold leaves open."""

Draws = Mapping[str, Sequence[float]]
"""Axis -> thresholds that resampled calibration pairs give."""


def with_threshold_errors(
    analysis: Analysis, responses: Sequence[ScoredResponse], draws: Draws, *, joined: bool
) -> Analysis:
    """Add what the calibrated thresholds leave open of rates and differences.

    The pairs that a threshold was chosen on are others than the prompts that rates are of: the two
    errors are independent, and their distances to the interval's ends add as squares (MOVER).

    Args:
        analysis: Of one judge.
        responses: The rows that it was made of.
        draws: Of the axes whose thresholds were calibrated.
        joined: Whether the rates' own intervals become the joined ones. Tests and differences stay
            those of these thresholds: they ask which model is better by one yardstick.

    Source: Zou and Donner 2008, Statistics in Medicine 27, eq. 3.
    """
    known = usable([row for row in responses if analysis.judge in row.scores])[0]
    panels = build_matrices(known, analysis.thresholds, axes=analysis.axes, judge=analysis.judge)
    rates = {
        axis: _rates(panel, analysis, draws.get(axis, ()))
        for axis, panel in panels.items()
        if panel.passed_by_seed is not None
    }
    if not any(axis in rates for axis in draws):
        return analysis
    errors = tuple(_errors(analysis, rates, draws))
    found = replace(
        analysis,
        threshold_errors=errors,
        notes=analysis.notes + tuple(_notes(analysis, errors)),
    )
    if not joined:
        return found
    wide = {(e.metric, e.model): e.joined for e in errors if not e.reference}
    models = tuple(
        replace(
            model,
            estimates={n: wide.get((n, model.model), e) for n, e in model.estimates.items()},
        )
        for model in found.models
    )
    return replace(found, models=models)


Rates = dict[str, NDArray[np.float64]]
"""Model -> its rate in percent at each drawn threshold; at the one in use, where none is drawn."""


def _rates(panel: ScoreMatrix, analysis: Analysis, draws: Sequence[float]) -> Rates:
    limit = analysis.thresholds.of(panel.axis.name)
    assert limit is not None
    limits, place = np.unique(np.asarray(draws or (limit,), dtype=np.float64), return_inverse=True)
    missing = np.isnan(panel.by_sample)
    columns = []
    for each in limits:
        passed = above(panel.by_sample, float(each), inclusive=analysis.thresholds.inclusive)
        by_seed = known_mean(np.where(missing, np.nan, passed & ~panel.failed), axis=2)
        shares = known_mean(by_seed, axis=1)
        columns.append([100.0 * np.nanmean(row) for row in shares[panel.rows(panel.known())]])
    table = np.array(columns)[place]
    return dict(zip(panel.known(), table.T, strict=True))


def _errors(
    analysis: Analysis, rates: Mapping[str, Rates], draws: Draws
) -> Iterator[ThresholdError]:
    for metric in analysis.rates:
        if not (set(metric.axes) & set(draws) and set(metric.axes) <= set(rates)):
            continue
        parts = [rates[axis] for axis in metric.axes]

        def drawn(model: str, parts: list[Rates] = parts) -> NDArray[np.float64]:
            """Return the metric at each draw; of several axes, draw by draw."""
            return np.asarray(sum(part[model] for part in parts) / len(parts))

        for model in analysis.models:
            estimate = model.estimates.get(metric.name)
            if estimate is not None:
                yield _error(metric.name, (model.model, ""), estimate, drawn(model.model))
        for pair in analysis.comparisons:
            if pair.metric == metric.name:
                gap = drawn(pair.model) - drawn(pair.reference)
                yield _error(metric.name, (pair.model, pair.reference), pair.difference, gap)


def _error(
    metric: str, models: tuple[str, str], found: Estimate, drawn: NDArray[np.float64]
) -> ThresholdError:
    ends = np.quantile(drawn, [0.025, 0.975])
    low, high = min(float(ends[0]), found.value), max(float(ends[1]), found.value)
    least = 0.0 if not models[1] else -100.0
    below = math.hypot(found.value - found.low, found.value - low)
    over = math.hypot(found.high - found.value, high - found.value)
    return ThresholdError(
        metric=metric,
        model=models[0],
        reference=models[1],
        alone=replace(found, low=low, high=high, method=ALONE),
        joined=replace(
            found,
            low=max(least, found.value - below),
            high=min(100.0, found.value + over),
            method=f"{found.method}, threshold's error joined",
        ),
    )


def _notes(analysis: Analysis, errors: Sequence[ThresholdError]) -> Iterator[str]:
    """Say of each axis' rate how much wider intervals are, where it matters."""
    for metric in (metric for metric in analysis.rates if len(metric.axes) == 1):
        own = [e for e in errors if (e.metric, e.reference) == (metric.name, "")]
        told = {m.model: m.estimates.get(metric.name) for m in analysis.models}
        pairs = [(e, plain) for e in own if (plain := told[e.model]) is not None]
        ratios = [_width(e.joined) / max(_width(plain), 1e-9) for e, plain in pairs]
        if ratios and max(ratios) >= WIDER:
            widest, plain = pairs[int(np.argmax(ratios))]
            yield (
                f"{metric.title} rests on a threshold that labelled pairs chose; others would have"
                f" chosen another: with that, {widest.model} lies in"
                f" [{number(widest.joined.low, 1)}, {number(widest.joined.high, 1)}], not"
                f" [{number(plain.low, 1)}, {number(plain.high, 1)}]"
            )


def _width(estimate: Estimate) -> float:
    return estimate.high - estimate.low
