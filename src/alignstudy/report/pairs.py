"""Every pair of models compared, prompt by prompt, with tests that know the pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import DataError
from alignstudy.records import Axis, Estimate
from alignstudy.report.panels import Panel
from alignstudy.report.results import Comparison
from alignstudy.stats.bootstrap import bootstrap_means, percentile_estimate
from alignstudy.stats.intervals import mean_of_two, tango
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.permutation import sign_flip

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_PROMPTS = 10
"""Below so many paired prompts no test is made."""

FLIPS_PER_DRAW = 20

MCNEMAR = "exact McNemar"
SIGN_FLIP = "sign-flip permutation"

_RATE_NAME = {Axis.HARMLESS: "hmr", Axis.HELPFUL: "hpr"}
_FAMILY = {"hmr": "rates", "hpr": "rates", "cas": "cas"}


@dataclass(frozen=True)
class _Paired:
    """Differences of one metric: a row a pair, shape (pairs, prompts); NaN where not paired."""

    metric: str
    pairs: tuple[tuple[str, str], ...]
    differences: NDArray[np.float64]


def compare_pairs(
    panels: dict[Axis, Panel],
    *,
    base: str | None,
    several_seeds: bool,
    draws: int,
    rng: np.random.Generator,
) -> tuple[Comparison, ...]:
    """Compare every pair of models in hmr, hpr, cas and the mean scores.

    One seed: rates by McNemar's exact test with Tango's interval. Several seeds: per-prompt means
    over seeds by a sign-flip test with a bootstrap interval over prompts. CAS and scores are
    always tested so. P-values are Holm-adjusted within three families: the rates of all pairs,
    CAS of all pairs, the mean scores of all pairs.

    Args:
        panels: Scores by axis.
        base: The reference of the pairs that it is in; else the model that stands first.
        several_seeds: Whether any model was trained with several seeds.
        draws: Bootstrap resamples; 20 times as many sign flips.
        rng: Source of both.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    rates = {axis: _paired(panel, base, rate=True) for axis, panel in panels.items()}
    scores = [_paired(panel, base, rate=False) for panel in panels.values()]
    found: list[Comparison] = []
    for rate in rates.values():
        if rate is not None and not several_seeds:
            found += _by_mcnemar(rate)
        elif rate is not None:
            found += _by_sign_flip(rate, (rate.differences,), draws=draws, rng=rng)
    found += _cas(rates.get(Axis.HARMLESS), rates.get(Axis.HELPFUL), draws=draws, rng=rng)
    for score in scores:
        if score is not None:
            found += _by_sign_flip(score, (score.differences,), draws=draws, rng=rng)
    return adjust(found)


def _paired(panel: Panel, base: str | None, *, rate: bool) -> _Paired | None:
    """Give the differences of all pairs of a panel; None if it has no pair or no threshold."""
    table = panel.passed if rate else panel.scores
    if table is None:
        return None
    known = [model for model in panel.models if not np.isnan(panel.scores[panel.row(model)]).all()]
    pairs = tuple((b, a) if b == base else (a, b) for a, b in combinations(known, 2))
    if not pairs:
        return None
    unit = 100.0 if rate else 1.0
    rows = [table[panel.row(model)] - table[panel.row(reference)] for reference, model in pairs]
    for (reference, model), row in zip(pairs, rows, strict=True):
        if np.isnan(row).all():
            raise DataError(
                f"models '{model}' and '{reference}' share no scored {panel.axis.prompts_name}"
                " prompt",
                why="models are compared prompt by prompt, by prompt id",
                mend="give all models the same prompts",
            )
    metric = _RATE_NAME[panel.axis] if rate else f"score_{panel.axis}"
    return _Paired(metric, pairs, unit * np.stack(rows))


def _by_mcnemar(rate: _Paired) -> list[Comparison]:
    found = []
    for pair, row in zip(rate.pairs, rate.differences, strict=True):
        wins, losses, n = int((row > 0).sum()), int((row < 0).sum()), int((~np.isnan(row)).sum())
        found.append(
            _comparison(
                rate.metric,
                pair,
                (row,),
                tango(wins, losses, n),
                p_value=mcnemar_exact(wins, losses),
                test=MCNEMAR,
            )
        )
    return found


