"""Bootstraps and sign flips over prompts, clusters and seeds, against scipy and enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from alignstudy.errors import MetricError
from alignstudy.stats.resampling.bca import bca_levels, bca_means, mean_estimates
from alignstudy.stats.resampling.bootstrap import bootstrap_means
from alignstudy.stats.resampling.hierarchical import hierarchical_means, seed_spread
from alignstudy.stats.resampling.permutation import sign_flip

LABELS = np.repeat(np.arange(12), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4])


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_clusters_are_drawn_whole():
    """Two clusters of different size: a resample is one of four, of known mean."""
    values = np.array([[0.0, 0.0, 0.0, 1.0]])
    means = bootstrap_means(
        values, draws=4000, rng=np.random.default_rng(0), clusters=np.array([4, 4, 4, 9])
    )
    found, counts = np.unique(means[:, 0], return_counts=True)
    assert found.tolist() == [0.0, 0.25, 1.0]
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_bootstrap_over_clusters_has_the_spread_of_the_ratio_estimator(rng):
    values = rng.normal(size=12)[LABELS] + 0.1 * rng.normal(size=LABELS.size)
    means = bootstrap_means(values[None], draws=40_000, rng=rng, clusters=LABELS)
    expected = []
    for drawn in rng.integers(0, 12, size=(4000, 12)):  # by hand, one resample at a time
        members = np.concatenate([values[label == LABELS] for label in drawn])
        expected.append(members.mean())
    assert means.std() == pytest.approx(np.std(expected), rel=0.05)
    assert means.mean() == pytest.approx(np.mean(expected), abs=0.02)
    assert means.std() > 1.3 * bootstrap_means(values[None], draws=5000, rng=rng).std()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_singleton_clusters_change_nothing(seed):
    values = np.random.default_rng(seed).normal(size=(3, 15))
    values[1, 4] = math.nan
    names = np.random.default_rng(seed).permutation(15)
    for function in (bootstrap_means, bca_means):
        plain, named = (
            function(values, draws=20, rng=np.random.default_rng(1), clusters=clusters)
            for clusters in (None, names)
        )
        if function is bca_means:
            plain, named = ([(e.low, e.high) for e in found] for found in (plain, named))
        assert np.allclose(plain, named)
    flat = np.nan_to_num(values)
    plain, named = (
        sign_flip(flat, rng=np.random.default_rng(1), flips=50, clusters=clusters)
        for clusters in (None, names)
    )
    assert (plain == named).all()


def test_names_of_clusters_do_not_matter(rng):
    values = rng.normal(size=(2, LABELS.size))
    renamed = LABELS * 7 - 30
    one, other = (
        bootstrap_means(values, draws=30, rng=np.random.default_rng(2), clusters=labels)
        for labels in (LABELS, renamed)
    )
    assert np.array_equal(one, other)


def test_a_row_without_a_prompt_of_a_cluster_uses_the_others(rng):
    values = np.stack([np.ones(LABELS.size), np.arange(LABELS.size, dtype=float)])
    values[0, :7] = math.nan
    means = bootstrap_means(values, draws=100, rng=rng, clusters=LABELS)
    assert np.allclose(means[:, 0], 1.0)
    assert means[:, 1].std() > 0


def test_all_of_a_cluster_flip_together(rng):
    differences = rng.normal(0.3, 1.0, 24)
    labels = np.repeat(np.arange(8), 3)
    sums = differences.reshape(8, 3).sum(axis=1)
    patterns = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=8)]
    expected = np.mean(np.array(patterns) >= abs(sums.sum()) - 1e-12)
    found = sign_flip(differences[None], rng=rng, flips=1, clusters=labels)
    assert found[0] == expected
    many = rng.normal(0.2, 1.0, 60)
    doubled = sign_flip(np.repeat(many, 2)[None], rng=rng, flips=40_000,
                        clusters=np.repeat(np.arange(60), 2))  # fmt: skip
    plain = sign_flip(many[None], rng=rng, flips=40_000)
    assert doubled[0] == pytest.approx(plain[0], abs=0.01)


@pytest.mark.parametrize("discrete", [False, True])
def test_sign_flip_of_all_pairs_of_models_is_that_of_each_alone(discrete):
    """The pairs of five models have four dimensions, which the test uses; the p-values don't."""
    rng = np.random.default_rng(3)
    models = rng.normal(size=(5, 1)) * 0.2 + rng.normal(size=(5, 70))
    models = (models > 0).astype(float) if discrete else models
    pairs = np.stack([b - a for a, b in itertools.combinations(models, 2)])
    pairs[1] *= 1e-6
    together = sign_flip(pairs, rng=np.random.default_rng(1), flips=20_000)
    pairs[0] *= 1e6
    alone = [sign_flip(row[None], rng=np.random.default_rng(1), flips=20_000)[0] for row in pairs]
    assert together == pytest.approx(alone, abs=0.012)
    exact = reference.binomtest(int((pairs[0] > 0).sum()), int((pairs[0] != 0).sum())).pvalue
    if discrete:
        assert together[0] == pytest.approx(exact, abs=0.01)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_sign_flip_forgets_sides_units_and_ties(seed, scale):
    rng = np.random.default_rng(seed)
    differences = rng.normal(0.3, 1.0, (2, 12))
    found = sign_flip(differences, rng=rng)
    assert sign_flip(-differences, rng=rng) == pytest.approx(found)
    assert sign_flip(scale * differences, rng=rng) == pytest.approx(found)
    padded = np.hstack([differences, np.zeros((2, 9))])
    assert sign_flip(padded, rng=rng) == pytest.approx(found)


