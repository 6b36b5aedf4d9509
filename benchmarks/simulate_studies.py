"""Studies whose truth is known, many times: how often the product's own analysis errs.

    python benchmarks/simulate_studies.py [--studies 500] [--only NAME]... [--json FILE]

Prints the tables of docs/statistics.md: verdicts without any difference, at the margin, of a true
best of four, at the printed number of prompts needed, and by truth and size. Exits with 1 if any
rate of error is clearly above what is promised.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import VERDICTS, Claim, Verdict
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis, Thresholds
from alignstudy.records import ScoredResponse
from alignstudy.stats.power.mcnemar_design import RateDesign
from alignstudy.stats.power.planning import ALPHA, prompts_for
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.seeds import difference_spread
from alignstudy.stats.spread import SeedPart, Spread

LIMITS = Thresholds(values=dict.fromkeys(("harmless", "helpful"), 0.0))
NO_SWEEP = {axis: (0.0,) for axis in LIMITS.values}
"""One threshold: what others would give is not asked here."""
SEED_POINTS = 3.0
"""How far training seeds move a rate near 50 %: standard deviation, percentage points."""
NULL = {
    "base": ("sft", "dpo"),
    "sft": ("sft_dpo",),
}
"""Who is claimed to be below whom, on both axes."""

SHARED, OWN, REST = 0.8, 0.4, 0.4
SD = 0.98
"""Of one response's score: .8 of difficulty, .4 of model, .4 of chance."""


def of_rate(points: float, rate: float = 50.0) -> float:
    """Return the gain in score that lifts a rate in percent by so many points."""
    quantile = NormalDist().inv_cdf
    return SD * (quantile((rate + points) / 100.0) - quantile(rate / 100.0))


def study(
    rng: np.random.Generator,
    gains: dict[str, float],
    *,
    prompts: int,
    seeds: int = 1,
    axes: Sequence[str] = ("harmless", "helpful"),
    points: float = SEED_POINTS,
) -> list[ScoredResponse]:
    """Make a study's responses.

    Args:
        rng: Of all draws.
        gains: Model -> gain over the base in points of a rate near 50 %.
        prompts: On each axis.
        seeds: Of every model but the base.
        axes: Of the study.
        points: Standard deviation of a rate between seeds.
    """
    rows = []
    for axis in axes:
        difficulty = rng.normal(0.0, SHARED, prompts)
        for model, gain in gains.items():
            own = difficulty + rng.normal(0.0, OWN, prompts) + of_rate(gain)
            runs = 1 if model == "base" else seeds
            for seed in range(runs):
                moved = 0.0 if runs == 1 else rng.normal(0.0, of_rate(points))
                values = own + moved + rng.normal(0.0, REST, prompts)
                rows += [
                    ScoredResponse(
                        model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{i}",
                        response="", scores={"judge": value},
                    )
                    for i, value in enumerate(values.tolist())
                ]  # fmt: skip
    return rows


def judged(
    rows: Sequence[ScoredResponse], claims: Sequence[Claim]
) -> tuple[Analysis, tuple[Verdict, ...]]:
    """Analyse a study as the product does."""
    found = analyze_judge(rows, LIMITS, judge="judge", base="base", draws=50, sweep=NO_SWEEP)
    return found, verdicts(Findings(analyses=(found,)), claims, rows)


def pairs(margin: float = 0.0, relation: str = "better") -> list[Claim]:
    """Return six claims: three pairs on two axes."""
    return [
        Claim(
            metric=(metric,), better=better, than=(worse,), margin=margin,
            relation="equivalent" if relation == "equivalent" else "better",
        )
        for metric in ("hmr", "hpr")
        for worse, models in NULL.items()
        for better in models
    ]  # fmt: skip


