"""A study's budget before anything is trained: what is refused, which stages there are."""

import json
from types import SimpleNamespace

import pytest

from alignstudy.errors import InputError, SettingsError
from alignstudy.report.tables.budget import budget_table
from alignstudy.report.text.budget import unequal_budgets
from alignstudy.study.api import Study
from alignstudy.study.graph.budgeting import trainings
from alignstudy.study.graph.stage import in_order
from alignstudy.study.settings.budget_checks import budget_of
from alignstudy.study.stages.budget import MatchBudget
from alignstudy.study.stages.costs import CountTraining
from alignstudy.study.stages.publish import Publish
from alignstudy.study.stages.train import Train

CHAINS = {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "spin": ["sft", "spin"]}
SOUND = {
    "study": "small",
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {}, "spin": {"iterations": 2}},
    "judges": [{"use": "constant"}],
    "thresholds": {"harmless": 0, "helpful": 0},
    "diagnostics": None,
    "recipes": CHAINS,
    "budget": {},
}


@pytest.fixture
def load(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").touch()

    def loaded(**changes):
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**SOUND, "base": str(tmp_path / "base"), **changes}))
        return Study.load(path, out=tmp_path / "run")

    return loaded


@pytest.fixture
def stages(load):
    def found(**changes):
        study = load(**changes)
        return {s.name: s for s in in_order(study.graph(study.located(fetch=True)).goals)}

    return found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": {"of": "dpoo"}}, "'budget.of': names 'dpoo', which is no recipe that trains"),
        ({"budget": {"of": "base"}}, "known: sft, dpo, spin"),
        ({"budget": {"of": "sft"}}, "'recipes.dpo': begins with all of 'sft'"),
        ({"budget": {"within": 0}}, "'budget.within'"),
        ({"budget": {"match": "joules"}}, "'budget.match'"),
        (
            {"methods": {"sft": {}}, "recipes": {"base": [], "sft": ["sft"]}},
            "'budget': matches nothing: 'sft' alone trains",
        ),
    ],
)
def test_a_budget_that_can_t_hold_is_refused(load, changes, said):
    with pytest.raises(SettingsError) as caught:
        load(**changes)
    assert said in str(caught.value)


def test_the_budget_is_that_of_the_longest_recipe_that_samples_nothing(load):
    assert budget_of(load().settings) == "dpo"
    assert budget_of(load(budget={"of": "spin"}).settings) == "spin"


def test_the_last_training_of_each_other_recipe_is_fitted(stages):
    found = stages()
    fitted = {
        name: next(s for s in stage.settled if isinstance(s, MatchBudget))
        for name, stage in found.items()
        if isinstance(stage, Train) and stage.settled
    }
    assert set(fitted) == {
        "train/sft/seed-0/fitted",
        "train/sft+spin/seed-0/fitted/round-1",
        "train/sft+spin/seed-0/fitted/round-2",
    }
    first, last = (fitted[f"train/sft+spin/seed-0/fitted/round-{at}"] for at in (1, 2))
    target = [each.name for each in first.target]
    assert target == ["cost/train/sft/seed-0", "cost/train/sft+dpo/seed-0"]
    assert [each.name for each in first.spent] == ["cost/train/sft/seed-0"]
    assert [each.name for each in last.spent] == [
        "cost/train/sft/seed-0",
        "cost/sample/sft+spin/seed-0/fitted/round-1",
        first.name,
    ]
    assert (first.rounds_left, last.rounds_left) == (1, 0)


def test_what_comes_before_counts_when_it_is_an_adapter_too(stages):
    found = stages(methods={**SOUND["methods"], "sft": {"lora": {}}, "dpo": {"lora": {}}})
    (first,) = found["train/sft+spin/seed-0/fitted/round-1"].settled
    assert [each.name for each in first.spent] == ["cost/train/sft/seed-0"]
    assert len(first.target) == 2


def test_counting_a_training_does_not_train(stages):
    found = stages()
    measured = found["cost/train/sft+dpo/seed-0"]
    assert isinstance(measured, CountTraining)
    assert measured.training not in list(measured.inputs())
    assert measured.training.parent in list(measured.inputs())


def test_without_a_budget_nothing_is_counted(stages):
    plain = stages(budget=None)
    assert not any(stage.kind in ("cost", "budget") for stage in plain.values())
    report = next(stage for stage in plain.values() if isinstance(stage, Publish))
    assert report.spent == ()
    assert [each.name for each in trainings(plain["train/sft+dpo/seed-0"])] == [
        "train/sft/seed-0",
        "train/sft+dpo/seed-0",
    ]


def test_another_budget_is_another_training_and_another_name_is_not(stages):
    """What decides the steps is in the keys."""
    key = stages()["train/sft/seed-0/fitted"].key
    assert stages(budget={"match": "pairs"})["train/sft/seed-0/fitted"].key != key
    assert stages(budget={"epochs": 2})["train/sft/seed-0/fitted"].key != key
    longer = {**SOUND["methods"], "dpo": {"num_train_epochs": 2}}
    assert stages(methods=longer)["train/sft/seed-0/fitted"].key != key


def a_match(stages, **budget):
    found = stages(budget=budget)
    return next(s for s in found.values() if isinstance(s, MatchBudget) and not s.rounds_left)


def test_seconds_that_nobody_measured_are_a_fault(stages):
    match = a_match(stages, match="seconds")
    cost = SimpleNamespace(flops={"training": 1e9})
    with pytest.raises(InputError, match="is not known") as caught:
        match.amount(cost, match, lambda _: None)
    assert "run the study once without `budget`" in caught.value.hint
    assert match.amount(cost, match, lambda _: 2e-9) == 2.0


def test_flops_of_an_unknown_shape_are_a_fault(stages):
    match = a_match(stages)
    with pytest.raises(InputError, match="are not known") as caught:
        match.amount(SimpleNamespace(flops={"training": None}), match, None)
    assert "match tokens" in caught.value.hint


def test_what_takes_more_than_the_budget_before_it_is_trained_is_refused(stages):
    error = a_match(stages)._nothing_left(1e9, 8e8, 3e8)
    assert "the budget is 1.00\u00a0GFLOP" in error.why
    assert "its samples 300\u00a0MFLOP" in error.why


ROW = {
    "recipe": "kto", "seed": 0, "match": "flops", "amount": 6e9, "target": 1e10, "steps": 3,
    "state": "stops short at 3 epochs: 60 % of the budget", "epochs": 3.0, "flops": 6e9,
    "tokens": 10, "targets": 5, "pairs": 4, "samples": 0, "scored": 0, "seconds": 1.0,
    "peak_memory": None,
}  # fmt: skip


def test_the_report_says_who_was_trained_for_less():
    kept = {**ROW, "recipe": "dpo", "state": "the budget", "amount": 1e10}
    (said,) = unequal_budgets([kept, ROW, {**ROW, "seed": 1, "amount": 8e9}])
    assert said.startswith("kto: its training is not that of the other recipes")
    assert "70\u00a0% of the budget" in said
    table = budget_table([kept, ROW])
    assert [cell.text for cell in table.cells[1]][3] == "\u221240.0\u00a0%"
    assert budget_table([]).rows == []
