"""What is read, what is quarantined, and what stops: every kind of bad input."""

import gzip
import json

import pytest

from alignstudy.data.files import content, jsonl, layout
from alignstudy.data.files.reading import read
from alignstudy.data.select.collect import collect_documents, collect_pairs
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import DataError
from alignstudy.records import Quarantined

TRAIN = RowSelection(split="train")


def pair(number, *, question="Question"):
    start = f"\n\nHuman: {question} {number}?\n\nAssistant:"
    return {"chosen": f"{start} yes {number}", "rejected": f"{start} no {number}"}


def line(number):
    return json.dumps(pair(number)).encode()


def write(path, lines, *, packed=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join(item + b"\n" for item in lines)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.fixture
def hh(tmp_path):
    for subset in ("a", "b"):
        write(tmp_path / subset / "train.jsonl.gz", [line(i) for i in range(20)])
        write(tmp_path / subset / "test.jsonl.gz", [line(i) for i in range(100, 105)])
    return tmp_path


def quarantined(source, selection=TRAIN):
    return [row for row in read(source, selection) if isinstance(row, Quarantined)]


def test_folder_of_subsets(hh):
    rows = list(read(hh, RowSelection(subsets=("b",), split="test")))
    assert [(row.file, row.line, row.subset, row.split) for row in rows] == [
        ("b/test.jsonl.gz", number, "b", "test") for number in range(1, 6)
    ]
    assert [row.id for row in rows][:2] == ["b/test:1", "b/test:2"]
    assert len(list(read(hh, TRAIN))) == 40


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet"])
def test_flat_folder_of_each_kind(tmp_path, ending):
    rows = [pair(number) for number in range(3)]
    if ending == ".parquet":
        import pandas

        pandas.DataFrame(rows).to_parquet(tmp_path / "train.parquet")
    else:
        write(tmp_path / f"train{ending}", map(line, range(3)), packed=ending.endswith("gz"))
    found = list(read(tmp_path, TRAIN))
    assert [dict(row.fields) for row in found] == rows
    assert [(row.subset, row.line) for row in found] == [("", 1), ("", 2), ("", 3)]


def test_parquet_shards_of_messages(tmp_path):
    import pandas

    for shard in range(2):
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": f"{shard}"}]
        path = tmp_path / "data" / f"train-0000{shard}-of-00002.parquet"
        path.parent.mkdir(exist_ok=True)
        pandas.DataFrame({"messages": [messages]}).to_parquet(path)
    found = collect_pairs(tmp_path, TRAIN, part="train").rows
    assert [row.chosen for row in found] == [" 0", " 1"]
    assert len({row.id for row in found}) == 2


def test_single_file_is_parted_by_dialogue(tmp_path):
    rows = [json.dumps({"prompt": f"Q{i // 2}", "chosen": f"a{i}", "rejected": "b"}).encode()
            for i in range(1000)]  # fmt: skip
    file = write(tmp_path / "mine.jsonl", rows, packed=False)
    train = collect_pairs(file, TRAIN, part="train").rows
    test = collect_pairs(file, RowSelection(split="test"), part="test").rows
    assert len(train) + len(test) == 1000
    assert 60 < len(test) < 140
    assert not {row.prompt for row in train} & {row.prompt for row in test}


def test_documents_of_pairs_are_the_unaligned_mix(hh):
    found = collect_documents(hh, RowSelection(subsets=("a",)), part="pretrain")
    assert [row.text for row in found.rows[:2]] == list(pair(0).values())
    assert (len(found.rows), found.audit.used, found.audit.notes) == (40, 20, {"documents": 40})


class TestBadLines:
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            (b'{"chosen": "\xff"}', "invalid UTF-8 at byte 13"),
            (b'{"chosen": "a"', "bad JSON"),
            (b"[1]", "not a JSON object"),
            (b'{"chosen": "a", "chosen": "b"}', "'chosen' is given twice"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_one_bad_line_costs_that_line(self, tmp_path, bad, reason):
        write(tmp_path / "train.jsonl.gz", [line(0), b"", bad, line(1)])
        (found,) = quarantined(tmp_path)
        assert (found.file, found.line) == ("train.jsonl.gz", 3)
        assert reason in found.reason
        assert len(collect_pairs(tmp_path, TRAIN, part="train").rows) == 2

    def test_null_is_quarantined_with_its_place(self, tmp_path):
        write(tmp_path / "x" / "train.jsonl.gz", [line(0), b'{"chosen": null, "rejected": "a"}'])
        audit = collect_pairs(tmp_path, TRAIN, part="train").audit
        assert audit.quarantined == (
            Quarantined(file="x/train.jsonl.gz", line=2, reason="field 'chosen' is null"),
        )
        assert (audit.read, audit.used) == (2, 1)

    @pytest.mark.parametrize("packed", [True, False])
    def test_a_huge_line_is_passed_over_in_pieces(self, tmp_path, monkeypatch, packed):
        monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 500)
        huge = b'{"text": "' + b"x" * 5000 + b'"}'
        name = "train.jsonl.gz" if packed else "train.jsonl"
        write(tmp_path / name, [line(0), huge, line(1)], packed=packed)
        assert [row.line for row in read(tmp_path, TRAIN)] == [1, 2, 3]
        (found,) = quarantined(tmp_path)
        assert "longer than" in found.reason

    def test_byte_order_mark_is_eaten(self, tmp_path):
        write(tmp_path / "train.jsonl", [b"\xef\xbb\xbf" + line(0)], packed=False)
        assert quarantined(tmp_path) == []

    def test_a_parquet_null_is_quarantined(self, tmp_path):
        import pandas

        rows = pandas.DataFrame([pair(0), {"chosen": None, "rejected": "a"}])
        rows.to_parquet(tmp_path / "train.parquet")
        audit = collect_pairs(tmp_path, TRAIN, part="train").audit
        assert [(row.line, row.reason) for row in audit.quarantined] == [
            (2, "field 'chosen' is null")
        ]


class TestBadFiles:
    def check(self, source, *parts, selection=TRAIN):
        with pytest.raises(DataError) as caught:
            collect_pairs(source, selection, part="train")
        for part in parts:
            assert part in str(caught.value)
        assert caught.value.hint
        assert caught.value.exit_code == 2

    def test_gz_cut_short(self, hh):
        path = hh / "a" / "train.jsonl.gz"
        path.write_bytes(path.read_bytes()[:-20])
        self.check(hh, "a/train.jsonl.gz:", "cut short", "nothing was changed")

    def test_gz_damaged_in_the_middle(self, tmp_path):
        rows = [json.dumps({"text": str(hash(str(i) * 9))}).encode() for i in range(5000)]
        path = write(tmp_path / "train.jsonl.gz", rows)
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
        path.write_bytes(content)
        self.check(tmp_path, "train.jsonl.gz:", "corrupt")

    def test_damaged_parquet(self, tmp_path):
        (tmp_path / "train.parquet").write_bytes(b"PAR1 nonsense PAR1")
        self.check(tmp_path, "train.parquet:1", "Parquet")

    def test_a_bomb_is_refused_while_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(content, "FREE_EXPANSION_BYTES", 2**20)
        monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 2**16)
        (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(b" " * 2**24))
        self.check(tmp_path, "expands to more than", "no text compresses so well")

    def test_missing_folder(self, tmp_path):
        self.check(tmp_path / "nowhere", "nowhere doesn't exist")

    def test_folder_without_rows(self, tmp_path):
        (tmp_path / "readme.md").write_text("x")
        self.check(tmp_path, "no file of rows", "<subset>/<split>")

    def test_file_of_another_kind(self, tmp_path):
        path = tmp_path / "rows.xlsx"
        path.write_bytes(b"PK\x03\x04 and so on")
        self.check(path, "rows.xlsx is a zip archive, or an Excel file", "save a sheet as CSV")

    def test_missing_subset_names_what_is_there(self, hh):
        self.check(
            hh, "no subset 'c'", "a/test, a/train, b/test", selection=RowSelection(subsets=("c",))
        )

    def test_missing_split_names_what_is_there(self, hh):
        write(hh / "c" / "test.jsonl", [line(1)], packed=False)
        self.check(hh, "no split 'judge'", selection=RowSelection(split="judge"))
        self.check(hh, "no split 'train' of subset 'c'", selection=RowSelection(subsets=("a", "c")))

    def test_a_split_that_is_there_twice(self, hh):
        write(hh / "a" / "train.jsonl", [line(1)], packed=False)
        self.check(hh, "a/train.jsonl and a/train.jsonl.gz are the same split")

    def test_a_single_file_has_no_subsets_and_two_splits(self, tmp_path):
        path = write(tmp_path / "mine.jsonl.gz", [line(0)])
        self.check(path, "no subset 'a'", selection=RowSelection(subsets=("a",)))
        self.check(
            path, "no split 'judge'", "train and test", selection=RowSelection(split="judge")
        )

    def test_empty_data_set(self, tmp_path):
        write(tmp_path / "train.jsonl.gz", [])
        self.check(tmp_path, "no row could be read in split 'train'", "its files are empty")

    def test_no_usable_row_says_what_took_them(self, tmp_path):
        write(tmp_path / "train.jsonl.gz", [b"{", json.dumps({"chosen": None}).encode()])
        self.check(tmp_path, "no usable row", "2 rows read", "train.jsonl.gz:1: bad JSON")

    def test_texts_are_no_pairs(self, tmp_path):
        write(tmp_path / "train.jsonl.gz", [b'{"text": "a"}'])
        self.check(tmp_path, "a plain text, where preference pairs are needed")
        assert len(collect_documents(tmp_path, TRAIN, part="pretrain").rows) == 1


def test_hidden_files_are_no_data(hh):
    write(hh / ".cache" / "train.jsonl.gz", [line(0)])
    assert {file.subset for file in layout.find_files(hh)} == {"a", "b"}
