"""Faults of preference data: rows, and the files that they stand in."""

import gzip
import io
import json
import tarfile
import zipfile
from datetime import date
from pathlib import Path

from fault_table import Fault, lines, pair, small_study

WIDE = {f"k{n}": n for n in range(300_000)}


def odd(name: str, row: object, *said: str, ids: str = "R27", seconds: float = 20) -> Fault:
    """Return a row among good ones: it alone is left out, counted, and why is said."""
    return Fault(
        id=f"{ids}-{name}",
        files={"d.jsonl": lines(row)},
        command="audit d.jsonl --json",
        code=0,
        said=('"rows": 41, "quarantined": 1,', *said),
        seconds=seconds,
    )


ROWS = [
    odd("cut-short", '{"prompt": "a", "chosen": "b', "bad JSON: Unterminated string"),
    odd("open-brace", "{", "bad JSON: Expecting property name"),
    odd("no-json", "How do I swim?", "bad JSON: Expecting value"),
    odd("python-quotes", "{'prompt': 'a'}", "bad JSON: Expecting property name"),
    odd("trailing-comma", '{"prompt": "a",}', "bad JSON: "),
    odd("two-on-a-line", '{"prompt": "a"} {"prompt": "b"}', "bad JSON: Extra data"),
    odd("raw-control", '{"prompt": "a\x01"}', "bad JSON: Invalid control character"),
    odd("bare-minus", '{"prompt": -}', "bad JSON: Expecting value"),
    odd("a-list", "[1, 2]", "not a JSON object"),
    odd("a-number", "7", "not a JSON object"),
    odd("a-text", '"prompt"', "not a JSON object"),
    odd("null", "null", "not a JSON object"),
    odd("empty-object", "{}", "its columns (none) fit no format"),
    odd("nested-100000-deep", "[" * 100_000, "bad JSON: nested too deeply"),
    odd("objects-100000-deep", '{"a":' * 100_000, "bad JSON: nested too deeply"),
    odd("integer-of-5000-digits", f'{{"n": {"1" * 5000}}}', "a number has too many digits",
        ids="C1+R27"),
    odd("surrogate-in-a-name", '{"prompt": "a", "chosen": "b", "rejected": "c", "\\ud800": 1}',
        "a field's name holds half of a surrogate pair", ids="C1+R29"),
    odd("300000-keys", WIDE, "fit no format", ids="C2", seconds=60),
    odd("100000-keys-like-the-missing-one",
        {"prompt": "a", "chosen": "b", **{f"reject{n}": n for n in range(100_000)}},
        "field 'rejected' is missing (is 'reject", ids="C2", seconds=60),
    odd("300000-keys-one-twice", json.dumps(WIDE)[:-1] + ', "k7": 1}', "key 'k7' is given twice",
        ids="C2", seconds=30),
    odd("name-of-a-million-characters", {"x" * 10**6: 1}, "xx ... no format: name", ids="R27"),
    odd("missing", {"prompt": "a", "chosen": "b", "rejcted": "c"},
        "field 'rejected' is missing (is 'rejcted' meant?)", ids="R28"),
    odd("field-is-null", pair(chosen=None), "field 'chosen' is null", ids="R28"),
    odd("field-is-a-number", pair(rejected=7), "field 'rejected' is a number, not text", ids="R28"),
    odd("field-is-nan", '{"prompt": NaN, "chosen": "a", "rejected": "b"}',
        "field 'prompt' is a number, not text", ids="R28"),
    odd("field-is-true", pair(rejected=True), "field 'rejected' is true or false", ids="R28"),
    odd("field-is-an-object", pair(prompt={"text": "a"}), "field 'prompt' is an object", ids="R28"),
    odd("field-is-a-list", pair(chosen=["a"]), "message 2 of chosen is not an object", ids="R28"),
    odd("key-twice", '{"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"}',
        "key 'chosen' is given twice", ids="R28"),
    odd("unknown-role", {"messages": [{"role": "robot", "content": "a"}]},
        "message 1 of messages has the unknown role 'robot'", ids="R28"),
    odd("messages-are-no-list", {"messages": "a"}, "is not a list of messages", ids="R28"),
    odd("content-is-a-picture",
        {"messages": [{"role": "user", "content": [{"type": "image"}]},
                      {"role": "assistant", "content": "a"}]}, "holds more than text", ids="R28"),
    odd("invalid-utf-8", b'{"prompt": "a\xff"}', "invalid UTF-8", ids="R29"),
    odd("half-a-surrogate-pair", '{"prompt": "a\\ud800", "chosen": "b", "rejected": "c"}',
        "field 'prompt' holds half of a surrogate pair", ids="R29"),
    odd("nul", pair(prompt="a\0"), "field 'prompt' holds a NUL character", ids="R29"),
    odd("only-zero-width-space", pair(rejected="\u200b"), "rejected response is empty",
        ids="C19+R29"),
    odd("only-byte-order-mark", pair(chosen="\ufeff"), "chosen response is empty", ids="C19+R29"),
    odd("twins-in-unicode", pair(chosen="\u00e9", rejected="e\u0301"),
        "chosen and rejected are identical", ids="C19+R29"),
    odd("line-of-11-mib", pair(prompt="a" * 11 * 2**20), "line is longer than 10 MiB", ids="R30"),
    odd("identical", pair(rejected="With arms."), "chosen and rejected are identical", ids="R32"),
    odd("empty-answer", pair(rejected=" \n"), "rejected response is empty", ids="R33"),
    odd("tags-after-crlf",
        {name: f"\n\nHuman: q\n\nAssistant: a\r\n\r\nHuman: r\r\n\r\nAssistant: {name}"
         for name in ("chosen", "rejected")}, "role tags after CRLF line ends", ids="C16"),
]  # fmt: skip
"""Each stands among 40 good rows."""


