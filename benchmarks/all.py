"""Runs the three benchmarks that any machine can run, and says which gates were reached.

python benchmarks/all.py [--quick]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from harness import THREAD_VARIABLES, offline_environment, parser

NAMES = ("training", "generation", "scoring")


def main() -> int:
    """Run all, whatever fails; return 1 if any did."""

    asked = parser(__doc__ or "").parse_args()
    environment = os.environ | offline_environment() | dict.fromkeys(THREAD_VARIABLES, "1")
    options = ["--threads", str(asked.threads), "--out", str(asked.out)]
    options += ["--quick"] if asked.quick else []
    began, codes = time.monotonic(), {}
    for name in NAMES:
        print(f"== {name} ==", flush=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), *options]
        codes[name] = subprocess.run(command, env=environment, check=False).returncode
    print(f"== {time.monotonic() - began:.0f} s in all ==")
    for name in NAMES:
        if codes[name] not in (0, 1):
            print(f"{name}: ended with {codes[name]}; what follows is of an earlier run, if any")
        for line in gates_of(asked.out / f"{name}{'-quick' if asked.quick else ''}.json"):
            print(f"{name}: {line}")
    return int(any(codes.values()))


def gates_of(path: Path) -> list[str]:
    """Return what became of each gate of a benchmark's results."""
    if not path.is_file():
        return [f"no results: {path} is not there"]
    gates = json.loads(path.read_text(encoding="utf-8"))["gates"]
    return [
        f"{gate['name']}: {'-' if gate['measured'] is None else format(gate['measured'], '.3g')}"
        f" ({'>=' if gate['at_least'] else '<='} {gate['required']}): {gate['verdict']}"
        for gate in gates
    ]


if __name__ == "__main__":
    sys.exit(main())
