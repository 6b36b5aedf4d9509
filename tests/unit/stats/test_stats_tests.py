"""Omnibus tests, equivalence and effect sizes, against scipy, statsmodels and published data."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from alignstudy.errors import MetricError
from alignstudy.stats.agreement import spearman
from alignstudy.stats.effect import cohens_dz, win_rate_interval
from alignstudy.stats.equivalence import tost_mean, tost_rates
from alignstudy.stats.intervals import tango, wilson
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.omnibus import cochran_q, friedman
from alignstudy.stats.resampling.permutation import sign_flip

COUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def published(paper_dir, axis):
    files = sorted((paper_dir / "responses").glob(f"*_{axis}.json"))
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return np.array([[row["rating"] for row in part] for part in rows])


@pytest.mark.parametrize(("models", "n"), [(2, 20), (4, 50), (8, 200)])
def test_cochran_q_is_statsmodels(rng, models, n):
    passed = rng.random((models, n)) < rng.random(n)
    expected = cochrans_q(passed.T.astype(int))
    statistic, p_value = cochran_q(passed)
    assert statistic == pytest.approx(expected.statistic)
    assert p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_cochran_q_of_two_models_is_mcnemar_without_correction(rng):
    passed = rng.random((2, 60)) < 0.5
    only = [(passed[0] & ~passed[1]).sum(), (~passed[0] & passed[1]).sum()]
    expected = mcnemar([[0, only[0]], [only[1], 0]], exact=False, correction=False)
    assert cochran_q(passed) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )


@pytest.mark.parametrize("decimals", [0, 6])
def test_friedman_is_scipys_with_and_without_ties(rng, decimals):
    scores = np.round(rng.normal(size=(5, 40)) + rng.normal(size=40), decimals)
    expected = reference.friedmanchisquare(*scores)
    assert friedman(scores) == (
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue, rel=1e-9),
    )


def test_omnibus_tests_of_the_published_ratings(paper_dir):
    harmful, helpful = published(paper_dir, "harmful"), published(paper_dir, "helpful")
    assert round(cochran_q(harmful > -3)[1], 2) == 0.50
    assert round(friedman(harmful)[1], 2) == 0.74
    assert cochran_q(helpful > -2)[1] <= 1e-6
    assert friedman(helpful)[1] <= 1e-6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_omnibus_tests_forget_order_and_agreeing_prompts(seed):
    rng = np.random.default_rng(seed)
    scores = np.round(rng.normal(size=(4, 15)), 1)
    passed = scores > 0
    if (passed.all(axis=0) | ~passed.any(axis=0)).all():
        return
    order, prompts = rng.permutation(4), rng.permutation(15)
    agreeing = np.ones((4, 6))
    for test, table in ((cochran_q, passed.astype(float)), (friedman, scores)):
        expected = pytest.approx(test(table))
        assert test(table[order][:, prompts]) == expected
        if test is cochran_q:
            assert test(np.hstack([table, agreeing, 0 * agreeing])) == expected
        else:
            assert test(np.exp(table)) == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: cochran_q(np.ones((3, 5))),
        lambda: cochran_q(np.array([[1.0, 0.0]])),
        lambda: cochran_q(np.array([[1.0, 0.5], [0.0, 1.0]])),
        lambda: cochran_q(np.array([[1.0, math.nan], [0.0, 1.0]])),
        lambda: friedman(np.ones((3, 5))),
        lambda: friedman(np.array([1.0, 2.0])),
        lambda: friedman(np.ones((3, 0))),
        lambda: friedman(np.array([[1.0, math.inf], [0.0, 1.0]])),
    ],
)
def test_undefined_omnibus_tests_are_refused(call):
    with pytest.raises(MetricError) as caught:
        call()
    assert caught.value.hint


@pytest.mark.parametrize(("mean", "margin"), [(0.0, 0.5), (0.3, 0.4), (-0.3, 0.4), (0.9, 0.5)])
def test_tost_mean_is_statsmodels(rng, mean, margin):
    ours, theirs = rng.normal(mean, 1.0, 50), rng.normal(0.0, 1.0, 50)
    expected = ttost_paired(ours, theirs, -margin, margin)[0]
    assert tost_mean(ours - theirs, margin) == pytest.approx(expected, rel=1e-9)


def test_tost_mean_where_all_differences_are_alike():
    assert tost_mean(np.zeros(10), 0.1) == 0.0
    assert tost_mean(np.full(10, 0.2), 0.1) == 1.0
    assert tost_mean(np.full(10, 0.1), 0.1) == 1.0


@given(COUNTS, st.integers(1, 60))
def test_tost_rates_is_below_5_percent_where_tangos_90_percent_interval_is_inside(counts, margin):
    wins, losses, ties = counts
    n = wins + losses + ties + 1
    interval = tango(wins, losses, n, level=0.9)
    p_value = tost_rates(wins, losses, n, margin)
    inside = -margin < interval.low and interval.high < margin
    if min(abs(interval.low + margin), abs(interval.high - margin)) > 1e-6:
        assert (p_value < 0.05) == inside
    assert p_value == pytest.approx(tost_rates(losses, wins, n, margin), abs=1e-12)


def test_tost_rates_holds_its_level_at_the_margin():
    """Exact enumeration over all tables of 60 prompts with a true difference of 15 points."""
    n, p_win, p_loss = 60, 0.275, 0.125
    rejected = 0.0
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            weight = reference.multinomial.pmf(
                [wins, losses, n - wins - losses], n, [p_win, p_loss, 0.6]
            )
            if weight > 1e-9 and tost_rates(wins, losses, n, 15.0) < 0.05:
                rejected += weight
    assert 0.02 < rejected < 0.06


def test_without_discordant_prompts_equivalence_takes_more_than_a_few():
    assert tost_rates(0, 0, 10, 5.0) > 0.05
    assert tost_rates(0, 0, 500, 5.0) < 0.001


@pytest.mark.parametrize(
    "call",
    [
        lambda: tost_mean(np.ones(1), 0.5),
        lambda: tost_mean(np.array([1.0, math.nan]), 0.5),
        lambda: tost_mean(np.ones(5), 0.0),
        lambda: tost_mean(np.ones(5), math.nan),
        lambda: tost_rates(1, 1, 1, 5.0),
        lambda: tost_rates(1, 1, 9, -5.0),
        lambda: tost_rates(1, 1, 9, 100.0),
    ],
)
def test_undefined_equivalence_tests_are_refused(call):
    with pytest.raises(MetricError) as caught:
        call()
    assert caught.value.hint


def test_cohens_dz_is_t_over_root_n(rng):
    values = rng.normal(0.4, 2.0, 30)
    t_value = reference.ttest_1samp(values, 0.0).statistic
    assert cohens_dz(values) == pytest.approx(t_value / math.sqrt(30))
    assert cohens_dz(-values) == -cohens_dz(values)


def test_cohens_dz_without_spread_is_undefined():
    assert cohens_dz(np.full(9, 0.3)) is None
    assert cohens_dz(np.array([1.0])) is None
    with pytest.raises(MetricError):
        cohens_dz(np.array([1.0, math.nan]))


@given(COUNTS)
def test_mcnemar_is_the_binomial_test(counts):
    wins, losses, _ = counts
    expected = reference.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar_exact(wins, losses) == pytest.approx(expected, rel=1e-9)


@given(COUNTS)
def test_mcnemar_is_statsmodels_and_forgets_agreeing_prompts(counts):
    wins, losses, agreeing = counts
    if wins + losses:
        expected = mcnemar([[agreeing, wins], [losses, 3]], exact=True).pvalue
        assert mcnemar_exact(wins, losses) == pytest.approx(min(1.0, expected), rel=1e-9)
    assert mcnemar_exact(wins, losses) == mcnemar_exact(losses, wins)


def test_mcnemar_far_in_the_tail_is_the_exact_fraction():
    exact = 2 * sum(math.comb(2300, k) for k in range(1001)) / 2**2300
    assert mcnemar_exact(1300, 1000) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_holm_is_statsmodels(rng, size):
    p_values = np.round(rng.random(size) ** 3, 3).tolist()
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(expected))


@given(COUNTS)
def test_win_rate_swaps_with_its_sides(counts):
    wins, losses, ties = counts
    if wins + losses + ties == 0:
        with pytest.raises(MetricError):
            win_rate_interval(wins, losses, ties)
        return
    one, other = win_rate_interval(wins, losses, ties), win_rate_interval(losses, wins, ties)
    assert one.value == pytest.approx(100 * (wins + ties / 2) / (wins + losses + ties))
    assert one.value + other.value == pytest.approx(100)
    assert one.low == pytest.approx(100 - other.high, abs=1e-6)
    assert 0 <= one.low <= one.value <= one.high <= 100


def test_win_rate_of_the_published_ratings():
    """Base against DPO on harmful prompts: 58 % with 8 ties."""
    assert win_rate_interval(25, 17, 8).value == 58.0
    with pytest.raises(MetricError):
        win_rate_interval(3, 2, -1)


def test_edge_16_equal_scores_rates_of_0_or_100_percent_and_no_discordant_prompt():
    """What is defined has a value, what is not says so; nothing warns or divides by zero."""
    assert round(wilson(0, 50).high, 1) == 7.1
    assert wilson(50, 50).low == pytest.approx(100 - wilson(0, 50).high)
    assert mcnemar_exact(0, 0) == 1.0
    assert tango(0, 0, 50).low < 0.0 < tango(0, 0, 50).high
    assert win_rate_interval(0, 0, 50).value == 50.0
    assert cohens_dz(np.zeros(50)) is None
    assert spearman(np.zeros(50), np.arange(50.0)) is None
    assert sign_flip(np.zeros((1, 50)), rng=np.random.default_rng(0))[0] == 1.0
    with pytest.raises(MetricError):
        cochran_q(np.zeros((4, 50)))