def under_no_difference(studies: int) -> Iterator[dict[str, Any]]:
    """Four models that are alike: any error of any claim, any pair called real, coverage."""
    for seeds in (1, 2, 3, 5):
        rng = np.random.default_rng([1, seeds])
        wrong, real, covered, intervals = 0, 0, 0, 0
        for _ in range(studies):
            gains = dict.fromkeys(("base", "sft", "dpo", "sft_dpo"), 0.0)
            found, given = judged(study(rng, gains, prompts=300, seeds=seeds), pairs())
            rates = [item for item in found.comparisons if item.family == "rates"]
            wrong += any(v.verdict in ("supported", "contradicted") for v in given)
            real += any(item.is_shown for item in rates)
            covered += sum(item.difference.low <= 0.0 <= item.difference.high for item in rates)
            intervals += len(rates)
        yield {
            "seeds": seeds,
            "any of 6 claims supported or contradicted": 100.0 * wrong / studies,
            "any of 12 pairs real": 100.0 * real / studies,
            "a pair's interval covers": 100.0 * covered / intervals,
            "limit": 5.0,
            "errors": ["any of 6 claims supported or contradicted", "any of 12 pairs real"],
        }


def at_the_margin(studies: int) -> Iterator[dict[str, Any]]:
    """Three models exactly 5 points above the base, the margin 5 points."""
    for seeds in (1, 3, 5):
        rng = np.random.default_rng([2, seeds])
        gains = {"base": 0.0, "sft": 5.0, "dpo": 5.0, "sft_dpo": 10.0}
        beyond, alike = 0, 0
        for _ in range(studies):
            rows = study(rng, gains, prompts=400, seeds=seeds, points=1.0)
            _, given = judged(rows, pairs(5.0))
            beyond += any(v.verdict == "supported" for v in given)
            _, given = judged(rows, pairs(5.0, "equivalent"))
            alike += any(v.verdict == "equivalent" for v in given)
        yield {
            "seeds": seeds,
            "any of 6 claims of more than 5 points supported": 100.0 * beyond / studies,
            "any of 6 claims of equivalence equivalent": 100.0 * alike / studies,
            "limit": 5.0,
            "errors": [
                "any of 6 claims of more than 5 points supported",
                "any of 6 claims of equivalence equivalent",
            ],
        }


def true_best_of_four(studies: int) -> Iterator[dict[str, Any]]:
    """One model truly above three others, 50 prompts: what becomes of "it is the best"."""
    claim = Claim(metric=("hmr",), better="best")
    for points in (2.0, 5.0, 10.0):
        rng = np.random.default_rng([3, round(points)])
        gains = {"base": 0.0, "x": 0.0, "y": 0.0, "best": points}
        found = Counter[str]()
        for _ in range(studies):
            [given] = judged(study(rng, gains, prompts=50, axes=["harmless"]), [claim])[1]
            found[given.verdict] += 1
        yield {
            "points above the others": points,
            **{name: 100.0 * found[name] / studies for name in VERDICTS if found[name]},
            "limit": 5.0,
            "errors": ["contradicted"],
        }


FAMILY = [
    Claim(metric=("hmr",), better=better, than=(worse,))
    for better, worse in (("true", "base"), ("x", "base"), ("y", "base"), ("x", "y"))
]


def at_the_printed_number(studies: int) -> Iterator[dict[str, Any]]:
    """The power of a true difference of 8 points, one of four claims, at the number printed.

    The number is that of the true variances; what a study prints rests on those it has seen.
    """
    gains = {"base": 0.0, "true": 8.0, "x": 0.0, "y": 0.0}
    for seeds, points in ((1, 0.0), (3, 1.0), (5, 2.0)):
        rng = np.random.default_rng([4, seeds])
        design = _true_design(rng, seeds, points)
        needed = prompts_for([(design, 8.0)], alpha=ALPHA / len(FAMILY))
        assert needed is not None
        shown = 0
        for _ in range(studies):
            rows = study(
                rng, gains, prompts=needed, seeds=seeds, axes=["harmless"], points=points
            )  # fmt: skip
            shown += judged(rows, FAMILY)[1][0].verdict == "supported"
        yield {
            "seeds": seeds,
            "seed sd": points,
            "prompts needed": needed,
            "supported": 100.0 * shown / studies,
        }


