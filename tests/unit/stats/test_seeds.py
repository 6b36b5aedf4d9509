"""Inference over training seeds and prompts: against the t-test, Wilson, and simulated studies."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_rel

from alignstudy.stats.power.planning import planned
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.seed_tables import complete, in_units
from alignstudy.stats.seeds import difference_spread, mean_spread, rate_estimate
from alignstudy.stats.spread import Spread

STUDIES = 1000


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def interval(spread):
    half = spread.half_width()
    return spread.value - half, spread.value + half


# one seed: the tests that everybody knows


def test_one_seed_is_the_paired_t_test(rng):
    ours, theirs = rng.normal(0.3, 1.0, (2, 40))
    spread = difference_spread([(ours[None], theirs[None])])
    known = ttest_rel(ours, theirs)
    assert spread.p_value() == pytest.approx(known.pvalue, rel=1e-6)
    assert interval(spread) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert spread.seeds == 0.0


@pytest.mark.parametrize(("passed", "n"), [(0, 30), (3, 30), (12, 50), (47, 50), (50, 50)])
def test_one_seeds_rate_has_wilsons_interval(passed, n):
    values = np.zeros((1, n))
    values[0, :passed] = 1.0
    found = rate_estimate(values, n)
    known = binomtest(passed, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((100 * known.low, 100 * known.high), abs=1e-9)


# what agrees with what


SPREADS = st.builds(
    Spread,
    value=st.floats(-3, 3),
    prompts=st.floats(1e-4, 2),
    df_prompts=st.floats(1, 500),
    seeds=st.floats(0, 2),
    df_seeds=st.floats(1, 30),
)


@given(SPREADS, st.floats(-3, 3))
@settings(max_examples=60)
def test_the_interval_at_its_own_p_reaches_the_bound(spread, bound):
    p = spread.p_value(bound)
    if 1e-12 < p < 0.999:
        assert spread.half_width(p) == pytest.approx(abs(spread.value - bound), rel=1e-6)
    assert (p < 0.05) == (spread.half_width() < abs(spread.value - bound))


@given(SPREADS, st.floats(0.01, 4))
@settings(max_examples=60)
def test_equivalent_is_the_90_percent_interval_within_the_margin(spread, margin):
    within = abs(spread.value) + spread.half_width(0.10) < margin
    assert (spread.p_equivalent(margin) < 0.05) == within


def test_percent_is_another_unit(rng):
    passed = (rng.random((2, 3, 80)) < 0.5).astype(float)
    spread = difference_spread([tuple(passed)], rate=True)
    percent = spread.in_unit(100.0)
    assert percent.half_width() == pytest.approx(100.0 * spread.half_width())
    assert percent.p_value() == pytest.approx(spread.p_value())


def test_no_rate_is_certain():
    """All pass, in every seed: neither the rate, nor a difference, nor CAS is a point."""
    ones = np.ones((3, 40))
    assert rate_estimate(ones, 40).low < 95.0
    assert difference_spread([(ones, ones)], rate=True).half_width() > 0.02
    assert difference_spread([(ones, 0 * ones)], rate=True).half_width() > 0.02
    assert mean_spread([ones, ones], rate=True).half_width() > 0.02


def test_numbers_are_plain_ones(rng):
    """What NumPy leaves in a record can't be written to a table."""
    passed = (rng.random((2, 3, 80)) < 0.9).astype(float)
    rate, spread = rate_estimate(passed[0], 80), difference_spread([tuple(passed)], rate=True)
    whole = mean_spread([*passed], rate=True)
    estimates = [rate, spread.estimate(0.1, 80, most=1.0), whole.estimate(0.9, 80)]
    numbers = [number for one in estimates for number in (one.value, one.low, one.high)]
    power = planned(SpreadDesign(spread), 0.1, alpha=0.01)
    numbers += [spread.p_value(), spread.p_equivalent(0.1), power.power, power.detectable]
    assert {type(number) for number in numbers} == {float}


def test_clusters_are_units_that_keep_each_seeds_mean(rng):
    values, labels = rng.normal(size=(3, 30)), np.repeat(np.arange(10), 3)
    units = in_units(values, labels)
    assert units.shape == (3, 10)
    assert units.mean(axis=1) == pytest.approx(values.mean(axis=1))
    assert in_units(values, np.arange(30)) is values


def test_only_prompts_that_all_seeds_have_are_compared(rng):
    ours, theirs = rng.normal(size=(2, 3, 12))
    theirs[1:] = np.nan  # a base that was run once
    ours[2, 4] = theirs[0, 7] = np.nan
    [[one, other]] = complete([[ours, theirs]], [np.arange(12)])
    assert (one.shape, other.shape) == ((3, 10), (1, 10))
    assert not np.isnan(one).any()


# simulated studies


