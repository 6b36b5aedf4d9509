"""Clusters of near-duplicate prompts: exact against brute force, blind to form, fast."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignstudy.data.contamination.near_duplicates import (
    cluster_prompts,
    clustered,
    words_of,
)
from alignstudy.dialogue import CUE
from alignstudy.records import Prompt

LONG = "I have been asked to cook dinner for my whole family this weekend and need some advice"


def human(*turns, cue=True):
    tags = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(tags[i % 2] + turn for i, turn in enumerate(turns)) + (CUE if cue else "")


def clusters(*texts):
    """Return the clusters as sets of positions, those of one text left out."""
    found = cluster_prompts({str(at): text for at, text in enumerate(texts)})
    members = {}
    for name, cluster in found.items():
        members.setdefault(cluster, set()).add(int(name))
    assert all(int(cluster) == min(group) for cluster, group in members.items())
    return [group for group in members.values() if len(group) > 1]


@pytest.mark.parametrize(
    "other",
    [
        human(f"  {LONG.upper()}!! "),
        human(LONG, cue=False).lstrip(),
        LONG,
        human(LONG.replace("weekend", "weekends")),
        human(f"{LONG}, please."),
        human(LONG, "Of course. For how many?", "Six, and two of them are vegetarians"),
    ],
    ids=["form", "cue", "tags", "one letter", "one word", "another depth"],
)
def test_near_duplicates(other):
    assert clusters(human(LONG), human("How do I swim?"), other) == [{0, 2}]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I make tea?", "How do I make jam?"),
        ("Hi", "Ho"),
        (LONG, LONG.replace("cook dinner", "write a speech").replace("family", "class")),
    ],
)
def test_different_prompts(one, other):
    assert clusters(human(one), human(other)) == []


def test_a_greeting_does_not_join_the_dialogues_that_begin_with_it():
    assert clusters(human("Hi"), human("Hi", "Hello.", "How do I swim?"), human("hi!")) == [{0, 2}]


def test_a_fork_of_a_dialogue_is_joined_through_its_beginning():
    start = (LONG, "Sure.")
    forks = [human(*start, "What about soup? " * 9), human(*start, "Desserts for twelve. " * 9)]
    assert clusters(*forks) == []
    assert clusters(*forks, human(LONG)) == [{0, 1, 2}]


def test_chains_are_one_cluster():
    texts = [LONG + " " + "abcdefghijklmnopqrstuvwxyz0123456789"[: 9 * step] for step in range(5)]
    assert clusters(texts[0], texts[4]) == []
    assert clusters(*texts) == [{0, 1, 2, 3, 4}]


def jaccard(one, other):
    sets = []
    for text in (one, other):
        joined = " ".join(words_of(text)).ljust(5)
        sets.append({joined[at : at + 5] for at in range(len(joined) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def by_brute_force(texts):
    groups = [{at} for at in range(len(texts))]
    for at, one in enumerate(texts):
        for before in range(at):
            if jaccard(one, texts[before]) >= 0.8 - 1e-12:
                joined = groups[at] | groups[before]
                for member in joined:
                    groups[member] = joined
    return {frozenset(group) for group in groups if len(group) > 1}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(alphabet="ab c", min_size=1, max_size=30), max_size=12))
def test_equals_brute_force_on_any_text(texts):
    assert {frozenset(group) for group in clusters(*texts)} == by_brute_force(texts)


def test_equals_brute_force_on_mutated_sentences():
    rng = random.Random(1)
    vocabulary = [f"{a}{b}{c}" for a in "bdk" for b in "aeiou" for c in "nstr"]
    originals = [rng.choices(vocabulary, k=rng.randint(3, 60)) for _ in range(25)]
    texts = []
    for words in originals:
        for num_changes in (0, 1, 3, 8):
            changed = list(words)
            for _ in range(num_changes):
                changed[rng.randrange(len(changed))] = rng.choice(vocabulary)
            texts.append(" ".join(changed))
    found = {frozenset(group) for group in clusters(*texts)}
    assert found == by_brute_force(texts)
    assert len(found) >= 20


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=30), max_size=8))
def test_any_text_has_one_cluster_named_by_its_first_prompt(texts):
    found = cluster_prompts(texts)
    assert list(found) == list(texts)
    for cluster in found.values():
        assert next(name for name in texts if found[name] == cluster) == cluster


@pytest.mark.parametrize("text", ["", "\N{GRINNING FACE}", "?!", "\ud800", "\x00", "\u202e"])
def test_texts_without_words(text):
    assert clusters(text, "other", text) == [{0, 2}]


def test_clustered_prompts_and_what_the_audit_notes():
    texts = (LONG, "How do I swim?", LONG + "!", LONG + "?")
    prompts = [
        Prompt(id=f"helpful-00{at}", axis="helpful", text=human(text))
        for at, text in enumerate(texts)
    ]
    named, notes = clustered(prompts)
    assert [prompt.cluster for prompt in named] == [
        "helpful-000", "helpful-001", "helpful-000", "helpful-000",
    ]  # fmt: skip
    assert [(prompt.id, prompt.text) for prompt in named] == [
        (prompt.id, prompt.text) for prompt in prompts
    ]
    assert notes == {"clusters of near-duplicate prompts": 1, "prompts in those clusters": 3}
    assert clustered(prompts[:2])[1] == {}


def test_five_thousand_prompts_take_seconds():
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnoprstu", k=5)) for _ in range(2000)]
    texts = {str(n): human(" ".join(rng.choices(vocabulary, k=25))) for n in range(4900)}
    texts |= {f"copy {n}": texts[str(n)].replace("Human: ", "Human: oh ") for n in range(100)}
    start = time.process_time()
    found = cluster_prompts(texts)
    assert time.process_time() - start < 20  # about 2 on one core
    sizes = Counter(Counter(found.values()).values())
    assert sizes == {1: 4800, 2: 100}
