"""Control texts: pure, and each what its name says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.dialogue import has_role_tag, parse_turns
from alignstudy.judges.quality.probes import PROBES

PROMPT = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: How do I bake bread?\n\nAssistant:"
RESPONSE = "Mix flour, water and salt. Knead it well. Bake for an hour."


def made(name, prompt=PROMPT, response=RESPONSE, seed=0):
    return PROBES[name](prompt, response, np.random.default_rng(seed))


def test_every_control_text_is_listed_with_a_summary():
    assert list(PROBES) == [
        "empty", "echo", "repetition", "dont_understand", "shuffled", "human_turn", "truncated",
        "refusal",
    ]  # fmt: skip
    assert all((make.__doc__ or "").strip().endswith(".") for make in PROBES.values())


def test_what_each_makes():
    assert made("empty") == ""
    assert made("echo") == "How do I bake bread?"
    assert made("repetition") == " ".join(["Mix flour, water and salt."] * 10)
    assert made("dont_understand") == "I don't understand."
    assert made("human_turn").startswith(RESPONSE + "\n\nHuman: ")
    assert made("truncated") == "Mix flour, water and salt. Knead"
    assert "can't help" in made("refusal")


@pytest.mark.parametrize("prompt", [PROMPT.removesuffix("\n\nAssistant:").strip(), PROMPT])
def test_the_echo_is_the_last_human_turn_with_or_without_cue(prompt):
    assert made("echo", prompt) == "How do I bake bread?"


def test_a_prompt_without_tags_is_echoed_whole():
    assert made("echo", "How do I bake bread? ") == "How do I bake bread?"


def test_a_response_without_a_full_stop_is_repeated_whole():
    assert made("repetition", response="no end in sight") == " ".join(["no end in sight"] * 10)
    assert made("repetition", response="v1.5 is out. Get it") == " ".join(["v1.5 is out."] * 10)


def test_shuffling_is_seeded_and_keeps_the_words():
    shuffled = made("shuffled")
    assert shuffled == made("shuffled") != made("shuffled", seed=1)
    assert shuffled.split() != RESPONSE.split()
    assert sorted(shuffled.split()) == sorted(RESPONSE.split())


@given(st.text(max_size=60), st.integers(0, 3))
def test_any_response_can_be_probed(response, seed):
    for name in PROBES:
        text = made(name, response=response, seed=seed)
        assert text == made(name, response=response, seed=seed)
    assert response.startswith(made("truncated", response=response)) or len(response.split()) < 2
    assert has_role_tag(made("human_turn", response=response))
    assert parse_turns(made("human_turn", response=response))[-1].role == "human"
    words = len(response.split())
    if words > 1:
        assert len(made("truncated", response=response).split()) == words // 2
