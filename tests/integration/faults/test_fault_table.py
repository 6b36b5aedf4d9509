"""Every fault of the table: what a user is told, by which exit code, and how soon."""

import json
import os
import re
import sys
from pathlib import Path

import data_faults
import part_faults
import pytest
import study_faults
from elsewhere import NOT_HERE, TESTS
from fault_table import assert_told, command, lines, small_study

FAULTS = [*data_faults.FAULTS, *part_faults.FAULTS, *study_faults.FAULTS]
HERE = {"R11", "R44", "C10"}
"""Faults that are tests of their own in this folder."""
ALL = (
    *(f"R{n}" for n in range(1, 51)),
    *("A5", "A7", "A8", "A9", "A10", "A12", "A15", "A18"),
    *(f"B{n}" for n in range(1, 5)),
    *(f"C{n}" for n in range(1, 24)),
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_fault(fault, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    fault.lay(tmp_path)
    assert_told(command(fault.command, encoding=fault.encoding), fault)


def test_fault_r11_a_file_edited_in_place_is_read_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "d.jsonl"
    data.write_bytes(lines())
    (tmp_path / "s.yaml").write_text(small_study())
    keys = []
    for content in (lines(), lines().replace(b"With care 7.", b"With care 8.")):
        before = data.stat()
        data.write_bytes(content)
        os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
        keys.append(
            {
                each["stage"]: each["key"]
                for each in json.loads(command("plan s.yaml --json").out)["stages"]
            }
        )
    assert len(data.read_bytes()) == len(lines())
    assert all(keys[0][stage] != keys[1][stage] for stage in ("prompts", "rows/train"))


def test_every_fault_is_held_by_a_test():
    """Printed with -s: which rows, or which tests elsewhere, hold each fault."""
    rows = {name: [each.id for each in FAULTS if name in each.ids] for name in ALL}
    for name in ALL:
        here = [f"test_fault_{name.lower()}"] if name in HERE else []
        held = [*(f"{len(rows[name])} rows" for _ in rows[name][:1]), *here, *TESTS.get(name, ())]
        sys.stdout.write(f"{name:4} {'; '.join(held) or NOT_HERE.get(name, 'nothing')}\n")
        assert held or name in NOT_HERE, name
    assert set(ALL) >= {*TESTS, *NOT_HERE, *(n for each in FAULTS for n in each.ids)}


@pytest.mark.parametrize("test", sorted({each for tests in TESTS.values() for each in tests}))
def test_a_test_that_is_named_is_there(test):
    path, _, name = test.partition("::")
    assert re.search(rf"def {name}\(", (ROOT / path).read_text(encoding="utf-8")), test


def test_ids_are_told_apart():
    assert len({fault.id for fault in FAULTS}) == len(FAULTS)
