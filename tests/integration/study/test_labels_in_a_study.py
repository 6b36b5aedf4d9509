"""A study run, its responses labelled, and the study run again: only its analysis is made anew."""

import csv
import json
import shutil

import existing_models as have
import methods_fixtures as fx
import pytest
import tiny_study

from alignstudy.errors import AlignstudyError
from alignstudy.study.tools.label import label_sheet

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("without_figures")]

STUDY = """\
study: mine
base: {places}/base
data: {{source: {places}/pairs.jsonl}}
prompts: {{helpful: {{subsets: [], n: 20}}, harmful: null}}
calibration: {{share: [0.0, 0.3], n: 20}}
validation: null
diagnostics: null
judges: [{{use: length}}]
generation: {{max_new_tokens: 8}}
recipes: {{base: [], near: {{from: {places}/near}}}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study that trains nothing, run once: its file, run and home."""
    root = tmp_path_factory.mktemp("labels")
    base = fx.write_llama(root / "base", tokenizer_from=fx.write_opt(root / "opt"))
    shutil.copytree(base, root / "near")
    have.change_weights(root / "near")
    rows = [
        {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in fx.make_pairs(120)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = root / "study.yaml"
    path.write_text(STUDY.format(places=root))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())
        tiny_study.run_here(path, out=root / "run", home=root / "home")
    return path, root / "run", root / "home"


def again(made, labels, **changes):
    path, run, home = made
    given = {"out": run, "home": home, "overrides": [f"labels={labels}"]}
    return tiny_study.run_here(path, **given | changes)


def test_labels_make_only_the_analysis_again(made, tmp_path):
    _, folder, _ = made
    sheet = label_sheet(folder, n=40, out=tmp_path / "sheet.csv")
    assert sheet.key.parent == folder / "labels"
    with sheet.path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    with sheet.path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label"])
        writer.writerows([row["id"], len(row["response"]) % 2] for row in rows)
    run = again(made, sheet.path)
    assert run.executed == ("compare", "report")
    [evidence] = run.statistics["labels"]
    assert {each["metric"] for each in evidence["figures"]} == {"hpr"}
    assert "Rates corrected by labels" in (run.folder / "report.md").read_text()
    told = json.loads((run.folder / "data" / "report.json").read_text())
    assert told["provenance"]["comparisons on these prompts"] == 1  # labels are no further look
    record = json.loads((run.folder / "provenance.json").read_text())
    assert {"labels", "labels/key"} <= set(record["sources"])
    assert again(made, sheet.path).executed == ()
    text = sheet.path.read_text()
    sheet.path.write_text(text.replace(",1", ",0", 1))  # one label changed: made again
    assert again(made, sheet.path).executed == ("compare", "report")


def test_a_calibrated_threshold_tells_what_it_leaves_open(made):
    path, folder, home = made
    run = tiny_study.run_here(path, out=folder, home=home)
    errors = {e["model"]: e for e in run.statistics["threshold_errors"] if not e["reference"]}
    assert set(errors) == {"base", "near"}
    joined = tiny_study.run_here(
        path,
        out=folder,
        home=home,
        overrides=["thresholds={calibrated: true, uncertainty: joined}"],
    )
    assert joined.executed == ("compare", "report")
    for model in joined.statistics["models"]:
        assert model["estimates"]["hpr"] == errors[model["model"]]["joined"]
    assert "What the calibrated threshold leaves open" in (folder / "report.html").read_text()


WRONG = {
    "no file": (None, "doesn't exist"),
    "no label": ("id,label\ns123456-001,\n", "key of the sheet"),
    "a word": ('{"model": "near", "prompt_id": "p", "label": "perhaps"}\n', "label is 'perhaps'"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_labels_that_cannot_be_read_stop_a_study_before_anything(kind, made, tmp_path):
    text, why = WRONG[kind]
    path = tmp_path / "labels.jsonl"
    if text is not None:
        path = path.with_suffix(".csv" if text.startswith("id") else ".jsonl")
        path.write_text(text)
    with pytest.raises(AlignstudyError) as refused:
        again(made, path, out=tmp_path / "other")
    assert refused.value.exit_code == 2
    for part in ("'labels'", why):
        assert part in str(refused.value)


def test_labels_of_no_response_are_refused_by_file_and_row(made, tmp_path):
    path = tmp_path / "judge.jsonl"
    path.write_text('{"model": "near", "prompt_id": "helpful-999", "label": 1}\n')
    with pytest.raises(AlignstudyError) as refused:
        again(made, path)
    for part in ("judge.jsonl:1", "model 'near', prompt helpful-999", "no such response"):
        assert part in str(refused.value)
