"""What an analysis finds: frozen records, ready for tables, figures and `statistics.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.model_figures import Improvement, ModelFigures
from alignstudy.metrics.figures import figures_of, rates_of, scores_of
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import above
from alignstudy.records import DECIMALS, Axis, Estimate
from alignstudy.records.evidence import plain
from alignstudy.records.ranking import BestSet, ControlTest
from alignstudy.records.robustness import (
    LeadBounds,
    LengthEffect,
    MissingBounds,
    Power,
    SeedSpread,
    Sensitivity,
    Sweep,
    ThresholdError,
    VarianceSplit,
    WinnerLead,
)
from alignstudy.stats.power.planning import ALPHA

Lineage = tuple[tuple[str, ...], ...]
"""Chains of methods that a model grew from; models with a first method in common share it."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Above which score a response passes, axis by axis.

    Attributes:
        values: Axis name -> threshold, of the axes that have one.
        inclusive: Whether a score equal to the threshold counts.
        origin: Axis name -> where the threshold comes from: "given", or "calibrated, balanced
            accuracy 0.87 on 200 pairs".
        empty_fails: Names of the axes on which an empty response fails whatever its score.
        decimals: To which scores are rounded before they are compared; None: not at all.
    """

    values: dict[str, float] = field(default_factory=dict)
    inclusive: bool = False
    empty_fails: tuple[str, ...] = ()
    origin: dict[str, str] = field(default_factory=dict)
    decimals: int | None = DECIMALS

    def of(self, axis: str) -> float | None:
        """Return the threshold of an axis; None where it has none."""
        return self.values.get(axis)

    def passed(self, axis: str, scores: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Return which scores count; None where the axis has no threshold."""
        threshold = self.of(axis)
        return None if threshold is None else above(scores, threshold, inclusive=self.inclusive)

    def passes(self, axis: str, score: float) -> bool | None:
        """Whether a score counts; None where the axis has no threshold."""
        found = self.passed(axis, np.array(score))
        return None if found is None else bool(found)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model against another, on the prompts that both answered and the judge scored.

    Attributes:
        metric: Name of a metric.
        difference: Model minus reference: percentage points, or the judge's unit.
        p_value: Two-sided, not corrected for other comparisons; None where no test was made.
        p_holm: Corrected by Holm within `family`.
        test: "exact McNemar", "sign-flip permutation", "sign-flip permutation over clusters" or
            "none".
        wins: Prompts on which the model did better.
        losses: Prompts on which the reference did better.
        ties: Prompts on which they did equally well.
        n: Paired prompts.
        note: Why there is no test.
        family: The comparisons among which p_holm is adjusted: "rates", "cas", "scores".
        win_interval: The win rate with its interval (ties half), percent.
        p_sign: Exact sign test of wins against losses; None without a test, and where prompts are
            clustered.
        effect_size: Of mean scores, Cohen's d_z: mean difference over its standard deviation; None
            for rates and where it is undefined.
        power: How much data would be needed; None without a test.
        p_equivalent: TOST p-value that the models are within `margin`; None without a margin.
        margin: Margin of equivalence: percentage points, or the judge's unit.
        num_clusters: Independent clusters of prompts that the resampling draws.
        survives_missing: Whether it would be shown, too, if all missing ratings were against it.
    """

    metric: str
    model: str
    reference: str
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    test: str
    wins: int
    losses: int
    ties: int
    n: int
    note: str = ""
    family: str = ""
    win_interval: Estimate | None = None
    p_sign: float | None = None
    effect_size: float | None = None
    power: Power | None = None
    p_equivalent: float | None = None
    margin: float | None = None
    num_clusters: int = 0
    survives_missing: bool = True

    @property
    def is_shown(self) -> bool:
        """Whether a difference is shown: `p_holm` is below 5 %, whatever missing ratings are."""
        return self.p_holm is not None and self.p_holm < ALPHA and self.survives_missing

    @property
    def win_rate(self) -> float:
        """Share of prompts on which the model did better, in percent; a tie counts one half."""
        return 100.0 * (self.wins + self.ties / 2) / self.n


@dataclass(frozen=True, kw_only=True)
class Omnibus:
    """Whether any model differs from any other in one metric.

    Attributes:
        metric: Name of a rate (Cochran's Q, or Friedman) or a mean score (Friedman).
        p_value: None where the test is not defined.
        n: Prompts that every model has.
    """

    metric: str
    test: str
    statistic: float | None
    p_value: float | None
    n: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the scores of one judge say.

    Attributes:
        judge: Whose scores.
        axes: What the prompts test, in the order of the draws.
        models: In the order of the responses.
        improvements: Of every model over the base; empty without a base.
        comparisons: Of every pair of models.
        notes: What a reader has to know: missing scores, excluded prompts, sensitivities.
        base: The model that others are compared with first.
        seeds: Training seeds, sorted.
        omnibus: One test per metric over all models.
        sweeps: One an axis with a threshold.
        lengths: One an axis.
        seed_spreads: Of models with several seeds.
        variances: Of models with several seeds or samples.
        sensitivities: Rates without flagged responses.
        bounds: Figures over all that missing ratings could be.
        lead_bounds: Differences that are shown, were missing ratings against them.
        threshold_errors: Of rates, then of differences; empty where no threshold was calibrated.
        best_shares: metric -> model -> share of bootstrap draws in which it has the highest
            value, percent; a shared first place is divided equally.
        winner_leads: The winner's lead in each metric on prompts that did not choose it.
        control: The model that the study declared as its control; None for none.
        best_sets: Which models are not distinguishable from the best, one a metric.
        control_tests: Every other model against the control, in each metric.
        clusters: Prompt id -> name of its cluster, of prompts that have near-duplicates only.
        lineages: Model -> the chains of methods that it grew from, seed by seed: one, or those of
            all models whose weights it is made of; none of a model that no seed changes. Empty
            where that isn't known.
    """

    judge: str
    axes: tuple[Axis, ...]
    thresholds: Thresholds
    models: tuple[ModelFigures, ...]
    improvements: tuple[Improvement, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    base: str | None
    seeds: tuple[int, ...]
    omnibus: tuple[Omnibus, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    lengths: tuple[LengthEffect, ...] = ()
    seed_spreads: tuple[SeedSpread, ...] = ()
    variances: tuple[VarianceSplit, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    bounds: tuple[MissingBounds, ...] = ()
    lead_bounds: tuple[LeadBounds, ...] = ()
    threshold_errors: tuple[ThresholdError, ...] = ()
    best_shares: dict[str, dict[str, float]] = field(default_factory=dict)
    winner_leads: tuple[WinnerLead, ...] = ()
    control: str | None = None
    best_sets: tuple[BestSet, ...] = ()
    control_tests: tuple[ControlTest, ...] = ()
    clusters: dict[str, str] = field(default_factory=dict)
    lineages: dict[str, Lineage] = field(default_factory=dict)

    @property
    def rates(self) -> tuple[Metric, ...]:
        """The pass rates, and their mean."""
        return rates_of(self.axes)

    @property
    def scores(self) -> tuple[Metric, ...]:
        """The mean scores."""
        return scores_of(self.axes)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics."""
        return figures_of(self.axes)

    def rate_on(self, axis: str) -> Metric:
        """Return the pass rate of an axis."""
        return next(rate for rate in self.rates if rate.axes == (axis,))

    def metric(self, name: str) -> Metric:
        """Return a metric by its name."""
        return next(metric for metric in self.metrics if metric.name == name)

    def comparison(self, metric: str, model: str, reference: str) -> Comparison | None:
        """Return the comparison of two models as it was made; None if there is none."""
        wanted = (metric, model, reference)
        return next(
            (c for c in self.comparisons if (c.metric, c.model, c.reference) == wanted), None
        )

    def best_set(self, metric: Metric) -> BestSet | None:
        """Return which models are not distinguishable from the best; None: it wasn't asked."""
        return next((item for item in self.best_sets if item.metric == metric.name), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values: dictionaries, lists, strings, numbers and None."""
        found: dict[str, Any] = plain(asdict(self))
        return found
