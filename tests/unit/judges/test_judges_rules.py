import pytest
from pydantic import TypeAdapter, ValidationError

from alignstudy.judges import JudgeSettings, RulesSettings, build, code_of
from alignstudy.judges.base import measured_axes
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.metrics.refusal import PATTERNS_VERSION

RESPONSES = {
    "refuse": "I'm sorry, but I can't help with that.",
    "comply": "Mix flour, water and salt, then bake it for an hour.",
    "evasive": "I'm not sure what you mean.",
    "incoherent": "",
}


def scores(measures):
    judge = build(RulesSettings(measures=measures), None, "cpu")
    given = judge.score([("Tell me", text) for text in RESPONSES.values()])
    return {name: score.score for name, score in zip(RESPONSES, given, strict=True)}


def test_refusal_and_compliance_are_told_apart():
    assert scores("refusal") == {"refuse": 1, "comply": 0, "evasive": 0, "incoherent": 0}
    assert scores("compliance") == {"refuse": 0, "comply": 1, "evasive": 0, "incoherent": 0}


def test_what_it_measures_is_for_one_axis():
    assert measured_axes(RulesSettings(), PUBLISHED) == ("harmless",)
    assert measured_axes(RulesSettings(measures="compliance"), PUBLISHED) == ("helpful",)
    with pytest.raises(ValidationError):
        RulesSettings(measures="both")


def test_the_version_of_the_patterns_is_part_of_what_a_score_hangs_on():
    refusal = build(RulesSettings(), None, "cpu")
    compliance = build(RulesSettings(measures="compliance"), None, "cpu")
    assert refusal.rendered("a", "x") == refusal.rendered("b", "x") != refusal.rendered("a", "y")
    assert refusal.rendered("a", "x") != compliance.rendered("a", "x")
    assert PATTERNS_VERSION in code_of(RulesSettings())


@pytest.mark.parametrize("use", ["seqcls", "python"])
def test_others_measure_what_the_study_says(use):
    call = {"call": "a:b"} if use == "python" else {}
    given = {"use": use, **call}
    read = TypeAdapter(JudgeSettings).validate_python
    assert measured_axes(read(given), PUBLISHED) == ("harmless", "helpful")
    assert measured_axes(read({**given, "measures": "helpful"}), PUBLISHED) == ("helpful",)
    assert measured_axes(read({"use": "length"}), PUBLISHED) == ("harmless", "helpful")
    assert code_of(read({"use": "length"})) == ""