@pytest.mark.parametrize("labels", [np.arange(3), np.array([0.5] * 5), np.arange(6)])
def test_labels_must_fit(rng, labels):
    for function in (sign_flip, bootstrap_means, bca_means):
        draws = {"flips": 9} if function is sign_flip else {"draws": 9}
        with pytest.raises(MetricError, match="cluster labels") as caught:
            function(np.ones((1, 5)), rng=rng, clusters=labels, **draws)
        assert caught.value.hint


@pytest.mark.parametrize("n", [15, 60])
def test_bca_is_scipys(rng, n):
    values = rng.exponential(size=n) ** 1.5
    expected = reference.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=40_000, rng=np.random.default_rng(2)
    ).confidence_interval
    [found] = bca_means(values[None], draws=40_000, rng=rng)
    assert found.method == "BCa bootstrap"
    assert found.value == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.02 * width)
    assert found.high == pytest.approx(expected.high, abs=0.03 * width)


def test_bca_over_clusters_is_scipys_on_clusters_of_one_size(rng):
    values = (rng.exponential(size=(30, 1)) + 0.2 * rng.normal(size=(30, 3))).ravel()
    expected = reference.bootstrap(
        (values.reshape(30, 3).mean(axis=1),), np.mean, method="BCa", n_resamples=40_000,
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    [found] = bca_means(values[None], draws=40_000, rng=rng, clusters=np.repeat(np.arange(30), 3))
    assert found.low == pytest.approx(expected.low, abs=0.015)
    assert found.high == pytest.approx(expected.high, abs=0.02)
    assert found.n == 90


def test_bca_swaps_with_its_sides(rng):
    values = rng.exponential(size=40)
    one, other = (
        bca_means(sign * values[None], draws=5000, rng=np.random.default_rng(3))[0]
        for sign in (1, -1)
    )
    assert (one.low, one.value) == pytest.approx((-other.high, -other.value))
    assert one.high == pytest.approx(-other.low)


def test_bca_says_where_it_is_undefined(rng):
    [alike] = bca_means(np.full((1, 10), 0.1), draws=50, rng=rng)
    assert (alike.method, alike.low, alike.high) == ("no spread", alike.value, alike.value)
    [single] = bca_means(
        rng.normal(size=(1, 10)), draws=50, rng=rng, clusters=np.zeros(10, dtype=int)
    )
    assert single.method == "no spread"
    # One draw lies on one side of the mean: no bias correction.
    [fallen] = bca_means(np.array([[0.0, 0.1, 7.0]]), draws=1, rng=rng)
    assert fallen.method == "bootstrap"
    assert bca_levels(5.0, np.arange(4.0), np.arange(3.0)) is None
    with pytest.raises(MetricError):
        bca_means(np.ones((1, 3)), draws=0, rng=rng)


def test_one_seed_is_a_bootstrap_over_prompts():
    values = np.random.default_rng(0).normal(size=(3, 20))
    found = hierarchical_means(values[:, None], draws=9, rng=np.random.default_rng(4))
    assert np.allclose(found, bootstrap_means(values, draws=9, rng=np.random.default_rng(4)))


@pytest.mark.parametrize("clusters", [None, LABELS])
def test_hierarchical_spread_is_that_of_seeds_plus_that_of_prompts(rng, clusters):
    """Additive effects, so that the variance of the mean is known."""
    by_seed, by_prompt = rng.normal(0, 2.0, 4), rng.normal(0, 1.0, LABELS.size)
    values = by_seed[:, None] + by_prompt[None, :]
    means = hierarchical_means(values[None], draws=40_000, rng=rng, clusters=clusters)
    prompts = bootstrap_means(by_prompt[None], draws=40_000, rng=rng, clusters=clusters)
    expected = by_seed.var(ddof=1) / 4 + prompts.var()
    assert means.var() == pytest.approx(expected, rel=0.04)
    assert means.mean() == pytest.approx(values.mean(), abs=0.03)


def test_prompts_are_shared_and_seeds_are_not_unless_asked(rng):
    by_seed = rng.normal(size=3)
    first = by_seed[:, None] + rng.normal(size=25)
    both = np.stack([first, first + 1.0])
    apart = hierarchical_means(both, draws=3000, rng=rng)
    together = hierarchical_means(both, draws=3000, rng=rng, shared=(True, True))
    assert np.allclose(together[:, 1] - together[:, 0], 1.0)
    assert (apart[:, 1] - apart[:, 0]).var() == pytest.approx(2 * by_seed.var(ddof=1) / 3, rel=0.1)


def test_missing_seeds_and_prompts(rng):
    values = np.full((2, 3, 6), math.nan)
    values[0] = 2.0
    values[1, 0, :4] = 5.0
    values[0, 1, 3] = math.nan
    found = hierarchical_means(values, draws=500, rng=rng)
    assert np.allclose(found, [2.0, 5.0])


def test_a_draw_without_any_of_a_rows_prompts_takes_its_mean(rng):
    values = np.array([[[1.0, math.nan, math.nan]], [[4.0, 4.0, 4.0]]])
    found = hierarchical_means(values, draws=200, rng=rng)
    assert np.allclose(found, [1.0, 4.0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"values": np.ones((2, 5)), "draws": 5},
        {"values": np.ones((2, 2, 5)), "draws": 0},
        {"values": np.full((1, 2, 5), math.nan), "draws": 5},
        {"values": np.ones((2, 2, 5)), "draws": 5, "shared": (True,)},
        {
            "values": np.stack([np.ones((2, 3)), np.stack([np.ones(3), np.full(3, math.nan)])]),
            "draws": 5,
            "shared": (True, True),
        },
        {"values": np.ones((1, 2, 5)), "draws": 5, "clusters": np.arange(4)},
    ],
)
def test_undefined_hierarchies_are_refused(rng, arguments):
    values = arguments.pop("values")
    with pytest.raises(MetricError):
        hierarchical_means(values, rng=rng, **arguments)


