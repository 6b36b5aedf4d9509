"""Every method that samples in one study: killed inside its rounds, gone on with, compared."""

import csv
import html
import json
import math
import shutil
import subprocess
import sys

import check_run_folder
import methods_fixtures as fx
import pytest
import tiny_study

from alignstudy.judges.kinds.seqcls import SeqClsJudge, SeqClsSettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop.train import train
from alignstudy.records import Pair, Response, read_rows
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.store import Store

pytestmark = pytest.mark.timeout(600)

SAMPLING = {"max_new_tokens": 72, "temperature": 0.8}
SHORT = {"max_steps": 3, "learning_rate": 2e-4, "max_length": 128, "save_steps": 1,
         "per_device_train_batch_size": 4}  # fmt: skip
ROUNDS = {
    "best_of_n": {"samples": 3, "iterations": 2},
    "sdpo": {"slices": 2},
    "spin": {"iterations": 3, "betas": [0.1, 0.1, 5.0]},
    "irft": {"iterations": 2, "link": "linear", "lora": tiny_study.LORA},
    "rft": {"iterations": 2, "num_generations": 2, "reward_model": {
        "learning_rate": 1e-3, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
    }},
    "rft_ppo": {"method": "rft", "policy": "ppo", "reward_model": {"max_steps": 1}},
    "iterative_dpo": {"iterations": 2, "samples": 3, "prompts": "all"},
    "online": {"method": "iterative_dpo", "iterations": 2, "samples": 3, "reference": "last",
               "loss_type": "ipo"},
    "sppo": {"iterations": 2, "samples": 3},
    "aft": {"drafts": 2, "layers": 2, "max_length": 250},
    "aft_best": {"method": "aft", "drafts": 3, "layers": 1, "answer": "best", "max_length": 250},
}  # fmt: skip
SAME = {
    "sdpo_once": {"method": "sdpo", "slices": 1, **SHORT},
    "spin_once": {"method": "spin", "iterations": 1, "sampling": SAMPLING, **SHORT},
    "irft_whole": {"method": "irft", "iterations": 1, "sampling": SAMPLING, **SHORT},
}
METHODS = {
    "sft": {**SHORT, "max_steps": 20, "learning_rate": 1e-3},
    "dpo": SHORT,
    **{
        label: {**SHORT, **({} if label == "sdpo" else {"sampling": SAMPLING}), **own}
        for label, own in ROUNDS.items()
    },
    "tpo": {**SHORT, "gold": {"best_of": 3, **SAMPLING}},
    **SAME,
}
RECIPES = {"base": [], "sft": ["sft"]}
RECIPES |= {label: ["sft", label] for label in METHODS if label != "sft"}

KILLED = """
import os, signal
from pathlib import Path
from alignstudy.cli.app import main
from alignstudy.study.stages import generate, rounds, train

where, asked = {where!r}, []
AT = dict(
    train="train/sft+spin/seed-0/round-2",
    reward="train/sft+rft/seed-0/round-2/reward",
    policy="train/sft+rft/seed-0/round-2",
)
generate.AT_ONCE = 20  # of the same responses, more parts
write, job, build = generate.generate, train.Train.job, rounds.BuildRows._draws

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def writing(weights, prompts, settings, **rest):
    asked.append(settings.do_sample)
    if where == "sample" and sum(asked) == 6:  # in the middle of a stage, and of a round
        die()
    return write(weights, prompts, settings, **rest)

def training(stage, given, **rest):
    found, steps = job(stage, given, **rest), []
    if stage.name == AT.get(where):
        stop = lambda: steps.append(1) or len(steps) > 1 and die()
        return train.replace(found, should_stop=stop)
    return found

def building(stage, given):
    if where == "build" and stage.name == "build/sft+spin/seed-0/round-3":
        die()
    return build(stage, given)

generate.generate, train.Train.job, rounds.BuildRows._draws = writing, training, building
main(["run", *{arguments}])
"""


