"""Every pair of models compared, prompt by prompt, with tests that know the pairing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alignstudy.analysis.comparisons.pair_inference import (
    PairDifferences,
    design_of,
    equivalence,
    over_prompts,
    over_seeds,
)
from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.results import Comparison
from alignstudy.metrics.rates import WIN_RATE
from alignstudy.records import Estimate
from alignstudy.stats.effect import cohens_dz, win_rate_interval
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.power.planning import ALPHA, planned
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

MIN_PROMPTS = 10
"""Below so many paired prompts no test is made."""


def compare_pairs(
    tables: Sequence[PairTable],
    *,
    base: str | None,
    margins: Margins,
    resampler: Resampler,
) -> tuple[Comparison, ...]:
    """Compare every pair of models in the rates, their mean and the mean scores.

    Rates of one seed: McNemar's exact test with Tango's interval; with clusters of near-duplicate
    prompts a sign-flip test over clusters, with an interval that resamples them. CAS and scores are
    always tested so. Shares of several samples: sign flips, with a t interval. Several seeds: see
    `stats.seeds`, in interval, test and power. P-values are Holm-adjusted within three families:
    the rates of all pairs, CAS of all pairs, the mean scores of all pairs.

    Args:
        tables: Of all metrics.
        base: The reference of the pairs that it is in; else the model that stands first.
        margins: Within which distance two models count as alike.
        resampler: Draws prompts, seeds and signs.
    """
    found: list[Comparison] = []
    sizes = Counter[str]()
    for table in tables:
        sizes[table.metric.family] += len(table.pairs)
    for table in tables:
        found += compared(
            table,
            margin=margin_of(table, base, margins),
            resampler=resampler,
            level=ALPHA / sizes[table.metric.family],
        )
    return adjust(found)


def margin_of(table: PairTable, base: str | None, margins: Margins) -> float | None:
    """Return the margin in the metric's unit; None where all scores of the base are alike."""
    if table.metric.is_rate:
        return margins.rates
    if margins.scores is not None:
        return margins.scores
    panel = table.sides[0].panel
    known = panel.known()
    scores = panel.by_sample[panel.row(base if base in known and base else known[0])]
    scores = scores[~np.isnan(scores)]
    spread = float(scores.std(ddof=1)) if scores.size > 1 else 0.0
    return margins.score_sds * spread or None


def adjust(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Fill in Holm-adjusted p-values, family by family; comparisons without a test stay out."""
    families: dict[str, list[int]] = {}
    for index, comparison in enumerate(comparisons):
        if comparison.p_value is not None:
            families.setdefault(comparison.family, []).append(index)
    adjusted = list(comparisons)
    for members in families.values():
        p_values = [comparisons[index].p_value or 0.0 for index in members]
        for index, p_holm in zip(members, holm(p_values), strict=True):
            adjusted[index] = replace(adjusted[index], p_holm=p_holm)
    return tuple(adjusted)


def compared(
    table: PairTable, *, margin: float | None, resampler: Resampler, level: float = ALPHA
) -> list[Comparison]:
    """Compare every pair of a table; p-values are not adjusted yet.

    Args:
        table: Differences of every pair.
        margin: Of equivalence, in the metric's unit; None for no such test.
        resampler: Draws prompts, seeds and signs.
        level: That of the first step of the family's correction, for power.
    """
    pairs = [PairDifferences(table, index) for index in range(len(table.pairs))]
    several = table.several_seeds
    shown = over_seeds(pairs) if several else over_prompts(table, pairs, resampler)
    wins = _win_intervals(table, pairs, resampler)
    found = []
    for index, (pair, (difference, p_value, test)) in enumerate(zip(pairs, shown, strict=True)):
        # Too few prompts on any axis leave the tests out.
        smallest = pair.smallest
        tested = smallest >= MIN_PROMPTS and p_value is not None and not pair.is_nominal
        has_effect = not table.metric.is_rate and len(pair.units) == 1 and pair.num_clusters > 1
        design = design_of(pair) if tested else None
        has_sign = tested and not pair.is_clustered and not several
        found.append(
            Comparison(
                metric=table.metric.name,
                model=table.pairs[index][1],
                reference=table.pairs[index][0],
                difference=difference,
                p_value=p_value if tested else None,
                p_holm=None,
                test=test if tested else "none",
                wins=pair.wins,
                losses=pair.losses,
                ties=pair.n - pair.wins - pair.losses,
                n=pair.n,
                note="" if tested else _why_not(pair),
                family=table.metric.family,
                win_interval=wins[index],
                p_sign=mcnemar_exact(pair.wins, pair.losses) if has_sign else None,
                effect_size=cohens_dz(pair.units[0]) if has_effect else None,
                power=None if design is None else planned(design, margin, alpha=level),
                p_equivalent=equivalence(pair, margin) if tested and margin else None,
                margin=margin,
                num_clusters=pair.num_clusters,
            )
        )
    return found


def _why_not(pair: PairDifferences) -> str:
    if pair.smallest < MIN_PROMPTS:
        return f"no test: {pair.smallest} paired prompts, under {MIN_PROMPTS}"
    if pair.is_nominal:
        return (
            "no test: a rate under 10 or over 90 % whose seeds differ by more than prompts explain;"
            " its interval is nominal only"
        )
    return "no test: scores of all seeds and prompts differ alike, or none is complete"


def _win_intervals(
    table: PairTable, pairs: Sequence[PairDifferences], resampler: Resampler
) -> list[Estimate]:
    """Return win rates; where prompts are clustered, their intervals resample clusters."""
    exact = [
        replace(
            win_rate_interval(pair.wins, pair.losses, pair.n - pair.wins - pair.losses),
            value=WIN_RATE.of(np.concatenate(pair.rows)),
        )
        for pair in pairs
    ]
    if not any(pair.is_clustered for pair in pairs):
        return exact
    signs = np.concatenate([np.sign(side.differences) for side in table.sides], axis=1)
    means = bootstrap_means(
        50.0 * (1.0 + signs), draws=resampler.draws, rng=resampler.rng, clusters=table.clusters
    )
    return [
        estimate
        if np.ptp(drawn) == 0.0
        else percentile_estimate(estimate.value, drawn, n=estimate.n, method="cluster bootstrap")
        for estimate, drawn in zip(exact, means.T, strict=True)
    ]
