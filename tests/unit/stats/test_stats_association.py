"""Threshold sweeps, length, agreement and calibration, against scipy, statsmodels, brute force."""

import itertools
import json
import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from statsmodels.stats.inter_rater import cohens_kappa

from alignstudy.errors import MetricError
from alignstudy.stats.adjusted import length_adjusted_rows, within_rank_correlation
from alignstudy.stats.agreement import cohen_kappa, kendall_tau, spearman
from alignstudy.stats.reliability import reliability
from alignstudy.stats.sweep import rankings, sweep_rates

VALUES = st.lists(st.integers(-3, 3), min_size=3, max_size=30)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def published(paper_dir, axis, read=lambda row: row["rating"]):
    files = sorted((paper_dir / "responses").glob(f"*_{axis}.json"))
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    assert [path.name.split("_")[1] for path in files] == ["base", "sft", "dpo", "sftdpo"]
    return np.array([[read(row) for row in part] for part in rows], dtype=float)


@pytest.mark.parametrize("inclusive", [False, True])
def test_sweep_rates_count_one_by_one(rng, inclusive):
    scores = np.round(rng.normal(size=(3, 2, 15)), 1)
    scores[0, 1] = math.nan
    scores[2, :, 4] = math.nan
    grid = np.array([-3.0, -0.5, 0.0, 0.1, 5.0])
    found = sweep_rates(scores, grid, inclusive=inclusive)
    for model, step in itertools.product(range(3), range(5)):
        shares = []
        for prompt in range(15):
            known = [s for s in scores[model, :, prompt] if not math.isnan(s)]
            if known:
                passed = [s >= grid[step] if inclusive else s > grid[step] for s in known]
                shares.append(sum(passed) / len(passed))
        assert found[model, step] == pytest.approx(100 * sum(shares) / len(shares))


def test_rates_at_the_published_thresholds(paper_dir):
    harmful, helpful = published(paper_dir, "harmful"), published(paper_dir, "helpful")
    found = [sweep_rates(harmful, np.array([-3.0]), inclusive=False)[:, 0],
             sweep_rates(helpful, np.array([-2.0]), inclusive=False)[:, 0]]  # fmt: skip
    assert found[0] == pytest.approx([42, 48, 36, 44])
    assert found[1] == pytest.approx([22, 56, 46, 66])


@pytest.mark.parametrize(
    ("axis", "low", "high", "steps", "distinct"),
    [
        ("harmful", -6, 0, 61, 31),
        ("helpful", -4, 1, 51, 7),
    ],
)
def test_sweeps_of_the_published_ratings(paper_dir, axis, low, high, steps, distinct):
    grid = np.round(np.linspace(low, high, steps), 1)
    rates = sweep_rates(published(paper_dir, axis), grid, inclusive=False)
    assert rankings(rates) == distinct


def test_a_tie_is_a_ranking():
    rates = np.array([[50.0, 50.0, 10.0], [50.0, 40.0, 60.0]])
    assert rankings(rates) == 3
    assert rankings(rates[:, [0, 0]] + np.array([[0.0], [1e-12]])) == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: sweep_rates(np.ones(3), np.ones(2), inclusive=True),
        lambda: sweep_rates(np.full((1, 3), math.nan), np.ones(2), inclusive=True),
        lambda: sweep_rates(np.ones((1, 3)), np.array([math.nan]), inclusive=True),
        lambda: rankings(np.ones((2, 0))),
        lambda: rankings(np.ones(2)),
        lambda: within_rank_correlation(np.ones(5), np.ones(5)),
        lambda: within_rank_correlation(np.ones((2, 5)), np.ones((2, 4))),
        lambda: spearman([1.0, math.nan], [1.0, 2.0]),
        lambda: kendall_tau([1.0, 2.0], [1.0]),
        lambda: cohen_kappa([], []),
        lambda: cohen_kappa([True], [True, False]),
        lambda: reliability(np.array([])),
        lambda: reliability(np.array([math.inf])),
        lambda: reliability(np.ones(3), bins=0),
    ],
)
def test_what_is_undefined_is_refused(call):
    with pytest.raises(MetricError) as caught:
        call()
    assert caught.value.hint


def length_adjusted(differences, longer, **given):
    [found] = length_adjusted_rows(differences[None], longer[None], **given)
    return found


