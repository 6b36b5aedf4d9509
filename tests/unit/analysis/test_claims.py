"""Claims as a study states them: what can be said, and what is refused with a reason."""

from importlib.resources import files

import pytest
from pydantic import TypeAdapter, ValidationError

from alignstudy.analysis.claims.claims import Claim, claim_faults
from alignstudy.analysis.claims.words import claim_in_words
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.study.settings.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": ("hpr",), "better": "a", "than": ("b",)}, "a is higher than b in HpR"),
        (
            {"metric": ("hmr", "cas"), "worse": "a"},
            "a is lower than any other model in HmR and CAS",
        ),
        (
            {"metric": ("hmr",), "better": "a", "than": ("b", "c"), "margin": 5.0},
            "a is higher than b or c in HmR by more than 5 percentage points",
        ),
        (
            {"metric": ("cas",), "better": "a", "than": ("b",), "margin": 2.5,
             "relation": "equivalent"},
            "a is within 2.5 percentage points of b in CAS",
        ),
        (
            {"metric": ("hmr",), "better": "a", "than": ("b",), "without": "empty"},
            "a is higher than b in HmR, without empty responses",
        ),
        ({"metric": ("sd_helpful",), "better": "a"},
         "a is higher than any other model in standard deviation on helpful prompts"),
        ({"metric": ("hpr",), "at_least": 90.0}, "HpR of every model is at least 90"),
        ({"metric": ("judge_accuracy_harmless",), "at_least": 60.0},
         "the judge's accuracy on harmful prompts is at least 60"),
        ({"name": "mine", "metric": ("hpr",), "at_most": 9.0}, "mine"),
    ],
)  # fmt: skip
def test_a_claim_without_a_name_says_what_it_says(given, said):
    assert claim_in_words(Claim(**given), PUBLISHED) == said


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"metric": ("hpr",)}, "give one of"),
        ({"metric": ("hpr",), "better": "a", "worse": "b"}, "give one of"),
        ({"metric": ("hpr",), "better": "a", "at_least": 1.0}, "give one of"),
        ({"metric": (), "better": "a"}, "at least one metric"),
        ({"metric": ("hpr",), "at_least": 1.0, "margin": 2.0}, "bounds"),
        ({"metric": ("hpr",), "at_least": 1.0, "in_sample": True}, "bounds"),
        ({"metric": ("hpr",), "better": "a", "models": ("b",)}, "models"),
        ({"metric": ("hpr",), "better": "a", "relation": "equivalent"}, "margin above 0"),
        ({"metric": ("judge_accuracy_helpful",), "better": "a"}, "no model's"),
        ({"metric": ("cas",), "better": "a", "without": "empty"}, "hmr and hpr"),
        (
            {"metric": ("sd_helpful",), "better": "a", "relation": "equivalent", "margin": 1.0},
            "rates or mean scores",
        ),
        ({"metric": ("hpr",), "better": "a", "margin": -1.0}, "greater than or equal"),
        ({"metric": ("hmrr",), "better": "a"}, "did you mean 'hmr'"),
    ],
)
def test_what_cannot_be_claimed_is_refused(given, why):
    try:
        faults = list(claim_faults(Claim(**given), PUBLISHED))
    except ValidationError as error:
        faults = [str(error)]
    assert any(why in fault for fault in faults), faults


def test_models_can_be_renamed():
    claim = Claim(metric=("hpr",), worse="a", than=("b", "c"))
    assert claim.named() == ("a", "b", "c")
    assert claim.renamed({"a": "x", "c": "y"}).named() == ("x", "b", "y")
    bounds = Claim(metric=("hpr",), models=("a",), at_least=1.0)
    assert bounds.renamed({"a": "x"}).models == ("x",)


def test_the_papers_claims_can_be_read_and_name_its_models_only():
    given = read_yaml(files("alignstudy.presets") / "paper.yaml").data
    claims = TypeAdapter(tuple[Claim, ...]).validate_python(tuple(given["claims"]))
    assert len(claims) >= 20, "every claim of the published study that can be judged"
    assert all(claim.name for claim in claims)
    named = {model for claim in claims for model in claim.named()}
    assert named == {"base", "sft", "dpo", "sft_dpo"}
