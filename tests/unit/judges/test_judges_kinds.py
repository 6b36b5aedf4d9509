import pytest
from pydantic import TypeAdapter, ValidationError

from alignstudy.errors import InputError, UnknownNameError
from alignstudy.judges import (
    JUDGES,
    ConstantSettings,
    JudgeScore,
    JudgeSettings,
    LengthSettings,
    SeqClsSettings,
    build,
)
from alignstudy.judges.base import batch_effect

ITEMS = [("Hi", "one two  three\nfour"), ("Hi", ""), ("", "  ")]


@pytest.mark.parametrize("kind", list(JUDGES))
def test_every_kind_is_listed_with_settings_and_summary(kind):
    judge = JUDGES.load(kind)
    assert judge.name == kind
    needed = {"call": "a_module:a_function"} if kind == "python" else {}
    read = TypeAdapter(JudgeSettings).validate_python({"use": kind, **needed})
    assert read == judge.settings(**needed)
    assert JUDGES.summary(kind)


def test_unknown_kinds_and_keys_are_refused():
    with pytest.raises(UnknownNameError, match="seqcl"):
        JUDGES.load("seqcl")
    for wrong in (
        {"use": "seqcl"},
        {"use": "constant", "size": 3},
        {"use": "seqcls", "input": 1},
        {"use": "seqcls", "input": "chat", "rendering": "last_turn"},
        {"use": "seqcls", "input": "text", "truncation": "paper"},
        {"use": "seqcls", "read": "score", "output": 1},
        {"use": "seqcls", "read": "score()"},
        {"use": "python"},
    ):
        with pytest.raises(ValidationError):
            TypeAdapter(JudgeSettings).validate_python(wrong)


def test_length_counts_the_responses_words():
    judge = build(LengthSettings(), None, "cpu")
    assert [score.score for score in judge.score(ITEMS)] == [4.0, 0.0, 0.0]


def test_constant_gives_every_response_the_same():
    judge = build(ConstantSettings(value=-1.5), None, "cpu")
    assert judge.score(ITEMS) == [JudgeScore(score=-1.5)] * 3


def test_a_classifier_needs_a_folder():
    with pytest.raises(InputError, match="needs a model"):
        build(SeqClsSettings(), None, "cpu")


def test_simple_judges_say_what_they_read():
    length, constant = build(LengthSettings(), None, "cpu"), build(ConstantSettings(), None, "cpu")
    assert length.rendered("a", "x y") == length.rendered("b", "x y") != length.rendered("a", "x")
    assert constant.rendered("a", "x") == constant.rendered("b", "y")


def test_batch_effect_is_the_largest_move_of_a_score():
    class Moody:
        name = "moody"

        def score(self, items, *, progress=None):
            given = [len(response) + 0.25 * len(items) for _, response in items]
            return [JudgeScore(score=None if value > 90 else value) for value in given]

    items = [("", "x" * n) for n in (1, 2, 100)]
    assert batch_effect(Moody(), items) == pytest.approx(0.5)
    assert batch_effect(Moody(), items, most=2) == pytest.approx(0.25)
    assert batch_effect(build(LengthSettings(), None, "cpu"), ITEMS) == 0
    assert batch_effect(Moody(), []) == 0