def _by_sign_flip(
    paired: _Paired,
    strata: Sequence[NDArray[np.float64]],
    *,
    draws: int,
    rng: np.random.Generator,
) -> list[Comparison]:
    """Test the mean over strata of the mean difference within each: one prompt set, or CAS' two."""
    weights = [1.0 / (len(strata) * (~np.isnan(part)).sum(axis=1)) for part in strata]
    weighted = [
        np.nan_to_num(part) * weight[:, None] for part, weight in zip(strata, weights, strict=True)
    ]
    contributions = np.concatenate(weighted, axis=1)
    p_values = sign_flip(contributions, rng=rng, flips=FLIPS_PER_DRAW * draws)
    replicates = np.mean([bootstrap_means(part, draws=draws, rng=rng) for part in strata], axis=0)
    method = "bootstrap" if len(strata) == 1 else "stratified bootstrap"
    found = []
    for index, pair in enumerate(paired.pairs):
        rows = tuple(part[index] for part in strata)
        difference = percentile_estimate(
            float(contributions[index].sum()),
            replicates[:, index],
            n=sum(int((~np.isnan(row)).sum()) for row in rows),
            method=method,
        )
        if len(rows) > 1 and any(_tells_nothing(row) for row in rows):
            difference = _from_tango(rows, difference)
        p_value = float(p_values[index])
        found.append(
            _comparison(paired.metric, pair, rows, difference, p_value=p_value, test=SIGN_FLIP)
        )
    return found


def _tells_nothing(row: NDArray[np.float64]) -> bool:
    """Tell whether all resamples of a row would be alike."""
    return bool(np.ptp(row[~np.isnan(row)]) == 0)


def _from_tango(rows: Sequence[NDArray[np.float64]], difference: Estimate) -> Estimate:
    """Give CAS' difference with an interval that doesn't shrink to nothing without discord."""
    present = [row[~np.isnan(row)] for row in rows]
    if any(not np.isin(row, (-100.0, 0.0, 100.0)).all() for row in present):
        return difference  # means over seeds: no counts that Tango's interval could use
    sides = [tango(int((row > 0).sum()), int((row < 0).sum()), row.size) for row in present]
    return mean_of_two(*sides)


def _cas(
    harmless: _Paired | None,
    helpful: _Paired | None,
    *,
    draws: int,
    rng: np.random.Generator,
) -> list[Comparison]:
    """Compare CAS for the pairs that have both rates."""
    if harmless is None or helpful is None:
        return []
    both = tuple(pair for pair in harmless.pairs if pair in helpful.pairs)
    if not both:
        return []
    strata = [
        side.differences[[side.pairs.index(pair) for pair in both]] for side in (harmless, helpful)
    ]
    return _by_sign_flip(_Paired("cas", both, strata[0]), strata, draws=draws, rng=rng)


def _comparison(
    metric: str,
    pair: tuple[str, str],
    rows: Sequence[NDArray[np.float64]],
    difference: Estimate,
    *,
    p_value: float,
    test: str,
) -> Comparison:
    """Make the record; too few prompts on any axis leave the test out."""
    sizes = [int((~np.isnan(row)).sum()) for row in rows]
    wins = sum(int((row > 0).sum()) for row in rows)
    losses = sum(int((row < 0).sum()) for row in rows)
    tested = min(sizes) >= MIN_PROMPTS
    return Comparison(
        metric=metric,
        model=pair[1],
        reference=pair[0],
        difference=difference,
        p_value=p_value if tested else None,
        p_holm=None,
        test=test if tested else "none",
        wins=wins,
        losses=losses,
        ties=sum(sizes) - wins - losses,
        n=sum(sizes),
        note="" if tested else f"no test: {min(sizes)} paired prompts, under {MIN_PROMPTS}",
    )


def adjust(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Fill in Holm-adjusted p-values, family by family; comparisons without a test stay out."""
    families: dict[str, list[int]] = {}
    for index, comparison in enumerate(comparisons):
        if comparison.p_value is not None:
            family = _FAMILY.get(comparison.metric, "scores")
            families.setdefault(family, []).append(index)
    adjusted = list(comparisons)
    for members in families.values():
        p_values = [comparisons[index].p_value or 0.0 for index in members]
        for index, p_holm in zip(members, holm(p_values), strict=True):
            adjusted[index] = replace(adjusted[index], p_holm=p_holm)
    return tuple(adjusted)
