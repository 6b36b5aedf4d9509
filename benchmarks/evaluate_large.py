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


def write_ratings(folder: Path, *, models: int, prompts: int, judges: int) -> None:
    """Write <model>_{harmful,helpful}.json with `scores` of several judges."""
    rng = np.random.default_rng(0)
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
            label = f"model-{model}" if model else "base"
            (folder / f"{label}_{name}.json").write_text(json.dumps(rows), encoding="utf-8")


def main() -> None:
    """Make the ratings, evaluate them in a process of its own, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("models", 8), ("prompts", 4666), ("judges", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    sizes = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as scratch:
        ratings, run = Path(scratch) / "ratings", Path(scratch) / "run"
        ratings.mkdir()
        write_ratings(ratings, **sizes)
        command = [sys.executable, "-m", "alignstudy", "evaluate", str(ratings)]
        command += ["--threshold", "harmless=-3", "--threshold", "helpful=-2"]
        started = time.perf_counter()
        subprocess.run([*command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        size = (run / "report.html").stat().st_size
    found = {
        **sizes,
        "seconds": round(seconds, 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2),
        "report_mib": round(size / 2**20, 1),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
