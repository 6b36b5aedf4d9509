"""Rows of every format become the records that they mean, or are refused with a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.data import FORMATS
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import RawRow, UnusableRow
from alignstudy.dialogue import CUE, Turn, parse_turns, render, without_system
from alignstudy.errors import UnknownNameError
from alignstudy.records import Document

HELLO = "\n\nHuman: Hello"


def row(**fields):
    return RawRow(file="sub/train.jsonl.gz", line=7, subset="sub", split="train", fields=fields)


def parse(fmt="auto", **fields):
    return parse_row(row(**fields), fmt=fmt).record


def reason(fmt="auto", **fields):
    with pytest.raises(UnusableRow) as caught:
        parse(fmt, **fields)
    return str(caught.value)


def said(role, content):
    return {"role": role, "content": content}


words = st.from_regex(r"[A-Za-z0-9,.!?]+( [A-Za-z0-9,.!?]+){0,6}", fullmatch=True)


@st.composite
def contexts(draw):
    rounds = draw(st.lists(st.tuples(words, words), max_size=3))
    turns = [
        turn for asked, said in rounds for turn in (Turn("human", asked), Turn("assistant", said))
    ]
    return (*turns, Turn("human", draw(words)))


class TestHH:
    def test_pair_is_split_at_the_last_assistant_tag(self):
        start = f"{HELLO}\n\nAssistant: Hi.\n\nHuman: Why?\n\nAssistant:"
        pair = parse(chosen=start + " Because it is so.", rejected=start + " Because I say.")
        assert pair.prompt == start
        assert (pair.chosen, pair.rejected) == (" Because it is so.", " Because I say.")
        assert (pair.id, pair.subset) == ("sub/train:7", "sub")

    @given(contexts(), words, words)
    def test_rendered_dialogues_are_parsed_back(self, context, chosen, rejected):
        prompt = render(context, cue=True)
        fields = {"chosen": f"{prompt} {chosen}", "rejected": f"{prompt} {rejected}"}
        if chosen == rejected:
            assert "identical" in reason(**fields)
            return
        pair = parse(**fields)
        assert (pair.prompt + pair.chosen, pair.prompt + pair.rejected) == tuple(fields.values())
        assert parse_turns(pair.prompt.removesuffix(CUE)) == context

    def test_each_fault_has_its_own_reason(self):
        good, other = f"{HELLO}{CUE} a", f"{HELLO}{CUE} b"
        reasons = [
            reason(chosen="Hello", rejected=other),
            reason(chosen=HELLO, rejected=other),
            reason(chosen=good + "\n\nHuman: more", rejected=other),
            reason(chosen=f"\n\nHuman: Bye{CUE} a", rejected=other),
            reason(chosen=f"{HELLO}{CUE} ", rejected=other),
            reason(chosen=good, rejected=f"{HELLO}{CUE}"),
            reason(chosen=f"\n\nHuman: {CUE} a", rejected=f"\n\nHuman: {CUE} b"),
            reason(chosen=good, rejected=good),
            reason(chosen=None, rejected=other),
            reason(chosen=good),
            reason(chosen=3, rejected=other),
            reason(chosen=good + "\0", rejected=other),
            reason(chosen=good + "\ud800", rejected=other),
        ]
        parts = [
            "chosen doesn't begin with a Human turn",
            "chosen has no Assistant turn",
            "chosen ends in a Human turn",
            "differ before the last Assistant turn",
            "chosen response is empty",
            "rejected response is empty",
            "context is empty",
            "identical",
            "'chosen' is null",
            "'rejected' is missing",
            "a number, not text",
            "NUL",
            "surrogate",
        ]
        for given_reason, part in zip(reasons, parts, strict=True):
            assert part in given_reason
        assert len(set(reasons)) == len(reasons)

    def test_a_misspelt_field_is_offered(self):
        assert "is 'choosen' meant?" in reason(choosen="x", rejected=f"{HELLO}{CUE} b")


class TestPairs:
    @pytest.mark.parametrize(
        "prompt", ["Hello", " Hello\n", HELLO, HELLO + CUE, "Human: Hello\n\nAssistant: "]
    )
    def test_prompt_ends_at_the_cue_and_responses_follow_one_space(self, prompt):
        pair = parse(prompt=prompt, chosen="yes", rejected="   no")
        assert pair.prompt == HELLO + CUE
        assert (pair.chosen, pair.rejected) == (" yes", " no")

    @given(contexts(), words, words, st.booleans())
    def test_tagged_prompts_keep_their_turns(self, context, chosen, rejected, cue):
        if chosen == rejected:
            return
        pair = parse(prompt=render(context, cue=cue), chosen=chosen, rejected=rejected)
        assert pair.prompt == render(context, cue=True)

    @pytest.mark.parametrize(
        ("fields", "part"),
        [
            ({"prompt": "a\n\nAssistant: b"}, "hidden inside prompt"),
            ({"prompt": f"{HELLO}\nHuman: again"}, "hidden inside a human turn"),
            ({"chosen": "x\n\nHuman: y"}, "hidden inside chosen"),
            ({"prompt": f"{HELLO}{CUE} Hi."}, "ends in an assistant turn"),
            ({"prompt": "\n\nHuman: "}, "ends in an empty human turn"),
            ({"prompt": " "}, "prompt is empty"),
            ({"chosen": " "}, "chosen response is empty"),
            ({"rejected": None}, "'rejected' is null"),
            ({"chosen": "no "}, "identical"),
        ],
    )
    def test_faults(self, fields, part):
        assert part in reason(**{"prompt": "p", "chosen": "yes", "rejected": "no", **fields})


class TestMessages:
    def test_a_conversation_is_a_demonstration(self):
        pair = parse(messages=[said("user", "Hello"), said("assistant", " Hi. ")])
        assert (pair.prompt, pair.chosen, pair.rejected) == (HELLO + CUE, " Hi.", None)

    @pytest.mark.parametrize("system", [["Be kind."], ["", "Be kind."], ["Be kind.", "Be brief."]])
    def test_system_turns_are_one_turn_and_further_ones_are_counted(self, system):
        messages = [said("system", text) for text in system]
        messages += [said("user", "Hello"), said("assistant", "Hi.")]
        parsed = parse_row(row(messages=messages), fmt="auto")
        words = "\n\n".join(filter(None, system))
        assert parsed.record.prompt == f"\n\nSystem: {words}\n\nHuman: Hello{CUE}"
        first, second = parse_turns(parsed.record.prompt.removesuffix(CUE))
        assert (first, second) == (Turn("system", words), Turn("human", "Hello"))
        assert without_system(parsed.record.prompt) == f"\n\nHuman: {words}\n\nHello{CUE}"
        assert list(parsed.notes.values()) == ([1] if "Be brief." in system else [])

    def test_an_empty_system_turn_is_none(self):
        pair = parse(messages=[said("system", " "), said("user", "Hello"), said("assistant", "Hi")])
        assert pair.prompt == HELLO + CUE

    @pytest.mark.parametrize("style", ["whole", "prompt list", "prompt repeated", "prompt text"])
    def test_pairs_of_conversations(self, style):
        asked = [said("user", "Hello")]
        yes, no = [said("assistant", "yes")], [said("assistant", "no")]
        fields = {
            "whole": {"chosen": asked + yes, "rejected": asked + no},
            "prompt list": {"prompt": asked, "chosen": yes, "rejected": no},
            "prompt repeated": {"prompt": asked, "chosen": asked + yes, "rejected": asked + no},
            "prompt text": {"prompt": "Hello", "chosen": asked + yes, "rejected": asked + no},
        }[style]
        pair = parse(**fields)
        assert (pair.prompt, pair.chosen, pair.rejected) == (HELLO + CUE, " yes", " no")

    @pytest.mark.parametrize(
        ("messages", "part"),
        [
            ([], "not a list of messages"),
            (None, "missing or null"),
            ("hello", "not a list"),
            ([said("user", "a")], "not the assistant's"),
            ([said("assistant", "a")], "doesn't begin with a human turn"),
            ([said("tool", "a"), said("assistant", "b")], "unknown role 'tool'"),
            ([said([], "a"), said("assistant", "b")], "unknown role"),
            ([said("user", None), said("assistant", "b")], "message 1 of messages is null"),
            ([said("user", "a\n\nAssistant: x"), said("assistant", "b")], "role tag"),
            ([said("user", "a"), said("assistant", " ")], "empty"),
            ([said("user", ""), said("assistant", "b")], "empty turn"),
            (["a"], "not an object with role and content"),
            (
                [said("user", "a"), said("assistant", "b"), said("assistant", "c")],
                "no human turn before the response",
            ),
        ],
    )
    def test_faults(self, messages, part):
        assert part in reason(messages=messages)

    def test_contexts_that_differ(self):
        yes = said("assistant", "yes")
        assert "differ before" in reason(
            chosen=[said("user", "a"), yes], rejected=[said("user", "b"), yes]
        )

    def test_prompt_and_conversation_that_disagree(self):
        long = [said("user", "other"), said("assistant", "x")]
        assert "doesn't begin as prompt" in reason(prompt="Hello", chosen=long, rejected=long)


def test_text_is_a_document():
    assert parse(text="Once.") == Document(id="sub/train:7", text="Once.")
    assert reason(text=" ") == "text is empty"


def test_unknown_shape_says_what_is_known():
    told = reason(query="a", answer="b")
    assert "answer, query" in told
    assert "data.columns" in told


def test_a_named_format_is_held_to():
    assert "'prompt' is missing" in reason("pairs", chosen="a", rejected="b")
    with pytest.raises(UnknownNameError, match="did you mean 'pairs'"):
        parse("pair", text="x")


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_has_a_summary_and_refuses_nonsense(name):
    assert len(FORMATS.summary(name)) > 20
    for nonsense in ({}, {"chosen": {}, "rejected": []}, {"messages": [[]]}, {"text": 1}):
        with pytest.raises(UnusableRow):
            parse(name, **nonsense)
