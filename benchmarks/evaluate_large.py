"""Times `alignstudy evaluate` on 8 models x 4,666 prompts x 2 judges, and its peak memory.

    python benchmarks/evaluate_large.py [--models 8] [--prompts 4666] [--judges 2]

Ratings are drawn, texts are made of random words: only time and memory are measured. `--prompts`
counts both prompt sets together.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = 60


def write_ratings(folder: Path, *, models: int, prompts: int, judges: int, seed: int = 0) -> None:
    """Write <model>_{harmful,helpful}.json with `scores` of several judges."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array([f"word{number}" for number in range(5000)])
    for name, count in (("harmful", prompts // 2), ("helpful", prompts - prompts // 2)):
        texts = [" ".join(rng.choice(vocabulary, WORDS)) for _ in range(count)]
        hardness = rng.normal(-2.5, 1.2, count)
        for model in range(models):
            scores = hardness + 0.1 * model + rng.normal(0, 1, (judges, count))
            rows = [
                {
                    "prompt": f"Human: {text}",
                    "response": " ".join(rng.choice(vocabulary, int(rng.integers(5, 60)))),
                    "rating": round(float(scores[0, at]), 4),
                    "scores": {f"judge-{j}": float(scores[j, at]) for j in range(judges)},
                    "num_tokens": int(rng.integers(5, 60)),
                    "stop_reason": str(rng.choice(["eos", "cap", "stop_string"])),
                }
                for at, text in enumerate(texts)
            ]
            label = "base" if model == 0 else f"model-{model}"
            (folder / f"{label}_{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def main() -> None:
    """Make the ratings, evaluate them in a process of its own, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=4666)
    parser.add_argument("--judges", type=int, default=2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        ratings = Path(scratch) / "ratings"
        ratings.mkdir()
        write_ratings(ratings, models=asked.models, prompts=asked.prompts, judges=asked.judges)
        command = [sys.executable, "-m", "alignstudy.cli.app", "evaluate", str(ratings)]
        started = time.perf_counter()
        subprocess.run([*command, "--out", f"{scratch}/run"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        size = (Path(scratch) / "run" / "report.html").stat().st_size / 2**20
    print(
        json.dumps(
            {
                "models": asked.models,
                "prompts": asked.prompts,
                "judges": asked.judges,
                "seconds": round(seconds, 1),
                "peak_gib": round(peak, 2),
                "report_mib": round(size, 1),
                "machine": platform.processor() or platform.machine(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
