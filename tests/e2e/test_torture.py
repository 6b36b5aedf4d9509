"""A sample of `benchmarks/torture.py`: some trials of each kind, always the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mishaps.bench import BAD
from mishaps.kinds import KINDS

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "torture.py"


@pytest.mark.timeout(1200)
def test_a_sample_of_torture_is_survived(tmp_path):
    arguments = ["--quick", "--work", tmp_path / "work", "--out", tmp_path / "results"]
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], env=os.environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = (tmp_path / "work" / "trials.jsonl").read_text().splitlines()
    trials = [json.loads(line) for line in lines]
    assert [line for line in trials if line["outcome"] in BAD] == []
    assert done.returncode == 0, done.stderr
    made = {kind: sum(line["kind"] == kind for line in trials) for kind in KINDS}
    assert made == {kind: known.sample for kind, known in KINDS.items()}