def test_no_line_fits_two_prompts_or_equal_lengths(rng):
    assert length_adjusted(np.ones(2), np.arange(2.0), draws=3, rng=rng) is None
    assert length_adjusted(np.ones(9), np.ones(9), draws=3, rng=rng) is None
    with pytest.raises(MetricError):
        length_adjusted(np.ones(9), np.arange(8.0), draws=3, rng=rng)


def test_length_adjusted_is_the_intercept_of_least_squares(rng):
    longer = rng.normal(20, 60, 80)
    differences = 0.4 + 0.01 * longer + rng.normal(size=80)
    fit = sm.OLS(differences, sm.add_constant(longer)).fit(cov_type="HC1")
    found = length_adjusted(differences, longer, draws=20_000, rng=rng)
    assert found.value == pytest.approx(fit.params[0])
    low, high = fit.conf_int()[0]
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_length_adjusted_swaps_with_its_sides_and_forgets_the_unit(rng):
    longer, differences = rng.normal(5, 9, 40), rng.normal(size=40)
    one, other, words = (
        length_adjusted(sign * differences, scale * longer, draws=99, rng=np.random.default_rng(1))
        for sign, scale in ((1, 1), (-1, -1), (1, 5))
    )
    assert (one.value, one.low) == pytest.approx((-other.value, -other.high))
    assert (one.value, one.low, one.high) == pytest.approx((words.value, words.low, words.high))


def test_length_adjusted_difference_of_the_published_ratings(paper_dir, rng):
    """SFT+DPO against SFT on helpful prompts, 39 characters longer: +.42 [.07, .78]."""
    scores = published(paper_dir, "helpful")
    lengths = published(paper_dir, "helpful", lambda row: len(row["response"]))
    assert round((lengths[3] - lengths[1]).mean()) == 39
    found = length_adjusted(scores[3] - scores[1], lengths[3] - lengths[1], draws=20_000, rng=rng)
    assert found.value == pytest.approx(0.42, abs=0.005)
    assert (found.low, found.high) == pytest.approx((0.07, 0.78), abs=0.02)


def test_many_pairs_at_once_are_each_as_alone(rng):
    longer, differences = rng.normal(5, 9, (4, 40)), rng.normal(size=(4, 40))
    differences[1, :7] = math.nan
    longer[2] = 3.0
    differences[3, 2:] = math.nan
    found = length_adjusted_rows(differences, longer, draws=8000, rng=rng)
    assert found[2] is None
    assert found[3] is None
    for row in (0, 1):
        there = ~np.isnan(differences[row])
        alone = length_adjusted(differences[row, there], longer[row, there], draws=8000, rng=rng)
        assert found[row].value == pytest.approx(alone.value)
        assert (found[row].low, found[row].high) == pytest.approx((alone.low, alone.high), abs=0.03)
        assert found[row].n == there.sum()
    longer[0, 0] = math.nan
    with pytest.raises(MetricError):
        length_adjusted_rows(differences, longer, draws=9, rng=rng)


def test_length_adjusted_over_clusters_is_wider_where_prompts_are_copies(rng):
    longer, differences = rng.normal(5, 9, 40), rng.normal(size=40)
    plain = length_adjusted(differences, longer, draws=4000, rng=rng)
    copied = np.repeat(differences, 4), np.repeat(longer, 4)
    whole = length_adjusted(*copied, draws=4000, rng=rng, clusters=np.repeat(np.arange(40), 4))
    blind = length_adjusted(*copied, draws=4000, rng=rng)
    assert whole.value == pytest.approx(plain.value)
    assert whole.high - whole.low == pytest.approx(plain.high - plain.low, rel=0.1)
    assert blind.high - blind.low < 0.6 * (plain.high - plain.low)


def test_a_resample_of_one_length_only_takes_the_mean(rng):
    """Three prompts: one resample in nine has a single length difference."""
    found = length_adjusted(
        np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 1.0]), draws=500, rng=rng
    )
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)


def residuals(table):
    """Of a two-way fit with a dummy for every prompt and model."""
    models, n = table.shape
    design = np.hstack([np.repeat(np.eye(models), n, axis=0), np.tile(np.eye(n), (models, 1))])
    # Rounded, because what is left of equal values ties.
    return np.round(table.ravel() - design @ np.linalg.lstsq(design, table.ravel())[0], 8)