def table(**columns: object):
    """Return what writes a Parquet file of two good pairs with further columns."""

    def write(path: Path) -> None:
        from pyarrow import parquet, table

        good = {"prompt": ["q", "r"], "chosen": ["a", "b"], "rejected": ["c", "d"]}
        given = {name: make() if callable(make) else make for name, make in columns.items()}
        parquet.write_table(table({**good, **given}), path)

    return write


def far(kind: str, *values: int):
    """Return a column of whole numbers that mean times."""

    def make() -> object:
        import pyarrow

        whole = pyarrow.int32() if kind == "date32[day]" else pyarrow.int64()
        return pyarrow.array(values or (2**30, 0), whole).view(kind)

    return make


def twice(path: Path) -> None:
    """Write a Parquet file with a column named twice."""
    from pyarrow import array, parquet, table

    names = ["prompt", "chosen", "rejected", "rejected"]
    parquet.write_table(table([array(["a"]) for _ in names], names=names), path)


def changed(write, old: bytes, new: bytes):
    """Return what writes a file, and some of its bytes anew."""

    def write_changed(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes().replace(old, new))

    return write_changed


def cut(write, *, to: int):
    """Return what writes the beginning of a file."""

    def write_cut(path: Path) -> None:
        write(path)
        path.write_bytes(path.read_bytes()[:to])

    return write_cut


