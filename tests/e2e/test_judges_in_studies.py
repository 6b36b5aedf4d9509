"""Whole studies with several judges: of one axis only, a function, one that is gone."""

import csv
import json

import tiny_study
from tiny_study import run_here, write_study

TRAINED = tiny_study.STUDY["judges"][0]
LENGTH = {"use": "length"}
REFUSALS = {"use": "rules", "measures": "refusal", "thresholds": {"harmless": 0.5}}
GONE = {"name": "gone", "path": "nobody/not-there"}


def run(finished, folder, *judges, **changes):
    study = write_study(folder / "study.yaml", {"judges": list(judges), **changes})
    made = run_here(study, out=folder / "run", home=finished.home)
    assert run_here(study, out=folder / "run", home=finished.home).executed == ()
    return made


def test_a_judge_of_one_axis_is_left_out_on_the_other(finished, tmp_path):
    made = run(finished, tmp_path, LENGTH, REFUSALS)
    found = made.statistics
    assert found["judge"] == "length"
    (rules,) = found["other_judges"]
    assert {row["metric"] for row in rules["comparisons"]} <= {"hmr", "score_harmless"}
    assert {a["axis"] for q in found["qualities"] for a in q["accuracies"]
            if q["judge"] == "rules"} == {"harmless"}  # fmt: skip
    responses = made.responses()
    scored = responses.groupby("prompts")["scores"].agg(lambda column: set().union(*column))
    assert scored["helpful"] == {"length"}
    assert scored["harmful"] == {"length", "rules"}
    report = json.loads((made.folder / "data" / "report.json").read_text())
    assert {row["judge"] for row in report["calibrations"]} == {"length"}
    assert not any("reversed" in text for text in report["warnings"])


def test_an_edited_function_scores_anew_and_the_former_one_is_remembered(finished, tmp_path):
    source = tmp_path / "length_in_signs.py"
    judge = {"use": "python", "call": "length_in_signs:rate", "name": "mine"}

    def scores(sign):
        source.write_text(f"def rate(items):\n    return [{sign}len(r) for _, r in items]\n")
        changes = {"assess.reversed": "keep"}
        made = run_here(
            write_study(tmp_path / "study.yaml", {"judges": [TRAINED, judge], **changes}),
            out=tmp_path / "run", home=finished.home,
        )  # fmt: skip
        rows = json.loads((made.folder / "responses" / "dpo_helpful.json").read_text())
        return made.executed, [(row["scores"]["mine"], len(row["response"])) for row in rows]

    first, plain = scores("")
    assert "score/mine/dpo/seed-0" in first
    assert all(score == length for score, length in plain)
    _, negated = scores("-")
    assert all(score == -length for score, length in negated)
    assert scores("")[1] == plain


def test_a_judge_that_is_gone_is_told_and_leaves_its_numbers_unused(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    sweep = {"calibrated": True, "sweep": {"harmless": [-6.0, 0.0, 0.1]}}
    made = run(finished, tmp_path, GONE, TRAINED, thresholds=sweep)
    assert any("judge gone absent" in note for note in made.notes)
    assert "judge absent: gone" in (made.folder / "report.md").read_text(encoding="utf-8")
    assert made.statistics["judge"] == "tiny-judge"
    grid = next(s for s in made.statistics["sweeps"] if s["axis"] == "harmless")["thresholds"]
    assert len(grid) == 61
    assert grid[0] != -6.0
    with (made.folder / "tables" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(tiny_study.STUDY["recipes"])
