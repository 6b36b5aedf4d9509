"""A study whose recipes all get the training of one: counted, matched, shown, made once."""

import csv
import json
import shutil
from dataclasses import replace

import pytest
import tiny_study as tiny

from alignstudy import Study
from alignstudy.errors import InputError
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.stages.budget import MatchBudget
from alignstudy.study.stages.costs import read_cost
from alignstudy.study.stages.rounds import BuildRows
from alignstudy.study.stages.train import Train

QUICK = {**tiny.TRAINING, "probe_pairs": 4}
SAMPLED = {**tiny.TRAINING, "sampling": {"max_new_tokens": 90, "temperature": 0.5}}
CHANGES = {
    "methods": {
        "sft": {**tiny.TRAINING, "max_steps": 16},
        "dpo": {**QUICK, "max_steps": 36},
        "simpo": QUICK,
        "kto": QUICK,
        "orpo": QUICK,
        "best_of_n": {**SAMPLED, "samples": 2},
        "spin": {**SAMPLED, "iterations": 2, "learning_rate": 1e-5},
        "expo": {},
    },
    "recipes": {
        "base": [], "sft": ["sft"], "dpo": ["sft", "dpo"], "simpo": ["sft", "simpo"],
        "kto": ["sft", "kto"], "orpo": ["orpo"], "bon": ["sft", "best_of_n"],
        "spin": ["sft", "spin"], "expo": ["sft", "simpo", "expo"],
        "soup": {"average": ["dpo", "simpo"]},
    },
    "accept": ["same_judge"],
    "workers": 1,
    "budget": {"match": "flops", "of": "dpo", "epochs": 8},
}  # fmt: skip
MATCHED = ("sft", "simpo", "kto", "orpo", "bon", "spin", "expo")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    root = tmp_path_factory.mktemp("budget")
    path = tiny.write_study(root / "study.yaml", CHANGES)
    loaded = Study.load(str(path), out=root / "run", overrides=("diagnostics=null",))
    study = replace(loaded, store=Store(root / "home"))
    return study, study.run()


def stages_of(study):
    return in_order(study.graph(study.located(fetch=False)).goals)


def facts(study, stage):
    return study.store.peek(stage.kind, stage.key).facts


def rows_of(run):
    with (run.folder / "tables" / "budget.csv").open(encoding="utf-8") as file:
        return {row["recipe"]: row for row in csv.DictReader(file)}


def test_every_recipe_took_what_the_named_one_took(ran):
    rows = rows_of(ran[1])
    assert set(rows) == {*MATCHED, "dpo", "soup"}
    target = float(rows["dpo"]["flops"])
    assert rows["dpo"]["state"] == "the budget"
    for name in MATCHED:
        assert rows[name]["state"].startswith("within"), rows[name]
        allowed = 0.1 if "update" in rows[name]["state"] else 0.02
        assert float(rows[name]["flops"]) == pytest.approx(target, rel=allowed)
        assert float(rows[name]["target"]) == target
    assert rows["expo"]["state"].endswith("nothing is added to its last training")
    assert rows["soup"]["state"].startswith("not matched")
    assert float(rows["soup"]["flops"]) > 1.2 * target
    assert (rows["bon"]["samples"], rows["spin"]["samples"]) == ("96", "96")  # 2 each; 2 rounds
    assert 0 < int(rows["bon"]["scored"]) <= 96


def test_what_was_counted_beforehand_is_what_was_computed(ran):
    """Trainings, samples and scores by the work that was done; what was kept comes back on top."""
    study, _ = ran
    trained = [s for s in stages_of(study) if isinstance(s, Train) and s.settled]
    assert len(trained) == 7
    for stage in trained:
        match = next(s for s in stage.settled if isinstance(s, MatchBudget))
        counted = read_cost(lambda s: study.store.folder(s.kind, s.key), match)
        result = json.loads((study.store.folder("train", stage.key) / "result.json").read_text())
        assert result["steps"] == counted.steps
        assert result["work"]["rows"] == counted.pairs
        if not result["work"]["reference_reused"]:
            assert facts(study, stage)["flops"] == pytest.approx(counted.flops["training"])


def test_a_recipe_s_own_training_is_not_the_one_that_others_begin_with(ran):
    names = [stage.name for stage in stages_of(ran[0])]
    assert {"train/sft/seed-0", "train/sft/seed-0/fitted"} <= set(names)
    assert len(names) == len(set(names))
    assert "train/sft+dpo/seed-0" in names


def test_rounds_share_what_samples_leave(ran):
    study, _ = ran
    first, last = (
        stage
        for stage in stages_of(study)
        if isinstance(stage, Train) and "spin" in stage.name and isinstance(stage.rows, BuildRows)
    )
    by_round = []
    for stage in (first, last):
        (match,) = stage.settled
        assert match.rounds_left == (stage is first)
        cost = read_cost(lambda s: study.store.folder(s.kind, s.key), match)
        by_round.append(cost.flops["training"])
    assert by_round[0] == pytest.approx(by_round[1], rel=0.35)


def test_a_second_run_makes_nothing(ran):
    study, _ = ran
    assert study.run().executed == ()


def test_steps_are_the_same_where_references_and_scores_were_kept(ran, tmp_path):
    """A store that holds nothing but what was kept beside artefacts: the same keys and steps."""
    study, _ = ran
    for kept in ("references", "scores"):
        shutil.copytree(study.store.root / kept, tmp_path / "home" / kept)
    warm = replace(study, store=Store(tmp_path / "home"), folder=tmp_path / "run")
    stages, runner = {s.name: s for s in stages_of(warm)}, Runner(store=warm.store, device="cpu")
    for name in ("sft+kto", "sft+best_of_n"):
        stage = stages[f"train/{name}/seed-0/fitted"]
        runner.make(stage)
        assert facts(warm, stage)["steps"] == facts(study, stage)["steps"]
    kto = stages["train/sft+kto/seed-0/fitted"]
    result = json.loads((warm.store.folder("train", kto.key) / "result.json").read_text())
    assert result["work"]["reference_reused"] > 0
    assert facts(warm, stages["score/tiny-judge/sft+best_of_n/seed-0/fitted"])["texts"] == 0


def changed(ran, tmp_path, *overrides):
    """Return the study with other settings on the same store, its stages by name, a runner."""
    study, _ = ran
    path = tiny.write_study(tmp_path / "study.yaml", CHANGES)
    other = Study.load(str(path), out=tmp_path / "run", overrides=("diagnostics=null", *overrides))
    other = replace(other, store=study.store)
    return {s.name: s for s in stages_of(other)}, Runner(store=study.store, device="cpu")


def test_samples_that_take_more_than_the_budget_are_refused_with_numbers(ran, tmp_path):
    stages, runner = changed(ran, tmp_path, "methods.dpo.max_steps=4")
    with pytest.raises(InputError, match="'sft > best_of_n' takes more than the budget") as caught:
        runner.make(stages["budget/sft+best_of_n/seed-0/fitted"])
    assert "the budget is" in caught.value.why
    assert "its samples" in caught.value.why
    assert "sample less" in caught.value.hint


def test_a_recipe_that_would_need_too_many_epochs_stops_short(ran, tmp_path):
    stages, runner = changed(ran, tmp_path, "budget.epochs=1")
    made = runner.make(stages["budget/sft/seed-0/fitted"])
    assert json.loads((made.folder / "settings.json").read_text()) == {"max_steps": 12}
    assert json.loads((made.folder / "budget.json").read_text())["stops_short"]
