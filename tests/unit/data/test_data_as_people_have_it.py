"""Every shape and kind of file that people bring is read right, or refused with what to do."""

import gzip
import json
import random

import pytest
from data_files import DEMONSTRATIONS, PAIRS, bad, good, question, rows_of, write_as, write_jsonl

from alignstudy.data.files import content, json_values
from alignstudy.data.files.kinds import rows_of as read_file
from alignstudy.data.files.reading import Reading
from alignstudy.data.files.records import JOINED, NO_PREFERENCE, read_records
from alignstudy.data.formats.parsing import recognised
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.selection import RowSelection
from alignstudy.dialogue import parse_turns
from alignstudy.errors import DataError

TRAIN, TEST = RowSelection(split="train"), RowSelection(split="test")
EVERY = PAIRS | DEMONSTRATIONS


def collected(path, **how):
    """Return all pairs of a file, of both its made splits, and the train split's audit."""
    reading = Reading(**how)
    train = collect_pairs(path, TRAIN, part="train", how=reading)
    test = collect_pairs(path, TEST, part="test", how=reading)
    return [*train.rows, *test.rows], train.audit


@pytest.mark.parametrize("name", EVERY)
def test_each_shape_is_recognised_and_comes_to_its_pairs(name, tmp_path):
    fmt, shape = EVERY[name]
    assert recognised(shape(1)) == fmt
    pairs, audit = collected(write_jsonl(tmp_path / "rows.jsonl", rows_of(shape, 40)))
    assert audit.quarantined == ()
    assert len(pairs) == 40
    found = {(p.prompt, p.chosen.strip(), (p.rejected or "").strip()) for p in pairs}
    worse = name in PAIRS
    expected = {(question(n), good(n), bad(n) if worse else "") for n in range(40)}
    assert {(parse_turns(prompt)[-2].text, *rest) for prompt, *rest in found} == expected


def test_a_system_turn_beside_a_pair_stands_before_the_prompt(tmp_path):
    pairs, _ = collected(write_jsonl(tmp_path / "r.jsonl", rows_of(PAIRS["orca"][1], 20)))
    assert {parse_turns(pair.prompt)[0].text for pair in pairs} == {"Be kind."}


def gold(n):
    return f"Gold {n}."


def turns(n, *answer):
    """A conversation, or an answer to it."""
    asked = [{"role": "user", "content": question(n)}]
    said = [{"role": "assistant", "content": text} for text in answer]
    return [*asked, *said]


def tagged(n, answer):
    return f"\n\nHuman: {question(n)}\n\nAssistant: {answer}"


def three(of, name="reference"):
    """Rows of three answers, each written by `of`."""
    return lambda n: {"chosen": of(n, good(n)), "rejected": of(n, bad(n)), name: of(n, gold(n))}


def asked(key="prompt"):
    return lambda n: {key: question(n), **three(lambda _, text: text)(n)}


