"""Benchmarks that compare two versions run, at a tiny model's size, on this version alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(("name", "sections"), [("edges", 4), ("unlike_lengths", 1)])
def test_a_tiny_model_is_measured(name, sections, tmp_path):
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--tiny", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if "is not there: set ALIGNSTUDY" in ran.stderr:
        pytest.skip(ran.stderr.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stderr[-2000:]
    (results,) = tmp_path.glob("*.json")
    told = json.loads(results.read_text(encoding="utf-8"))["sections"]
    assert len(told) == sections
    for section in told:
        ((way, measured),) = section["variants"].items()
        assert way == "this version"
        assert [seconds > 0 for seconds in measured["wall_seconds"]] == [True]