def packed(path: Path) -> None:
    """Write a zip archive whose member would lie outside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../d.jsonl", lines())


def tar(path: Path) -> None:
    """Write a tar archive with a link that leads outside."""
    link = tarfile.TarInfo("train.jsonl")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(path, "w") as archive:
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("d.jsonl"), io.BytesIO())


def bomb(path: Path) -> None:
    """Write 300 MB of one line into 300 kB."""
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(30):
            file.write(b"a" * 10**7)


def whole(name: str, path: str, content: object, *said: str, ids: str, code: int = 0) -> Fault:
    """Return a file that is read to its end, or refused."""
    return Fault(
        id=f"{ids}-{name}", files={path: content}, command=f"audit {path} --json", code=code,
        said=said,
    )  # fmt: skip


NOTHING = "no row could be read in split"
CSV = "prompt,chosen,rejected\n"
FILES = [
    whole("array-in-jsonl", "d.jsonl", json.dumps([pair()]), '"rows": 1,', ids="C12"),
    whole("array-over-lines", "d.jsonl", "[\n" + ",\n".join([json.dumps(pair())] * 3) + "\n]",
          '"rows": 3,', ids="C12"),
    whole("utf-16", "d.jsonl", lines().decode().encode("utf-16"), '"rows": 40,', ids="C12"),
    whole("byte-order-mark", "d.jsonl", b"\xef\xbb\xbf" + lines(), '"rows": 40,', ids="R29"),
    whole("crlf", "d.jsonl", lines(end="\r\n"), '"rows": 40,', ids="R27"),
    whole("one-fault-in-20-places", "d.jsonl",
          lines(*(f'{{"prompt": "{"a" * n}", }}' for n in range(20))),
          '"reasons": { "bad JSON: Expecting property name enclosed in double quotes":', ids="C18"),
    whole("nothing-usable", "d.jsonl", lines("How?", '{"a": 1}', good=0), "no row can be used",
          "2 can't be used", ids="C18+R27", code=2),
    whole("empty-system-turn", "d.jsonl",
          lines({"messages": [{"role": "system", "content": ""}, {"role": "user", "content": "q"},
                              {"role": "assistant", "content": "a"}]}, good=0),
          '"demonstrations": 1', ids="C14"),
    whole("column-twice", "d.parquet", twice, "column 'rejected' comes twice", ids="A18", code=2),
    whole("csv-column-twice", "d.csv", "prompt,chosen,chosen\na,b,c\n",
          "column 'chosen' comes twice", ids="A18", code=2),
    whole("timestamps-beyond-years", "d.parquet", table(t=far("timestamp[ms]", 2**62, 2**62)),
          '"rows": 2, "quarantined": 0', ids="C20"),
    whole("timestamps-of-no-zone", "d.parquet", table(t=far("timestamp[ns]", 2**62 + 1, 0)),
          '"rows": 2, "quarantined": 0', ids="C20"),
    whole("dates-beyond-years", "d.parquet", table(t=far("date32[day]")),
          '"rows": 2, "quarantined": 0', ids="C20"),
    whole("durations-beyond-years", "d.parquet", table(t=far("duration[ms]", 2**62, 0)),
          '"rows": 2, "quarantined": 0', ids="C20"),
    whole("dates-that-are-sound", "d.parquet", table(t=[date(2024, 1, 1)] * 2),
          '"rows": 2, "quarantined": 0', ids="C20"),
    whole("schema-no-utf-8", "d.parquet",
          changed(table(kolumn=["x", "y"]), b"kolumn", b"\xff\xfelumn"),
          "the Parquet file can't be read further", ids="C20+R29", code=2),
    whole("value-no-utf-8", "d.parquet",
          changed(table(note=["xxxxyyyy", "y"]), b"xxxxyyyy", b"\xff\xfexxyyyy"),
          '"rows": 2, "quarantined": 1', "invalid UTF-8 at byte 1 of a field", ids="R29"),
    whole("parquet-cut-short", "d.parquet", cut(table(), to=300),
          "the Parquet file can't be read further", ids="R27", code=2),
    whole("parquet-of-no-rows", "d.parquet", cut(table(), to=0), NOTHING, ids="R31", code=2),
    whole("csv-row-too-short", "d.csv", CSV + "q,a,b\nonly one\n",
          '"rows": 2, "quarantined": 1', "has 1 cells, the header 3", ids="R27"),
    whole("csv-open-quote", "d.csv", CSV + 'q,a,b\n"q,a,b\n', '"quarantined": 1',
          "bad CSV: unexpected end of data", ids="R27"),
    whole("csv-no-utf-8", "d.csv", CSV.encode() + b"q,a,b\nq,\xe9,b\n", '"quarantined": 1',
          "invalid UTF-8: save the file as UTF-8", ids="R29"),
    whole("csv-of-python-lists", "d.csv", CSV + "q,\"[{'role': 'user'}]\",b\n",
          "a list is written as Python's text", ids="R28", code=2),
    whole("zip", "d.jsonl", packed, "d.jsonl is a zip archive", "unpack it", ids="R30", code=2),
    whole("tar", "d.jsonl", tar, "d.jsonl is a tar archive", "unpack it", ids="R30", code=2),
    whole("pickle", "d.jsonl", b"\x80\x04K\x01.", "a pickle, which could run code", ids="R30",
          code=2),
    whole("bomb", "d.jsonl.gz", bomb, "line is longer than 10 MiB", ids="R30", code=2),
    whole("gz-cut-short", "d.jsonl.gz", gzip.compress(lines())[:-30], "the gzip file is cut short",
          ids="R30", code=2),
    whole("empty", "d.jsonl", b"", NOTHING, "its files are empty", ids="R31", code=2),
    whole("blank-lines", "d.jsonl", b"\n\n \n", NOTHING, "its files are empty", ids="R31", code=2),
    whole("empty-array", "d.json", b"[]", NOTHING, ids="R31", code=2),
    whole("header-alone", "d.csv", CSV, NOTHING, ids="R31", code=2),
    whole("no-header", "d.csv", "\n\n", "no header", ids="R31", code=2),
    whole("array-never-closed", "d.json", b'[{"prompt": "a"}', "no closing bracket", ids="R27",
          code=2),
    whole("columns-for-rows", "d.json", json.dumps({"prompt": ["a", "b"], "chosen": ["c", "d"]}),
          "holds columns (prompt, chosen), not rows", ids="R28", code=2),
    whole("a-web-page", "d.jsonl", b"<!doctype html><p>404", "a web page, or XML", ids="R27",
          code=2),
    whole("bidi-marks", "d.jsonl", lines(pair(prompt="a\u202eb")), '"rows": 41, "quarantined": 0',
          ids="R29"),
    whole("all-duplicates", "d.jsonl", lines(*[pair()] * 9, good=0), '"duplicate": 8', ids="R32"),
]  # fmt: skip


def described(name: str, files: dict, *said: str) -> Fault:
    """Return a folder whose own description of itself can't be followed."""
    laid = {f"d/{path}": content for path, content in files.items()}
    return Fault(id=f"R27-{name}", files=laid, command="audit d", said=said)


