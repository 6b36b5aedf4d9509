"""A third response from a file's own column to the trained model; planned, shown and counted."""

import json
from dataclasses import replace

import methods_fixtures as fx
import pytest

from alignstudy import Study
from alignstudy.dialogue import CUE
from alignstudy.records import Pair, read_rows
from alignstudy.study.cost.estimate import _folder
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

MADE = {"rows/train", "preview", "train/tpo/seed-0", "train/tpo_l/seed-0", "train/dpo/seed-0"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The stages that were made, of a study on a file with a column `ideal`."""
    root = tmp_path_factory.mktemp("tpo")
    opt = fx.write_opt(root / "opt")
    rows = [
        {
            "prompt": row.prompt.removesuffix(CUE).removeprefix("\n\nHuman: "),
            "chosen": row.chosen,
            "rejected": row.rejected,
            "ideal": row.gold,
        }
        for row in fx.make_triples(100)
    ]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    training = {"num_train_epochs": 1, "max_length": 64, "learning_rate": 1e-3}
    (root / "study.yaml").write_text(
        json.dumps(
            {
                "study": "tpo",
                "base": str(opt),
                "data": {"source": str(root / "rows.jsonl"), "columns": {"reference": "ideal"}},
                "methods": dict.fromkeys(("tpo", "tpo_l", "dpo"), training),
                "recipes": {"base": [], **{name: [name] for name in ("tpo", "tpo_l", "dpo")}},
                "judges": [{"use": "length"}],
            }
        ),
        encoding="utf-8",
    )
    study = replace(Study.load(root / "study.yaml", out=root / "run"), store=Store(root / "home"))
    stages = in_order(study.graph(study.located(fetch=False)).goals)
    runner = Runner(store=study.store, device="cpu", threads=1)
    for stage in stages:
        if stage.name in MADE:
            runner.make(stage)
    return study, {stage.name: stage for stage in stages}


def folder(ran, name):
    study, stages = ran
    return study.store.folder(stages[name].kind, stages[name].key)


def test_the_third_response_is_read_shown_and_learnt(ran):
    rows = list(read_rows(folder(ran, "rows/train") / "rows.jsonl", Pair))
    assert {row.gold for row in rows} <= {row.gold for row in fx.make_triples(100)}
    page = (folder(ran, "preview") / "preview.md").read_text(encoding="utf-8")
    assert page.count(", gold: ") == 2 * 3  # examples of the two that learn it
    for name in ("tpo", "tpo_l"):
        result = json.loads((folder(ran, f"train/{name}/seed-0") / "result.json").read_text())
        assert "gold_differs" in {each["guard"] for each in result["guards"]}
        assert result["counts"]["gold_is_chosen"] == 0
        curve = fx.read_metrics(folder(ran, f"train/{name}/seed-0"))
        assert all(line["gold_nll"] > 0 for line in curve)


@pytest.mark.parametrize("name", ["tpo", "tpo_l", "dpo"])
def test_its_work_is_planned_as_it_is_counted(ran, name):
    """No reference goes through the model; three responses take more memory than two."""
    study, stages = ran
    stage = stages[f"train/{name}/seed-0"]
    planned = stage.planned_work(lambda needed: _folder(needed, study.store))
    assert len(planned) == (3 if name == "dpo" else 2)  # the probe's is the last
    result = json.loads((folder(ran, stage.name) / "result.json").read_text())
    assert planned[0].scored == result["work"]["scored_tokens"]
    own = stage.work_done(folder(ran, stage.name), lambda needed: _folder(needed, study.store), {})
    padded = result["work"]["processed_tokens"] / planned[0].tokens
    assert 1 <= padded < 1.1
    assert 1 <= own["flops"] / sum(each.flops for each in planned) < 1.1
    assert stage.footprint().rows == (2 if name == "dpo" else 3) * 8
