"""Whole studies on the generated world: reuse, changes, kills, damage, what a run leaves behind."""

import csv
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import check_run_folder
import pytest
import tiny_study
from tiny_study import NUM_STAGES, plan, run_and_signal, run_apart, run_here, write_study

from alignstudy.sources import sha256_of
from alignstudy.study.api import Study
from alignstudy.study.run.store import Store

SLOW_TRAINING = {"max_steps": 40, "save_steps": 3}
"""Long enough to be caught at work, with checkpoints every few steps."""


def table(run: Path, name: str) -> list[dict[str, str]]:
    with (run / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def weights(run: Path) -> dict[str, str]:
    """Return the sha256 of every weight file in a run folder."""
    files = sorted((run / "models").rglob("*.safetensors"))
    assert files
    return {str(path.relative_to(run)): sha256_of(path) for path in files}


def results(run: Path) -> dict[str, object]:
    """Return what a study found: it must not depend on when, where or how often it was run."""
    names = [*sorted((run / "responses").iterdir()), *sorted((run / "tables").iterdir())]
    texts = {path.name: path.read_text(encoding="utf-8") for path in names}
    return {**weights(run), **texts, "statistics": (run / "statistics.json").read_text()}


def test_a_first_run_makes_everything(finished):
    assert len(finished.executed) == NUM_STAGES
    assert "well-formed" in check_run_folder.check(finished.run)
    models = [row["model"] for row in table(finished.run, "metrics")]
    assert models == ["base", "sft", "dpo", "sft_dpo"]


def test_every_model_differs_from_its_parent(finished):
    digests = weights(finished.run)
    assert len(set(digests.values())) == len(digests) == 4
    texts = {path.name: path.read_text() for path in (finished.run / "responses").iterdir()}
    assert len(set(texts.values())) == len(texts)
    means = [row["harmless"] for row in table(finished.run, "scores")]
    assert len(set(means)) == len(means)


def test_the_folder_check_sees_what_is_wrong(finished, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(finished.run, run)
    path = run / "responses" / "sft_helpful.json"
    rows = json.loads(path.read_text())
    rows[0]["rating"] = 9.0
    path.write_text(json.dumps(rows))
    assert check_run_folder.main([str(run)]) == 1
    assert "helpfulness.json" in capsys.readouterr().err
    shutil.copy(finished.run / "responses" / "sft_helpful.json", path)
    figure = run / "figures" / "rates.png"
    figure.write_bytes(figure.read_bytes()[:-20])
    assert check_run_folder.main([str(run)]) == 1
    assert "rates.png" in capsys.readouterr().err


def test_the_folder_check_compares_the_prompts(finished, tmp_path, capsys):
    for name in ("harmful", "helpful"):
        prompts = json.loads((finished.run / "data" / "prompts" / f"{name}.json").read_text())
        (tmp_path / f"{name}_prompts.json").write_text(json.dumps(prompts))
    assert check_run_folder.main([str(finished.run), str(tmp_path)]) == 0
    assert "prompts equal those of" in capsys.readouterr().out
    (tmp_path / "helpful_prompts.json").write_text(json.dumps([*prompts[:-1], "Another?"]))
    assert check_run_folder.main([str(finished.run), str(tmp_path)]) == 1
    assert "1 of 10 differ" in capsys.readouterr().err


def test_a_second_run_executes_nothing_in_seconds(finished):
    before = results(finished.run)
    used = getrusage(RUSAGE_CHILDREN).ru_utime
    said = run_apart(finished.study, "--out", finished.run, home=finished.home)
    seconds = getrusage(RUSAGE_CHILDREN).ru_utime - used  # of the processor: no clock to disturb
    assert said["executed"] == []
    assert said["stages"] == NUM_STAGES
    assert seconds < 10
    assert results(finished.run) == before
    lines = plan(finished.study, out=finished.run, home=finished.home).values()
    assert {line.state for line in lines} == {"cached"}


def test_another_folder_costs_nothing_either(finished, tmp_path):
    made = run_here(finished.study, out=tmp_path / "run", home=finished.home)
    assert made.executed == ()
    assert results(tmp_path / "run") == results(finished.run)


def test_one_changed_setting_runs_only_what_hangs_on_it(finished, tmp_path):
    run, change = tmp_path / "run", ["methods.dpo.beta=0.2"]
    run_here(finished.study, out=run, home=finished.home)
    lines = plan(finished.study, out=run, overrides=change, home=finished.home)
    new = {name for name, line in lines.items() if line.state == "new"}
    judged = {f"{stage}/seed-0" for stage in
              ("generate/dpo", "generate/sft_dpo", "diagnose/dpo", "diagnose/sft_dpo",
               "score/tiny-judge/dpo", "score/tiny-judge/sft_dpo")}  # fmt: skip
    trained = {"train/dpo/seed-0", "train/sft+dpo/seed-0"}
    assert new == trained | judged | {"compare", "preview", "report"}
    for name in trained:
        assert lines[name].why == "beta 0.1 -> 0.2"
    assert lines["generate/dpo/seed-0"].why == "train/dpo/seed-0 changes"
    made = run_here(finished.study, out=run, overrides=change, home=finished.home)
    assert set(made.executed) == new
    before, after = weights(finished.run), weights(run)
    assert {name for name in before if before[name] != after[name]} == {
        "models/dpo/adapter_model.safetensors", "models/sft_dpo/adapter_model.safetensors"
    }  # fmt: skip


def test_a_judge_that_cannot_tell_gives_no_difference(finished, tmp_path):
    change = {"judges": [{"name": "blind", "use": "constant", "value": -2.5}]}
    study = write_study(tmp_path / "blind.yaml", change)
    made = run_here(study, out=tmp_path / "run", home=finished.home)
    assert not [name for name in made.executed if name.startswith(("train", "generate", "base"))]
    rates = {(row["hmr"], row["hpr"], row["cas"]) for row in table(made.folder, "metrics")}
    assert len(rates) == 1
    rows = table(tmp_path / "run", "comparisons")
    assert len(rows) == 30
    for row in rows:
        assert float(row["difference"]) == 0
        assert float(row["low"]) <= 0 <= float(row["high"])
        assert float(row["p_value"]) == float(row["p_holm"]) == 1
        assert (row["wins"], row["losses"]) == ("0", "0")
    check_run_folder.check(tmp_path / "run")


def test_other_seeds_give_other_numbers_and_the_base_is_asked_once(finished, tmp_path):
    thresholds = {"harmless": -0.5, "helpful": -0.6}  # between the scores: rates that are not 0
    changes = {"seeds": [0, 1], "thresholds": thresholds, "calibration": None}
    study = write_study(tmp_path / "seeds.yaml", changes)
    made = run_here(study, out=tmp_path / "run", home=finished.home)
    assert made.executed.count("base") == 1
    generated = [name for name in made.executed if name.startswith("generate/")]
    assert len(generated) == 1 + 3 * 2
    check_run_folder.check(tmp_path / "run")
    assert any(0 < float(row["hmr"]) < 100 for row in table(made.folder, "metrics"))
    both = weights(tmp_path / "run")
    for recipe in ("sft", "dpo", "sft_dpo"):
        first, second = (
            digest for name, digest in both.items() if name.startswith(f"models/{recipe}/seed-")
        )
        assert first != second
    scores = made.responses().groupby(["model", "seed"])["rating"].mean().unstack()
    differ = scores[0] != scores[1]
    assert not differ["base"]
    assert differ["dpo"]
    assert differ["sft_dpo"]


@pytest.mark.parametrize("stage", ["train/sft/seed-0", "train/sft+dpo/seed-0"])
def test_edge_case_14_a_killed_training_goes_on_and_ends_in_the_same_bits(
    finished, uninterrupted, tmp_path, stage
):
    home, run = tmp_path / "home", tmp_path / "run"
    shutil.copytree(finished.home, home)
    key = plan(uninterrupted.study, home=home)[stage].stage.key
    stopped = run_and_signal(
        (uninterrupted.study, "--out", run), home=home, key=key, number=signal.SIGKILL
    )
    assert stopped.code == -signal.SIGKILL
    made = run_here(uninterrupted.study, out=run, home=home)
    assert made.executed[0] == stage
    folder = run / "models" / {"train/sft/seed-0": "sft"}.get(stage, "sft_dpo")
    notes = json.loads((folder / "result.json").read_text())["notes"]
    resumed = [int(note.split()[-1].rstrip(".")) for note in notes if "went on" in note]
    assert len(resumed) == 1
    assert resumed[0] >= stopped.step > 0
    assert results(run) == results(uninterrupted.run)


@pytest.fixture(scope="module")
def uninterrupted(finished, tmp_path_factory):
    """A study of longer trainings, run in one go, in its own home."""
    root = tmp_path_factory.mktemp("uninterrupted")
    methods = tiny_study.study()["methods"]
    changes = {f"methods.{name}": {**methods[name], **SLOW_TRAINING} for name in methods}
    changes["workers"] = 1  # one stage after another: what was killed is what goes on first
    study = write_study(root / "slow.yaml", changes)
    shutil.copytree(finished.home, root / "home")
    made = run_here(study, out=root / "run", home=root / "home")
    return replace(finished, home=root / "home", study=study, run=made.folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_stop_says_so_and_the_same_command_finishes(
    finished, uninterrupted, tmp_path, number
):
    home, run = tmp_path / "home", tmp_path / "run"
    shutil.copytree(finished.home, home)
    stage = "train/sft/seed-0"
    key = plan(uninterrupted.study, home=home)[stage].stage.key
    stopped = run_and_signal((uninterrupted.study, "--out", run), home=home, key=key, number=number)
    assert stopped.code == 75, stopped.errors
    assert "Traceback" not in stopped.errors
    assert f"{stage}: training was stopped at step" in stopped.errors
    assert "run the same command again" in stopped.errors
    assert json.loads((run / "provenance.json").read_text())["status"] == "interrupted"
    run_here(uninterrupted.study, out=run, home=home)
    assert json.loads((run / "provenance.json").read_text())["status"] == "complete"
    assert weights(run) == weights(uninterrupted.run)


def test_a_flipped_bit_is_told_and_made_anew(finished, tmp_path):
    home, run = tmp_path / "home", tmp_path / "run"
    shutil.copytree(finished.home, home)
    lines = plan(finished.study, home=home)
    damaged = home / "store" / "train" / lines["train/sft/seed-0"].stage.key / "model.safetensors"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    made = run_here(finished.study, out=run, home=home)
    assert made.executed == ("train/sft/seed-0",)
    (note,) = made.notes
    assert "model.safetensors is damaged" in note
    assert "recomputed" in note
    assert json.loads((run / "provenance.json").read_text())["notes"] == [note]
    assert results(run) == results(finished.run)


def test_an_adapter_is_merged_before_the_next_method(finished, tmp_path):
    sft = {**tiny_study.STUDY["methods"]["sft"], "lora": tiny_study.LORA}
    study = write_study(tmp_path / "lora.yaml", {"methods.sft": sft})
    run = tmp_path / "run"
    made = run_here(study, out=run, home=finished.home)
    assert "merge/sft/seed-0" in made.executed
    check_run_folder.check(run)
    config = json.loads((run / "models" / "sft_dpo" / "adapter_config.json").read_text())
    base = Path(config["base_model_name_or_path"])
    assert base == run / "models" / "_bases" / "merge-sft-seed-0"
    (guard,) = json.loads((base / "result.json").read_text())["guards"]
    assert guard["passed"]
    assert guard["guard"] in (run / "report.html").read_text(encoding="utf-8")
    # back to full weights in the same folder: what only the adapter needed is gone
    run_here(finished.study, out=run, home=finished.home)
    assert not (run / "models" / "_bases").exists()
    assert not (run / "models" / "sft" / "adapter_config.json").exists()
    assert results(run) == results(finished.run)


def test_only_a_stage_and_what_it_needs(finished, tmp_path):
    home, run = tmp_path / "home", tmp_path / "run"
    made = run_here(finished.study, out=run, home=home, only="rows/train")
    assert made.executed == ("world", "prompts", "rows/train")
    assert not made.report.exists()
    made = run_here(finished.study, out=run, home=home, only="train/sft/seed-0")
    assert made.executed == ("rows/pretrain", "base/shape", "base", "train/sft/seed-0")


def test_check_trains_nothing_and_shows_what_would_be_learnt(finished, tmp_path):
    study = replace(
        Study.load(finished.study, out=tmp_path / "run"), store=Store(tmp_path / "home")
    )
    found = study.check().to_json()
    states = {line["what"]: line["state"] for line in found["lines"]}
    assert states["data/train"] == "ok"
    assert states["to train"] == "new"
    assert "## dpo (dpo)" in found["preview"]
    assert not (tmp_path / "home" / "store" / "train").exists()
    assert not (tmp_path / "run").exists()