def scores(rng, seeds, n, ratio, *, rho=0.0, labels=None, base=False):
    """Two recipes on the same prompts; seeds differ by `ratio` times a recipe's prompt error.

    `base`: the second is one model, run once.
    """
    labels = np.arange(n) if labels is None else labels
    units = labels.max() + 1
    sd = ratio / math.sqrt(units)
    common = rng.normal(size=(seeds, 1))
    prompts = math.sqrt(0.4) * rng.normal(size=units)[labels]
    found = []
    for runs, effect in ((seeds, sd), (1, 0.0) if base else (seeds, sd)):
        own = math.sqrt(0.3) * rng.normal(size=units)[labels]
        training = math.sqrt(rho) * common[:runs] + math.sqrt(1 - rho) * rng.normal(size=(runs, 1))
        rest = math.sqrt(0.3) * rng.normal(size=(runs, n))
        found.append(in_units(prompts + own + effect * training + rest, labels))
    return found


def covered(spreads, truth=0.0):
    return np.mean([low <= truth <= high for low, high in map(interval, spreads)])


@pytest.mark.parametrize("ratio", [0.0, 3.0])
@pytest.mark.parametrize(("seeds", "n"), [(2, 50), (3, 400), (5, 50)])
class TestCoverage:
    def test_of_differences(self, rng, seeds, n, ratio):
        pairs = (scores(rng, seeds, n, ratio) for _ in range(STUDIES))
        assert covered(difference_spread([tuple(pair)]) for pair in pairs) >= 0.935

    def test_against_a_base_that_was_run_once(self, rng, seeds, n, ratio):
        pairs = (scores(rng, seeds, n, ratio, base=True) for _ in range(STUDIES))
        assert covered(difference_spread([tuple(pair)]) for pair in pairs) >= 0.93

    def test_of_models_that_grew_from_one(self, rng, seeds, n, ratio):
        pairs = (scores(rng, seeds, n, ratio, rho=0.9) for _ in range(STUDIES))
        found = (difference_spread([tuple(pair)], paired=True) for pair in pairs)
        assert covered(found) >= 0.935

    def test_over_clusters(self, rng, seeds, n, ratio):
        labels = np.unique(np.repeat(np.arange(n), np.arange(n) % 4 + 1)[:n], return_inverse=True)[
            1
        ]
        pairs = (scores(rng, seeds, n, ratio, labels=labels) for _ in range(STUDIES))
        assert covered(difference_spread([tuple(pair)]) for pair in pairs) >= 0.93


@pytest.mark.parametrize("rate", [0.2, 0.5])
@pytest.mark.parametrize(("seeds", "ratio"), [(2, 0.0), (2, 1.0), (3, 1.0), (5, 2.0)])
def test_rates_cover(rng, rate, seeds, ratio):
    n = 200
    spread = ratio * math.sqrt(rate * (1 - rate) / n)
    size = rate * (1 - rate) / spread**2 - 1 if spread else 0.0
    single, pairs = [], []
    for _ in range(STUDIES):
        truths = rng.beta(rate * size, (1 - rate) * size, (2, seeds, 1)) if spread else rate
        passed = (rng.random((2, seeds, n)) < truths).astype(float)
        single.append(rate_estimate(passed[0], n))
        pairs.append(difference_spread([tuple(passed)], rate=True))
    assert np.mean([one.low <= 100 * rate <= one.high for one in single]) >= 0.93
    assert covered(pairs) >= 0.935


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equivalence_at_the_margin_errs_in_5_percent(rng, seeds):
    """The product of release 0.3 said "equivalent" in 20 % of such studies."""
    wrong = 0
    for _ in range(STUDIES):
        ours, theirs = scores(rng, seeds, 400, 2.0)
        wrong += difference_spread([(ours + 0.15, theirs)]).p_equivalent(0.15) < 0.05
    assert wrong / STUDIES <= 0.065


@pytest.mark.parametrize(("seeds", "gap"), [(3, 0.25), (5, 0.2)])
def test_power_is_what_simulated_studies_have(rng, seeds, gap):
    """Of the true components; what a study estimates of its own seeds is a guess at them."""
    n, ratio = 200, 2.0
    found = np.mean(
        [
            difference_spread([(ours + gap, theirs)]).p_value() < 0.05
            for ours, theirs in (scores(rng, seeds, n, ratio) for _ in range(STUDIES))
        ]
    )
    many = [difference_spread([tuple(scores(rng, seeds, n, ratio))]) for _ in range(400)]
    mean = many[0]
    parts = tuple(
        type(part)(
            seen=float(np.mean([one.trainings[at].seen for one in many])),
            noise=float(np.mean([one.trainings[at].noise for one in many])),
            df=part.df,
        )
        for at, part in enumerate(mean.trainings)
    )
    true = Spread(
        value=gap, prompts=float(np.mean([one.prompts for one in many])), df_prompts=n - 1,
        seeds=0.0, df_seeds=1.0, trainings=parts, units=n,
    )  # fmt: skip
    assert SpreadDesign(true).power(gap) == pytest.approx(found, abs=0.04)


def test_more_prompts_or_more_seeds_are_what_is_needed(rng):
    design = SpreadDesign(difference_spread([tuple(scores(rng, 5, 100, 4.0))]))
    least = planned(design, None, alpha=0.05).detectable
    assert design.power(2.0 * least) > 0.8
    small = 0.5 * least
    assert design.power(small, seeds=40) > design.power(small)
    # Seeds are what is missing: no number of prompts replaces them.
    assert design.power(small, prompts=10**6) < 0.8
    found = planned(design, small, alpha=0.05)
    assert found.n_needed is None
    assert 5 < found.seeds_needed < 40
