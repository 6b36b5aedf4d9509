"""Every pair of models compared, prompt by prompt, with tests that know the pairing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from alignstudy.analysis.comparisons.pair_table import PairTable, pair_tables
from alignstudy.analysis.comparisons.pair_tests import compared
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.results import Comparison
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.records import Axis
from alignstudy.stats.multiplicity import holm


def compare_pairs(
    panels: dict[str, ScoreMatrix],
    *,
    axes: Sequence[Axis],
    base: str | None,
    margins: Margins,
    resampler: Resampler,
) -> tuple[Comparison, ...]:
    """Compare every pair of models in the rates, their mean and the mean scores.

    Rates of one seed: McNemar's exact test with Tango's interval. With clusters of near-duplicate
    prompts, or several seeds: per-prompt means over seeds by a sign-flip test over clusters, with
    an interval that resamples clusters, and seeds. CAS and scores are always tested so. P-values
    are Holm-adjusted within three families: the rates of all pairs, CAS of all pairs, the mean
    scores of all pairs.

    Args:
        panels: Scores by axis.
        axes: Those of the study: CAS rests on all of them.
        base: The reference of the pairs that it is in; else the model that stands first.
        margins: Within which distance two models count as alike.
        resampler: Draws prompts, seeds and signs.

    Raises:
        DataError: If two models share no scored prompt of a prompt set.
    """
    found: list[Comparison] = []
    for table in pair_tables(panels, axes=axes, base=base):
        found += compared(table, margin=_margin(table, base, margins), resampler=resampler)
    return adjust(found)


def _margin(table: PairTable, base: str | None, margins: Margins) -> float | None:
    """Return the margin in the metric's unit; None where all scores of the base are alike."""
    if table.metric.is_rate:
        return margins.rates
    if margins.scores is not None:
        return margins.scores
    panel = table.sides[0].panel
    known = panel.known()
    scores = panel.by_seed[panel.row(base if base in known and base else known[0])]
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
