"""How often intervals of rates that labels correct hold the truth, and what labels buy.

    python benchmarks/simulate_labels.py [--studies 1000]

Prints the table of docs/statistics.md. Two recipes answer N prompts; n of them are labelled, drawn
as `alignstudy label` draws them. A judge is right on each response with the same chance; whether a
response passes depends on the prompt, too, so that the recipes' passes correlate by about .25.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from alignstudy.stats.ppi import Corrected, Labelled, corrected_mean, rate_interval, spread_of
from alignstudy.stats.stratified import stratified_draw

Table = NDArray[np.float64]

GAP = 0.05
"""How far the second recipe's rate is above the first's."""
SIZES = ((50, 500), (100, 500), (50, 5000), (100, 5000), (500, 5000))
RATES = (0.2, 0.5, 0.8)
ACCURACIES = (0.55, 0.75, 0.85, 0.95)


def world(rng: np.random.Generator, n: int, rate: float, accuracy: float) -> tuple[Table, Table]:
    """Return passes and what the judge says of them, shape (2, n)."""
    common = math.sqrt(0.4) * rng.normal(size=n)
    ease = common + math.sqrt(0.6) * rng.normal(size=(2, n))
    passed = ease < special.ndtri(np.array([[rate], [rate + GAP]]))
    right = rng.random((2, n)) < accuracy
    return passed.astype(float), (passed == right).astype(float)


def sample(
    rng: np.random.Generator, passed: Table, judged: Table, n: int
) -> tuple[Labelled, Labelled]:
    """Label some prompts; return the first recipe's sample, and the pair's."""
    drawn, stands_for = stratified_draw(judged.sum(axis=0).tolist(), n, rng)
    found = []
    for truth, said in ((passed[0], judged[0]), (passed[1] - passed[0], judged[1] - judged[0])):
        found.append(
            Labelled(
                truth=truth[drawn],
                judged=said[drawn],
                stands_for=stands_for,
                everyone=said,
                clusters=drawn,
                num_clusters=said.size,
            )
        )
    return found[0], found[1]


def ends(found: Corrected, *, rate: bool) -> tuple[float, float]:
    """Return the interval's ends."""
    spread = spread_of([found])
    if rate:
        made = rate_interval(spread, n=1, num_labels=found.num_labels)
        return made.low / 100.0, made.high / 100.0
    return spread.value - spread.half_width(), spread.value + spread.half_width()


def cell(
    rng: np.random.Generator, *, n: int, size: int, rate: float, accuracy: float, studies: int
) -> Table:
    """Return coverage of a rate and a difference, and their widths over those of labels alone.

    Last is the coverage of the judge's own rate with Wilson's interval.
    """
    rows = []
    for _ in range(studies):
        passed, judged = world(rng, size, rate, accuracy)
        alone, pair = sample(rng, passed, judged, n)
        row = []
        for labelled, truth in ((alone, rate), (pair, GAP)):
            is_rate = labelled is alone
            low, high = ends(corrected_mean(labelled, rate=is_rate), rate=is_rate)
            least, most = ends(corrected_mean(labelled, rate=is_rate, trust=0.0), rate=is_rate)
            row += [low <= truth <= high, high - low, most - least]
        share, half = judged[0].mean(), 1.96 * math.sqrt(judged[0].var() / size)
        rows.append([*row, abs(share - rate) <= half])
    held, width, alone_width, pair_held, pair_width, pair_alone, raw = np.mean(rows, axis=0)
    return np.array(
        [100 * held, width / alone_width, 100 * pair_held, pair_width / pair_alone, 100 * raw]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    heads = ["judge right", "labels of prompts", "rate", "difference"]
    heads += ["width, rate", "width, difference", "judge alone"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    rng = np.random.default_rng(0)
    for accuracy in ACCURACIES:
        for n, size in SIZES:
            found = np.array(
                [
                    cell(rng, n=n, size=size, rate=rate, accuracy=accuracy, studies=studies)
                    for rate in RATES
                ]
            )
            low, high, middle = found.min(axis=0), found.max(axis=0), found.mean(axis=0)
            print(
                f"| {100 * accuracy:.0f} % | {n} of {size} | {low[0]:.0f}-{high[0]:.0f} |"
                f" {low[2]:.0f}-{high[2]:.0f} | x{middle[1]:.2f} | x{middle[3]:.2f} |"
                f" {low[4]:.0f}-{high[4]:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
