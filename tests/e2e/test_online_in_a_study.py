"""Methods with a reward in the loop in one study: killed inside it, gone on with, compared."""

import html
import json
import shutil
import subprocess
import sys

import check_run_folder
import numpy as np
import pytest
import tiny_study
from scipy.stats import t

pytestmark = pytest.mark.timeout(600)

TRAINING = {"max_length": 128, "per_device_train_batch_size": 4, "save_steps": 2}
ONLINE = {
    **TRAINING, "max_steps": 24, "learning_rate": 1e-3, "num_generations": 6, "beta": 0.02,
    "max_kl": 15.0, "sampling": {"max_new_tokens": 48},
}  # fmt: skip
METHODS = {
    "sft": {**TRAINING, "max_steps": 20, "learning_rate": 1e-3},
    "rloo": ONLINE,
    "grpo": {**ONLINE, "steps_per_generation": 2, "num_iterations": 2, "learning_rate": 5e-4},
    "ppo": {**ONLINE, "num_iterations": 2, "critic": {"learning_rate": 1e-3}},
}
RECIPES = {"base": [], "sft": ["sft"]} | {name: ["sft", name] for name in METHODS if name != "sft"}
CHANGES = {
    "workers": 1, "methods": METHODS, "generation": {"max_new_tokens": 48, "do_sample": True},
    "recipes": RECIPES, "data.world.num_test": 40, "data.world.num_pretrain": 2000,
    "data.train.max_rows": 60,
    "base.scratch.pretrain.max_steps": 240, "base.scratch.pretrain.max_length": 128,
    "prompts.harmful.n": 40, "prompts.helpful.n": 40, "diagnostics": {"n": 2, "draws": 100},
}  # fmt: skip

KILLED = """
import os, signal
from alignstudy.cli.app import main
from alignstudy.generation import live
from alignstudy.study.stages import online

where, drawn = {where!r}, []
sample = live.LiveSampler.__call__

def dying(sampler, policy, asked):
    drawn.append(len(asked))
    if len(drawn) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return sample(sampler, policy, asked)

live.LiveSampler.__call__ = dying
main(["run", *{arguments}, "--only", where])
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The study, run whole in one home; in another killed in each method, and gone on with."""
    root = tmp_path_factory.mktemp("online")
    study = tiny_study.study(CHANGES)
    (judge,) = study["judges"]
    rewarder = json.loads(json.dumps(judge))
    rewarder["name"] = "rewarder"
    rewarder["train"]["rows"]["share"] = [0.0, 0.25]
    rewarder["train"]["reward_model"]["max_steps"] = 60
    study["judges"].append(rewarder)
    path = root / "study.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    tiny_study.run_here(path, out=root / "begun", home=root / "other", only="train/sft/seed-0")
    tiny_study.run_here(path, out=root / "begun", home=root / "other", only="judge/rewarder")
    shutil.copytree(root / "other", root / "home")
    whole = tiny_study.run_here(path, out=root / "run", home=root / "home")
    arguments, ended = [str(path), "--out", str(root / "killed")], []
    for label in ("rloo", "grpo", "ppo"):
        where = f"train/sft+{label}/seed-0"
        child = subprocess.run(
            [sys.executable, "-c", KILLED.format(where=where, arguments=arguments)],
            env=tiny_study.environment(root / "other"), capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        ended.append(child)
    gone_on = tiny_study.run_here(path, out=root / "killed", home=root / "other")
    return root, whole, ended, gone_on


def results(run):
    """Return what a study made, byte by byte."""
    models = sorted((run / "models").rglob("*.safetensors"))
    samples = sorted((run / "models").rglob("samples.jsonl"))
    rest = [run / "statistics.json", *sorted((run / "responses").iterdir())]
    return {str(p.relative_to(run)): p.read_bytes() for p in [*models, *samples, *rest]}


def samples(run, label):
    lines = (run / "models" / label / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def scores(run, recipe):
    """Return what the judge that rewards gave each response, by prompt."""
    found = {}
    for path in sorted((run / "responses").glob(f"{recipe}_*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            found[row["prompt_id"]] = row["scores"]["rewarder"]
    return found


def test_killed_in_their_loops_they_end_the_same_to_the_byte(places):
    root, _, ended, gone_on = places
    assert [child.returncode for child in ended] == [-9, -9, -9], ended[0].stderr
    assert "train/sft/seed-0" not in gone_on.executed
    assert {f"train/sft+{label}/seed-0" for label in RECIPES} & set(gone_on.executed) == {
        f"train/sft+{label}/seed-0" for label in ("rloo", "grpo", "ppo")
    }
    assert results(root / "run") == results(root / "killed")


@pytest.mark.parametrize("label", [name for name in METHODS if name != "sft"])
def test_what_rewards_it_rises_and_it_stays_near_the_reference(places, label):
    root, *_ = places
    after, before = scores(root / "run", label), scores(root / "run", "sft")
    gaps = np.array([after[prompt] - before[prompt] for prompt in before])
    error = gaps.std(ddof=1) / np.sqrt(len(gaps))
    assert gaps.mean() - t.ppf(0.975, len(gaps) - 1) * error > 0
    by_rollout = {}
    for line in samples(root / "run", label):
        by_rollout.setdefault(line["rollout"], []).append(line["kl"])
    *kls, last = [np.mean(values) for _, values in sorted(by_rollout.items())]
    assert max(kls) <= ONLINE["max_kl"]
    if last > ONLINE["max_kl"]:  # then the model before it was taken
        page = html.unescape((root / "run" / "report.html").read_text(encoding="utf-8"))
        assert f"above max_kl {ONLINE['max_kl']:g}: the model is the one after" in page


def test_the_folder_is_whole(places):
    check_run_folder.check(places[0] / "run")