def ranker():
    """Return a second judge: other pairs, another shape."""
    (judge,) = tiny_study.study()["judges"]
    judge = json.loads(json.dumps(judge))
    judge["name"] = "ranker"
    judge["train"]["rows"]["share"] = [0.0, 0.25]
    judge["train"]["architecture"]["hidden_size"] = 16
    return judge


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The study, run whole in one home; in another killed five times, and gone on with."""
    root = tmp_path_factory.mktemp("rounds")
    study = tiny_study.study(
        {
            "methods": METHODS, "recipes": RECIPES, "workers": 1, "generation.max_new_tokens": 24,
            "data.world.num_pretrain": 2000, "data.train.max_rows": 40,
            "base.scratch.pretrain.max_steps": 240, "base.scratch.pretrain.max_length": 128,
            "base.scratch.architecture.max_position_embeddings": 320,
            "prompts.harmful.n": 6, "prompts.helpful.n": 6, "diagnostics": {"n": 2, "draws": 100},
        }
    )  # fmt: skip
    study["judges"].append(ranker())
    path = root / "study.yaml"
    path.write_text(json.dumps(study), encoding="utf-8")
    tiny_study.run_here(path, out=root / "begun", home=root / "other", only="train/sft/seed-0")
    shutil.copytree(root / "other", root / "home")
    whole = tiny_study.run_here(path, out=root / "run", home=root / "home")
    arguments, ended = [str(path), "--out", str(root / "killed")], []
    for where in ("sample", "train", "build", "reward", "policy"):
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
    rest = [run / "statistics.json", *sorted((run / "responses").iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in [*models, *rest]}


def stages(root):
    """Return the stages of the study by name, and where their artefacts lie."""
    study = Study.load(root / "study.yaml", out=root / "run")
    graph = study.graph(study.located(fetch=False))
    found = {stage.name: stage for stage in in_order(graph.goals)}
    store = Store(root / "home")
    return found, lambda name: store.peek(found[name].kind, found[name].key).folder


def test_a_round_that_was_killed_goes_on_with_the_same_results(places):
    root, whole, ended, gone_on = places
    for child in ended:
        assert child.returncode == -9, child.stderr[-2000:]
    assert results(root / "killed") == results(root / "run")
    assert 0 < len(gone_on.executed) < len(whole.executed)
    again = tiny_study.run_here(root / "study.yaml", out=root / "run", home=root / "home")
    assert again.executed == ()


def test_every_method_is_asked_judged_and_in_one_report(places):
    root, whole, _, _ = places
    with (root / "run" / "tables" / "metrics.csv").open(encoding="utf-8") as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(RECIPES)
    page = html.unescape((root / "run" / "report.md").read_text(encoding="utf-8"))
    for label, rounds in (("best_of_n", 2), ("spin", 3), ("sdpo", 2), ("irft", 2), ("sppo", 2)):
        assert f"train/sft+{label}/seed-0/round-{rounds}" in whole.executed
        assert f"train/sft+{label}/seed-0/round-{rounds + 1}" not in whole.executed
        assert label == "best_of_n" or f"sft > {label}, round {rounds}" in page  # its probe's table
    for place in ("report.html", "data/audit.json"):
        told = (root / "run" / place).read_text(encoding="utf-8")
        assert "samples of sft+spin/seed-0/round-3" in told, place
    preview = (root / "run" / "data" / "preview.md").read_text(encoding="utf-8")
    assert "## spin (dpo)" in preview
    assert "## rft, its reward model (reward_model)" in preview
    check_run_folder.check(root / "run")


def test_samples_are_the_sampler_s_and_all_of_them_are_kept(places):
    root, _, _, _ = places
    found, folder = stages(root)
    for at, parent in ((1, "train/sft/seed-0"), (2, "train/sft+spin/seed-0/round-1")):
        built = found[f"build/sft+spin/seed-0/round-{at}"]
        assert built.samples.model.name == parent
        rows = list(read_rows(folder(built.name) / "rows.jsonl", Pair))
        samples = {
            r.prompt_id: r
            for r in read_rows(folder(built.samples.name) / "responses.jsonl", Response)
        }
        data = {r.id: r for r in read_rows(folder("rows/train") / "rows.jsonl", Pair)}
        assert len(samples) == len(data)
        own = [row for row in rows if row.id in data]
        assert len(own) >= len(data) / 2
        for row in own:
            assert (row.prompt, row.chosen) == (data[row.id].prompt, data[row.id].chosen)
            assert row.rejected == " " + samples[row.id].text
        kept = [row for row in rows if row.id not in data]
        assert bool(kept) == (at > 1)  # from the second round on, the round before's as well
    result = json.loads((folder("train/sft+spin/seed-0/round-2") / "result.json").read_text())
    assert "samples_are_the_parents" in {guard["guard"] for guard in result["guards"]}


def test_a_policy_learns_the_reward_that_its_demonstrations_showed(places):
    root, _, _, _ = places
    found, folder = stages(root)
    for at in (1, 2):
        name = f"train/sft+rft/seed-0/round-{at}"
        learnt = folder(f"{name}/reward")
        result = json.loads((learnt / "result.json").read_text(encoding="utf-8"))
        assert "scores_read_forward" in {guard["guard"] for guard in result["guards"]}
        assert ("a new head was drawn from the seed" in result["notes"]) == (at == 1)
        curve = fx.read_metrics(learnt)
        assert curve[-1]["loss"] < curve[0]["loss"]
        # What the policy was rewarded with is what a judge reads in that folder.
        judge = SeqClsJudge.build(SeqClsSettings(input="chat", max_length=128), learnt, "cpu")
        lines = (folder(name) / "samples.jsonl").read_text(encoding="utf-8").splitlines()
        prompts = {r.id: r.prompt for r in read_rows(folder("rows/train") / "rows.jsonl", Pair)}
        drawn = [json.loads(line) for line in lines[:6]]
        marks = judge.score([(prompts[each["row"]], each["text"]) for each in drawn])
        assert [mark.score for mark in marks] == [each["score"] for each in drawn]
        assert found[name].rows.name == f"slice/{at}-of-2"
    told = (root / "run" / "report.html").read_text(encoding="utf-8")
    assert "sft &gt; rft, round 2, its reward model" in told
    assert "samples of sft+rft/seed-0/round-2" in told


def first_loss(folder):
    return fx.read_metrics(folder)[0]["loss"]


def test_references_are_the_last_round_or_the_first(places):
    root, _, _, _ = places
    found, folder = stages(root)
    spin, iterative = "train/sft+spin/seed-0/round-", "train/sft+iterative_dpo/seed-0/round-"
    for at in (1, 2, 3):
        assert first_loss(folder(f"{spin}{at}")) == pytest.approx(math.log(2), abs=1e-3)
    assert first_loss(folder(f"{iterative}1")) == pytest.approx(math.log(2), abs=1e-3)
    assert first_loss(folder(f"{iterative}2")) != pytest.approx(math.log(2), abs=3e-3)
    assert found[f"{iterative}2"].reference is found[f"{iterative}1"].parent
    assert found["train/sft+online/seed-0/round-2"].reference is None


def test_identities(places):
    """One round of SPIN or IRFT: DPO on (demonstration, sample); one part of sDPO: DPO."""
    root, whole, _, _ = places
    models = root / "run" / "models"

    def weights(recipe):
        return (models / recipe / "model.safetensors").read_bytes()

    assert weights("sdpo_once") == weights("dpo")
    assert weights("spin_once") == weights("irft_whole")
    once = (
        {"dpo/seed-0", "sdpo_once/seed-0"},
        {"spin_once/seed-0", "irft_whole/seed-0", "spin/seed-0/round-1"},
    )
    for same in once:
        assert len({f"train/sft+{name}" for name in same} & set(whole.executed)) == 1
    _, folder = stages(root)
    rows = list(read_rows(folder("build/sft+spin/seed-0/round-1") / "rows.jsonl", Pair))
    for row in rows:
        assert row.rejected != row.chosen
    job = fx.make_job(DPOSettings(**SHORT), models / "sft", root / "by-hand", rows=rows)
    train(job)
    assert (root / "by-hand" / "out" / "model.safetensors").read_bytes() == weights("spin_once")


def test_a_model_that_learnt_to_aggregate_is_asked_in_layers(places):
    root, _, _, _ = places
    found, folder = stages(root)
    head = found["generate/aft/seed-0"]
    layers = [head]
    while hasattr(layers[-1], "drafts"):
        layers.append(layers[-1].drafts)
    assert [each.settings.num_samples for each in layers] == [1, 2, 2]  # kL + 1 = 5 a prompt
    drafts = list(read_rows(folder(layers[1].name) / "responses.jsonl", Response))
    asked = {prompt.id: prompt.text for prompt in head.asked(lambda stage: folder(stage.name))}
    for response in read_rows(folder(head.name) / "responses.jsonl", Response):
        shown = [d.text for d in drafts if d.prompt_id == response.prompt_id]
        assert f"1. {' '.join(shown[0].split())}" in asked[response.prompt_id]
        assert "1. " not in response.prompt  # judges read the question alone
    alone = found["generate/aft_best/seed-0"]
    assert alone.drafts.settings.num_samples == 3
    assert not hasattr(alone.drafts, "drafts")
