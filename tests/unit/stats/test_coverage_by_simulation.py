"""Intervals cover and tests err as often as they say: 2,000 simulated studies each."""

from functools import cache

import numpy as np
import pytest

from alignstudy.stats.effect import win_rate_interval
from alignstudy.stats.equivalence import tost_mean
from alignstudy.stats.intervals import mover_mean, tango, wilson
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.resampling.bca import bca_means
from alignstudy.stats.resampling.bootstrap import bootstrap_means
from alignstudy.stats.resampling.clustered_share import clustered_share
from alignstudy.stats.resampling.hierarchical import hierarchical_means
from alignstudy.stats.resampling.permutation import sign_flip
from alignstudy.stats.seeds import difference_spread, rate_estimate

STUDIES = 2000
DRAWS = 1000
FLIPS = 999


@pytest.fixture
def rng():
    return np.random.default_rng(20)


def coverage(truth, intervals):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def percentile_coverage(truth, replicates):
    """Share of studies, a column each, whose percentile interval holds the truth."""
    low, high = np.quantile(replicates, [0.025, 0.975], axis=0)
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize(("rate", "n"), [(0.42, 50), (0.66, 100), (0.1, 200), (0.44, 500)])
def test_wilson_covers(rng, rate, n):
    interval = cache(lambda successes: wilson(successes, n))
    found = [interval(int(successes)) for successes in rng.binomial(n, rate, STUDIES)]
    assert 0.93 <= coverage(100 * rate, found) <= 0.97


@pytest.mark.parametrize(
    ("p_win", "p_loss", "n"), [(0.18, 0.12, 50), (0.16, 0.06, 100), (0.10, 0.10, 500)]
)
def test_tango_covers(rng, p_win, p_loss, n):
    interval = cache(lambda wins, losses: tango(wins, losses, n))
    tables = rng.multinomial(n, [p_win, p_loss, 1 - p_win - p_loss], STUDIES)
    found = [interval(int(wins), int(losses)) for wins, losses, _ in tables]
    assert 0.93 <= coverage(100 * (p_win - p_loss), found) <= 0.97


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.45, 0.45, 0.1), (0.7, 0.3, 0.0)])
def test_win_rate_covers(rng, shares):
    tables = rng.multinomial(100, shares, STUDIES)
    interval = cache(lambda wins, losses: win_rate_interval(wins, losses, 100 - wins - losses))
    found = [interval(int(wins), int(losses)) for wins, losses, _ in tables]
    assert 0.93 <= coverage(100 * (shares[0] + shares[2] / 2), found) <= 0.97


@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_bca_mean_covers(rng, draw):
    """Score differences of 100 prompts; the skewed ones have a skewness of 2."""
    shape = (STUDIES, 100)
    values = rng.normal(0.2, 1.3, shape) if draw == "normal" else rng.exponential(1.0, shape)
    found = []
    for part in np.array_split(values, 20):
        found += bca_means(part, draws=DRAWS, rng=rng)
    assert 0.93 <= coverage(0.2 if draw == "normal" else 1.0, found) <= 0.97


def clustered(rng, studies, clusters=80):
    """Differences of prompts that come in near-duplicates: 80 clusters of 1 to 4 prompts."""
    labels = np.repeat(np.arange(clusters), np.arange(clusters) % 4 + 1)
    shared = rng.normal(size=(studies, clusters))[:, labels]
    return shared + 0.5 * rng.normal(size=(studies, labels.size)), labels


def test_bca_over_clusters_covers_and_over_prompts_does_not(rng):
    values, labels = clustered(rng, STUDIES)
    found, blind = [], []
    for part in np.array_split(values, 20):
        found += bca_means(part, draws=DRAWS, rng=rng, clusters=labels)
        blind += bca_means(part[:20], draws=DRAWS, rng=rng)
    assert 0.93 <= coverage(0.0, found) <= 0.97
    assert coverage(0.0, blind) < 0.85


def test_stratified_bootstrap_of_cas_covers(rng):
    """Rates of 44 and 66 % on 100 prompts each: CAS is 55 %."""
    sides = [rng.random((STUDIES, 100)) < rate for rate in (0.44, 0.66)]
    found = []
    for block in np.array_split(np.arange(STUDIES), 20):
        replicates = [
            100.0 * bootstrap_means(side[block].astype(float), draws=DRAWS, rng=rng)
            for side in sides
        ]
        found.append(percentile_coverage(55.0, np.mean(replicates, axis=0)))
    assert 0.93 <= np.mean(found) <= 0.97


