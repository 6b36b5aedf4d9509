"""Whether a judge's scores go with length, and what is left of a difference at equal length."""

from __future__ import annotations

import numpy as np

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.records.robustness import LengthEffect
from alignstudy.stats.adjusted import length_adjusted_rows, within_rank_correlation
from alignstudy.stats.agreement import spearman


def length_effect(
    panel: ScoreMatrix, *, base: str | None, resampler: Resampler
) -> LengthEffect | None:
    """Relate scores to characters on one prompt set; None where no model has a score.

    Scores and lengths are means over samples and seeds. Pairs with fewer than ten paired prompts,
    or whose lengths never differ, have no adjusted difference.

    Args:
        panel: Scores and lengths of all models.
        base: The reference of the pairs that it is in.
        resampler: Source of resamples.
    """
    models = panel.known()
    if not models:
        return None
    rows = panel.rows(models)
    scores, lengths = panel.scores[rows], panel.lengths[rows]
    there = ~np.isnan(scores)
    shared = there.all(axis=0)
    adjusted = []
    pairs = panel.pairs(base)
    if pairs:
        theirs, ours = (panel.rows(side) for side in zip(*pairs, strict=True))
        differences = panel.scores[ours] - panel.scores[theirs]
        found = length_adjusted_rows(
            differences,
            panel.lengths[ours] - panel.lengths[theirs],
            draws=resampler.draws,
            rng=resampler.rng,
            clusters=panel.clusters,
        )
        enough = (~np.isnan(differences)).sum(axis=1) >= MIN_PROMPTS
        adjusted = [
            (model, reference, estimate)
            for (reference, model), estimate, tested in zip(pairs, found, enough, strict=True)
            if estimate is not None and tested
        ]
    return LengthEffect(
        axis=panel.axis.name,
        rank_correlation=spearman(scores[there], lengths[there]),
        within=within_rank_correlation(scores[:, shared], lengths[:, shared])
        if shared.any()
        else None,
        adjusted=tuple(adjusted),
    )
