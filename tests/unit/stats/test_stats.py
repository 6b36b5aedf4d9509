"""Intervals and tests, against scipy, enumeration and the published ratings' re-analysis."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from scipy import stats as reference

from alignstudy.errors import MetricError
from alignstudy.stats.intervals import mover_mean, tango, wilson
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate
from alignstudy.stats.resampling.permutation import EXACT_UP_TO, sign_flip

COUNTS = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
DISCORDANT = st.tuples(st.integers(0, 40), st.integers(0, 40))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@given(COUNTS, st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(counts, level):
    successes, n = counts
    interval = reference.binomtest(successes, n).proportion_ci(level, method="wilson")
    estimate = wilson(successes, n, level)
    assert estimate.low == pytest.approx(100 * interval.low, abs=1e-9)
    assert estimate.high == pytest.approx(100 * interval.high, abs=1e-9)
    assert estimate.low <= estimate.value <= estimate.high
    assert (estimate.n, estimate.level, estimate.method) == (n, level, "wilson")


def test_wilson_of_none_of_fifty():
    assert round(wilson(0, 50).high, 1) == 7.1
    assert wilson(0, 50).low == 0.0
    assert wilson(50, 50).high == 100.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(MetricError):
        wilson(successes, n)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_an_intervals_level_is_a_probability(level):
    with pytest.raises(MetricError, match="level"):
        wilson(3, 5, level)


@pytest.mark.parametrize(
    ("wins", "losses", "low", "high"),
    [
        (9, 6, -9.7, 21.7),
        (11, 10, -16.2, 20.1),
        (5, 11, -27.8, 4.0),
        (6, 8, -19.3, 11.3),
        (9, 5, -7.2, 23.2),
        (19, 2, 18.0, 49.1),
        (13, 1, 11.1, 38.1),
        (23, 1, 28.5, 58.3),
        (5, 10, -25.5, 5.6),
        (8, 3, -3.4, 24.0),
        (13, 3, 4.8, 35.2),
    ],
)
def test_tango_on_the_published_ratings(wins, losses, low, high):
    estimate = tango(wins, losses, 50)
    # The sources give one decimal.
    assert abs(estimate.low - low) <= 0.06
    assert abs(estimate.high - high) <= 0.06
    assert estimate.value == 100 * (wins - losses) / 50


@pytest.mark.parametrize(("wins", "losses", "n"), [(9, 6, 50), (19, 2, 50), (3, 1, 12), (0, 5, 9)])
def test_tango_ends_are_where_the_score_test_turns(wins, losses, n):
    """The variance under the null, from a numerical maximum of the likelihood."""

    def score(delta):
        def loss(share):
            win, rest = share + delta, 1 - 2 * share - delta
            terms = ((wins, win), (losses, share), (n - wins - losses, rest))
            return -sum(count * math.log(max(p, 1e-300)) for count, p in terms if count)

        bounds = (max(0.0, -delta), (1 - delta) / 2)
        share = optimize.minimize_scalar(
            loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}
        ).x
        return (wins - losses - n * delta) / math.sqrt(n * (2 * share + delta - delta**2))

    estimate, z = tango(wins, losses, n), reference.norm.ppf(0.975)
    assert score(estimate.low / 100) == pytest.approx(z, abs=1e-3)
    assert score(estimate.high / 100) == pytest.approx(-z, abs=1e-3)


@given(DISCORDANT, st.integers(0, 40))
def test_tango_is_antisymmetric_and_covers_its_value(discordant, agreeing):
    wins, losses = discordant
    n = wins + losses + agreeing
    if n == 0:
        with pytest.raises(MetricError):
            tango(wins, losses, n)
        return
    one, other = tango(wins, losses, n), tango(losses, wins, n)
    assert -100.0 <= one.low <= one.value <= one.high <= 100.0
    assert one.low == pytest.approx(-other.high, abs=1e-6)


def test_tango_without_discordant_prompts_is_not_a_point():
    estimate = tango(0, 0, 50)
    z2 = reference.norm.ppf(0.975) ** 2
    assert estimate.value == 0.0
    assert estimate.high == pytest.approx(100 * z2 / (50 + z2), abs=1e-6)


def test_tango_refuses_impossible_counts():
    for counts in ((-1, 0, 5), (3, 3, 5)):
        with pytest.raises(MetricError):
            tango(*counts)


@given(DISCORDANT)
def test_mcnemar_is_the_binomial_test(discordant):
    wins, losses = discordant
    expected = reference.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_exact(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_many_prompts_does_not_overflow():
    assert 0.0 <= mcnemar_exact(1300, 1000) < 1e-8
    with pytest.raises(MetricError):
        mcnemar_exact(-1, 3)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_by_its_definition(p_values):
    """Adjusted p = smallest level at which stepping down rejects the hypothesis."""
    adjusted = holm(p_values)
    ordered = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for place, index in enumerate(ordered):
        steps = [(len(p_values) - k) * p_values[ordered[k]] for k in range(place + 1)]
        assert adjusted[index] == pytest.approx(min(1.0, max(steps)))
        assert adjusted[index] >= p_values[index]


def test_holm_refuses_what_is_no_probability():
    with pytest.raises(MetricError, match="p-value 2"):
        holm([0.1, math.nan, 0.3])


def brute_force(differences):
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    return sum(s >= abs(sum(differences)) - 1e-9 for s in sums) / len(sums)


@given(st.lists(st.integers(-5, 5).map(lambda i: i / 10), min_size=1, max_size=9))
def test_sign_flips_of_few_prompts_are_enumerated(differences):
    rng = np.random.default_rng(0)
    found = sign_flip(np.array([differences]), rng=rng, flips=1)
    assert found[0] == pytest.approx(brute_force(differences))


def test_sign_flip_of_binary_differences_is_mcnemar(rng):
    wins, losses = 28, 8
    differences = np.array([[1.0] * wins + [-1.0] * losses + [0.0] * 64])
    found = sign_flip(differences / 100, rng=rng, flips=100_000)
    assert found[0] == pytest.approx(mcnemar_exact(wins, losses), abs=4e-4)


def test_sign_flip_is_scipys_permutation_test(rng):
    ours = rng.normal(0.4, 1.0, 40)
    theirs = rng.normal(0.0, 1.0, 40)
    expected = reference.permutation_test(
        (ours, theirs),
        lambda a, b: np.mean(a - b),
        permutation_type="samples",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    found = sign_flip((ours - theirs)[None], rng=rng, flips=50_000)
    assert found[0] == pytest.approx(expected, abs=0.015)


def test_rows_of_both_kinds_and_blocks_in_one_call(rng, monkeypatch):
    monkeypatch.setattr("alignstudy.stats.resampling.permutation._CELLS", 1000)
    many = np.linspace(-1, 1.4, 30)
    few = np.zeros(30)
    few[:4] = 1.0
    found = sign_flip(np.stack([many, few, np.zeros(30)]), rng=rng, flips=20_000)
    assert found[1] == 2 / 2**4
    assert found[2] == 1.0
    alone = sign_flip(many[None], rng=np.random.default_rng(3), flips=20_000)
    assert found[0] == pytest.approx(alone[0], abs=0.02)


def test_sign_flip_never_gives_zero_and_is_seeded():
    differences = np.ones((1, EXACT_UP_TO + 20))
    found = [sign_flip(differences, rng=np.random.default_rng(5), flips=999) for _ in range(2)]
    assert found[0] == found[1] == 1 / 1000


@pytest.mark.parametrize("flips", [0, -1])
def test_sign_flip_refuses(rng, flips):
    with pytest.raises(MetricError):
        sign_flip(np.ones((1, 3)), rng=rng, flips=flips)
    with pytest.raises(MetricError):
        sign_flip(np.array([[1.0, math.nan]]), rng=rng)


def test_sign_flip_holds_its_level():
    """Of 400 comparisons without a difference about 5 % come out below 0.05."""
    rng = np.random.default_rng(11)
    found = sign_flip(rng.normal(size=(400, 30)), rng=rng, flips=2000)
    assert 0.02 < (found <= 0.05).mean() < 0.09


def test_bootstrap_is_scipys(rng):
    values = rng.exponential(size=45)
    expected = reference.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    means = bootstrap_means(values[None], draws=20_000, rng=rng)
    found = percentile_estimate(values.mean(), means[:, 0], n=45)
    assert found.low == pytest.approx(expected.low, abs=0.02)
    assert found.high == pytest.approx(expected.high, abs=0.02)


def test_rows_with_the_same_prompts_are_resampled_together(rng):
    values = rng.normal(size=30)
    means = bootstrap_means(np.stack([values, values + 2.0]), draws=50, rng=rng)
    assert np.allclose(means[:, 1] - means[:, 0], 2.0)


def test_a_row_is_resampled_over_the_prompts_that_it_has(rng, monkeypatch):
    monkeypatch.setattr("alignstudy.stats.resampling.bootstrap._CELLS", 10)
    rows = np.array([[1.0, math.nan, 1.0], [2.0, 4.0, 6.0]])
    means = bootstrap_means(rows, draws=200, rng=rng)
    assert (means[:, 0] == 1.0).all()
    assert set(np.round(means[:, 1] * 3)) <= set(range(6, 19, 2))
    assert means[:, 1].std() > 0


def test_bootstrap_refuses_a_row_without_values(rng):
    with pytest.raises(MetricError):
        bootstrap_means(np.array([[math.nan]]), draws=10, rng=rng)
    with pytest.raises(MetricError):
        bootstrap_means(np.array([[1.0]]), draws=0, rng=rng)


def test_the_generator_alone_decides():
    values = np.arange(12.0)[None]
    one, two, other = (
        bootstrap_means(values, draws=5, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert (one == two).all()
    assert (one != other).any()


def test_mover_mean_covers_near_the_boundary_where_a_bootstrap_would_not():
    """Coverage by exact enumeration of two binomials, rates 98 and 95 %, n = 40."""
    from scipy.stats import binom

    n, first, second = 40, 0.98, 0.95
    truth = 100 * (first + second) / 2
    covered = 0.0
    for one in range(n + 1):
        weight = binom.pmf(one, n, first)
        if weight < 1e-9:
            continue
        for other in range(n + 1):
            interval = mover_mean([wilson(one, n), wilson(other, n)])
            inside = interval.low <= truth <= interval.high
            covered += inside * weight * binom.pmf(other, n, second)
    assert 0.92 <= covered <= 0.99


def test_mover_mean_of_certain_rates_has_width():
    interval = mover_mean([wilson(80, 80), wilson(80, 80)])
    assert interval.value == 100
    assert interval.high == 100
    assert 95 < interval.low < 98
    assert interval.n == 160