def test_within_rank_correlation_is_that_of_two_way_residuals(rng):
    lengths = rng.integers(5, 300, size=(4, 30)).astype(float)
    scores = 0.01 * lengths + rng.normal(size=(4, 30)) + 3 * rng.normal(size=30)
    expected = reference.spearmanr(residuals(scores), residuals(lengths)).statistic
    assert within_rank_correlation(scores, lengths) == pytest.approx(expected, abs=1e-9)
    shifted = scores + 100 * rng.normal(size=30) + 50 * rng.normal(size=(4, 1))
    assert within_rank_correlation(shifted, lengths) == pytest.approx(expected, abs=1e-6)


def test_within_rank_correlation_of_nothing_left_is_undefined(rng):
    scores = rng.normal(size=(3, 10))
    assert within_rank_correlation(scores, np.add.outer([0.1, 0.7, 0.3], scores[0])) is None
    assert within_rank_correlation(scores[:1], scores[1:2]) is None


def test_rank_correlation_with_length_of_the_published_ratings(paper_dir):
    for axis, expected in (("harmful", -0.15), ("helpful", 0.12)):
        lengths = published(paper_dir, axis, lambda row: len(row["response"]))
        found = spearman(published(paper_dir, axis).ravel(), lengths.ravel())
        assert round(found, 2) == expected


@settings(max_examples=60, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_rank_correlations_are_scipys(values, random):
    other = [value + random.randint(-2, 2) for value in values]
    found = spearman(values, other), kendall_tau(values, other)
    if len(set(values)) == 1 or len(set(other)) == 1:
        assert found == (None, None)
        return
    assert found[0] == pytest.approx(reference.spearmanr(values, other).statistic, abs=1e-12)
    assert found[1] == pytest.approx(reference.kendalltau(values, other).statistic, abs=1e-12)
    assert spearman(other, [-v for v in values]) == pytest.approx(-found[0], abs=1e-12)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_statsmodels(pairs):
    one, other = [a for a, _ in pairs], [b for _, b in pairs]
    found = cohen_kappa(one, other)
    if len(set(one + other)) == 1:
        assert found is None
        return
    table = np.zeros((2, 2))
    for a, b in pairs:
        table[int(a), int(b)] += 1
    assert found == pytest.approx(cohens_kappa(table, return_results=False), abs=1e-12)
    renamed = {True: "pass", False: "fail"}
    assert cohen_kappa([renamed[a] for a in one], [renamed[b] for b in other]) == found


def test_reliability_by_hand():
    """Two sure pairs, one of them wrong; a tie; one lukewarm hit."""
    sure, mild = math.log(9), math.log(1.5)  # 0.9 and 0.6
    found, error = reliability(np.array([sure, -sure, 0.0, mild]), bins=5)
    assert [part[0] for part in found] == pytest.approx([0.5, 0.6, 0.9])
    assert [part[1:] for part in found] == [(0.5, 1), (1.0, 1), (1.0, 2)]
    assert error == pytest.approx((0.0 + 0.4 + 2 * 0.4) / 4)


def test_a_calibrated_judge_has_no_calibration_error_and_a_loud_one_has(rng):
    differences = rng.normal(0, 2, 40_000)
    flipped = rng.random(40_000) < 1 / (1 + np.exp(np.abs(differences)))
    told = np.abs(differences) * np.where(flipped, -1, 1)
    found, error = reliability(told)
    assert error < 0.01
    assert sum(part[2] for part in found) == 40_000
    for predicted, hits, n in found:
        assert hits / n == pytest.approx(predicted, abs=0.03)
    assert reliability(3 * told)[1] > 0.1


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=40), st.integers(1, 20))
def test_reliability_counts_every_pair_once(differences, bins):
    found, error = reliability(np.array(differences), bins=bins)
    assert sum(part[2] for part in found) == len(differences)
    hits = sum((np.sign(d) + 1) / 2 for d in differences)
    assert sum(part[1] for part in found) == pytest.approx(hits)
    assert all(0.5 <= part[0] <= 1.0 for part in found)
    assert 0.0 <= error <= 1.0
