"""The one-standard-error rule: scores without units, paired errors, the default before all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError
from alignstudy.stats.one_standard_error import Standing, best_and_chosen, standings


def by_hand(tables):
    """Return (score, gain, error) of each trial, number by number."""
    found, trials = [], len(next(iter(tables.values())))
    for at in range(trials):
        score, gain, variance = 0.0, 0.0, 0.0
        for table in tables.values():
            flat = [float(each) for row in table for each in row]
            mean = sum(flat) / len(flat)
            spread = (sum((each - mean) ** 2 for each in flat) / len(flat)) ** 0.5
            own, first = ([each / spread for each in table[row]] for row in (at, 0))
            differences = [a - b for a, b in zip(own, first, strict=True)]
            n, middle = len(differences), sum(differences) / len(differences)
            score += sum(own) / n / len(tables)
            gain += middle / len(tables)
            variance += sum((d - middle) ** 2 for d in differences) / (n - 1) / n
        found.append((score, gain, variance**0.5 / len(tables)))
    return found


@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 3))
def test_standings_are_those_of_brute_force(seed, trials, axes):
    draw = np.random.default_rng(seed)
    tables = {str(at): draw.normal(at, 1 + at, (trials, 4 + 3 * at)) for at in range(axes)}
    found = standings(tables)
    expected = by_hand(tables)
    for one, (score, gain, error) in zip(found, expected, strict=True):
        assert (one.score, one.gain, one.gain_se) == pytest.approx((score, gain, error), abs=1e-9)
    best = max(range(trials), key=lambda at: expected[at][0])
    stays = expected[best][1] <= expected[best][2]
    assert best_and_chosen(found) == (best, 0 if stays else best)
    scaled = standings({axis: 7 * table + 3 for axis, table in tables.items()})  # another unit
    assert [s.gain for s in scaled] == pytest.approx([s.gain for s in found], abs=1e-9)


def standing(gain, error):
    return Standing(score=gain, gain=gain, gain_se=error)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([(0.5, 0.49)], (1, 1)),
        ([(0.5, 0.5)], (1, 0)),  # one standard error is not more than one
        ([(-0.5, 0.1)], (0, 0)),
        ([(0.0, 0.0)], (0, 0)),
        ([(0.4, 0.1), (0.4, 0.1)], (1, 1)),  # of equals the earlier
        ([(0.4, 0.1), (0.6, 0.7)], (2, 0)),  # the best is held against the default, no other
    ],
)
def test_the_default_stays_within_one_standard_error(others, expected):
    assert best_and_chosen([standing(0, 0), *(standing(*each) for each in others)]) == expected


def test_scores_without_spread_tie_and_too_few_are_refused():
    found = standings({"a": np.full((3, 4), 2.0)})
    assert best_and_chosen(found) == (0, 0)
    for table in (np.ones((2, 1)), np.array([[1.0, np.nan], [1.0, 2.0]])):
        with pytest.raises(MetricError, match="can't be compared on a prompts"):
            standings({"a": table})
