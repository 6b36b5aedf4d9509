"""What a calibrated threshold leaves open: the draws of it, and what they do to rates."""

import numpy as np
import pytest
from scipy import stats

from alignstudy.analysis.analyze_run import AnalysisConfig, analyze_run
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.results import Thresholds
from alignstudy.judges.quality.calibrate import best_threshold, threshold_draws
from alignstudy.records import ScoredResponse
from alignstudy.report.tables.robustness import threshold_errors_table

AXES = ("harmless", "helpful")
SHIFT = {"base": 0.0, "sft": 0.5}


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"{axis}-{at}", axis=axis, prompt=f"{axis} {at}",
            response=f"{model} {at} {seed}", scores={"judge": shift + score, "other": score},
        )
        for axis in AXES
        for model, shift in SHIFT.items()
        for seed in (0, 1)
        for at, score in enumerate(rng.normal(size=60))
    ]  # fmt: skip


DRAWS = {
    "harmless": tuple(np.random.default_rng(1).normal(0.2, 0.3, 200)),
    "helpful": tuple(np.random.default_rng(2).normal(0.2, 0.3, 200)),
}
LIMITS = Thresholds(values=dict.fromkeys(AXES, 0.2))


def analyzed(rows, draws=DRAWS, **changes):
    given = {"thresholds": {"judge": LIMITS}, "base": "base", "threshold_draws": {"judge": draws}}
    return analyze_run(rows, AnalysisConfig(**given | changes))[1].first


def by_key(analysis):
    return {(e.metric, e.model, e.reference): e for e in analysis.threshold_errors}


def counted(rows, model, axis, limit):
    scores = [r.scores["judge"] for r in rows if (r.model, r.axis) == (model, axis)]
    return 100 * np.mean(np.round(scores, 4) > limit)


def test_other_thresholds_are_those_of_resampled_pairs():
    rng = np.random.default_rng(3)
    chosen, rejected = rng.normal(1, 1, 80), rng.normal(0, 1, 80)
    draws = threshold_draws(chosen, rejected, draws=200, seed=0)
    assert draws == threshold_draws(chosen, rejected, draws=200, seed=0)
    assert draws != sorted(draws)  # axes are combined draw by draw: an order would tie them
    low, high = np.quantile(draws, [0.025, 0.975])
    assert low <= best_threshold(chosen, rejected).threshold <= high
    assert high - low > 0.3
    many = threshold_draws(np.tile(chosen, 50), np.tile(rejected, 50), draws=200, seed=0)
    assert np.std(many) < np.std(draws) / 2


def test_rates_at_drawn_thresholds_hold_the_rate_at_the_best_one():
    """The best threshold of normal scores a distance of 1 apart is in their middle."""
    rng, held = np.random.default_rng(4), 0
    for _ in range(100):
        chosen, rejected = rng.normal(1, 1, 60), rng.normal(0, 1, 60)
        draws = threshold_draws(chosen, rejected, draws=120, seed=0)
        low, high = np.quantile(1 - stats.norm.cdf(draws), [0.025, 0.975])
        held += low <= 1 - stats.norm.cdf(0.5) <= high
    assert held >= 90


def test_errors_are_counted_by_hand_and_add_as_squares(rows):
    analysis = analyzed(rows)
    found = by_key(analysis)
    own = {m.model: m.estimates["hmr"] for m in analysis.models}
    for model in SHIFT:
        drawn = [counted(rows, model, "harmless", limit) for limit in DRAWS["harmless"]]
        error = found["hmr", model, ""]
        ends = np.quantile(drawn, [0.025, 0.975])
        assert (error.alone.low, error.alone.high) == pytest.approx(tuple(ends))
        plain = own[model]
        below = np.hypot(plain.value - plain.low, plain.value - ends[0])
        assert error.joined.low == pytest.approx(max(0.0, plain.value - below))
        assert error.joined.value == plain.value
        assert error.joined.high - error.joined.low > plain.high - plain.low
    gap, mean = found["hmr", "sft", "base"], found["cas", "sft", ""]
    # One threshold moves both models: of their difference it leaves less open.
    assert gap.alone.high - gap.alone.low < found["hmr", "sft", ""].alone.high - own["sft"].low
    drawn = [
        np.mean([counted(rows, "sft", axis, DRAWS[axis][at]) for axis in AXES]) for at in range(200)
    ]
    assert mean.alone.low == pytest.approx(np.quantile(drawn, 0.025))
    assert any("others would have chosen another" in note for note in analysis.notes)
    assert len(threshold_errors_table(analysis).rows) == len(found) == 9


def test_intervals_are_widened_where_the_study_says_so_and_nothing_else_is(rows):
    beside, joined = analyzed(rows), analyzed(rows, join_threshold_errors=True)
    wide = by_key(joined)
    for model in joined.models:
        for metric, estimate in model.estimates.items():
            if metric.startswith("score"):
                continue
            assert estimate == wide[metric, model.model, ""].joined
            assert "threshold's error joined" in estimate.method
    assert joined.comparisons == beside.comparisons
    assert joined.threshold_errors == beside.threshold_errors


def test_given_thresholds_leave_nothing_open(rows):
    assert analyzed(rows, {}).threshold_errors == ()
    half = by_key(analyzed(rows, {"harmless": DRAWS["harmless"]}))
    assert {metric for metric, _, _ in half} == {"hmr", "cas"}
    panel = PanelSettings(judges={"harmless": ("judge",), "helpful": ("other",)}, combine="own")
    both = analyzed(rows, panel=panel, thresholds={"judge": LIMITS, "other": LIMITS})
    assert {metric for metric, _, _ in by_key(both)} == {"hmr", "cas"}  # the other's was given
