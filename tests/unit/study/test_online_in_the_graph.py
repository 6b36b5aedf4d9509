"""Methods with a reward in the loop before anything is trained: who rewards, what is refused."""

import json

import pytest
import tiny_study

from alignstudy.errors import DataError, SettingsError
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import in_order
from alignstudy.study.settings.budget_checks import budget_of
from alignstudy.study.settings.ranking import rankers
from alignstudy.study.settings.tuning import trials_of
from alignstudy.study.stages.budget import MatchBudget
from alignstudy.study.stages.costs import CountOnline
from alignstudy.study.stages.train import Train

JUDGES = [
    {"name": "first", "use": "python", "call": "tiny_judges:first"},
    {"name": "length", "use": "length"},
    {"name": "second", "use": "python", "call": "tiny_judges:second"},
    {"name": "third", "use": "python", "call": "tiny_judges:third"},
]
NAMES = ("first", "second", "third")
SOURCE = "".join(f"def {name}(items):\n    return [0.0 for _ in items]\n" for name in NAMES)
SOUND = {
    "study": "small",
    "data": {"source": "world", "train": {"max_rows": 20}},
    "methods": {"sft": {}, "dpo": {}, "rloo": {}},
    "judges": JUDGES,
    "thresholds": {"harmless": 0, "helpful": 0},
    "diagnostics": None,
    "recipes": {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "rloo": ["sft", "rloo"]},
}


@pytest.fixture
def load(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").touch()
    (tmp_path / "tiny_judges.py").write_text(SOURCE)

    def loaded(**changes):
        path = tmp_path / "s.yaml"
        path.write_text(json.dumps({**SOUND, "base": str(tmp_path / "base"), **changes}))
        return Study.load(path, out=tmp_path / "run")

    return loaded


def stages(study):
    return {s.name: s for s in in_order(study.graph(study.located(fetch=True)).goals)}


def methods(**settings):
    return {"methods": {"sft": {}, "dpo": {}, "rloo": settings}}


def test_the_first_judge_that_does_not_report_rewards(load):
    study = load()
    assert rankers(study.settings) == {"rloo": ("second",)}
    train = stages(study)["train/sft+rloo/seed-0"]
    assert isinstance(train, Train)
    assert [spec.settings.call for spec in train.rewards] == ["tiny_judges:second"]


def test_several_judges_may_reward(load):
    study = load(**methods(rewarded_by=["second", "third"], reward_weights=[1.0, 0.5]))
    train = stages(study)["train/sft+rloo/seed-0"]
    calls = [spec.settings.call for spec in train.rewards]
    assert calls == ["tiny_judges:second", "tiny_judges:third"]
    one = stages(load(**methods(rewarded_by=["second"])))["train/sft+rloo/seed-0"]
    assert one.key != train.key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (methods(rewarded_by=["first"]), "which reports on them"),
        (methods(rewarded_by=["nobody"]), "which `judges` doesn't hold"),
        ({"judges": JUDGES[:2]}, "needs a judge that ranks samples"),
        (methods(num_generations=1), "'methods.rloo.num_generations'"),
        (methods(temperature=1.0), "'methods.rloo.temperature'"),
        ({"accept": ["same_judge"]}, "no method learns what the report's own judge ranked"),
    ],
)
def test_what_would_mislead_is_refused(load, changes, said):
    with pytest.raises(SettingsError) as caught:
        load(**changes)
    assert said in str(caught.value)


def test_the_judge_that_reports_may_reward_if_it_is_accepted_by_name(load):
    changes = methods(rewarded_by=["first"])
    study = load(**changes, accept=["same_judge"])
    assert rankers(study.settings) == {"rloo": ("first",)}


def test_a_budget_ends_it_and_counts_it_afterwards(load):
    study = load(budget={"match": "flops"})
    assert budget_of(study.settings) == "dpo"
    found = stages(study)
    (match,) = [s for s in found["train/sft+rloo/seed-0/fitted"].settled
                if isinstance(s, MatchBudget)]  # fmt: skip
    assert match.ends_itself
    assert any(isinstance(stage, CountOnline) for stage in found.values())
    pairs = stages(load(budget={"match": "pairs"}))["train/sft+rloo/seed-0/fitted"]
    assert not any(s.ends_itself for s in pairs.settled if isinstance(s, MatchBudget))


def test_learning_rates_and_beta_are_tried(load):
    study = load(tune={"trials": 6}, validation={"n": 10})
    trials = trials_of(study.settings, study.settings.tune, "rloo")
    assert [trial["beta"] for trial in trials] == [0.05] * 3 + [0.01] * 3
    assert trials[0]["learning_rate"] == 1e-6


def test_check_refuses_fewer_prompts_than_a_rollout_has(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    rloo = {"max_length": 96, "per_device_train_batch_size": 64,
            "sampling": {"max_new_tokens": 12}}  # fmt: skip
    path = tiny_study.write_study(
        tmp_path / "s.yaml",
        {
            "methods.rloo": rloo,
            "recipes.rloo": ["rloo"],
            "accept": ["same_judge"],
            "data.train.max_rows": 40,
        },
    )
    with pytest.raises(DataError, match="prompts are fewer than are sampled after at once"):
        Study.load(path, out=tmp_path / "run").check()
