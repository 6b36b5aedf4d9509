"""Models that one already has, compared with those that a study trains."""

import csv
import json
import re
import shutil
from pathlib import Path

import check_run_folder
import existing_models as have
import pytest
import tiny_study

OWN_STAGES = {"import", "generate", "score", "diagnose"}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A base, its SFT, and a chat model of another architecture with another tokenizer."""
    root = tmp_path_factory.mktemp("existing")
    mine = have.write_chat_model(root / "mine")
    recipes = {"base": [], "sft": ["sft"], "mine": {"from": str(mine)}}
    changes = {"recipes": recipes, "methods.dpo": None, "seeds": [0, 1]}
    study = tiny_study.write_study(root / "study.yaml", changes)
    made = tiny_study.run_here(study, out=root / "run", home=root / "home")
    return root, made


def test_it_is_generated_judged_and_compared_like_every_model(compared):
    root, made = compared
    run = root / "run"
    assert "import/mine" in made.executed
    for name in ("metrics", "scores"):
        with (run / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
            assert [row["model"] for row in csv.DictReader(file)] == ["base", "sft", "mine"]
    assert (run / "models" / "mine" / "model.safetensors").is_file()
    assert not (run / "models" / "mine" / "seed-0").exists()
    assert (run / "models" / "sft" / "seed-1").is_dir()
    assert "well-formed" in check_run_folder.check(run)


def test_it_writes_what_transformers_generate_writes(compared):
    root, _ = compared
    found = have.responses(root / "run", "mine")
    assert len(found) == 20
    for prompt, response in found.items():
        assert response.strip() == have.written_greedily(root / "mine", prompt, 12).strip()


def test_one_model_is_no_several_seeds(compared):
    """Made once, and the same under every seed, as the base is."""
    root, made = compared
    for name in ("mine", "base"):
        assert sum(f"/{name}/" in stage for stage in made.executed if "generate" in stage) == 1
        assert sum(f"/{name}/" in stage for stage in made.executed if "diagnose" in stage) == 1
    figures = json.loads((root / "run" / "statistics.json").read_text(encoding="utf-8"))
    spreads = figures["seed_spreads"]
    assert {each["sd"] for each in spreads if each["model"] == "mine"} == {0.0}


def test_report_and_provenance_say_where_it_comes_from(compared):
    root, _ = compared
    page = (root / "run" / "report.md").read_text(encoding="utf-8").replace("\\", "")
    record = json.loads((root / "run" / "provenance.json").read_text(encoding="utf-8"))
    source = record["sources"]["recipe/mine"]
    assert source["name"] == str(root / "mine")
    found = re.search(r"mine \(not trained here: (\S+), sha256 ([0-9a-f]{16})\)", page)
    assert found is not None, page[:3000]
    assert found[1] == str(root / "mine")
    assert source["digest"].startswith(found[2])
    assert "For mine, prompts are written by the tokenizer's own chat template" in page
    assert "For base and sft, prompts are written by Human: and Assistant: tags" in page
    assert "Each recipe but mine was trained with 2 seeds" in page


def test_a_divergence_over_other_tokens_is_left_out_and_said(compared):
    root, _ = compared
    found = json.loads((root / "run" / "statistics.json").read_text(encoding="utf-8"))
    by_model = {each["model"]: each for each in found["divergences"]}
    assert by_model["mine"]["kl_per_token"] is None
    assert by_model["mine"]["entropy_per_token"]["value"] > 0
    assert "its tokens are not the base's" in by_model["mine"]["note"]
    assert by_model["sft"]["kl_per_token"] is not None


def test_nothing_runs_twice_and_other_weights_run_their_own_stages_only(compared):
    root, _ = compared
    again = {"out": root / "run", "home": root / "home"}
    assert tiny_study.run_here(root / "study.yaml", **again).executed == ()
    resolved = root / "run" / "resolved.yaml"
    assert tiny_study.run_here(resolved, **again).executed == ()
    have.change_weights(root / "mine")
    executed = tiny_study.run_here(root / "study.yaml", **again).executed
    assert {name.split("/")[0] for name in executed} == {*OWN_STAGES, "compare", "report"}
    assert all("mine" in name for name in executed if name.split("/")[0] in OWN_STAGES)


@pytest.mark.parametrize("moved", [False, True], ids=["in place", "moved"])
def test_an_adapter_of_an_earlier_run_answers_as_it_did_there(moved, finished, tmp_path):
    models = finished.run / "models"
    if moved:  # a copy whose first place is gone
        models = Path(shutil.copytree(models, tmp_path / "elsewhere" / "models"))
        config = models / "dpo" / "adapter_config.json"
        config.write_text(config.read_text().replace(str(finished.run), "/gone/run"))
        assert "/gone/run/models" in config.read_text()
    assert (models / "dpo" / "adapter_config.json").is_file()
    changes = {
        "base": str(models / "base"), "methods": {}, "diagnostics": None, "data.train": None,
        "recipes": {"base": [], "before": {"from": str(models / "dpo")}},
    }  # fmt: skip
    study = tiny_study.write_study(tmp_path / "study.yaml", changes)
    made = tiny_study.run_here(study, out=tmp_path / "run", home=finished.home)
    assert "import/before" in made.executed
    assert have.responses(tmp_path / "run", "before") == have.responses(finished.run, "dpo")
