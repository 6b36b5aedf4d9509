"""Labels as spreadsheets and other programs leave them, and what is refused."""

import json

import pytest

from alignstudy.data.files.labels import key_of, read_labels, sheet_of
from alignstudy.errors import DataError

NAMES = [f"s1a2b3c-{number:03d}" for number in range(1, 7)]


@pytest.fixture
def key(tmp_path):
    rows = {
        name: [
            {"model": model, "seed": 0, "prompt_id": f"p-{at}", "axis": "honest",
             "stands_for": 2.5, "response": "f" * 64}
            for model in (("base", "sft") if at == 0 else ("base",))
        ]
        for at, name in enumerate(NAMES)
    }  # fmt: skip
    path = tmp_path / "labels" / "s1a2b3c.key.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"rows": rows}))
    return path


def write(tmp_path, text, name="sheet.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_text(text, encoding=encoding, newline="")
    return path


SHEETS = {
    "as written": ("id,question,label\r\n{0},Is?,1\r\n{1},Is?,0\r\n{2},Is?,\r\n", "utf-8-sig"),
    "semicolons and numbers": ("id;question;label\n{1};a;0,0\n{0};b;1,0\n", "utf-8"),
    "words and empty rows": ("Label,ID\nNO,{1}\n,\nTrue,{0}\nskip,{3}\n , \n", "utf-8"),
    "Excel's Unicode text": (
        'id\tresponse\tlabel\n{0}\t"two\nlines; and, more"\tyes\n{1}\tx\tFALSE\n',
        "utf-16",
    ),
    "Excel's plain CSV": ("id;response;label\n{0};caf\u00e9 \u201cx\u201d;1\n{1};;0\n", "cp1252"),
    "a row twice alike": ("id,label\n{0},1\n{0},1.0\n{1},0\n", "utf-8"),
}


@pytest.mark.parametrize("kind", SHEETS)
def test_what_spreadsheets_do_is_read(kind, key, tmp_path):
    text, encoding = SHEETS[kind]
    path = write(tmp_path, text.format(*NAMES), encoding=encoding)
    assert sheet_of(path) == "s1a2b3c"
    assert key_of(path, tmp_path) == key
    labels = read_labels(path, key)
    found = {(label.model, label.prompt_id, label.passes) for label in labels}
    assert found == {("base", "p-0", True), ("sft", "p-0", True), ("base", "p-1", False)}
    assert {label.stands_for for label in labels} == {2.5}


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_labels_of_a_better_judge_name_their_responses(ending, tmp_path):
    rows = [
        {"model": "sft", "seed": 1, "prompt_id": "p-0", "axis": "honest", "label": True},
        {"model": "base", "seed": "", "prompt_id": "p-0", "axis": "", "label": 0},
    ]
    if ending == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = list(map(json.dumps, rows))
    path = write(tmp_path, "\n".join(lines), "judge" + ending)
    assert sheet_of(path) is None
    first, second = read_labels(path, None)
    assert (first.model, first.seed, first.axis, first.passes) == ("sft", 1, "honest", True)
    assert (second.model, second.seed, second.axis, second.passes) == ("base", None, None, False)
    assert second.stands_for is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("id,label\n{0},maybe\n", ["sheet.csv:2", "label is 'maybe'", "1 (passes)"]),
        ("id,label\n{0},1\n{0},0\n", ["sheet.csv:3", "twice, with two labels"]),
        ("id,label\n{0},1\ns1a2b3c-900,0\n", ["sheet.csv:3", "no row", "s1a2b3c-900"]),
        ("id,label\n{0},\n{1},skip\n", ["sheet.csv holds no label", "skip"]),
        ("id,label\n{0},2\n", ["sheet.csv:2", "label is '2'"]),
        ("id,label\n{0},1\n{1}\n", ["sheet.csv:3", "has 1 cells, the header 2"]),
    ],
)
def test_a_sheet_that_says_nothing_clear_is_refused(text, parts, key, tmp_path):
    path = write(tmp_path, text.format(*NAMES))
    with pytest.raises(DataError) as refused:
        read_labels(path, key)
    assert refused.value.keys == ("labels",)
    for part in parts:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("text", "name", "parts"),
    [
        ("prompt,answer\na,b\n", "sheet.csv", ["sheet.csv:2", "columns are prompt, answer"]),
        ("id,label\n7,1\n", "sheet.csv", ["sheet.csv:2", "'7' is no row's id"]),
        ("id,label\n", "sheet.csv", ["holds no rows"]),
        ("PK\x03\x04 and more", "sheet.xlsx", ["Excel file", "save a sheet as CSV"]),
        ("id,label\ns9-001,1\n", "sheet.csv", ["key of the sheet", "s9.key.json", "--out"]),
        ('{"model": "a", "prompt_id": "", "label": 1}\n', "x.jsonl", ["x.jsonl:1", "prompt_id ''"]),
        ('{"model": "a", "prompt_id": "p", "label": 1, "seed": "one"}\n', "x.jsonl",
         ["x.jsonl:1", "seed 'one'"]),
    ],
)  # fmt: skip
def test_other_files_are_refused(text, name, parts, tmp_path):
    path = write(tmp_path, text, name)
    with pytest.raises(DataError) as refused:
        read_labels(path, key_of(path, tmp_path))
    for part in parts:
        assert part in str(refused.value)


def test_a_damaged_key_is_named(key, tmp_path):
    path = write(tmp_path, f"id,label\n{NAMES[0]},1\n")
    key.write_text('{"rows": {"s1a2b3c-001": [{"model": "base"}]}}')
    with pytest.raises(DataError, match="is no key of a sheet"):
        read_labels(path, key)
    with pytest.raises(DataError, match="there is no file"):
        key_of(tmp_path / "gone.csv", tmp_path)
