"""Recipes made of weights in a whole study: killed while one is made, gone on with, run again."""

import json
import subprocess
import sys
from dataclasses import replace

import check_run_folder
import methods_fixtures as fx
import numpy as np
import pytest
import tiny_study

from alignstudy.study.api import Study
from alignstudy.study.run.store import Store

TRAINING = {"max_steps": 4, "learning_rate": 3e-3, "max_length": 96,
            "per_device_train_batch_size": 4, "dropout": "off"}  # fmt: skip
LORA = {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
RECIPES = {
    "base": [],
    "sft": ["sft"],
    "dpo": ["sft", "dpo"],
    "far": ["sft", "expo"],
    "further": ["sft", "dpo", "expo"],
    "on": ["sft", "dpo", "expo", "sft"],
    "soup": {"average": ["far", "sft"], "weights": [0.25, 0.75]},
    "one": {"average": ["sft"], "over": "seeds"},
    "arc": {"slerp": ["base", "dpo"], "t": 0.25},
}
MADE = {"expo", "average", "slerp", "merge"}

KILLED = """
import os, signal
from pathlib import Path
from alignstudy.methods.weights import mix
from alignstudy.cli.app import main
def killed(weights):
    assert (weights.folder / "model.safetensors").is_file()  # written, and not yet looked at
    os.kill(os.getpid(), signal.SIGKILL)
mix.load_causal_lm = killed
main(["run", *{arguments}])
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The study, run whole in one home; in another killed, and gone on with."""
    root = tmp_path_factory.mktemp("weights")
    base = fx.write_opt(root / "base", max_position_embeddings=160)
    changes = {
        "base": str(base), "recipes": RECIPES, "seeds": [0, 1], "workers": 1, "assess": None,
        "methods": {"sft": TRAINING, "dpo": {**TRAINING, "learning_rate": 3e-2, "lora": LORA},
                    "expo": {}},
        "judges": [{"use": "length"}], "thresholds": {"harmless": 20, "helpful": 20},
        "generation": {"max_new_tokens": 4}, "prompts.harmful.n": 4, "prompts.helpful.n": 4,
    }  # fmt: skip
    none = dict.fromkeys(("validation", "calibration", "diagnostics"))
    study = root / "study.yaml"
    study.write_text(json.dumps({**tiny_study.study(changes), **none}), encoding="utf-8")
    whole = tiny_study.run_here(study, out=root / "run", home=root / "home")
    arguments = [str(study), "--out", str(root / "killed")]
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(arguments=arguments)],
        env=tiny_study.environment(root / "other"), capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    gone_on = tiny_study.run_here(study, out=root / "killed", home=root / "other")
    return root, whole, child, gone_on


def results(run):
    """Return what a study made, byte by byte."""
    models = sorted((run / "models").rglob("*.safetensors"))
    rest = [run / "statistics.json", *sorted((run / "responses").iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in [*models, *rest]}


def weights(run, name):
    return {
        key: tensor.numpy().astype(np.float64)
        for key, tensor in fx.weights_of(run / "models" / name).items()
    }


def test_a_run_killed_while_weights_are_computed_goes_on_to_the_same_bits(places):
    root, whole, child, gone_on = places
    assert child.returncode == -9, child.stderr[-2000:]
    before = set(whole.executed) - set(gone_on.executed)
    assert any(name.startswith("train/") for name in before), "killed too early"
    assert {name.split("/")[0] for name in gone_on.executed} >= {"average", "slerp", "expo"}
    assert results(root / "killed") == results(root / "run")


def test_a_second_run_makes_nothing(places):
    root, *_ = places
    again = tiny_study.run_here(root / "study.yaml", out=root / "run", home=root / "home")
    assert again.executed == ()


def test_each_is_what_its_formula_says(places):
    root, whole, *_ = places
    run = root / "run"
    assert {name.split("/")[0] for name in whole.executed} > MADE
    base, sft, other, far = (
        weights(run, name) for name in ("base", "sft/seed-0", "sft/seed-1", "far/seed-0")
    )
    soup, one = weights(run, "soup/seed-0"), weights(run, "one")
    for name, tensor in sft.items():
        close = {"rtol": 1e-6, "atol": 1e-9}
        np.testing.assert_allclose(far[name], 1.5 * tensor - 0.5 * base[name], **close)
        np.testing.assert_allclose(soup[name], 0.25 * far[name] + 0.75 * tensor, **close)
        np.testing.assert_allclose(one[name], (tensor + other[name]) / 2, **close)
    adapter, further = fx.weights_of(run / "models/dpo/seed-1"), weights(run, "further/seed-1")
    path = "model.decoder.layers.0.self_attn.q_proj"
    down, up = (
        adapter[f"base_model.model.{path}.lora_{part}.weight"].numpy().astype(np.float64)
        for part in "AB"
    )
    expected = other[f"{path}.weight"] + 1.5 * (8 / 2) * up @ down
    np.testing.assert_allclose(further[f"{path}.weight"], expected, rtol=0, atol=1e-7)


def test_the_run_says_what_they_are(places):
    root, *_ = places
    run = root / "run"
    assert "well-formed" in check_run_folder.check(run)
    page = (run / "report.md").read_text(encoding="utf-8").replace("\\", "")
    for words in (
        "further (sft, then dpo, then expo (1.5 times what dpo changed, nothing trained))",
        "soup (the mean of the weights of far (0.25) and sft (0.75))",
        "one (the mean of the weights of sft under all seeds: one model)",
        "arc (weights on the arc from base to dpo, at 0.25 of it)",
        "Each recipe but one was trained with 2 seeds.",
        "one was made once, of all seeds' models",
        "Average/one: guard weights_are_mixed passed: 36 tensors in float32 of 2 models",
        "logits of the result are finite (seed 0); and under 1 more seed.",
    ):
        assert words in page, words
    found = json.loads((run / "statistics.json").read_text(encoding="utf-8"))
    assert {each["sd"] for each in found["seed_spreads"] if each["model"] == "one"} == {0.0}
    costs = json.loads((run / "data" / "report.json").read_text(encoding="utf-8"))["costs"]
    made = {row["stage"]: row["flops"] for row in costs if row["stage"].split("/")[0] in MADE}
    assert len(made) == 2 * 3 + 1 + 2 * 2, made
    assert set(made.values()) == {0.0}


def test_plan_and_check_know_them(places):
    root, *_ = places
    study = root / "study.yaml"
    lines = tiny_study.plan(study, home=root / "home", out=root / "run")
    assert {lines[name].state for name in ("expo/sft+expo/seed-0", "average/one")} == {"cached"}
    further = ["methods.expo.alpha=0.1"]
    lines = tiny_study.plan(study, home=root / "home", out=root / "run", overrides=further)
    assert lines["expo/sft+dpo+expo/seed-1"].why == "factor 1.5 -> 1.1"
    assert lines["average/soup/seed-0"].state == "new"
    assert lines["train/sft+dpo/seed-1"].state == "cached"
    checked = replace(Study.load(study), store=Store(root / "home")).check()
    examples = [what for what, _, _ in checked.lines if what.startswith("examples/")]
    assert sorted(examples) == ["examples/dpo", "examples/sft"]
