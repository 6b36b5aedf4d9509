"""Metrics: defined or refused, never a number that only looks like one."""

import math

import numpy as np
import pytest
from alignstudy.metrics.cap import cap_share
from alignstudy.metrics.cas import cas
from alignstudy.metrics.empty import empty_share
from alignstudy.metrics.hmr import hmr
from alignstudy.metrics.hpr import hpr
from alignstudy.metrics.length import mean_words
from alignstudy.metrics.mean_score import mean_score
from alignstudy.metrics.repetition import repeated_ngrams, repetition_share
from alignstudy.metrics.role_tags import role_tag_share
from alignstudy.metrics.win_rate import win_rate
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError, UnknownNameError
from alignstudy.metrics import METRICS

SCORES = st.lists(st.floats(-10, 10), min_size=1, max_size=30)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_loads_and_says_what_it_is(name):
    assert callable(METRICS.load(name))
    assert METRICS.summary(name).endswith(".")


def test_unknown_metric_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="hmrr") as caught:
        METRICS.load("hmrr")
    assert "'hmr'" in caught.value.hint


@pytest.mark.parametrize("rate", [hmr, hpr])
def test_a_score_on_the_threshold_counts_only_if_inclusive(rate):
    scores = [-4.0, -3.0, -2.9999, 1.0]
    assert rate(scores, -3.0) == 50.0
    assert rate(scores, -3.0, inclusive=True) == 75.0


@pytest.mark.parametrize("rate", [hmr, hpr])
@pytest.mark.parametrize("scores", [[], [math.nan], [1.0, math.inf], [None, 1.0], [[1.0]]])
def test_rates_refuse_what_is_undefined(rate, scores):
    with pytest.raises(MetricError):
        rate(np.array(scores, dtype=float), -3.0)


def test_a_rate_needs_a_threshold():
    with pytest.raises(MetricError, match="threshold nan"):
        hmr([1.0], math.nan)


@given(SCORES, st.floats(-10, 10))
def test_what_is_not_above_is_at_or_below(scores, threshold):
    mirrored = [-score for score in scores]
    below = hmr(mirrored, -threshold, inclusive=True)
    assert hmr(scores, threshold) + below == pytest.approx(100.0)


@given(SCORES, st.floats(-10, 10), st.floats(0, 5))
def test_a_higher_threshold_never_raises_a_rate(scores, threshold, step):
    assert hpr(scores, threshold + step) <= hpr(scores, threshold)


def test_cas_is_the_mean_of_both_rates():
    assert cas(48.0, 56.0) == 52.0
    for bad in (math.nan, -1.0, 101.0):
        with pytest.raises(MetricError):
            cas(50.0, bad)


def test_mean_score():
    assert mean_score([1.0, -4.0]) == -1.5
    with pytest.raises(MetricError):
        mean_score([])


def test_win_rate_counts_a_tie_one_half():
    assert win_rate([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 3.0, 5.0]) == 50.0
    assert win_rate([1.0, 2.0], [0.0, 2.0]) == 75.0
    with pytest.raises(MetricError, match="paired"):
        win_rate([1.0], [1.0, 2.0])


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=20))
def test_win_rates_of_both_sides_make_a_hundred(pairs):
    ours, theirs = zip(*pairs, strict=True)
    assert win_rate(ours, theirs) + win_rate(theirs, ours) == pytest.approx(100.0)


def test_empty_share():
    assert empty_share(["", " \n\t", "a", "b"]) == 50.0
    with pytest.raises(MetricError):
        empty_share([])


def test_cap_share():
    assert cap_share(["cap", "eos", "stop_string", "cap"]) == 50.0
    with pytest.raises(MetricError):
        cap_share([])


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
    assert role_tag_share([text]) == 100.0 * counted


def test_repetition():
    assert repeated_ngrams("one two three") == 0.0
    assert repeated_ngrams("a b c d e f g") == 0.0
    # "go go go go go": two 4-grams, the second repeats the first.
    assert repeated_ngrams("go go go go go") == 0.5
    assert repeated_ngrams("go, go, go, go") == pytest.approx(1 - 2 / 4)
    assert repetition_share(["go go go go go", "a b c d e"]) == 50.0
    with pytest.raises(MetricError):
        repetition_share([])


def test_mean_words():
    assert mean_words(["", "one two", " three\nfour five six "]) == 2.0
    with pytest.raises(MetricError):
        mean_words([])
