"""Evaluation prompts in training rows: the same, the same dialogue, 13 words in a row."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.data.contamination.near_duplicates import words_of
from alignstudy.data.contamination.overlap import BATCH_ROWS, NGRAM, Overlap, overlap
from alignstudy.dialogue import CUE
from alignstudy.records import Document, Pair, Prompt

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"
WORDS = THIRTEEN.split()


def prompt(text, *, name="p"):
    return Prompt(id=name, axis="harmless", text=f"\n\nHuman: {text}{CUE}")


def pair(asked, *, chosen=" yes", rejected=" no", gold=None):
    asked = f"\n\nHuman: {asked}{CUE}"
    return Pair(id="x", prompt=asked, chosen=chosen, rejected=rejected, gold=gold)


def kinds(asked, row):
    found = overlap([prompt(asked)], [pair("unrelated"), row])
    assert found.checked == 2
    return [kind for kind in ("exact", "dialogue", "ngram13") if getattr(found, kind)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (pair(f" {THIRTEEN}  "), ["exact", "dialogue", "ngram13"]),
        (pair(f"{THIRTEEN}\n\nAssistant: a\n\nHuman: b"), ["dialogue", "ngram13"]),
        (pair(THIRTEEN.upper().replace(" ", ", ")), ["ngram13"]),
        (pair(f"Say {THIRTEEN}."), ["ngram13"]),
        (pair("a", chosen=f" So: {THIRTEEN}!"), ["ngram13"]),
        (pair("a", rejected=f" So: {THIRTEEN}!"), ["ngram13"]),
        (pair(" ".join(WORDS[:-1]), rejected=" thirteen."), ["ngram13"]),
        (pair("a", gold=f" So: {THIRTEEN}!"), ["ngram13"]),
        (pair(" ".join(WORDS[:-1]), gold=" thirteen."), ["ngram13"]),
        (pair("a", chosen=" " + " ".join(WORDS[:7]), rejected=" " + " ".join(WORDS[7:])), []),
        (pair(" ".join(WORDS[:-1])), []),
        (pair(" ".join([*WORDS[:6], "and", *WORDS[6:]])), []),
        (pair("a", chosen=f" {THIRTEEN}", rejected=None), ["ngram13"]),
        (
            Document(id="d", text=f"\n\nHuman: {THIRTEEN}{CUE} c\n\nHuman: e{CUE} f"),
            ["exact", "dialogue", "ngram13"],
        ),
        (Document(id="d", text=f"Once upon a time {THIRTEEN} and so on"), ["ngram13"]),
    ],
)
def test_kinds(row, expected):
    assert kinds(THIRTEEN, row) == expected


def test_a_short_prompt_is_matched_only_as_a_whole():
    assert kinds("How do I swim?", pair("how do i swim")) == ["ngram13"]
    assert kinds("How do I swim?", pair("Tell me: how do I swim? It is urgent.")) == []
    assert kinds("How do I swim?", pair("a", chosen=" How do I swim?")) == []


def test_prompts_are_named_in_their_order_and_counted():
    asked = [prompt(THIRTEEN, name="b"), prompt("other", name="c"), prompt(THIRTEEN, name="a")]
    found = overlap(asked, iter([pair(THIRTEEN)]))
    assert found == Overlap(
        exact=("b", "a"), dialogue=("b", "a"), ngram13=("b", "a"), checked=1, prompts=3
    )
    assert found.prompt_ids == {"a", "b"}
    assert set(found.notes.values()) == {2}


def test_nothing_to_look_for_or_in():
    for asked, rows in (([], [pair("a")]), ([prompt("b")], []), ([], [])):
        found = overlap(asked, rows)
        assert (found.prompt_ids, found.notes, found.checked) == (frozenset(), {}, len(rows))


def test_batches_are_seamless():
    rows = [pair("filler")] * (BATCH_ROWS - 1) + [pair(THIRTEEN)] + [pair("filler")] * 3
    found = overlap([prompt(THIRTEEN)], rows)
    assert (found.ngram13, found.checked) == (("p",), BATCH_ROWS + 3)
    halves = [pair(" ".join(WORDS[:7]), rejected=None), pair(" ".join(WORDS[7:]), rejected=None)]
    assert overlap([prompt(THIRTEEN)], halves).ngram13 == ()


@given(st.integers(0, 10_000))
def test_equals_a_search_by_hand(seed):
    rng = random.Random(seed)

    def text():
        return " ".join(rng.choices("ab", k=rng.randint(1, 24)))

    asked = [prompt(text(), name=str(at)) for at in range(4)]
    rows = [pair(text(), chosen=f" {text()}", rejected=f" {text()}") for _ in range(5)]
    assert overlap(asked, rows).ngram13 == tuple(
        one.id for one in asked if any(holds(row, one) for row in rows)
    )


def holds(row, one):
    words = words_of(one.text)
    if len(words) < NGRAM:
        return words == words_of(row.prompt)
    texts = [" ".join(words_of(row.prompt + end)) for end in (row.chosen, row.rejected)]
    grams = (" ".join(words[at : at + NGRAM]) for at in range(len(words) - NGRAM + 1))
    return any(f" {gram} " in f" {whole} " for gram in grams for whole in texts)
