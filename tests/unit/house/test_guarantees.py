"""docs/guarantees.md names the test that holds each promise: each must be there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and "held by" not in line]


def named(line):
    """Yield the files and tests that a line names."""
    file = ""
    for each in re.findall(r"`([^`]*(?:\.py|::)[^`]*)`", line.rsplit("|", 2)[1]):
        path, _, test = each.partition("::")
        file = path or file
        yield file, test


@pytest.mark.parametrize("line", PROMISES, ids=lambda line: line[2:50])
def test_every_promise_names_tests_that_are_there(line):
    found = list(named(line))
    assert found
    for file, test in found:
        path = ROOT / file if file.startswith("benchmarks/") else ROOT / "tests" / file
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not test or test in names, f"{file} has no {test}"


def test_it_is_one_page():
    assert len(PROMISES) > 15
    assert len(PAGE.split()) < 1_200
