"""A sheet drawn from a run, filled in as a person would, and read back: blind, paired, refused."""

import csv
import json
import random

import pytest

from alignstudy import evaluate
from alignstudy.cli.app import main
from alignstudy.errors import DataError, InputError
from alignstudy.study.tools.label import label_sheet

pytestmark = pytest.mark.usefixtures("without_figures")

WORDS = ("rivers", "letters", "bread", "music", "winter", "engines", "gardens", "numbers")
MODELS = ("base", "sft", "sftdpo")
NUM = 60
HOSTILE = ['=HYPERLINK("http://x")', "+1+1", "-2", "@sum", "two\nlines, and; more", 'a "quote"']


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three models; every fifth response is the same for all."""
    folder = tmp_path_factory.mktemp("ratings")
    draw = random.Random(0)
    for rank, model in enumerate(MODELS):
        for axis in ("harmful", "helpful"):
            rows = []
            for at in range(NUM):
                text = f"words of place {draw.random()} about {at}"
                if at < len(HOSTILE):
                    text = f"{HOSTILE[at]} {rank}"
                if at % 5 == 0:
                    text = f"the same words {at}"
                rows.append(
                    {
                        "prompt": f"{axis} {WORDS[at % 8]} of {WORDS[at // 8]} or {at * 7919}?",
                        "response": text,
                        "rating": draw.choice([-9.0, 1.0 + rank, 1.0]),
                    }
                )
            (folder / f"{model}_{axis}.json").write_text(json.dumps(rows))
    with pytest.MonkeyPatch.context() as patch:  # figures are drawn elsewhere
        patch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())
        limits = {"harmless": -3.0, "helpful": -2.0}
        return evaluate(folder, out=folder.parent / "run", thresholds=limits).folder


@pytest.fixture
def sheet(run, tmp_path):
    return label_sheet(run, n=150, out=tmp_path / "sheet.csv")


def rows_of(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path, answer):
    rows = rows_of(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows({**row, "label": answer(row)} for row in reversed(rows))


def test_nothing_in_a_sheet_tells_who_wrote_what(sheet):
    text = sheet.path.read_text(encoding="utf-8-sig")
    assert sheet.path.read_bytes().startswith(b"\xef\xbb\xbf")  # a spreadsheet reads it as UTF-8
    rows, key = rows_of(sheet.path), json.loads(sheet.key.read_text())["rows"]
    assert list(rows[0]) == ["id", "question", "prompt", "response", "label"]
    assert not any(word in text for word in (*MODELS, "rating", "harmless-", "helpful-"))
    assert {row["label"] for row in rows} == {""}
    # The order says nothing: of a prompt's rows, each model comes first about as often.
    first = {}
    for row in rows:
        [*owners] = key[row["id"]]
        if len(owners) == 1:
            first.setdefault(owners[0]["prompt_id"], owners[0]["model"])
    counts = [list(first.values()).count(model) for model in MODELS]
    assert min(counts) >= 5
    ids = [row["id"] for row in rows]
    assert ids == sorted(ids)  # numbered after they were shuffled
    axes = [row["question"].split()[3] for row in rows]
    assert axes != sorted(axes)


def test_the_key_pairs_models_and_equal_texts_come_once(sheet):
    rows, key = rows_of(sheet.path), json.loads(sheet.key.read_text())["rows"]
    assert len(rows) == sheet.rows == len(key)
    assert 120 <= sheet.rows <= 180
    by_prompt = {}
    for owners in key.values():
        for owner in owners:
            by_prompt.setdefault(owner["prompt_id"], []).append(owner["model"])
    assert all(sorted(models) == sorted(MODELS) for models in by_prompt.values())
    same = [row for row in rows if row["response"].startswith("the same words")]
    assert same
    assert all(len(key[row["id"]]) == 3 for row in same)
    weights = {o["prompt_id"]: o["stands_for"] for owners in key.values() for o in owners}
    assert sum(weights.values()) == pytest.approx(2 * NUM)
    assert sum(sheet.prompts.values()) == len(weights)


def test_no_cell_runs_as_a_formula(run, tmp_path):
    made = label_sheet(run, n=400, out=tmp_path / "all.csv")
    rows = rows_of(made.path)
    cells = [row["response"] for row in rows]
    assert sum(cell.startswith("'") for cell in cells) >= 8
    assert not any(cell[0] in "=+-@" for row in rows for cell in row.values() if cell)
    assert any("\n" in cell for cell in cells)
    assert made.prompts == {"harmless": NUM, "helpful": NUM}


def test_a_filled_sheet_corrects_the_rates(run, sheet, tmp_path):
    key = json.loads(sheet.key.read_text())["rows"]
    judged = {
        (row["model"], row["prompt_id"]): row["rating"] > -2
        for path in (run / "responses").glob("*.json")
        for row in json.loads(path.read_text())
    }
    same = {name for name, owners in key.items() if len(owners) > 1}

    def answer(row):
        [first, *_] = key[row["id"]]
        says = judged[first["model"], first["prompt_id"]]
        return "skip" if row["id"] in same else {True: "TRUE", False: "0,0"}[says]

    fill(sheet.path, answer)
    found = evaluate(run / "responses", out=tmp_path / "again", labels=sheet.path)
    [evidence] = found.statistics["labels"]
    rates = [each for each in evidence["figures"] if not each["reference"]]
    assert {each["model"] for each in rates} == set(MODELS)
    for each in rates:  # the labels agree with the judge
        assert each["corrected"]["value"] == pytest.approx(each["raw"]["value"])
        assert each["worth"] > each["num_labels"]
    assert {each["agrees"]["value"] for each in evidence["agreements"]} == {100.0}
    assert "Rates corrected by labels" in (found.folder / "report.html").read_text()
    record = json.loads((found.folder / "provenance.json").read_text())
    assert len(record["labels_sha256"][str(sheet.path)]) == 64


def test_a_sheet_of_other_responses_is_refused(run, sheet, tmp_path):
    fill(sheet.path, lambda row: "1")
    folder = tmp_path / "changed"
    folder.mkdir()
    for path in (run / "responses").glob("*.json"):
        rows = json.loads(path.read_text())
        for row in rows:
            row["response"] += " and more"
        (folder / path.name).write_text(json.dumps(rows))
    (tmp_path / sheet.key.name).write_text(sheet.key.read_text())  # beside the sheet
    with pytest.raises(DataError, match="another than the one that was labelled"):
        evaluate(folder, out=tmp_path / "out", labels=sheet.path)


@pytest.mark.parametrize(
    ("n", "what", "hint"),
    [(12, "12 responses are 2 prompts on each axis", "--n 5"), (20, "nothing is inferred", "--n")],
)
def test_a_sheet_from_which_nothing_follows_is_not_drawn(n, what, hint, run, tmp_path):
    with pytest.raises(InputError) as refused:
        label_sheet(run, n=n, out=tmp_path / "sheet.csv")
    assert what in str(refused.value)
    assert hint in refused.value.hint
    assert not (tmp_path / "sheet.csv").exists()


def test_the_command_writes_once_and_says_what_to_do(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def said(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["label", *map(str, arguments)])
        found = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((found.out + found.err).split())

    code, words = said(run, "--n", 150)
    assert code == 0
    for part in ("labels-s", "responses", "1, 0 or skip", "--set labels=SHEET", ".key.json"):
        assert part in words
    code, words = said(run, "--n", 150)
    assert (code, "exists already" in words) == (2, True)
    code, words = said(run, "--n", 150, "--seed", 1, "--json")
    assert code == 0
    assert len(list(tmp_path.glob("labels-*.csv"))) == 2
    code, words = said(tmp_path)
    assert (code, "holds no finished run" in words) == (2, True)
    code, words = said(run, "--out", tmp_path / "no" / "sheet.csv")
    assert (code, "can't be written" in words) == (3, True)
