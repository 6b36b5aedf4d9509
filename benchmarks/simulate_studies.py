"""Studies whose truth is known, many times: how often the product's own analysis errs.

    python benchmarks/simulate_studies.py [--studies 200] [--prompts 300 1000] [--json FILE]

Four models without any difference, of 2, 3 and 5 training seeds: in how many studies is any pair
"real" (Holm p < 0.05), any of six stated claims supported, any contradicted. And how often the 95 %
interval of a difference holds the truth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.records import ScoredResponse

MODELS = ("base", "sft", "dpo", "sft_dpo")
AXES = ("harmless", "helpful")
LIMITS = Thresholds(values=dict.fromkeys(AXES, 0.0))
CLAIMS = tuple(
    Claim(metric=(metric,), better=better, than=(than,))
    for metric in ("hmr", "hpr")
    for better, than in (("sft", "base"), ("dpo", "base"), ("sft_dpo", "sft"))
)
NO_SWEEP = {axis: (0.0,) for axis in AXES}
"""One threshold: what others would give is not asked here."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One cell: shares in percent of the studies."""

    seeds: int
    prompts: int
    points: float
    studies: int
    any_pair: float
    any_supported: float
    any_contradicted: float
    covered: float


def study(rng: np.random.Generator, seeds: int, prompts: int, points: float) -> list[Any]:
    """Make the responses of a study without a difference; seeds move rates by so many points."""
    rows = []
    for axis in AXES:
        difficulty = rng.normal(0.0, 0.8, prompts)
        for model in MODELS:
            own = difficulty + rng.normal(0.0, 0.4, prompts)
            for seed in range(1 if model == "base" else seeds):
                moved = 0.0 if model == "base" else rng.normal(0.0, points / 40.0)
                values = own + moved + rng.normal(0.0, 0.4, prompts)
                rows += [
                    ScoredResponse(
                        model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{i}",
                        response="", scores={"judge": float(values[i])},
                    )
                    for i in range(prompts)
                ]  # fmt: skip
    return rows


def cell(seeds: int, prompts: int, points: float, studies: int) -> Row:
    """Simulate one cell."""
    rng = np.random.default_rng([seeds, prompts, round(10 * points)])
    pairs = supported = contradicted = covered = intervals = 0
    for _ in range(studies):
        rows = study(rng, seeds, prompts, points)
        found = analyze_judge(
            rows, LIMITS, judge="judge", base="base", draws=10, sweep=NO_SWEEP
        )  # fmt: skip
        rates = [item for item in found.comparisons if item.family == "rates"]
        pairs += any(item.is_shown for item in rates)
        covered += sum(item.difference.low <= 0.0 <= item.difference.high for item in rates)
        intervals += len(rates)
        given = {v.verdict for v in verdicts(Findings(analyses=(found,)), CLAIMS, rows)}
        supported += "supported" in given
        contradicted += "contradicted" in given
    share = 100.0 / studies
    return Row(
        seeds=seeds,
        prompts=prompts,
        points=points,
        studies=studies,
        any_pair=share * pairs,
        any_supported=share * supported,
        any_contradicted=share * contradicted,
        covered=100.0 * covered / intervals,
    )


def main() -> None:
    """Print a line a cell; exit with 1 if any errs in clearly more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--prompts", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows, started = [], time.monotonic()
    say = partial(print, flush=True)
    say("seeds prompts seed_sd | any pair real, supported, contradicted (% of studies) | covered")
    for seeds in (2, 3, 5):
        for prompts in given.prompts:
            row = cell(seeds, prompts, 3.0, given.studies)
            rows.append(row)
            found = f"{row.any_pair:6.1f} {row.any_supported:6.1f} {row.any_contradicted:6.1f}"
            say(f"{seeds:5} {prompts:7} {row.points:7.1f} | {found} | {row.covered:.1f}")
    say(f"{time.monotonic() - started:.0f} s")
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    most = 5.0 + 300.0 * (0.05 * 0.95 / given.studies) ** 0.5
    sys.exit(any(max(r.any_pair, r.any_supported, r.any_contradicted) > most for r in rows))


if __name__ == "__main__":
    main()