@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        (asked(), {}),
        (three(tagged), {}),
        (lambda n: three(tagged)(n) | {"reference": gold(n)}, {}),  # the answer alone
        (three(turns), {}),
        (lambda n: {"prompt": turns(n), **three(lambda n, text: turns(n, text)[1:])(n)}, {}),
        (lambda n: {"prompt": question(n), **three(turns)(n), "reference": gold(n)}, {}),
        (lambda n: {"prompt": question(n), "score_chosen": 9, **three(turns)(n)}, {}),
        (asked("question"), {}),
        (asked("instruction"), {}),
        (lambda n: {"prompt": question(n), **three(lambda _, text: text, "ideal")(n)},
         {"reference": "ideal"}),
    ],
    ids=["text", "tags", "tags, bare", "turns", "turns after a prompt", "turns, bare", "scores",
         "question", "instruction", "named"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_gold_response_is_kept(shape, columns, kind, tmp_path):
    path = write_as(tmp_path / f"r.{kind}", rows_of(shape, 20), kind)
    pairs, _ = collected(path, columns=columns)
    assert sorted(pair.gold for pair in pairs) == sorted(f" {gold(n)}" for n in range(20))
    assert sorted(pair.chosen for pair in pairs) == sorted(f" {good(n)}" for n in range(20))


@pytest.mark.parametrize(
    ("shape", "empty"),
    [
        (asked(), lambda _: " "),
        (asked(), lambda _: None),
        (three(tagged), lambda n: tagged(n, " ")),
        (three(turns), lambda n: turns(n, " ")),
    ],
)
def test_an_empty_or_missing_gold_response_is_none(shape, empty, tmp_path):
    rows = [shape(n) | ({"reference": empty(n)} if n % 2 else {}) for n in range(20)]
    pairs, audit = collected(write_jsonl(tmp_path / "r.jsonl", rows))
    assert audit.quarantined == ()
    assert sum(pair.gold is not None for pair in pairs) == 10


def test_a_gold_response_to_another_dialogue_is_put_aside(tmp_path):
    rows = [three(tagged)(n) | {"reference": tagged(n + 1, gold(n))} for n in range(20)]
    with pytest.raises(DataError, match="the gold response answers another dialogue"):
        collected(write_jsonl(tmp_path / "r.jsonl", rows))


@pytest.mark.parametrize("name", ["ultrafeedback", "ranked"])
def test_all_pairs_of_three_answers_are_three(name, tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", rows_of(PAIRS[name][1], 30))
    pairs, audit = collected(path, pairs="all")
    assert len(pairs) == 90
    assert len({pair.id for pair in pairs}) == 90
    assert audit.notes["pairs"] == 3 * audit.used
    tops = {pair.chosen.strip() for pair in pairs}
    assert bad(3) not in tops
    assert good(3) in tops


def test_rows_of_one_prompt_are_joined_and_counted(tmp_path):
    rows = rows_of(PAIRS["kto"][1], 30)
    random.Random(0).shuffle(rows)  # they needn't stand side by side
    rows += [{"prompt": f"Only good {n}?", "completion": "Yes.", "label": True} for n in range(9)]
    rows += [{"prompt": f"Only bad {n}?", "completion": "Yes.", "label": False} for n in range(9)]
    path = write_jsonl(tmp_path / "r.jsonl", rows)
    pairs, audit = collected(path)
    assert sum(pair.rejected is None for pair in pairs) == 9
    assert sum(pair.rejected is not None for pair in pairs) == 30
    lost = len(audit.quarantined) + sum(audit.excluded.values())
    assert audit.read == audit.used + lost
    assert audit.excluded[NO_PREFERENCE] > 0
    assert audit.excluded[JOINED] > 20


def test_equal_scores_make_no_pair(tmp_path):
    rows = [{"prompt": question(n), "responses": ["a", "b"], "scores": [1, 1 + n % 2]}
            for n in range(40)]  # fmt: skip
    pairs, audit = collected(write_jsonl(tmp_path / "r.jsonl", rows))
    assert len(pairs) == 20
    assert audit.excluded[NO_PREFERENCE] + audit.used == audit.read


def test_columns_of_any_name(tmp_path):
    rows = [{"query": question(n), "win": good(n), "lose": bad(n), "prompt": "of something else"}
            for n in range(20)]  # fmt: skip
    path = write_jsonl(tmp_path / "r.jsonl", rows)
    pairs, _ = collected(path, columns={"prompt": "query", "chosen": "win", "rejected": "lose"})
    assert {pair.chosen.strip() for pair in pairs} == {good(n) for n in range(20)}
    assert "of something else" not in {parse_turns(pair.prompt)[0].text for pair in pairs}


def test_a_prompt_in_an_unknown_column_is_named():
    from alignstudy.data.formats.parsing import parse_row
    from alignstudy.data.formats.row import RawRow, UnusableRow

    fields = {"query": "q", "chosen": "a", "rejected": "b"}
    row = RawRow(file="f", line=1, subset="", split="train", fields=fields)
    with pytest.raises(UnusableRow, match=r"another column \(query\).*data\.columns\.prompt"):
        parse_row(row, fmt="auto")


KINDS = [
    ("rows.jsonl", "jsonl"), ("rows.json", "array"), ("rows.jsonl", "array"),
    ("rows.jsonl", "pretty array"), ("rows.json", "pretty objects"),
    ("rows.json", "data in an object"), ("rows.json", "pretty data"), ("rows.json", "jsonl"),
    ("rows.csv", "csv"), ("rows.tsv", "tsv"), ("rows.csv", "semicolons"), ("rows.txt", "csv"),
    ("rows.parquet", "parquet"), ("rows.jsonl", "parquet"), ("rows.arrow", "arrow"),
    ("rows.jsonl.gz", "jsonl.gz"), ("rows.jsonl", "jsonl.gz"), ("rows.jsonl.gz", "jsonl"),
    ("rows.json", "gzipped array"), ("rows.jsonl", "utf-8 with mark"),
    ("rows.json", "array with mark"), ("rows.jsonl", "utf-16"), ("rows.jsonl", "utf-16-le"),
    ("rows.jsonl", "array in utf-16"), ("rows.jsonl", "crlf"), ("no ending", "jsonl"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_a_files_content_says_what_it_is(name, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(json_values, "PART", 64)  # values lie across the parts that are read
    rows = [{"prompt": question(n), "chosen": f"Ünïcode € {good(n)}", "rejected": bad(n)}
            for n in range(20)]  # fmt: skip
    path = write_as(tmp_path / name, rows, kind)
    assert [fields for _, fields in read_file(path, name=name)] == rows
    pairs, audit = collected(path)
    assert len(pairs) == 20
    assert audit.quarantined == ()


def test_a_table_may_hold_turns_as_json(tmp_path):
    rows = [{key: json.dumps(value) for key, value in PAIRS["messages"][1](n).items()}
            for n in range(20)]  # fmt: skip
    pairs, _ = collected(write_as(tmp_path / "rows.csv", rows, "csv"))
    assert {pair.chosen.strip() for pair in pairs} == {good(n) for n in range(20)}


def test_a_table_guesses_nothing(tmp_path):
    rows = [{"prompt": question(n), "chosen": "NA", "rejected": "1.0"} for n in range(20)]
    pairs, _ = collected(write_as(tmp_path / "rows.csv", rows, "csv"))
    assert {(pair.chosen, pair.rejected) for pair in pairs} == {(" NA", " 1.0")}


def saved(rows, folder, *, splits):
    import datasets

    parts = {name: datasets.Dataset.from_list(rows[at::2]) for at, name in enumerate(splits)}
    if len(splits) == 1:
        datasets.Dataset.from_list(rows).save_to_disk(folder)
    else:
        datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def test_saved_data_sets_are_read(tmp_path):
    rows = [PAIRS["messages"][1](n) for n in range(40)]
    folder = saved(rows, tmp_path / "both", splits=("train", "test"))
    train = collect_pairs(folder, TRAIN, part="train").rows
    test = collect_pairs(folder, TEST, part="test").rows
    assert [len(train), len(test)] == [20, 20]
    assert train[1].chosen.strip() == good(2)
    one = saved(rows, tmp_path / "one", splits=("train",))
    pairs, _ = collected(one, parted=True)
    assert {pair.chosen.strip() for pair in pairs} == {good(n) for n in range(40)}


CARD = """\
---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: raw/a-*.jsonl
  - split: test
    path: [raw/b.jsonl]
- config_name: extra
  data_files: more/*.csv
---
# A data set
"""


def test_a_cards_configurations_are_subsets(tmp_path):
    rows = [PAIRS["pairs"][1](n) for n in range(40)]
    (tmp_path / "README.md").write_text(CARD)
    write_jsonl(tmp_path / "raw" / "a-1.jsonl", rows[:10])
    write_jsonl(tmp_path / "raw" / "a-2.jsonl", rows[10:20])
    write_jsonl(tmp_path / "raw" / "b.jsonl", rows[20:30])
    write_as(tmp_path / "more" / "x.csv", rows[30:], "csv")
    found = {
        (subset, split): len(collect_pairs(tmp_path, RowSelection(subsets=(subset,), split=split),
                                           part="p").rows)
        for subset, split in (("", "train"), ("", "test"), ("extra", "train"))
    }  # fmt: skip
    assert found == {("", "train"): 20, ("", "test"): 10, ("extra", "train"): 10}


@pytest.mark.parametrize("named", ["../outside.jsonl", "raw/../../outside.jsonl", "/OUTSIDE"])
def test_a_folder_that_names_files_outside_of_itself_is_refused(named, tmp_path):
    """They would be read, but not hashed."""
    from alignstudy.data.files.layout import find_files

    source = tmp_path / "source"
    write_jsonl(tmp_path / "outside.jsonl", [PAIRS["pairs"][1](0)])
    write_jsonl(source / "raw" / "inside.jsonl", [PAIRS["pairs"][1](0)])
    named = named.replace("/OUTSIDE", str(tmp_path / "outside.jsonl"))
    if not named.startswith("/"):
        (source / "README.md").write_text(CARD.replace("raw/b.jsonl", named))
        with pytest.raises(DataError, match="outside of itself"):
            find_files(source)
    (source / "state.json").write_text(json.dumps({"_data_files": [{"filename": named}]}))
    with pytest.raises(DataError, match="outside of itself"):
        find_files(source)


@pytest.mark.parametrize(
    ("place", "subset", "split"),
    [
        ("data/train-00000-of-00001.parquet", "", "train"),
        ("data/train-00000-of-00001-0123456789abcdef.parquet", "", "train"),
        ("data/test_prefs-00000-of-00001.parquet", "", "test_prefs"),
        ("default/train/0000.parquet", "default", "train"),
        ("train/0000.parquet", "", "train"),
        ("harmless-base/test.jsonl.gz", "harmless-base", "test"),
    ],
)
def test_layouts_of_the_hub(place, subset, split, tmp_path):
    from alignstudy.data.files.layout import find_files

    kind = "parquet" if place.endswith("parquet") else "jsonl.gz"
    write_as(tmp_path / place, [PAIRS["pairs"][1](n) for n in range(3)], kind)
    (tmp_path / "dataset_info.json").write_text("{}")
    (file,) = find_files(tmp_path)
    assert (file.subset, file.split) == (subset, split)


def test_of_few_rows_more_are_tested_on(tmp_path):
    shares = {}
    for number in (60, 371, 1000):
        rows = [PAIRS["pairs"][1](n) for n in range(number)]
        rows = [row | {"prompt": f"{row['prompt']} {n}"} for n, row in enumerate(rows)]
        path = write_jsonl(tmp_path / f"{number}.jsonl", rows)
        shares[number] = len(collect_pairs(path, TEST, part="t").rows) / number
    assert 0.12 < shares[60] < 0.3
    assert 0.06 < shares[371] < 0.14
    assert 0.08 < shares[1000] < 0.12


ROW = json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"})
BROKEN = [
    ("a zip archive", b"PK\x03\x04rest", "zip archive"),
    ("an Excel file", b"PK\x03\x04 xl/workbook.xml", "save a sheet as CSV"),
    ("a tar archive", b"x" * 257 + b"ustar" + b"\0" * 300, "tar archive"),
    ("bzip2", b"BZh91AY", "packed with bzip2"),
    ("xz", b"\xfd7zXZ\0", "packed with xz"),
    ("zstd", b"\x28\xb5\x2f\xfd\0", "packed with zstd"),
    ("a pickle", b"\x80\x05\x95", "pickle"),
    ("SQLite", b"SQLite format 3\0", "SQLite database"),
    ("a pointer of Git LFS", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("a web page", b"<!DOCTYPE html><html>", "download the raw file"),
    ("a PDF", b"%PDF-1.7", "PDF"),
    ("half a gzip file", gzip.compress(ROW.encode() * 999)[:-20], "cut short"),
    ("half an array", f"[{ROW}, {ROW}, {{\"prompt\": \"q".encode(), "row 3 can't be read"),
    ("an array that doesn't close", f"[{ROW}, {ROW}".encode(), "no closing bracket"),
    ("a bad row in an array", f"[{ROW}, {{oops}}, {ROW}]".encode(), "row 2 can't be read"),
    ("columns", json.dumps({"prompt": ["a", "b"], "chosen": ["c", "d"]}).encode(), "holds columns"),
    ("pandas' columns", json.dumps({"prompt": {"0": "a"}, "chosen": {"0": "c"}}).encode(),
     "orient='records'"),
    ("half a Parquet file", b"PAR1 nonsense", "Parquet"),
    ("half an Arrow file", b"ARROW1\0\0 nonsense", "Arrow"),
    ("odd UTF-16", ROW.encode("utf-16")[:-1], "can't be read further"),
    ("a table with a column twice", b"prompt,chosen,prompt\na,b,c\n", "'prompt' comes twice"),
    ("a deep array", b"[" * 100_000, "nested too deeply"),
    ("a number without end in an array", b"[" + b"1" * 5000 + b"]", "too many digits"),
    ("nothing", b"", "no row could be read"),
    ("blank lines", b"\n\n\n", "no row could be read"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "said"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_broken_file_is_refused_with_what_to_do(raw, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(raw)
    with pytest.raises(DataError) as caught:
        collect_pairs(path, TRAIN, part="train")
    assert said in str(caught.value)
    assert caught.value.hint
    assert len(str(caught.value)) < 2000


BAD_ROWS = [
    ("half a row", '{"prompt": "q", "chosen": "a"', "bad JSON"),
    ("no object", "[1, 2]", "not a JSON object"),
    ("a lone surrogate", '{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}', "surrogate"),
    ("a name that is a lone surrogate", '{"\\ud800": 1}', "field's name"),
    ("5,000 digits", '{"prompt": ' + "1" * 5000 + "}", "too many digits"),
    ("a key twice", '{"prompt": "a", "prompt": "b"}', "given twice"),
    ("a number", '{"prompt": 1, "chosen": "a", "rejected": "b"}', "a number, not text"),
    ("lists in lists", '{"prompt": "q", "chosen": [["a"]], "rejected": [["b"]]}', "not an object"),
    ("no words", '{"prompt": "q", "chosen": "\\u200b\\ufeff", "rejected": "b"}', "is empty"),
    ("one in Unicode's forms", '{"prompt": "q", "chosen": "\\u00e9", "rejected": "e\\u0301"}',
     "identical"),
    ("an unknown speaker", json.dumps({"conversations": [{"from": "tool", "value": "x"}]}),
     "unknown role"),
    ("a picture", json.dumps({"messages": [{"role": "user", "content": [{"type": "image"}]},
                                           {"role": "assistant", "content": "x"}]}),
     "more than text"),
    ("a score that is none", json.dumps({"prompt": "q", "responses": ["a", "b"],
                                         "scores": ["high", 1]}), "no number"),
    ("more answers than scores", json.dumps({"prompt": "q", "responses": ["a", "b"],
                                             "scores": [1]}), "2 responses and 1 scores"),
    ("another layout", json.dumps({"instruction": "q", "completions": [{"text": "a"}]}),
     "isn't laid out as expected"),
    ("CRLF within a dialogue", json.dumps(
        {"chosen": "\n\nHuman: q\n\nAssistant: a\r\n\r\nHuman: b\r\n\r\nAssistant: good",
         "rejected": "\n\nHuman: q\n\nAssistant: a\r\n\r\nHuman: b\r\n\r\nAssistant: bad"}),
     "CRLF line ends"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "said"), [b[1:] for b in BAD_ROWS], ids=[b[0] for b in BAD_ROWS])
def test_a_bad_row_costs_that_row(raw, said, tmp_path):
    path = tmp_path / "train.jsonl"
    sound = [json.dumps(PAIRS["pairs"][1](n)) for n in range(3)]
    path.write_text("\n".join([sound[0], raw, *sound[1:]]) + "\n")
    found = collect_pairs(tmp_path, TRAIN, part="train")
    assert len(found.rows) == 3
    ((line, reason),) = [(row.line, row.reason) for row in found.audit.quarantined]
    assert line == 2
    assert said in reason


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ('"q","a"', "has 2 cells, the header 3"),
        ('"q","[{\'role\': \'user\'}]","b"', "Python's text"),
        ('"q","a","b" c', "bad CSV"),
    ],
)
def test_a_bad_row_of_a_table_costs_that_row(raw, said, tmp_path):
    path = tmp_path / "train.csv"
    path.write_text(f'prompt,chosen,rejected\n"q1","a","b"\n{raw}\n"q2","c, d","e ""f"""\n')
    found = collect_pairs(tmp_path, TRAIN, part="train")
    assert [pair.rejected for pair in found.rows] == [" b", ' e "f"']
    (row,) = found.audit.quarantined
    assert row.line == 3
    assert said in row.reason


def test_a_table_in_another_encoding_says_so(tmp_path):
    path = tmp_path / "train.csv"
    rows = "".join(f"q{n},caf\u00e9,b\n" for n in range(3))
    path.write_bytes(f"prompt,chosen,rejected\n{rows}".encode("latin-1"))
    with pytest.raises(DataError, match="save the file as UTF-8"):
        collect_pairs(tmp_path, TRAIN, part="train")


def test_a_huge_cell_costs_its_row(tmp_path, monkeypatch):
    from alignstudy.data.files import tables

    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "train.csv"
    path.write_text(f"prompt,chosen,rejected\nq,a,b\nq,{'x' * 5000},b\nq2,c,d\n")
    found = collect_pairs(tmp_path, TRAIN, part="train")
    assert [pair.chosen for pair in found.rows] == [" a", " c"]


def test_an_object_with_many_keys_takes_no_time(tmp_path):
    """300,000 keys were compared with each other."""
    path = tmp_path / "train.jsonl"
    many = ", ".join(f'"k{n}": 1' for n in range(300_000))
    path.write_text(f'{ROW}\n{{{many}, "k7": 2}}\n')
    found = collect_pairs(tmp_path, TRAIN, part="train")
    assert "key 'k7' is given twice" in found.audit.quarantined[0].reason


def test_mostly_unusable_rows_are_refused_unless_allowed(tmp_path):
    rows = [ROW, *['{"prompt": null}'] * 3]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError, match="75 % of the rows of train can't be used") as caught:
        collect_pairs(tmp_path, TRAIN, part="train")
    assert "data.max_quarantined: 0.75" in caught.value.hint
    how = Reading(max_quarantined=0.75)
    assert len(collect_pairs(tmp_path, TRAIN, part="train", how=how).rows) == 1


def test_a_bomb_that_isnt_called_gz_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "FREE_EXPANSION_BYTES", 2**20)
    (tmp_path / "train.jsonl").write_bytes(gzip.compress(b"[" + b" " * 2**24))
    with pytest.raises(DataError, match="expands to more than"):
        collect_pairs(tmp_path, TRAIN, part="train")


def test_rows_of_an_array_are_read_one_by_one(tmp_path):
    """The first is there before the file's end was looked at."""
    (tmp_path / "rows.json").write_bytes(f"[{', '.join([ROW] * 100_000)}, oops".encode())
    rows = read_records(tmp_path / "rows.json", TRAIN)
    files = read_file(tmp_path / "rows.json", name="rows.json")
    assert next(files)[0] == 1
    with pytest.raises(DataError, match="row 100001"):
        list(rows)