def _true_design(rng: np.random.Generator, seeds: int, points: float) -> RateDesign | SpreadDesign:
    """Return the design of a comparison with the base, from many large draws of it."""
    gain, prompts = of_rate(8.0), 2_000
    spreads, discordance = [], []
    for _ in range(200):
        difficulty = rng.normal(0.0, SHARED, prompts)

        def passed(
            runs: int, lift: float, difficulty: NDArray[np.float64] = difficulty
        ) -> NDArray[np.float64]:
            own = difficulty + rng.normal(0.0, OWN, prompts) + lift
            moved = of_rate(points) * rng.normal(size=(runs, 1)) if runs > 1 else 0.0
            chance = rng.normal(0.0, REST, (runs, prompts))
            return np.asarray(own + moved + chance > 0.0, dtype=np.float64)

        ours, theirs = passed(seeds, gain), passed(1, 0.0)
        discordance.append(float((ours[0] != theirs[0]).mean()))
        spreads.append(difference_spread([(ours, theirs)], rate=True).in_unit(100.0))
    if seeds == 1:
        return RateDesign(float(np.mean(discordance)), prompts)
    first = spreads[0]
    parts = tuple(
        SeedPart(
            seen=float(np.mean([one.trainings[at].seen for one in spreads])),
            noise=float(np.mean([one.trainings[at].noise for one in spreads])),
            df=part.df,
        )
        for at, part in enumerate(first.trainings)
    )
    by_prompts = float(np.mean([one.prompts for one in spreads]))
    true: Spread = replace(first, prompts=by_prompts, trainings=parts, units=prompts)
    return SpreadDesign(true, num_rates=1)


def by_truth_and_size(studies: int) -> Iterator[dict[str, Any]]:
    """One claim, "a is above the base"; the smallest difference of interest is 5 points."""
    claim = Claim(metric=("hmr",), better="a", than=("base",))
    for prompts in (50, 500, 3_000):
        for points in (-5.0, 0.0, 5.0, 10.0):
            rng = np.random.default_rng([5, prompts, round(points) + 10])
            found = Counter[str]()
            few = max(100, studies // max(1, prompts // 200))
            for _ in range(few):
                rows = study(
                    rng, {"base": 0.0, "a": points}, prompts=prompts, axes=["harmless"]
                )  # fmt: skip
                found[judged(rows, [claim])[1][0].verdict] += 1
            shares = {name: 100.0 * found[name] / few for name in VERDICTS[:5]}
            wrong = ["contradicted"] if points > 0 else ["supported"]
            errors = ["supported", "contradicted"] if points == 0.0 else wrong
            yield {
                "prompts": prompts,
                "truth": points,
                **shares,
                "limit": 5.0,
                "errors": errors,
                "of": few,
            }


TABLES: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "no-difference": under_no_difference,
    "margin": at_the_margin,
    "best-of-four": true_best_of_four,
    "needed": at_the_printed_number,
    "truth-and-size": by_truth_and_size,
}


def main() -> None:
    """Print a line a cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--only", choices=[*TABLES], action="append")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    say, started, failed = partial(print, flush=True), time.monotonic(), False
    found: dict[str, list[dict[str, Any]]] = {}
    for name in given.only or TABLES:
        say(f"\n{name}: {(TABLES[name].__doc__ or '').splitlines()[0]}")
        found[name] = []
        for row in TABLES[name](given.studies):
            limit, errors = row.pop("limit", None), row.pop("errors", [])
            of = row.get("of", given.studies)
            found[name].append(row)
            cells = (f"{key} {value:.1f}" if isinstance(value, float) else f"{key} {value}"
                     for key, value in row.items())  # fmt: skip
            say("  " + "; ".join(cells))
            if limit is not None:
                most = limit + 165.0 * (limit / 100 * (1 - limit / 100) / of) ** 0.5
                failed |= any(row.get(key, 0.0) > most for key in errors)
            if name == "needed":
                failed |= not 77.0 <= row["supported"] <= 85.0
    say(f"\n{time.monotonic() - started:.0f} s")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
