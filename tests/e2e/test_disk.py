"""Disk freed under a whole study: nothing is lost, and what is asked for again is the same."""

import json
import re
import shutil

import pytest
from test_engine import results, weights
from tiny_study import cli, plan, run_here

from alignstudy.study.run.store import Store
from alignstudy.study.tools.prune import prune


@pytest.fixture
def home(finished, tmp_path):
    """A copy of the store that no run is known to need."""
    shutil.copytree(finished.home, tmp_path / "home")
    shutil.rmtree(tmp_path / "home" / "runs")
    return tmp_path / "home"


def test_dropped_weights_are_trained_again_to_the_same_bits(finished, home, tmp_path):
    run, store = tmp_path / "run", Store(home)
    run_here(finished.study, out=run, home=home)
    lines = plan(finished.study, home=home)
    dropped = [lines[name].stage for name in ("train/sft/seed-0", "train/sft+dpo/seed-0")]
    curves = [(store.folder("train", s.key) / "metrics.jsonl").stat().st_ino for s in dropped]
    for stage in dropped:
        assert store.drop_weights("train", stage.key) == 0, "the run folder shows them, too"
    shutil.rmtree(run / "models")
    lines = plan(finished.study, out=run, home=home)
    new = {name: line.why for name, line in lines.items() if line.state == "new"}
    assert new == {stage.name: "its weights were dropped" for stage in dropped}
    made = run_here(finished.study, out=run, home=home)
    assert made.executed == tuple(stage.name for stage in dropped)
    assert made.notes == ()
    assert results(run) == results(finished.run)
    kept = [(store.folder("train", s.key) / "metrics.jsonl").stat().st_ino for s in dropped]
    assert kept == curves
    assert run_here(finished.study, out=run, home=home).executed == ()


def test_a_new_report_reads_no_dropped_weights(finished, home, tmp_path):
    """What happened in a training, and its curve, are read without its weights."""
    run, store = tmp_path / "run", Store(home)
    lines = plan(finished.study, home=home)
    for name in ("base", "train/sft/seed-0"):
        assert store.drop_weights("train", lines[name].stage.key) > 0
    store.drop("report", lines["report"].stage.key)
    made = run_here(finished.study, out=run, home=home, only="report")
    assert made.executed == ("report",)
    store.drop("preview", lines["preview"].stage.key)
    again = run_here(finished.study, out=run, home=home, only="preview")
    assert again.executed == ("preview",), "tokenizers are no weights"
    assert "train/sft/seed-0" in (run / "report.html").read_text(encoding="utf-8")


def test_a_former_version_is_freed_and_comes_back_the_same(finished, home, tmp_path):
    run = tmp_path / "run"
    change = ["methods.dpo.beta=0.2"]
    run_here(finished.study, out=run, home=home)
    prune(Store(home), dry=False)  # what other tests of the store left
    before = results(run)
    run_here(finished.study, out=run, home=home, overrides=change)
    told = json.loads(cli("store", "prune", "--json", home=home).stdout)
    trained = {"train/dpo/seed-0", "train/sft+dpo/seed-0"}
    names = {piece["name"] for piece in told["pieces"]}
    assert trained < names
    assert "train/sft/seed-0" not in names
    done = json.loads(cli("store", "prune", "--yes", "--json", home=home).stdout)
    assert done["freed"] == told["freed"] > 0
    assert run_here(finished.study, out=run, home=home, overrides=change).executed == ()
    made = run_here(finished.study, out=run, home=home)
    assert trained < set(made.executed)
    after = results(run)
    assert {k: v for k, v in after.items() if k.endswith(".safetensors")} == weights(finished.run)
    statistics = json.loads(after.pop("statistics"))
    assert statistics == json.loads(before.pop("statistics"))
    assert after == before
    report = (run / "report.html").read_text(encoding="utf-8")
    looks = re.search(r"(\d+) versions of this study have been compared on these prompts", report)
    assert int(looks[1]) >= 2  # what is freed was looked at all the same


def test_prune_takes_nothing_from_a_finished_run(finished, home, tmp_path):
    run_here(finished.study, out=tmp_path / "run", home=home)
    prune(Store(home), checkpoints=True, dry=False)  # what other tests of the store left
    assert prune(Store(home), checkpoints=True, dry=False).pieces == []
    assert run_here(finished.study, out=tmp_path / "run", home=home).executed == ()
