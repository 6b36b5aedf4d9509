"""Eight tuned methods whose truth is known, many times: who leaves the set of the best.

    python benchmarks/simulate_many.py [--studies 300] [--only NAME]... [--json FILE]

Each method's setting is chosen among three trials, by the mean score on 200 validation prompts
with a tuning seed of its own; then it is trained with the final seeds and judged on 500 other
prompts. Prompts are as hard for all methods (`simulate_studies.study` draws the same way), a
setting has its own likes, and training seeds move its rate. Prints the tables of
docs/statistics.md; exits with 1 where a promise is clearly broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from simulate_studies import OWN, REST, SHARED, of_rate

from alignstudy.analysis.comparisons.pair_table import pair_tables
from alignstudy.analysis.comparisons.ranking import rankings
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.metrics.axes import axis_named
from alignstudy.records.ranking import BestSet, ControlTest

METHODS = tuple("abcdefgh")
BEST, CONTROL = METHODS[0], METHODS[-1]
TRIALS, VALIDATION, PROMPTS = 3, 200, 500
SETTINGS = (0.0, -3.0, -8.0)
"""What a method's three settings are worth, in points, where settings matter; in any order."""
AXIS = axis_named("harmless")


@dataclass(frozen=True)
class World:
    """What is true.

    Attributes:
        lead: Points that the best method is above the others.
        seeds: Of the final trainings.
        points: Standard deviation that seeds give a rate near 50 %, in points: a method's own is
            drawn from these.
        rate: What the others pass, in percent.
        together: Share of the seeds' variance that all methods share: they grow from one training.
        matters: Whether settings differ.
    """

    lead: float
    seeds: int
    points: tuple[float, ...] = (2.0,)
    rate: float = 50.0
    together: float = 0.0
    matters: bool = False

    @property
    def in_words(self) -> str:
        """What is special."""
        low, high = min(self.points), max(self.points)
        said = [f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"]
        said.append(f"seed sd {low:g}" + (f" or {high:g}" if high > low else ""))
        said += [f"rates of {self.rate:g} %"] if self.rate != 50.0 else []
        said += ["one SFT for all"] if self.together else []
        said += ["settings matter"] if self.matters else []
        return ", ".join(said)


@dataclass
class Study:
    """One study: what was chosen, what is true of it, and what the product finds."""

    truth: NDArray[np.float64]
    best: BestSet
    tests: tuple[ControlTest, ...]


def trained(
    rng: np.random.Generator,
    world: World,
    gain: float,
    moved: NDArray[np.float64],
    prompts: int,
    difficulty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return a setting's scores, shape (seeds, prompts); `moved` is what each seed adds."""
    own = difficulty + rng.normal(0.0, OWN, prompts) + of_rate(gain, world.rate)
    return np.asarray(own + moved[:, None] + rng.normal(0.0, REST, (len(moved), prompts)))


def study(rng: np.random.Generator, world: World) -> Study:
    """Tune, train, judge and analyse once."""
    check, final = (rng.normal(0.0, SHARED, size) for size in (VALIDATION, PROMPTS))
    begun = rng.normal(size=world.seeds)
    start = of_rate(world.rate - 50.0)
    truth, scores = [], []
    for at in range(len(METHODS)):
        sd = of_rate(float(rng.choice(world.points)))
        gains = rng.permutation(SETTINGS) if world.matters else np.zeros(TRIALS)
        gains = gains + (world.lead if at == 0 else 0.0)
        tried = [
            trained(rng, world, gain, rng.normal(0.0, sd, 1), VALIDATION, check).mean()
            for gain in gains
        ]
        chosen = float(gains[int(np.argmax(tried))])
        alone, shared = np.sqrt(1.0 - world.together), np.sqrt(world.together)
        moved = sd * (alone * rng.normal(size=world.seeds) + shared * begun)
        truth.append(chosen)
        scores.append(start + trained(rng, world, chosen, moved, PROMPTS, final))
    return Study(np.array(truth), *analysed(np.stack(scores), world))


def analysed(scores: NDArray[np.float64], world: World) -> tuple[BestSet, tuple[ControlTest, ...]]:
    """Analyse scores, shape (methods, seeds, prompts), as the product does."""
    samples = scores[:, :, None, :]
    passed = np.asarray(samples > 0.0, dtype=np.float64)
    panel = ScoreMatrix(
        axis=AXIS, models=METHODS, seeds=tuple(range(world.seeds)),
        prompt_ids=tuple(map(str, range(PROMPTS))), by_sample=samples,
        failed=np.zeros(samples.shape, dtype=bool), passed_by_sample=passed,
        lengths=np.ones((len(METHODS), PROMPTS)), cluster_of=np.arange(PROMPTS), uneven=False,
    )  # fmt: skip
    start = "sft" if world.together else ""
    lineages = {name: ((start or name, name),) for name in METHODS}
    tables = pair_tables({AXIS.name: panel}, axes=[AXIS], base=None, lineages=lineages)
    [best], tests = rankings(tables[:1], control=CONTROL, seed=0)
    return best, tests


WORLDS: tuple[dict[str, Any], ...] = (
    {"seeds": 3, "points": (1.0,)},
    {"seeds": 3},
    {"seeds": 3, "points": (3.0,)},
    {"seeds": 3, "points": (1.0, 3.0)},
    {"seeds": 3, "points": (1.0, 3.0), "together": 0.7},
    {"seeds": 3, "points": (1.0, 3.0), "rate": 20.0},
    {"seeds": 3, "points": (1.0, 3.0), "rate": 65.0},
    {"seeds": 5, "points": (1.0, 3.0)},
)
FEWER: tuple[dict[str, Any], ...] = (
    {"seeds": 2, "points": (1.0, 3.0)},
    {"seeds": 1, "points": (0.0,)},
)


def cell(name: str, world: World, studies: int) -> list[Study]:
    """Make the studies of a line; the draws follow from its name and number.

    With one seed the level is exactly 5 %, with several below it: four times as many tell.
    """
    rng = np.random.default_rng([len(name), *world.in_words.encode(), round(world.lead)])
    return [study(rng, world) for _ in range(4 * studies if world.seeds == 1 else studies)]


def no_difference(studies: int) -> Iterator[dict[str, Any]]:
    """No difference between eight methods: nobody is left out, nobody differs from the control."""
    for given in (*WORLDS, *FEWER):
        made = cell("none", World(0.0, **given), studies)
        yield {
            "of": len(made),
            "world": World(0.0, **given).in_words,
            "all are in the set": share(len(one.best.members) == len(METHODS) for one in made),
            "any differs from the control": share(
                any(test.is_shown for test in one.tests) for one in made
            ),
            "at least": {"all are in the set": 95.0},
            "at most": {"any differs from the control": 5.0},
        }


def best_by_five(studies: int) -> Iterator[dict[str, Any]]:
    """One method is better by 5 points: it is kept."""
    yield from _with_a_lead(5.0, (*WORLDS, *FEWER), studies, {"the best is in the set": 95.0})


def best_by_fifteen(studies: int) -> Iterator[dict[str, Any]]:
    """One method is better by 15 points: few others are left."""
    promised = {"the best is in the set": 95.0, "a set of at most 2": 80.0}
    yield from _with_a_lead(15.0, WORLDS, studies, promised)


def settings_matter(studies: int) -> Iterator[dict[str, Any]]:
    """Settings are worth 0, -3 or -8 points, so that tuning makes the difference."""
    for lead in (0.0, 5.0):
        worlds = [{**given, "matters": True} for given in (WORLDS[1], WORLDS[3], *FEWER)]
        yield from _with_a_lead(lead, worlds, studies, {"the best is in the set": 95.0})


def _with_a_lead(
    lead: float, worlds: Sequence[dict[str, Any]], studies: int, promised: dict[str, float]
) -> Iterator[dict[str, Any]]:
    for given in worlds:
        world = World(lead, **given)
        made = cell(f"lead {lead:g}", world, studies)
        yield {
            "of": len(made),
            "lead": lead,
            "world": world.in_words,
            # All that are truly best: of equals none may leave.
            "the best is in the set": share(
                all(METHODS[at] in one.best.members for at in np.flatnonzero(is_best(one.truth)))
                for one in made
            ),
            "a set of at most 2": share(len(one.best.members) <= 2 for one in made),
            "mean size": float(np.mean([len(one.best.members) for one in made])),
            "the best differs from the control": share(
                any(test.is_shown and test.model == BEST for test in one.tests) for one in made
            ),
            "at least": promised,
        }


def is_best(truth: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which methods are best with the settings that tuning chose."""
    return np.asarray(truth >= truth.max() - 1e-9)


def share(found: Iterator[bool]) -> float:
    """Return the percentage of studies in which it is so."""
    return 100.0 * float(np.mean([*found]))


TABLES = {
    "no-difference": no_difference,
    "best-by-five": best_by_five,
    "best-by-fifteen": best_by_fifteen,
    "settings-matter": settings_matter,
}


def main() -> None:
    """Print a line a cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--only", choices=[*TABLES], action="append")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    say, started, failed = partial(print, flush=True), time.monotonic(), False
    found: dict[str, list[dict[str, Any]]] = {}
    for name in given.only or TABLES:
        say(f"\n{name}: {(TABLES[name].__doc__ or '').splitlines()[0]}")
        found[name] = []
        for row in TABLES[name](given.studies):
            low, high = row.pop("at least", {}), row.pop("at most", {})
            found[name].append(row)
            cells = (f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in row.items())  # fmt: skip
            say("  " + "; ".join(cells))
            for sign, limits in ((1.0, low), (-1.0, high)):
                for key, limit in limits.items():
                    error = 165.0 * (limit / 100 * (1 - limit / 100) / row["of"]) ** 0.5
                    failed |= sign * (row[key] - limit) < -error
    say(f"\n{time.monotonic() - started:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
