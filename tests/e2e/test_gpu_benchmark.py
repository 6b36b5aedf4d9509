"""The GPU's benchmark, on tiny models and a CPU: every part of it runs, and is told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_part_runs_and_is_told(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", "--device", "cpu"]
    command += ["--threads", "1", "--budget", "30", "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    if "is not there: set ALIGNSTUDY" in ran.stderr:
        pytest.skip(ran.stderr.strip().splitlines()[-1])
    assert ran.returncode == 0, ran.stderr[-2000:]
    told = json.loads((tmp_path / "gpu-tiny.json").read_text(encoding="utf-8"))
    gates = {gate["name"]: gate["measured"] for gate in told["gates"]}
    for method in ("SFT", "DPO"):
        assert gates[f"{method}: ms an update"] > 0
        assert gates[f"{method}: seconds outside of updates"] > 0
        assert gates[f"{method}: ten losses, graphs or not, relative"] <= 1e-6
    assert gates["DPO: reference, ms a pair"] > 0
    assert gates["Largest difference of scores"] <= 1e-5
    assert gates["Whole study, extrapolated (s)"] > 0
    assert [section["title"].partition(",")[0] for section in told["sections"]] == ["DPO", "SFT"]
    assert len(told["notes"]) == 1  # no part failed
