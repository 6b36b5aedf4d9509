"""Means that labels correct: against another implementation, by simulation, at the ends."""

from dataclasses import replace

import numpy as np
import pytest

from alignstudy.errors import MetricError
from alignstudy.stats.intervals import wilson
from alignstudy.stats.ppi import (
    Labelled,
    corrected_mean,
    mean_of_labels,
    rate_interval,
    spread_of,
    tuned_trust,
)
from alignstudy.stats.resampling.clustered_share import weighted_share
from alignstudy.stats.stratified import stratified_draw

# Estimate, low and high of `ppi_mean_pointestimate` and `ppi_mean_ci` of ppi-python 0.2.3: tuned,
# at lambda 1, at .5. Of what `drawn` draws: rate, accuracy, labelled, others.
GOLDEN = {
    (0.5, 0.8, 100, 900): (
        (0.4746188, 0.3928803, 0.5563574),
        (0.4788889, 0.3833391, 0.5744387),
        (0.4744444, 0.3926782, 0.5562107),
    ),
    (0.8, 0.9, 60, 1940): (
        (0.7648994, 0.7184229, 0.8113758),
        (0.7601375, 0.7105776, 0.8096973),
        (0.7717354, 0.7120543, 0.8314165),
    ),
    (0.3, 0.6, 200, 300): (
        (0.3235837, 0.2593634, 0.3878041),
        (0.3116667, 0.2095069, 0.4138264),
        (0.3183333, 0.2451951, 0.3914715),
    ),
}


def drawn():
    rng = np.random.default_rng(3)
    for rate, accuracy, n, others in GOLDEN:
        truth = (rng.random(n + others) < rate).astype(float)
        judged = np.where(rng.random(n + others) < accuracy, truth, 1 - truth)
        yield (rate, accuracy, n, others), truth, judged


def sample(truth, judged, chosen=None, stands_for=None, **changes):
    chosen = np.arange(truth.size) if chosen is None else chosen
    given = {
        "truth": truth[chosen],
        "judged": judged[chosen],
        "stands_for": np.ones(len(chosen)) if stands_for is None else stands_for,
        "everyone": judged,
        "clusters": np.asarray(chosen),
        "num_clusters": judged.size,
    }
    return Labelled(**given | changes)


@pytest.mark.parametrize("case", list(drawn()), ids=lambda case: str(case[0]))
def test_another_implementation_gives_the_same(case):
    key, truth, judged = case
    _, _, n, others = key
    labelled = sample(truth, judged, np.arange(n))
    tuned, *given = GOLDEN[key]
    # Its lambda is for the units without a label; ours for all, of which the labelled are a part.
    for trust, (value, low, high) in zip((1.0, 0.5), given, strict=True):
        ours = corrected_mean(labelled, rate=True, trust=trust * (n + others) / others)
        assert ours.value == pytest.approx(value, abs=1e-6)
        _assert_as_wide(ours, low, high)
    ours = corrected_mean(labelled, rate=True)
    assert ours.value == pytest.approx(tuned[0], abs=0.002)
    _assert_as_wide(ours, *tuned[1:])


def _assert_as_wide(ours, low, high):
    """Ours has a t for the normal, and half a contradiction more: a little wider."""
    added = 0.5 / ours.num_labels**2
    theirs = (((high - low) / 3.92) ** 2 + added) ** 0.5
    assert spread_of([ours]).half_width() == pytest.approx(1.96 * theirs, rel=0.05)


def test_trust_is_the_regression_of_labels_on_the_judge():
    rng = np.random.default_rng(0)
    judged = (rng.random(80) < 0.4).astype(float)
    truth = np.where(rng.random(80) < 0.8, judged, 1 - judged)
    slope = np.polyfit(judged, truth, 1)[0]
    assert tuned_trust(sample(truth, judged)) == pytest.approx(slope)
    assert tuned_trust(sample(1 - judged, judged)) == 0.0  # the wrong way round
    assert tuned_trust(sample(truth, np.ones(80))) == 0.0


def test_labels_of_all_prompts_leave_what_prompts_leave():
    rng = np.random.default_rng(1)
    truth = (rng.random(200) < 0.3).astype(float)
    judged = (rng.random(200) < 0.6).astype(float)
    found = corrected_mean(sample(truth, judged), rate=True)
    assert found.labels == 0.0
    interval = rate_interval(spread_of([found]), n=200, num_labels=200)
    plain = wilson(int(truth.sum()), 200)
    assert (interval.value, interval.n) == (pytest.approx(plain.value), 200)
    assert (interval.low, interval.high) == pytest.approx((plain.low, plain.high), abs=0.2)


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_labels_that_all_agree_do_not_make_certain(rate):
    rng = np.random.default_rng(2)
    truth = (rng.random(1000) < rate).astype(float)
    labelled = sample(truth, truth, rng.choice(1000, 40, replace=False))
    found = rate_interval(spread_of([corrected_mean(labelled, rate=True)]), n=1000, num_labels=40)
    assert found.high - found.low > 5.0
    assert 0.0 <= found.low <= 100.0 * truth.mean() <= found.high <= 100.0
    assert mean_of_labels(np.zeros(40), labelled).high > 2.0


