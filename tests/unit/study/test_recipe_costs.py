"""What it took to make each recipe's model: whole chains, the base left out, tuning told apart."""

import json
from dataclasses import dataclass
from typing import ClassVar

import pytest

from alignstudy.errors import SettingsError
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.recipe_costs import as_spent, recipe_costs
from alignstudy.study.stages.train import Train

SOUND = {
    "study": "small",
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {"lora": {}}, "kto": {}},
    "recipes": {
        "base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "kto": ["kto"],
        "mean": {"average": ["dpo", "kto"]},
    },
    "judges": [{"use": "constant"}],
    "thresholds": {"harmless": 0, "helpful": 0},
    "diagnostics": None,
    "seeds": [0, 1],
    "control": "dpo",
}  # fmt: skip


@pytest.fixture
def load(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").touch()

    def loaded(**changes):
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**SOUND, "base": str(tmp_path / "base"), **changes}, indent=1))
        return Study.load(path, out=tmp_path / "run")

    return loaded


def compare_of(study):
    stages = in_order(study.graph(study.located(fetch=True)).goals)
    [found] = [stage for stage in stages if isinstance(stage, Compare)]
    return found


def costs(models, facts_of):
    return {cost.model: cost for cost in recipe_costs(models, facts_of)}


FLOPS = {"sft": 100.0, "dpo": 30.0, "kto": 20.0}


def facts(stage):
    return {"flops": FLOPS[stage.label] + stage.seed} if isinstance(stage, Train) else {}


@pytest.fixture
def models(load):
    compare = compare_of(load())
    assert compare.control == "dpo"
    return {(one.model, one.seed): one.responses.model for one in compare.compared}


def test_chains_are_added_up_whole_and_averaged_over_seeds(models):
    found = costs(models, facts)
    assert {name: cost.flops for name, cost in found.items()} == {
        "base": 0.0, "sft": 100.5, "dpo": 131.0, "kto": 20.5, "mean": 151.5,
    }  # fmt: skip
    assert {cost.tuning_flops for cost in found.values()} == {None}


def test_what_was_not_counted_whole_is_not_told(models):
    def partly(stage):
        went_on = isinstance(stage, Train) and stage.label == "dpo" and stage.seed == 1
        return {**facts(stage), **({"resumed": True} if went_on else {})}

    found = costs(models, partly)
    assert [name for name, cost in found.items() if cost.flops is None] == ["dpo", "mean"]
    assert costs(models, lambda _: {})["sft"].flops is None  # a training of unknown shape


@dataclass(frozen=True, kw_only=True)
class Counted(Stage):
    """A stage that stands for a training and what chose its settings."""

    kind: ClassVar[str] = "counted"
    changes_work: ClassVar[bool] = True
    parent: Stage | None = None
    settled: tuple[Stage, ...] = ()


class Trial(Counted):
    """A stage of a trial."""

    tried: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class Choice(Stage):
    """A stage that stands for what chooses among trials."""

    kind: ClassVar[str] = "choice"
    changes_work: ClassVar[bool] = False
    trials: tuple[Stage, ...]
    in_trial = False


def test_trials_that_settle_settings_are_tuning():
    base = Counted(name="base")
    start = Counted(name="start", parent=base)
    trials = tuple(Trial(name=f"trial-{n}", parent=start, device_class=str(n)) for n in (1, 2))
    other = Trial(name="another recipe's trial", parent=base, device_class="3")
    steps = Counted(name="steps", parent=Choice(name="another choice", trials=(other,)))
    choice = Choice(name="choice", trials=trials)
    last = Counted(name="last", parent=start, settled=(choice, steps))
    taken = {"start": 10.0, "trial-1": 3.0, "trial-2": 4.0, "last": 5.0, other.name: 100.0}
    found = costs({("r", 0): last}, lambda stage: {"flops": taken.get(stage.name)})
    assert (found["r"].flops, found["r"].tuning_flops) == (15.0, 7.0)


def test_a_budget_counts_what_was_kept_from_before_too(models):
    """A reference that another recipe asked before costs a run nothing, but the recipe all."""
    rows = tuple(
        {"recipe": "kto", "seed": seed, "flops": flops} for seed, flops in ((0, 40.0), (1, 44.0))
    )
    found = {each.model: each.flops for each in as_spent(recipe_costs(models, facts), rows)}
    assert (found["kto"], found["dpo"]) == (42.0, 131.0)
    unknown = as_spent(recipe_costs(models, facts), ({**rows[0], "flops": None}, rows[1]))
    assert {each.model: each.flops for each in unknown}["kto"] is None


def test_a_control_that_is_no_recipe_is_refused(load):
    with pytest.raises(SettingsError, match="names 'ppo', which is no recipe; known: base, sft"):
        load(control="ppo")