def test_mover_mean_rates_covers(rng):
    interval = cache(lambda one, two: mover_mean([wilson(one, 50), wilson(two, 50)]))
    pairs = rng.binomial(50, [0.44, 0.66], (STUDIES, 2))
    assert 0.93 <= coverage(55.0, [interval(int(a), int(b)) for a, b in pairs]) <= 0.97


def test_share_over_clusters_covers(rng):
    """Same winner of two judges: six pairs of models on each of 100 prompts."""
    found = []
    for _ in range(STUDIES):
        likely = rng.beta(4, 2, 100)
        found.append(clustered_share((rng.random((6, 100)) < likely).astype(float)))
    assert 0.93 <= coverage(100 * 4 / 6, found) <= 0.97


@pytest.mark.parametrize(("seeds", "between"), [(2, 0.05), (3, 0.05), (3, 0.1), (5, 0.2)])
def test_hierarchical_bootstrap_covers(rng, seeds, between):
    """Training seeds that differ by up to twice the standard error of 100 prompts, 0.08."""
    found = []
    for _ in range(STUDIES // 2):
        effects = rng.normal(0, between, (seeds, 1)) + rng.normal(0, 0.8, 100)
        values = effects + 0.6 * rng.normal(size=(seeds, 100))
        found.append(hierarchical_means(values[None], draws=400, rng=rng)[:, 0])
    assert 0.93 <= percentile_coverage(0.0, np.stack(found, axis=1)) <= 0.98


def false_positives(p_values):
    return np.mean(np.asarray(p_values) <= 0.05)


@pytest.mark.parametrize("n", [30, 100])
def test_sign_flip_errs_in_5_percent(rng, n):
    """Paired differences without a difference: of several widths, and heavy-tailed."""
    differences = rng.standard_t(4, (STUDIES, n)) * np.linspace(0.2, 2.0, n)
    found = [sign_flip(part, rng=rng, flips=FLIPS) for part in np.array_split(differences, 20)]
    assert 0.04 <= false_positives(np.concatenate(found)) <= 0.06


def test_sign_flip_over_clusters_errs_in_5_percent_and_over_prompts_in_more(rng):
    values, labels = clustered(rng, STUDIES)
    found, blind = [], []
    for part in np.array_split(values, 20):
        found += list(sign_flip(part, rng=rng, flips=FLIPS, clusters=labels))
        blind += list(sign_flip(part[:20], rng=rng, flips=FLIPS))
    assert 0.04 <= false_positives(found) <= 0.06
    assert false_positives(blind) > 0.12


def test_exact_mcnemar_errs_in_at_most_5_percent(rng):
    p_value = cache(mcnemar_exact)
    tables = rng.multinomial(500, [0.15, 0.15, 0.7], STUDIES)
    found = false_positives([p_value(int(won), int(lost)) for won, lost, _ in tables])
    assert 0.02 <= found <= 0.055


def test_equivalence_errs_in_5_percent_at_the_margin(rng):
    found = [tost_mean(row, 0.5) for row in rng.normal(0.5, 1.0, (STUDIES, 100))]
    assert 0.04 <= false_positives(found) <= 0.06


@pytest.mark.parametrize("samples", [1, 2, 4])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("rate", "n"), [(0.2, 50), (0.5, 200)])
def test_intervals_of_shares_of_samples_cover(rng, samples, seeds, rate, n):
    """Prompts have a chance to pass of their own; seeds move every prompt's by some points."""
    rates, gaps = [], []
    for _ in range(500):
        shift = rng.uniform(-0.05, 0.05, (2, seeds, 1)) if seeds > 1 else 0.0
        chances = 0.05 + 0.9 * rng.beta(rate - 0.05, 0.95 - rate, n)
        truth = 0.05 + 0.9 * (rate - 0.05) / 0.9
        ours, theirs = rng.binomial(samples, chances + shift, (2, seeds, n)) / samples
        found = rate_estimate(ours, n)
        rates.append(found.low <= 100 * truth <= found.high)
        spread = difference_spread([(ours, theirs)], rate=True)
        gaps.append(abs(spread.value) <= spread.half_width())
    assert np.mean(rates) >= 0.925
    assert np.mean(gaps) >= 0.925