def card(text: str) -> dict:
    """Return a folder with a card and rows."""
    return {"README.md": f"---\n{text}\n---\n", "train.jsonl": lines()}


FOLDERS = [
    described("saved-splits-no-names", {"dataset_dict.json": '{"splits": [7]}'}, "save it again"),
    described("saved-files-no-objects", {"state.json": '{"_data_files": ["x"]}'}, "save it again"),
    described("saved-state-nested", {"state.json": "[" * 100_000}, "save it again"),
    described("saved-file-gone", {"state.json": '{"_data_files": [{"filename": "x.arrow"}]}'},
              "x.arrow"),
    described("saved-elsewhere", {"state.json": '{"_data_files": [{"filename": "../x.arrow"}]}'},
              "names a file outside of itself"),
    described("card-outside", {**card("configs: [{data_files: '../*'}]"), "../x.jsonl": lines()},
              "names a file outside of itself"),
    described("card-without-pattern", card("configs: [{data_files: ''}]"), "no pattern of files"),
]  # fmt: skip

STUDIES = [
    Fault(
        id="A5-half-unreadable",
        files={"d.jsonl": lines(*["{"] * 60), "s.yaml": small_study()},
        command="check s.yaml",
        said=(
            "65 % of the rows of pretrain can't be used",
            "92 rows read: 60 bad JSON: Expecting property name enclosed in double quotes (first",
            "data.max_quarantined: 0.66",
        ),
    ),
    Fault(
        id="A5+R33-some-unreadable",
        files={"d.jsonl": lines(*["{"] * 6), "s.yaml": small_study()},
        command="check s.yaml",
        code=0,
        said=("can't be used (1", "because bad JSON"),
    ),
]
FAULTS = [*ROWS, *FILES, *FOLDERS, *STUDIES]
