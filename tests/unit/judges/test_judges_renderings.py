from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.dialogue import CUE, Turn, parse_turns
from alignstudy.dialogue import render as as_text
from alignstudy.errors import MetricError
from alignstudy.models.encoders.renderings import (
    RENDERINGS,
    choose_rendering,
    prompt_turns,
    render,
    response_words,
    shorter,
)

RAIN = ("human", "What is rain?")
ONE = "\n\nHuman: What is rain?"
THREE = (
    "\n\nHuman: Hello.\n\nAssistant: Good day.\n\nHuman: What is rain?\n\nAssistant: Water."
    "\n\nHuman: Why?"
)


@pytest.mark.parametrize("cue", ["", CUE, CUE + " "])
def test_three_ways_to_show_several_turns(cue):
    prompt, response = THREE + cue, " Because of clouds."
    assert render(prompt, response, "paper") == (prompt, response)
    assert render(prompt, response, "last_turn") == ("Why?", "Because of clouds.")
    question, answer = render(prompt, response, "oa_trained")
    assert (question, answer) == ("What is rain?", "Water. . Why? . Because of clouds.")


@pytest.mark.parametrize("how", ["oa_trained", "last_turn"])
@pytest.mark.parametrize(
    "prompt", [ONE, ONE + CUE, ONE.strip(), "What is rain?", " What is rain?\n"]
)
def test_one_turn_is_shown_without_tags(how, prompt):
    assert render(prompt, "Assistant: Water.", how) == ("What is rain?", "Water.")


def test_a_reply_begun_in_the_prompt_is_part_of_the_answer():
    prompt = f"{THREE}{CUE} Let me think."
    assert render(prompt, "Clouds.", "last_turn") == ("Why?", "Let me think. . Clouds.")


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        ("", [("human", "")]),
        ("Hello", [("human", "Hello")]),
        (f"Begin.{ONE}", [("human", "Begin.\n\nWhat is rain?")]),
        (f"{CUE} Yes?{ONE}{CUE}", [("human", ""), ("assistant", "Yes?"), RAIN]),
        (f"Assistant: Yes?{ONE}", [("human", ""), ("assistant", "Yes?"), RAIN]),
        (f"{ONE}\n\nHuman: Why?", [("human", "What is rain?\n\nWhy?")]),
        (f"{ONE}{CUE} A.{CUE} B.", [("human", "What is rain?"), ("assistant", "A.\n\nB.")]),
    ],
)  # fmt: skip
def test_prompts_become_turns_that_alternate(prompt, turns):
    assert prompt_turns(prompt) == tuple(Turn(*turn) for turn in turns)


WORDS = st.text("ab .\n", max_size=8).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=1, max_size=6), st.booleans())
def test_clean_dialogues_are_parsed_as_they_are(texts, cue):
    roles = ("human", "assistant")
    turns = tuple(Turn(roles[at % 2], text) for at, text in enumerate(texts))
    found = prompt_turns(as_text(turns, cue=cue and len(texts) % 2 == 1))
    assert found == turns
    lengths = [len(each) for each in shorter(found)]
    assert lengths == list(range(len(texts), 0, -2))
    assert all(each[0].role == "human" for each in shorter(found))


@given(st.text("Huma:Asitn\n ", max_size=60), st.text(max_size=10))
def test_any_prompt_can_be_shown(prompt, response):
    turns = prompt_turns(prompt)
    assert turns[0].role == "human"
    assert all(one.role != next_one.role for one, next_one in pairwise(turns))
    for how in RENDERINGS:
        assert render(prompt, response, how)[1].endswith(
            response if how == "paper" else response_words(response)
        )
    said = "".join(turn.text for turn in parse_turns(prompt))
    assert len("".join(turn.text for turn in turns)) >= len(said)


def test_the_best_on_the_calibration_pairs_is_chosen():
    right, wrong, tie = (1.0, 0.0), (0.0, 1.0), (2.0, 2.0)
    scores = {
        "last_turn": [right, right, tie],
        "paper": [wrong] * 3,
        "oa_trained": [right, tie, tie],
    }
    assert choose_rendering(scores) == (
        "last_turn",
        {"paper": 0.0, "oa_trained": pytest.approx(2 / 3), "last_turn": pytest.approx(5 / 6)},
    )
    equal = {name: [right] for name in reversed(RENDERINGS)}
    assert choose_rendering(equal)[0] == "paper"


def test_pairs_without_a_score_count_for_none():
    scores = {"paper": [(None, 1.0), (0.0, 1.0)], "last_turn": [(1.0, 0.0), (1.0, 0.0)]}
    assert choose_rendering(scores) == ("last_turn", {"paper": 0.0, "last_turn": 1.0})
    for wrong in (
        {},
        {"paper": []},
        {"paper": [(None, 1.0)]},
        {"paper": [(1, 0)], "last_turn": []},
    ):
        with pytest.raises(MetricError):
            choose_rendering(wrong)
