"""Figures of a text's form, against brute force and by their laws."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import MetricError
from alignstudy.metrics.form import COMPRESSION, ECHO, compression_ratio, echoes, runs_on
from alignstudy.metrics.repeats import (
    DISTINCT,
    LONGEST_LOOP,
    LONGEST_PERIOD,
    LOOP,
    REPETITION,
    longest_stretch,
    ngrams,
    repeated_ngrams,
    repeated_words,
    words,
)

FEW_WORDS = st.lists(st.sampled_from("abc"), max_size=16)
TEXTS = st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), max_size=6)


def test_words_are_words_and_marks():
    assert list(words("It's 5 o'clock,\nisn't it?!")) == [
        "It", "'", "s", "5", "o", "'", "clock", ",", "isn", "'", "t", "it", "?", "!",
    ]  # fmt: skip
    assert words(" \n") == ()
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []


@given(FEW_WORDS, st.integers(1, 5))
def test_repeated_ngrams_counts_what_was_seen_before(found, size):
    seen, repeats, total = set(), 0, 0
    for start in range(len(found) - size + 1):
        gram = tuple(found[start : start + size])
        repeats += gram in seen
        total += 1
        seen.add(gram)
    expected = repeats / total if total else 0.0
    assert repeated_words(found, size=size) == pytest.approx(expected)


def slow_longest_stretch(found):
    """Try every stretch and every period."""
    best = 0
    for start in range(len(found)):
        for end in range(start + 2, len(found) + 1):
            part = found[start:end]
            if any(
                all(part[i] == part[i + period] for i in range(len(part) - period))
                for period in range(1, len(part) // 2 + 1)
            ):
                best = max(best, end - start)
    return best


@given(FEW_WORDS)
def test_longest_loop_is_that_of_every_stretch_tried(found):
    assert longest_stretch(found) == slow_longest_stretch(found)


@given(FEW_WORDS)
def test_a_loop_is_as_long_read_backwards(found):
    assert longest_stretch(found) == longest_stretch(found[::-1])


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("one two three", 0),
        ("so it goes so it goes so", 7),
        ("well, go go go away", 3),
        ("a b c a b c and then x y x y x y", 6),
        ("no, no, no, no", 7),
    ],
)
def test_longest_loop(text, length):
    assert longest_stretch(words(text)) == length


def test_edge_case_20_a_degenerate_loop_is_flagged():
    loop = "I don't know. " * 20
    assert repeated_ngrams(loop) > 0.5
    assert LOOP.of([repeated_ngrams(text) for text in (loop, "Take flour, add water.")]) == 50.0
    assert longest_stretch(words(loop)) == len(words(loop))
    assert LONGEST_LOOP.of([words(loop), words("fine")]) == len(words(loop)) / 2


def test_a_loop_is_sought_up_to_its_longest_period():
    once = [str(i) for i in range(LONGEST_PERIOD)]
    assert longest_stretch(once * 2) == 2 * LONGEST_PERIOD
    assert longest_stretch([*once, "more"] * 2) == 0


def test_a_long_loop_is_found_quickly():
    assert longest_stretch(["go"] * 2000) == 2000


def distinct(texts, **options):
    return DISTINCT.of([words(text) for text in texts], **options)


def slow_distinct(texts, size, budget):
    grams, left = [], budget
    for text in texts:
        found = words(text.lower())[: len(text) if left is None else left]
        left = None if left is None else left - len(found)
        grams += [tuple(found[i : i + size]) for i in range(len(found) - size + 1)]
    return len(set(grams)) / len(grams) if grams else None


@given(TEXTS, st.integers(1, 3), st.one_of(st.none(), st.integers(0, 30)))
def test_distinct_is_that_of_a_count(texts, size, budget):
    assert distinct(texts, size=size, budget=budget) == slow_distinct(texts, size, budget)


@given(TEXTS, st.integers(1, 3))
def test_distinct_of_everything_twice_is_half(texts, size):
    once = distinct(texts, size=size)
    twice = distinct([*texts, *texts], size=size)
    assert twice == (None if once is None else pytest.approx(once / 2))


@given(TEXTS, st.integers(0, 40))
def test_what_lies_beyond_the_budget_does_not_count(texts, budget):
    total = sum(len(words(text)) for text in texts)
    if total >= budget:
        assert distinct([*texts, "x y z"], size=1, budget=budget) == distinct(
            texts, size=1, budget=budget
        )


def test_distinct():
    assert distinct(["a b", "B c"], size=1) == 3 / 4
    assert distinct(["a b", "B c"], size=2) == 1.0  # ("b", "b") reaches across: not counted
    assert distinct([], size=1) is None
    assert distinct(["a"], size=2) is None
    for bad in ({"size": 0}, {"size": 1, "budget": -1}):
        with pytest.raises(MetricError):
            distinct(["a"], **bad)


def test_compression():
    assert compression_ratio("") is None
    text = "Bake it slowly, caf\u00e9 \U0001f600"
    plain = text.encode()
    assert compression_ratio(text) == len(zlib.compress(plain, 9)) / len(plain)
    assert compression_ratio("I don't know. " * 30) < 0.1 < 0.6 < compression_ratio(text)
    assert COMPRESSION.of(["", "  "]) is None
    assert COMPRESSION.of(["", text]) == compression_ratio(text)


@given(st.text(st.characters(codec=None), min_size=1))
def test_edge_case_04_any_text_can_be_measured(text):
    """Lone surrogates, NUL and emoji included."""
    assert compression_ratio(text) > 0
    assert longest_stretch(words(text)) >= 0
    assert 0 <= repeated_ngrams(text) < 1
    assert echoes(text, text) in (True, False)
    assert runs_on(text) in (True, False)


PROMPT = "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: How do I bake good bread?\n\nAssistant:"


@pytest.mark.parametrize(
    ("response", "echo"),
    [
        ("How do I bake good bread?", True),
        ("Human: how do I bake good bread", True),
        ("Assistant: Human: How do I bake good bread?", True),
        ("You ask: 'How do I bake good bread?' Well.", True),
        ("How do I bake bread?", False),
        ("How do I", False),
        ("Yes?", False),
        ("", False),
    ],
)
def test_an_echo_repeats_the_last_turn(response, echo):
    assert echoes(PROMPT, response) is echo


def test_an_echo_that_was_cut_off_is_one():
    turn = "one two three four five six seven eight nine ten eleven"
    assert echoes(f"Human: {turn}", "one two three four five six seven eight")
    assert not echoes(f"Human: {turn}", "one two three four five six seven")
    assert echoes(turn, turn)  # no role tags: all of the prompt is the turn


def test_a_short_turn_may_come_back():
    assert not echoes("Human: Thank you.", "Thank you.")
    assert echoes("Human: a b c d", "a b c d")


def test_shares_need_responses():
    assert ECHO.of([PROMPT, PROMPT], ["How do I bake good bread?", "no"]) == 50.0
    with pytest.raises(MetricError, match="pairs"):
        ECHO.of([PROMPT], [])
    for measure in (LOOP.of, LONGEST_LOOP.of, REPETITION.of):
        with pytest.raises(MetricError):
            measure([])
    with pytest.raises(MetricError):
        ECHO.of([], [])
