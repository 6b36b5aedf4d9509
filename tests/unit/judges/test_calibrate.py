import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError
from alignstudy.judges.quality.calibrate import best_threshold

SCORES = st.one_of(
    st.integers(-4, 4).map(float), st.floats(-1e300, 1e300, allow_nan=False, allow_subnormal=True)
)
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=1, max_size=25)


def balanced_accuracy(threshold, pairs):
    passing = sum(chosen > threshold for chosen, _ in pairs) / len(pairs)
    failing = sum(rejected <= threshold for _, rejected in pairs) / len(pairs)
    return (passing + failing) / 2


@given(PAIRS)
def test_no_threshold_is_better(pairs):
    found = best_threshold([c for c, _ in pairs], [r for _, r in pairs])
    values = {value for pair in pairs for value in pair}
    tried = [*values, *(math.nextafter(value, -math.inf) for value in values)]
    best = max(balanced_accuracy(threshold, pairs) for threshold in tried)
    assert found.balanced_accuracy == pytest.approx(best, abs=1e-12)
    assert balanced_accuracy(found.threshold, pairs) == pytest.approx(best, abs=1e-12)
    assert found.balanced_accuracy >= 0.5
    assert found.n == len(pairs)


@given(PAIRS, st.randoms())
def test_the_order_of_pairs_doesnt_matter(pairs, source):
    shuffled = source.sample(pairs, len(pairs))
    results = [best_threshold([c for c, _ in each], [r for _, r in each])
               for each in (pairs, shuffled)]  # fmt: skip
    assert results[0] == results[1]


@given(PAIRS)
def test_pair_accuracy_counts_ties_half(pairs):
    wins = sum(1.0 if c > r else 0.5 if c == r else 0.0 for c, r in pairs)
    found = best_threshold([c for c, _ in pairs], [r for _, r in pairs])
    assert found.pair_accuracy == pytest.approx(wins / len(pairs))


def test_a_clear_gap_is_cut_in_its_middle():
    found = best_threshold([1.0, 2.0, 3.0], [-1.0, 0.0, -5.0])
    assert (found.threshold, found.balanced_accuracy, found.pair_accuracy) == (0.5, 1.0, 1.0)


def test_of_equally_good_gaps_the_one_nearest_the_median_is_taken():
    # Right decisions by gap of the sorted scores 0, 1, 2, 3, 10, 11: 4 in 0-1, 3 in 1-2, 4 in 2-3,
    # 3 in 3-10, 4 in 10-11; the median of all scores is 2.5.
    found = best_threshold([1.0, 3.0, 11.0], [0.0, 2.0, 10.0])
    assert found.threshold == 2.5
    assert found.balanced_accuracy == pytest.approx(4 / 6)
    # Gaps 0-1 and 2-3 both give 3 of 4, both are 1 from the median 1.5: the lower is taken.
    assert best_threshold([1.0, 3.0], [0.0, 2.0]).threshold == 0.5


def test_a_constant_judge_separates_nothing():
    found = best_threshold([7.0] * 5, [7.0] * 5)
    assert (found.balanced_accuracy, found.pair_accuracy) == (0.5, 0.5)


def test_a_judge_the_wrong_way_round_shows_in_its_pair_accuracy():
    found = best_threshold([-1.0, -2.0], [1.0, 2.0])
    assert (found.balanced_accuracy, found.pair_accuracy) == (0.5, 0.0)


def test_neighbouring_floats_are_told_apart():
    low = 1.0
    high = math.nextafter(low, math.inf)
    found = best_threshold([high], [low])
    assert found.balanced_accuracy == 1.0
    assert high > found.threshold >= low


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ([], []),
        ([1.0], []),
        ([1.0, 2.0], [1.0]),
        ([math.nan], [1.0]),
        ([1.0], [math.inf]),
        ([[1.0]], [[2.0]]),
    ],
)
def test_undefined_input_is_refused(chosen, rejected):
    with pytest.raises(MetricError):
        best_threshold(np.array(chosen), np.array(rejected))
