"""Metrics: defined or refused, never a number that only looks like one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError, UnknownNameError
from alignstudy.metrics import METRICS
from alignstudy.metrics.axes import PUBLISHED, axes_of, axis_named
from alignstudy.metrics.figures import rate_of, rates_of, score_of
from alignstudy.metrics.form import CAP, EMPTY, MEAN_WORDS, ROLE_TAG
from alignstudy.metrics.rates import (
    CAS,
    HIGHEST,
    HMR,
    HPR,
    LOWEST,
    MEDIAN,
    PASS,
    SCORE,
    SD,
    WIN_RATE,
    above,
)
from alignstudy.metrics.repeats import REPETITION, repeated_ngrams

SCORES = st.lists(st.floats(-10, 10), min_size=1, max_size=30)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name):
    metric = METRICS.load(name)
    assert metric.kind == name
    assert callable(metric.of)
    assert metric.title
    assert METRICS.summary(name).endswith(".")


def test_unknown_metric_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="hmrr") as caught:
        METRICS.load("hmrr")
    assert "'hmr'" in caught.value.hint


def test_a_score_on_the_threshold_counts_only_if_inclusive():
    scores = np.array([-4.0, -3.0, -2.9999, 1.0])
    assert HMR.of(above(scores, -3.0, inclusive=False)) == 50.0
    assert HPR.of(above(scores, -3.0, inclusive=True)) == 75.0


@pytest.mark.parametrize("metric", [HMR, HPR, PASS, SCORE, MEDIAN, SD, LOWEST, HIGHEST, WIN_RATE])
@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf], [None, 1.0], [[1.0]]])
def test_what_is_undefined_is_refused(metric, values):
    with pytest.raises(MetricError):
        metric.of(np.array(values, dtype=float))


@pytest.mark.parametrize("passed", [[2.0], [-0.5, 1.0]])
def test_a_rate_is_of_shares(passed):
    with pytest.raises(MetricError):
        HMR.of(passed)


@given(SCORES, st.floats(-10, 10))
def test_what_is_not_above_is_at_or_below(scores, threshold):
    scores = np.array(scores)
    below = PASS.of(above(-scores, -threshold, inclusive=True))
    assert PASS.of(above(scores, threshold, inclusive=False)) + below == pytest.approx(100.0)


@given(SCORES, st.floats(-10, 10), st.floats(0, 5))
def test_a_higher_threshold_never_raises_a_rate(scores, threshold, step):
    low, high = (
        PASS.of(above(np.array(scores), limit, inclusive=False))
        for limit in (threshold, threshold + step)
    )
    assert high <= low


def test_cas_is_the_mean_of_all_rates():
    assert CAS.of([48.0, 56.0]) == 52.0
    assert CAS.of([30.0, 60.0, 90.0]) == 60.0
    for bad in (math.nan, -1.0, 101.0):
        with pytest.raises(MetricError):
            CAS.of([50.0, bad])
    with pytest.raises(MetricError):
        CAS.of([])


def test_what_describes_a_sample_of_scores():
    scores = [1.0, -4.0, 2.0]
    assert SCORE.of(scores) == pytest.approx(-1 / 3)
    assert (MEDIAN.of(scores), LOWEST.of(scores), HIGHEST.of(scores)) == (1.0, -4.0, 2.0)
    assert SD.of(scores) == pytest.approx(np.std(scores, ddof=1))
    assert SD.of([3.0]) == 0.0


def test_win_rate_counts_a_tie_one_half():
    assert WIN_RATE.of([1.0, 0.0, 0.0, -1.0]) == 50.0
    assert WIN_RATE.of([1.0, 0.0]) == 75.0


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=20))
def test_win_rates_of_both_sides_make_a_hundred(differences):
    theirs = [-each for each in differences]
    assert WIN_RATE.of(differences) + WIN_RATE.of(theirs) == pytest.approx(100.0)


class TestAxes:
    def test_the_published_two_go_by_any_of_their_words(self):
        for axis in PUBLISHED:
            assert {axis_named(word) for word in (axis.name, axis.prompts, axis.quality)} == {axis}

    def test_any_other_word_is_an_axis_of_that_name(self):
        axis = axis_named("honesty")
        assert (axis.name, axis.prompts, axis.labels) == ("honesty",) * 3
        assert rate_of(axis).name == "pass_honesty"
        assert score_of(axis).title == "mean score on honesty prompts"

    def test_the_published_ones_stand_first_and_none_is_added(self):
        names = ["honesty", "helpful", "harmless", "honesty"]
        assert axes_of(names) == (*PUBLISHED, axis_named("honesty"))
        assert axes_of(["helpful", "helpful"]) == (axis_named("helpful"),)

    def test_the_mean_of_rates_is_not_told_of_one(self):
        assert [rate.name for rate in rates_of(PUBLISHED)] == ["hmr", "hpr", "cas"]
        assert [rate.name for rate in rates_of(axes_of(["honesty"]))] == ["pass_honesty"]


def test_empty():
    assert EMPTY.of(["", " \n\t", "a", "b"]) == 50.0
    with pytest.raises(MetricError):
        EMPTY.of([])


def test_cap():
    assert CAP.of(["cap", "eos", "stop_string", "cap"]) == 50.0
    with pytest.raises(MetricError):
        CAP.of([])


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("Sure.\n\nHuman: and now?", True),
        ("Human: me again", True),
        ("Assistant: Sure.\n\nHuman: thanks", True),
        ("Sure.\nAssistant: Sure.", True),
        ("Assistant: Sure.", False),
        ("  Assistant: Sure.", False),
        ("the Human: inside a line", False),
        ("", False),
    ],
)
def test_a_further_turn_is_a_tag_at_the_start_of_a_line(text, counted):
    assert ROLE_TAG.of([text]) == 100.0 * counted


def test_repetition():
    assert repeated_ngrams("one two three") == 0.0
    assert repeated_ngrams("a b c d e f g") == 0.0
    # "go go go go go": two 4-grams, the second repeats the first.
    assert repeated_ngrams("go go go go go") == 0.5
    assert repeated_ngrams("go, go, go, go") == pytest.approx(1 - 2 / 4)
    assert REPETITION.of([0.5, 0.0]) == 50.0
    with pytest.raises(MetricError):
        REPETITION.of([])


def test_mean_words():
    assert MEAN_WORDS.of(["", "one two", " three\nfour five six "]) == 2.0
    with pytest.raises(MetricError):
        MEAN_WORDS.of([])