def test_seed_spread_is_the_sample_deviation():
    assert seed_spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1, 2, 4], ddof=1))
    for seeds in ([1.0], [1.0, math.nan]):
        with pytest.raises(MetricError):
            seed_spread(seeds)


def test_few_prompts_have_students_interval_and_many_bca():
    rng = np.random.default_rng(4)
    few, many = rng.normal(size=(2, 12)), rng.normal(size=(2, 60))
    for row, found in zip(few, mean_estimates(few, draws=200, rng=rng), strict=True):
        ends = reference.t.interval(0.95, 11, row.mean(), reference.sem(row))
        assert (found.low, found.high) == pytest.approx(ends)
        assert found.method == "Student's t"
    assert {e.method for e in mean_estimates(many, draws=200, rng=rng)} == {"BCa bootstrap"}
    clusters = np.repeat(np.arange(20), 3)
    [found] = mean_estimates(many[:1], draws=200, rng=rng, clusters=clusters)
    means = many[0].reshape(20, 3).mean(axis=1)
    ends = reference.t.interval(0.95, 19, means.mean(), reference.sem(means))
    assert (found.low, found.high) == pytest.approx(ends)
    alike = mean_estimates(np.ones((1, 12)), draws=50, rng=rng)[0]
    assert (alike.low, alike.high, alike.method) == (1.0, 1.0, "no spread")
