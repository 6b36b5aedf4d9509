"""RFT before anything runs: whose reward is learnt, what it is counted with, who is not asked."""

import json

import pytest

from alignstudy.errors import SettingsError
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.study.api import Study
from alignstudy.study.graph.budgeting import trainings
from alignstudy.study.graph.stage import in_order
from alignstudy.study.settings.ranking import ranked_by_reporters
from alignstudy.study.stages.budget import MatchBudget
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.preview import Preview
from alignstudy.study.stages.publish import Publish
from alignstudy.study.stages.recipe_costs import recipe_costs
from alignstudy.study.stages.train import Train

SOUND = {
    "study": "small",
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {}, "rft": {"iterations": 2, "max_length": 400}},
    "judges": [{"use": "constant"}],
    "thresholds": {"harmless": 0, "helpful": 0},
    "diagnostics": None,
    "recipes": {"base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "rft": ["sft", "rft"]},
}
FIRST, SECOND = (f"train/sft+rft/seed-0/round-{at}" for at in (1, 2))


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


def test_each_round_learns_a_reward_and_a_policy_on_it(stages):
    found = stages()
    for at, name in ((1, FIRST), (2, SECOND)):
        policy, reward = found[name], found[f"{name}/reward"]
        (judge,) = policy.rewards
        assert judge.model is reward
        assert judge.settings == SeqClsSettings(input="chat", max_length=400)
        assert policy.reward_models == (reward,)
        assert (policy.settings.method, reward.settings.method) == ("rloo", "reward_model")
        assert reward.rows.name == f"build/sft+rft/seed-0/round-{at}"
        assert reward.rows.sampler is policy.parent
        assert policy.rows.name == f"slice/{at}-of-2"  # all prompts, whatever became of a sample
    assert found[f"{FIRST}/reward"].parent is found[FIRST].parent is found["train/sft/seed-0"]
    assert found[f"{SECOND}/reward"].parent is found[f"{FIRST}/reward"]
    assert (found[FIRST].reference, found[SECOND].reference) == (None, found["train/sft/seed-0"])


def test_an_adapter_s_policy_is_merged_before_a_reward_model_stands_on_it(stages):
    methods = SOUND["methods"] | {"sft": {"lora": {}}}
    reward = stages(methods=methods)[f"{FIRST}/reward"]
    assert reward.parent.name == "merge/sft/seed-0"
    assert reward.settings.lora is None


def test_no_judge_of_the_study_is_asked_and_so_none_is_refused(load):
    assert list(ranked_by_reporters(load().settings)) == []
    with pytest.raises(SettingsError, match="no method learns what the report's own judge ranked"):
        load(accept=["same_judge"])
    with pytest.raises(SettingsError, match="rewarded_by"):
        load(methods=SOUND["methods"] | {"rft": {"rewarded_by": ["constant"]}})


def test_another_reward_is_another_policy_and_another_policy_is_not_another_reward(stages):
    keys = {name: stage.key for name, stage in stages().items()}

    def changed(**rft):
        methods = SOUND["methods"] | {"rft": {**SOUND["methods"]["rft"], **rft}}
        return {name for name, stage in stages(methods=methods).items() if stage.key != keys[name]}

    learnt = changed(reward_model={"learning_rate": 1e-4})
    assert {FIRST, f"{FIRST}/reward", SECOND} <= learnt
    asked = changed(beta=0.1)
    assert FIRST in asked
    assert f"{FIRST}/reward" not in asked


def test_the_reward_model_is_shown_and_counted(stages):
    found = stages()
    (preview,) = (stage for stage in found.values() if isinstance(stage, Preview))
    assert preview.labels == ("sft", "dpo", "rft", "rft, its reward model")
    (report,) = (stage for stage in found.values() if isinstance(stage, Publish))
    told = {end.recipe for end in report.trainings}
    rounds = {f"sft > rft, round {at}" for at in (1, 2)}
    assert rounds | {f"{each}, its reward model" for each in rounds} <= told
    names = [each.name for each in trainings(found[SECOND])]
    assert names == ["train/sft/seed-0", f"{FIRST}/reward", FIRST, f"{SECOND}/reward", SECOND]
    (compare,) = (stage for stage in found.values() if isinstance(stage, Compare))
    models = {(one.model, one.seed): one.responses.model for one in compare.compared}
    (rft,) = [
        cost
        for cost in recipe_costs(models, lambda s: {"flops": 1.0} if isinstance(s, Train) else {})
        if cost.model == "rft"
    ]
    assert rft.flops == 5.0


def test_a_budget_pays_for_the_reward_model_too(stages):
    found = stages(budget={})

    def names(costs):
        return [each.name.removeprefix("cost/") for each in costs]

    rounds = [f"sft+rft/seed-0/fitted/round-{at}" for at in (1, 2)]
    first, second = (
        next(s for s in found[f"train/{name}"].settled if isinstance(s, MatchBudget))
        for name in rounds
    )
    once = [[f"sample/{name}", f"train/{name}/reward"] for name in rounds]
    assert names(first.own) == once[0]
    assert names(first.spent) == ["train/sft/seed-0"]
    assert names(second.own) == once[1]
    assert names(second.spent) == ["train/sft/seed-0", *once[0], f"train/{rounds[0]}"]
