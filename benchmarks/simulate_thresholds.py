"""How often rates at the thresholds of resampled pairs hold the rate at the best threshold.

    python benchmarks/simulate_thresholds.py [--studies 400]

Prints the table of docs/statistics.md. Scores of chosen and rejected responses are normal, `apart`
standard deviations from each other, so that the best threshold is in their middle; the rate is
that of responses whose scores lie about it.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import special

from alignstudy.judges.quality.calibrate import best_threshold, threshold_draws

PAIRS = (36, 100, 300)
APART = {0.5: "64 %", 1.0: "76 %", 2.0: "92 %"}
"""Standard deviations, and how often such a judge agrees on pairs."""


def cell(rng: np.random.Generator, n: int, apart: float, studies: int) -> str:
    """Return coverage, mean width, and the rate's true standard deviation, in percent."""
    held, widths, rates = 0, [], []
    for number in range(studies):
        chosen, rejected = rng.normal(apart, 1.0, n), rng.normal(0.0, 1.0, n)
        draws = np.array(threshold_draws(chosen, rejected, draws=200, seed=number))
        low, high = np.quantile(100.0 * special.ndtr(apart / 2.0 - draws), [0.025, 0.975])
        held += low <= 50.0 <= high
        widths.append(high - low)
        found = best_threshold(chosen, rejected).threshold
        rates.append(100.0 * special.ndtr(apart / 2.0 - found))
    return f"{100 * held / studies:.0f} % ({np.mean(widths):.0f}, {np.std(rates):.0f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    studies = parser.parse_args().studies
    print("| judge agrees on pairs | " + " | ".join(f"{n} pairs" for n in PAIRS) + " |")
    print("| --- |" + " --- |" * len(PAIRS))
    rng = np.random.default_rng(0)
    for apart, agrees in APART.items():
        cells = [cell(rng, n, apart, studies) for n in PAIRS]
        print(f"| {agrees} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
