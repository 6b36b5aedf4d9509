"""Which recipes are held against which start, by whom, and what that adds to a study."""

import json

import pytest

from alignstudy.study.api import Study
from alignstudy.study.graph.stage import in_order
from alignstudy.study.settings.load import load_settings
from alignstudy.study.settings.ranking import learnt_from
from alignstudy.study.stages.compare import Compare

LENGTH, REFUSALS = {"use": "length"}, {"use": "rules", "measures": "refusal"}
FIRST = {"use": "constant", "name": "first"}
ADAPTED = {"lora": {"r": 4, "target_modules": ["q_proj"]}}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return the graph of a study of some methods and recipes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").touch()

    def loaded(methods, recipes, **changes):
        study = {
            "study": "small", "base": str(base), "data": {"source": "world"},
            "judges": [FIRST, LENGTH], "methods": methods, "recipes": recipes,
            "thresholds": {"harmless": 0.0, "helpful": 0.0}, **changes,
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(json.dumps(study))
        study = Study.load(path, out=tmp_path / "run")
        stages = in_order(study.graph(study.located(fetch=True)).goals)
        return stages, next(stage for stage in stages if isinstance(stage, Compare))

    return loaded


def best(**changes):
    return {"method": "best_of_n", "ranked_by": "length", **changes}


def test_a_study_in_which_nothing_learns_from_a_judge_has_none(load):
    methods = {"sft": {}, "spin": {}, "aft": {}, "dpo": {}}
    stages, compare = load(methods, {"base": [], **{name: ["sft", name] for name in methods}})
    assert compare.learners == ()
    assert not [stage.name for stage in stages if "/before/" in stage.name]


def test_every_method_that_heeds_scores_is_known(tmp_path):
    methods = {
        "best_of_n": {}, "iterative_dpo": {}, "sppo": {}, "tpo": {"gold": {"best_of": 4}},
        "drafts": {"method": "aft", "answer": "best"}, "sft": {}, "dpo": {}, "spin": {}, "aft": {},
        "named": best(), "rft": {}, "rloo": {}, "grpo": {"rewarded_by": ["length", "second"]},
    }  # fmt: skip
    study = {
        "study": "s", "base": "some/base", "data": "world", "judges": [FIRST, LENGTH,
            {**REFUSALS, "name": "second"}], "methods": methods,
        "recipes": {name: [name] for name in methods},
    }  # fmt: skip
    path = tmp_path / "study.yaml"
    path.write_text(json.dumps(study))
    found = learnt_from(load_settings(str(path))[1])
    assert found.pop("named") == ("length",)
    assert found.pop("grpo") == ("length", "second")
    assert found == dict.fromkeys(("best_of_n", "iterative_dpo", "sppo", "tpo", "drafts", "rloo"),
                                  ("second",))  # fmt: skip


def test_the_start_is_what_the_first_such_method_starts_from(load):
    methods = {"sft": {}, "best": best(), "again": best(), "dpo": {}, "expo": {}}
    recipes = {"base": [], "alone": ["best"], "long": ["sft", "best", "again", "dpo", "expo"],
               "mean": {"average": ["alone", "long"]}}  # fmt: skip
    _, compare = load(methods, recipes, seeds=[3, 4])
    alone, long = compare.learners
    assert (alone.recipe, alone.methods, alone.chain) == ("alone", ("best",), ("best",))
    assert (long.recipe, long.methods) == ("long", ("best", "again"))
    assert [one.seed for one in long.starts] == [3, 4]
    assert [one.responses.model.name for one in long.starts] == [
        "train/sft/seed-3",
        "train/sft/seed-4",
    ]
    assert {one.responses.model.name for one in alone.starts} == {"base"}


def test_a_start_that_is_compared_anyway_adds_no_stage(load):
    methods = {"sft": ADAPTED, "best": best()}
    with_sft, compare = load(methods, {"base": [], "sft": ["sft"], "best": ["sft", "best"]})
    assert not [stage.name for stage in with_sft if "/before/" in stage.name]
    keys = {one.model: one.responses.key for one in compare.compared}
    (learner,) = compare.learners
    assert [one.responses.key for one in learner.starts] == [keys["sft"]]
    without, _ = load(methods, {"base": [], "best": ["sft", "best"]})
    assert [stage.name for stage in without if "/before/" in stage.name] == [
        "generate/before/best/seed-0",
        "score/first/before/best/seed-0",
        "score/length/before/best/seed-0",
    ]


def test_a_start_that_a_budget_would_change_is_not_the_recipe_of_its_name(load):
    methods = {"sft": {}, "dpo": {}, "best": best()}
    recipes = {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "best": ["sft", "best"]}
    _, compare = load(methods, recipes, budget={"match": "pairs", "of": "dpo"})
    keys = {one.model: one.responses.model.name for one in compare.compared}
    assert keys["sft"].startswith("train/sft/seed-0/fitted")
    assert compare.learners[0].starts[0].responses.model.name == "train/sft/seed-0"


def test_a_model_that_aggregates_drafts_is_asked_for_them_before_and_after(load):
    methods = {"sft": {}, "drafts": {"method": "aft", "answer": "best", "ranked_by": "length"},
               "best": best()}  # fmt: skip
    _, compare = load(methods, {"base": [], "drafts": ["sft", "drafts"],
                                "best": ["sft", "drafts", "best"]})  # fmt: skip
    drafts, best_of = compare.learners
    assert not hasattr(drafts.starts[0].responses, "drafts")
    assert drafts.methods == ("drafts",)
    assert best_of.starts[0].responses.model.name == "train/sft/seed-0"


def test_a_judge_of_another_name_is_the_judge_that_it_is(load):
    twin, other = (
        {**LENGTH, "name": "twin"},
        {**REFUSALS, "name": "other", "measures": "compliance"},
    )
    judges = [FIRST, twin, LENGTH, REFUSALS, other]
    _, compare = load({"best": best()}, {"base": [], "best": ["best"]}, judges=judges)
    (learner,) = compare.learners
    assert learner.trained_by == ("twin", "length")
    assert learner.baselines == ("first", "twin", "length")
    named = {"best": best(ranked_by="rules")}  # a rule of other words is another judge
    _, compare = load(named, {"base": [], "best": ["best"]}, judges=judges)
    assert compare.learners[0].trained_by == ("rules",)
