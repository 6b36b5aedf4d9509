"""The Python surface where models are made: what `check` says, where trained models lie."""

import json
from dataclasses import replace

import pytest
import tiny_study
from models_fixtures import TINY_DEMO

from alignstudy import Run, Study
from alignstudy.cli.app import main
from alignstudy.study.run.store import Store


def test_check_says_what_the_command_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    study = Study.from_dict(tiny_study.study(), out=tmp_path / "run")
    found = study.check().to_json()
    states = {line["what"]: line["state"] for line in found["lines"]}
    assert states["data/train"] == "ok"
    assert states["to train"] == "new"
    assert not (tmp_path / "run").exists()
    file = tiny_study.write_study(tmp_path / "s.yaml")
    with pytest.raises(SystemExit):
        main(["check", str(file), "--out", str(tmp_path / "run"), "--json"])
    assert json.loads(capsys.readouterr().out) == found


def test_trained_models_are_found_by_recipe_and_seed(tmp_path):
    study = Study.load("demo", [*TINY_DEMO, "seeds=[0, 1]"], out=tmp_path / "run")
    run = replace(study, store=Store(tmp_path / "home")).run(only="train")
    assert list(run.models) == [
        (recipe, seed) for recipe in ("dpo", "sft", "sft_dpo") for seed in (0, 1)
    ]
    for (recipe, _), folder in run.models.items():
        name = "config.json" if recipe == "sft" else "adapter_config.json"
        assert (folder / name).is_file()
    assert Run.open(run.folder).models == run.models
