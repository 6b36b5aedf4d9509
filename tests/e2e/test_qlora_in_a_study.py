"""A whole study of adapters on a base in 4 bits, their moments in 8, as a user runs it."""

import html
import json

import check_run_folder
import existing_models as have
import pytest
import tiny_study

from alignstudy.cli.app import main
from alignstudy.models import quantized
from alignstudy.study.api import Study

pytest.importorskip("bitsandbytes")

WIDE = {
    "base.scratch.architecture.hidden_size": 64,
    "base.scratch.architecture.ffn_dim": 128,
}
"""An adapter's matrices have 4,096 weights: the least that has moments in 8 bits."""
LORA = {
    "r": 64,
    "lora_alpha": 64,
    "lora_dropout": 0.0,
    "target_modules": ["q_proj", "v_proj", "fc1"],
    "load_in_4bit": True,
}
TRAINING = {**tiny_study.TRAINING, "lora": LORA, "optim": "adamw_8bit"}
CHANGES = {**WIDE, "methods.sft": TRAINING, "methods.dpo": {**TRAINING, "beta": 0.1}, "workers": 1}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The study, run by its command; and one that compares what it made."""
    root = tmp_path_factory.mktemp("qlora")
    study = tiny_study.write_study(root / "study.yaml", CHANGES)
    made = tiny_study.run_apart(study, "--out", root / "run", home=root / "home")
    kept = {"from": str(root / "run" / "models" / "dpo")}
    recipes = {"base": [], "sft": ["sft"], "kept": kept}
    changes = {**CHANGES, "recipes": recipes, "methods.dpo": None}
    again = tiny_study.write_study(root / "again.yaml", changes)
    tiny_study.run_apart(again, "--out", root / "again", home=root / "home")
    return root, made


def test_every_recipe_is_trained_written_with_judged_and_reported(places):
    root, made = places
    trained = {name for name in made["executed"] if name.startswith("train/")}
    assert trained == {f"train/{chain}/seed-0" for chain in ("sft", "dpo", "sft+dpo")}
    assert "well-formed" in check_run_folder.check(root / "run")
    page = html.unescape((root / "run" / "report.html").read_text(encoding="utf-8"))
    assert page.count("of the base's weights are held in 4 bits") == 3
    for recipe in ("sft", "dpo", "sft_dpo"):
        folder = root / "run" / "models" / recipe
        assert json.loads((folder / "alignstudy.json").read_text())["load_in_4bit"] is True
        result = json.loads((folder / "result.json").read_text())
        names = [guard["guard"] for guard in result["guards"] if guard["passed"]]
        assert ("reference_is_parent" in names) == (recipe != "sft")
    versions = json.loads((root / "run" / "provenance.json").read_text())["versions"]
    assert versions["bitsandbytes"]


def test_a_trained_model_answers_alike_in_another_study(places):
    """There its base is written out in full, with the values that 4 bits hold, and merged."""
    root, _ = places
    assert have.responses(root / "again", "kept") == have.responses(root / "run", "dpo")
    assert have.responses(root / "run", "dpo") != have.responses(root / "run", "base")


def test_a_second_run_executes_nothing(places):
    root, _ = places
    again = tiny_study.run_apart(root / "study.yaml", "--out", root / "run", home=root / "home")
    assert again["executed"] == []
    assert tiny_study.cli("verify", root / "run", home=root / "home").returncode == 0


def test_keys_hold_whether_and_by_which_release(places):
    root, _ = places
    lines, _ = Study.load(str(root / "study.yaml")).plan()
    packed = next(line.stage for line in lines if line.stage.name == "train/sft/seed-0")
    assert "bitsandbytes" in packed.fingerprint_inputs["libraries"]
    changes = ["methods.sft.lora.load_in_4bit=false", "methods.sft.optim=adamw_torch_fused"]
    for given, needed in ((changes[:1], True), (changes[1:], True), (changes, False)):
        lines, _ = Study.load(str(root / "study.yaml"), overrides=given).plan()
        other = next(line.stage for line in lines if line.stage.name == "train/sft/seed-0")
        assert other.key != packed.key
        assert ("bitsandbytes" in other.fingerprint_inputs["libraries"]) == needed


def test_without_bitsandbytes_nothing_begins(places, tmp_path, monkeypatch, capsys):
    root, _ = places
    monkeypatch.setattr(quantized, "find_spec", lambda _: None)
    for words in (["check"], ["plan"], ["run", "--out", str(tmp_path / "run")]):
        with pytest.raises(SystemExit) as ended:
            main([words[0], str(root / "study.yaml"), *words[1:]])
        assert ended.value.code == 3, words
        said = capsys.readouterr().err
        assert "bitsandbytes isn't installed" in said
        assert "pip install 'alignstudy[quantized]'" in said.replace("\n", " ")
        assert "done in" not in said