def test_near_duplicates_are_no_further_evidence():
    rng = np.random.default_rng(4)
    truth, judged = ((rng.random(60) < 0.5).astype(float) for _ in range(2))
    alone = sample(truth, judged, everyone=np.tile(judged, 10), num_clusters=600)
    copies = sample(
        np.tile(truth, 3),
        np.tile(judged, 3),
        clusters=np.tile(np.arange(60), 3),
        everyone=np.tile(judged, 10),
        num_clusters=200,
    )
    one, many = (spread_of([corrected_mean(each, rate=True)]) for each in (alone, copies))
    assert many.half_width() > 0.8 * one.half_width()


@pytest.mark.parametrize(("accuracy", "narrower"), [(0.6, 1.02), (0.9, 0.8)])
def test_intervals_cover_and_labels_are_worth_more_with_a_good_judge(accuracy, narrower):
    rng = np.random.default_rng(5)
    held, pair_held, values, widths = 0, 0, [], []
    studies, size, n, rate = 600, 600, 50, 0.7
    for _ in range(studies):
        common = rng.normal(size=size)
        passed = (common + rng.normal(size=(2, size)) < np.sqrt(2) * 0.5244).astype(float)
        judged = np.where(rng.random((2, size)) < accuracy, passed, 1 - passed)
        chosen, stands_for = stratified_draw(judged.sum(axis=0).tolist(), n, rng)
        labelled = sample(passed[0], judged[0], chosen, stands_for)
        found = [
            rate_interval(
                spread_of([corrected_mean(labelled, rate=True, trust=t)]), n=n, num_labels=n
            )
            for t in (None, 0.0)
        ]
        held += found[0].low <= 100 * rate <= found[0].high
        values.append(found[0].value)
        widths.append([each.high - each.low for each in found])
        pair = sample(passed[1] - passed[0], judged[1] - judged[0], chosen, stands_for)
        spread = spread_of([corrected_mean(pair, rate=False)])
        pair_held += abs(spread.value) <= spread.half_width()
    assert held / studies >= 0.925
    assert pair_held / studies >= 0.925
    # Unbiased, though the draw is not in proportion: within four standard errors.
    assert abs(np.mean(values) - 100 * rate) < 4 * np.std(values) / studies**0.5
    ours, labels_alone = np.mean(widths, axis=0)
    assert ours < narrower * labels_alone


def test_unequal_weights_are_worth_fewer_observations():
    hits = np.array([[1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0]])
    alike, unequal = (
        weighted_share(hits, weights)
        for weights in (np.full((1, 8), 3.0), np.array([[8.0, 1, 1, 8, 8, 1, 1, 8]]))
    )
    plain = wilson(5, 8)
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high), abs=3.0)
    assert unequal.high - unequal.low > alike.high - alike.low
    assert unequal.value == pytest.approx(100 * 19 / 36)
    with pytest.raises(MetricError, match="without observations"):
        weighted_share(np.full((2, 3), np.nan), np.ones((2, 3)))


@pytest.mark.parametrize(
    "changes",
    [
        {"truth": np.array([1.0])},
        {"judged": np.array([1.0, np.nan, 0.0])},
        {"everyone": np.array([1.0, 0.0])},
        {"num_clusters": 0},
    ],
)
def test_what_corrects_nothing_is_refused(changes):
    with pytest.raises(MetricError, match="no correction"):
        replace(sample(np.array([1.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])), **changes)


def test_a_draw_leaves_no_stratum_out_and_weights_undo_its_favours():
    rng = np.random.default_rng(6)
    strata = ["common"] * 470 + ["rare"] * 25 + ["single"] * 5
    values = np.array([0.2] * 470 + [0.9] * 25 + [0.4] * 5) + rng.normal(scale=0.1, size=500)
    means, rare = [], []
    for _ in range(300):
        chosen, stands_for = stratified_draw(strata, 40, rng)
        assert len(set(chosen.tolist())) == 40
        assert stands_for.sum() == pytest.approx(500)
        names = {strata[at] for at in chosen}
        assert names == {"common", "rare", "single"}
        rare.append(sum(strata[at] == "rare" for at in chosen))
        means.append(float(stands_for @ values[chosen]) / 500)
    assert abs(np.mean(means) - values.mean()) < 4 * np.std(means) / 300**0.5
    assert np.mean(rare) > 3 * 40 * 25 / 500
    assert len(stratified_draw(strata, 900, rng)[0]) == 500
    with pytest.raises(MetricError, match="2 draws from 3 strata"):
        stratified_draw(strata, 2, rng)
