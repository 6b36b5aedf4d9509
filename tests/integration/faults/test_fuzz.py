"""Tens of thousands of broken inputs, the same each time: a fault in words, or a sound reading."""

import json
import random
from contextlib import suppress

import pytest
from fault_table import GOOD, LONGEST, command, small_study
from hostile_strings import HOSTILE
from pydantic import TypeAdapter, ValidationError

from alignstudy.data.audit.folder import audit_data
from alignstudy.data.files.kinds import rows_of
from alignstudy.data.files.layout import find_files
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import RawRow, UnusableRow
from alignstudy.errors import AlignstudyError, DataError, InputError
from alignstudy.study.settings.axes import Name
from alignstudy.study.settings.load import settings_of
from alignstudy.study.settings.yaml_file import parse_yaml

pytestmark = pytest.mark.e2e  # some 30 seconds

TALK = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
DIALOGUE = {side: f"\n\nHuman: q\n\nAssistant: {side}" for side in ("chosen", "rejected")}
SCORED = {"prompt": "q", "completions": ["a", "b"], "scores": [1, 0.5], "label": True, "text": "t"}
SEEDS = [json.dumps(each).encode() for each in (GOOD[0], TALK, DIALOGUE, SCORED)]
BITS = (
    *(sign.encode() for sign in "\"{}[]:,\\\n\r\t-|#%@`'<\0\u202e\ufeff"),
    *(b"\\u", b"\\ud800", b"null", b"1e999", b"9" * 5_000, b"\xff", b"\xc3"),
    *(b"<<", b"&a ", b"*a", b"!x ", b"? ", b"- "),
)


def mutated(draw: random.Random, text: bytes, *, times: int = 3) -> bytes:
    """Return a text with some bytes changed, left out, doubled, or other things put between."""
    for _ in range(draw.randint(1, times)):
        at = draw.randrange(len(text) + 1)
        to = min(len(text), at + draw.randint(0, 9))
        middle = draw.choice(
            (b"", draw.choice(BITS), bytes([draw.randrange(256)]), 2 * text[at:to])
        )
        text = text[:at] + middle + text[to:]
    return text


def taken_in(path):
    """Read a file to its end; give how many rows became records, and the reasons of the others."""
    good, reasons = 0, []
    for number, fields in rows_of(path, name=path.name):
        if isinstance(fields, str):
            reasons.append(fields)
            continue
        row = RawRow(file=path.name, line=number, subset="", split="train", fields=fields)
        try:
            parse_row(row, fmt="auto")
            good += 1
        except UnusableRow as unusable:
            reasons.append(str(unusable))
    return good, reasons


def test_fault_r27_30000_mutated_lines_cost_themselves_and_say_why(tmp_path):
    draw = random.Random(27)
    texts = [mutated(draw, draw.choice(SEEDS)).replace(b"\n", b" ") for _ in range(30_000)]
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\n".join([*SEEDS, *texts]))
    good, reasons = taken_in(path)
    assert good + len(reasons) == len(SEEDS) + sum(bool(text.strip()) for text in texts)
    assert min(good, len(reasons)) > 1_000
    assert all(0 < len(reason) <= 400 for reason in reasons)
    audit_data(path).to_markdown()


@pytest.mark.parametrize(("ending", "seed"), [("json", 1), ("csv", 2), ("tsv", 3), ("jsonl", 4)])
def test_fault_r27_1000_mutated_files_are_read_or_refused(ending, seed, tmp_path):
    draw = random.Random(seed)
    table = b"prompt,chosen,rejected\n" + b'"q, r",a,b\nq,"a ""b""",c\n' * 3
    whole = {"json": json.dumps(GOOD[:5]).encode(), "csv": table, "tsv": table.replace(b",", b"\t"),
             "jsonl": b"\n".join(SEEDS)}[ending]  # fmt: skip
    path, refused = tmp_path / f"d.{ending}", []
    for _ in range(1_000):
        path.write_bytes(mutated(draw, whole, times=5))
        try:
            taken_in(path)
        except DataError as error:
            refused.append(error)
    assert len(refused) < 1_000
    assert all(len(str(error)) <= LONGEST and error.hint for error in refused)


def test_fault_r42_2000_mutated_study_files_are_read_or_refused():
    draw = random.Random(42)
    text = (
        b"study: x\nbase: {scratch: {architecture: {}}}\ndata:\n  source: world\nmethods:\n"
        b"  sft: {learning_rate: 1e-5}\n  dpo: {beta: 0.1}\njudges: [{use: length}]\n"
        b"seeds: [0, 1]\nthresholds: {harmless: 0, helpful: 0}\n"
    )
    told = []
    for _ in range(2_000):
        changed = mutated(draw, text).decode("utf-8", "replace")
        try:
            settings_of(parse_yaml(changed, "s.yaml"))
        except InputError as error:
            told.append(str(error))
    assert all(len(text) <= LONGEST and "s.yaml" in text for text in told)
    assert 1_000 < len(told) < 2_000


def names(draw: random.Random, number: int) -> list[str]:
    """Return names that would lie elsewhere, or be something else."""
    marks = "/\\~\n\0 :x7_\u202e\ufeff\ud800"
    parts = [*HOSTILE, *marks, "..", ".", "-rf", "con", "nul", "a" * 300, "%2e%2e", "C:"]
    return ["".join(draw.choices(parts, k=draw.randint(1, 4))) for _ in range(number)]


def test_fault_r43_10000_names_of_runs_and_recipes_stay_in_their_folder(tmp_path):
    draw, name, taken = random.Random(43), TypeAdapter(Name), 0
    for text in names(draw, 10_000):
        with suppress(ValidationError):
            given = name.validate_python(text)
            place = (tmp_path / "runs" / given).resolve()
            assert place.parent == tmp_path / "runs"
            assert place.name.isascii()
            taken += 1
    assert 0 < taken < 5_000


def test_fault_r43_1000_described_folders_lead_nowhere_else(tmp_path):
    draw = random.Random(44)
    (tmp_path / "outside.arrow").write_bytes(b"")
    folder = tmp_path / "d"
    folder.mkdir()
    seen = 0
    for number, text in enumerate(names(draw, 1_000)):
        for each in folder.iterdir():
            each.unlink()
        (folder / "train.jsonl").write_text("")
        if number % 2:
            card = json.dumps({"configs": [{"config_name": text, "data_files": text}]})
            (folder / "README.md").write_text(f"---\n{card}\n---\n")
        else:
            described = {"_data_files": [{"filename": text}]}
            (folder / "state.json").write_text(json.dumps(described))
        with suppress(AlignstudyError):
            found = find_files(folder)
            assert all(file.path.resolve().is_relative_to(folder) for file in found)
            seen += 1
    assert seen


def test_fault_r43_hostile_names_in_a_study_are_refused_with_their_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in names(random.Random(45), 150):
        study = json.loads(small_study(recipes={"base": [], text: ["sft"]}, study=text))
        (tmp_path / "s.yaml").write_text(json.dumps(study))
        said = command("plan s.yaml --json")
        assert said.code in (0, 2), said.err
        assert "Traceback" not in said.err
    assert not list(tmp_path.parent.glob("x*"))
