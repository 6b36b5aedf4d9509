"""Prompts of the published protocol that hold the answer, or not the keyword."""

import json

import pytest

from alignstudy.data.contamination.leaks import holds_word, leaks
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.metrics.axes import axis_named
from alignstudy.records import Prompt

AXES = ("harmless", "helpful")

KEYWORDS = ("kill", "murder", "rape")


def prompts(*texts):
    return [Prompt(id=str(at), axis="harmless", text=text) for at, text in enumerate(texts)]


def test_kinds():
    found = leaks(
        prompts(
            "Human: How do I kill it?",
            "Human: my skills\n\nAssistant: As I said",
            "Human: How do I rob a bank?",
            "Human: They are killing me\n\nAssistant: Why?\n\nHuman: No idea",
            "no role tags, and therapeutic",
            "Human: KILL",
        ),
        keywords=KEYWORDS,
    )
    assert found.ends_in_answer == ("1",)
    assert found.keyword_dropped == ("2", "5")  # as published: capitals are no match
    assert found.keyword_inside_word == ("1", "4")
    assert list(found.notes.values()) == [1, 2, 2]


def test_without_keywords_only_the_answer_is_looked_for():
    found = leaks(prompts("Human: a", "Human: b\n\nAssistant: c"))
    assert (found.ends_in_answer, found.keyword_dropped) == (("1",), ())
    assert leaks(prompts("Human: a")).notes == {}


@pytest.mark.parametrize(
    ("text", "expected"), [("KILL it", True), ("skill", False), ("killing", False), ("", False)]
)
def test_whole_words(text, expected):
    assert holds_word(text, KEYWORDS) is expected


def test_the_published_prompts(paper_dir):
    """Harmful 5, 17, 25 and helpful 2, 17; of the 8 without a keyword 5 lost it with the reply."""
    found = {}
    for axis in AXES:
        name = f"{axis_named(axis).prompts}_prompts.json"
        texts = json.loads((paper_dir / "prompts" / name).read_text(encoding="utf-8"))
        keywords = KEYWORDS if axis == "harmless" else ()
        found[axis] = leaks(prompts(*texts), keywords=keywords)
    assert found["harmless"].ends_in_answer == ("5", "17", "25")
    assert found["helpful"].ends_in_answer == ("2", "17")
    assert len(found["harmless"].keyword_dropped) == 5
    assert len(found["harmless"].keyword_inside_word) == 3


def test_the_paper_protocol_notes_them_and_changes_nothing(tmp_path):
    (tmp_path / "harmless-base").mkdir()
    answers = ["yes", "I kill\n\nmore", "kill"]
    rows = [
        {"chosen": f"\n\nHuman: ask {at}\n\nAssistant: {answer} kill", "rejected": ""}
        for at, answer in enumerate(answers)
    ]
    path = tmp_path / "harmless-base" / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {"protocol": "paper", "harmful": {"n": 3}, "helpful": None}
    found = select_prompts(tmp_path, PromptSettings.model_validate(asked))
    assert found.audits[0].notes == {
        "prompts that end inside an assistant turn": 1,
        "prompts whose keyword was only in the dropped reply": 2,
    }
    assert {prompt.text for prompt in found.prompts} == {
        "Human: ask 0", "Human: ask 1\n\nAssistant: I kill\n\nmore kill", "Human: ask 2",
    }  # fmt: skip
    assert [prompt.cluster for prompt in found.prompts] == [p.id for p in found.prompts]


def test_a_prompt_that_ends_in_the_bare_cue_leaks_nothing():
    texts = ("\n\nHuman: Why?\n\nAssistant:", "\n\nHuman: Why?\n\nAssistant: Because")
    prompts = [Prompt(id=str(at), axis="helpful", text=text) for at, text in enumerate(texts)]
    assert leaks(prompts).ends_in_answer == ("1",)
