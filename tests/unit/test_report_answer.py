import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import analysed, hand_made, scored

from alignstudy.report.answer import ALPHA, answer


def whole(*analyses):
    found = answer(analyses)
    return " ".join((found.headline, *found.sentences))


PUBLISHED = {"base": 32.0, "sft": 52.0, "dpo": 41.0, "sft_dpo": 55.0}


def published(p_sft=0.69):
    return hand_made(
        PUBLISHED,
        [
            ("sft", "base", 20.0, 0.006),
            ("dpo", "base", 9.0, 0.28),
            ("sft_dpo", "base", 23.0, 0.005),
            ("dpo", "sft", -11.0, 0.2),
            ("sft_dpo", "sft", 3.0, p_sft),
            ("sft_dpo", "dpo", 14.0, 0.02),
        ],
    )


class TestHeadline:
    def test_names_the_leader_and_whom_it_is_not_shown_to_beat(self):
        headline = answer([published()]).headline
        assert headline.startswith("sft_dpo has the highest CAS (55.0 [50.0, 60.0]")
        assert "its lead over sft is not established" in headline

    def test_says_that_the_lead_is_real_where_it_is(self):
        assert "its lead is a real difference" in answer([published(p_sft=0.01)]).headline

    def test_models_that_share_the_lead_are_all_named(self):
        found = answer([hand_made({"base": 1.0, "sft": 5.0, "dpo": 5.0}, [])])
        assert found.headline.startswith("sft and dpo share the highest CAS")

    def test_equal_models_do_not_differ(self):
        found = answer([hand_made({"base": 5.0, "sft": 5.0}, [("sft", "base", 0.0, 1.0)])])
        assert found.headline.startswith("No difference: all 2 models have the same CAS")

    def test_one_model_is_compared_with_nothing(self):
        assert "nothing is compared" in answer([hand_made({"base": 5.0}, [])]).headline

    def test_nothing_measured(self):
        assert "Nothing was measured" in answer([hand_made({"base": None}, [])]).headline


class TestAgainstBase:
    def test_real_difference(self):
        sentence = answer([published()]).sentences[0]
        assert sentence == (
            "Compared with base, the CAS of sft_dpo is 23.0 points higher [18.0, 28.0],"
            " p\u00a0=\u00a0.005 after Holm: a real difference."
        )

    def test_not_shown(self):
        found = hand_made({"base": 50.0, "sft": 52.0}, [("sft", "base", 2.0, 0.6)])
        assert "not shown to be a real difference" in answer([found]).sentences[0]

    def test_the_base_leads(self):
        found = hand_made({"base": 60.0, "sft": 52.0}, [("sft", "base", -8.0, 0.01)])
        assert "No model has a higher CAS than base." in answer([found]).sentences
        assert "a real difference" in answer([found]).headline

    def test_without_a_base_nothing_is_said_of_it(self):
        found = hand_made({"a": 1.0, "b": 2.0}, [("b", "a", 1.0, 0.5)], base=None)
        assert "Compared with" not in whole(found)

    def test_few_prompts_are_not_tested(self):
        found = hand_made({"base": 50.0, "sft": 90.0}, [("sft", "base", 40.0, None)])
        assert "no test was made" in whole(found)
        assert "real difference" not in whole(found)


def test_a_comparison_is_turned_so_that_the_better_model_comes_first():
    found = hand_made({"a": 60.0, "b": 40.0}, [("b", "a", -20.0, 0.001)], base=None)
    assert (
        "a is above b (+20.0 points [15.0, 25.0], p\u00a0=\u00a0.001)." in answer([found]).sentences
    )


def test_a_constant_judge_shows_no_difference():
    text = whole(analysed(scored(score=0.5)))
    assert "No difference: all 2 models have the same CAS" in text
    assert "real difference" not in text
    assert "above base" not in text


def test_a_judge_that_prefers_sft_shows_it():
    text = whole(analysed(scored(n=30)))
    assert "sft has the highest CAS" in text
    assert "a real difference" in text


def test_several_seeds_need_no_warning_of_one():
    assert "one training run" in whole(analysed(scored()))
    assert "one training run" not in whole(analysed(scored(seeds=(0, 1))))


class TestOtherJudges:
    def test_one_that_agrees(self):
        other = hand_made({"base": 10.0, "sft_dpo": 20.0}, [], judge="other")
        assert "The judge other agrees on who leads" in whole(published(), other)

    def test_one_that_does_not(self):
        other = hand_made({"base": 10.0, "sft": 20.0}, [], judge="other")
        assert "The judge other does not agree on who leads" in whole(published(), other)
        assert "sft has the highest CAS" in whole(published(), other)

    def test_one_that_tells_nothing_apart(self):
        other = hand_made({"base": 10.0, "sft": 10.0}, [], judge="other")
        assert "By the judge other all models have the same CAS" in whole(published(), other)

    def test_one_that_measured_nothing(self):
        other = hand_made({"base": None}, [], judge="other")
        assert "The judge other gave no CAS" in whole(published(), other)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(0, 100), min_size=2, max_size=5),
    p_values=st.lists(st.none() | st.floats(0, 1), min_size=10, max_size=10),
)
def test_nothing_is_called_real_unless_a_test_says_so(values, p_values):
    names = [f"m{i}" for i in range(len(values))]
    pairs = [(one, two) for at, one in enumerate(names) for two in names[:at]]
    points = dict(zip(names, values, strict=True))
    rows = [
        (one, two, points[one] - points[two], p)
        for (one, two), p in zip(pairs, p_values, strict=False)
    ]
    found = hand_made(points, rows, base="m0")
    text = whole(found)
    if not any(p is not None and p < ALPHA for *_, p in rows):
        assert not re.search(r"(?<!be )a real difference|is above", text)
    leader = max(points, key=points.get)
    if len({round(value, 9) for value in values}) == len(values):
        assert text.startswith(leader)


@pytest.mark.parametrize("models", [("base",), ("base", "sft"), ("base", "sft", "dpo", "x")])
def test_every_sentence_ends_and_holds_no_gap(models):
    found = answer([analysed(scored(models))])
    for sentence in (found.headline, *found.sentences):
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "None" not in sentence
        assert "nan" not in sentence
