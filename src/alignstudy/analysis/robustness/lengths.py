"""Whether a judge's scores go with length, and what is left of a difference at equal length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.records import Estimate
from alignstudy.records.robustness import LengthEffect
from alignstudy.stats.adjusted import length_adjusted_rows, within_rank_correlation
from alignstudy.stats.agreement import spearman

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alignstudy.analysis.comparisons.resampling import Resampler


def length_effect(
    panel: ScoreMatrix, *, base: str | None, resampler: Resampler
) -> LengthEffect | None:
    """Relate scores to characters on one prompt set; None where no model has a score.

    Scores and lengths are means over seeds. Pairs with fewer than ten paired prompts, or whose
    lengths never differ, have no adjusted difference.

    Args:
        panel: Scores and lengths of all models.
        base: The reference of the pairs that it is in.
        resampler: Source of resamples.
    """
    models = panel.known()
    if not models:
        return None
    rows = [panel.row(model) for model in models]
    scores, lengths = panel.scores[rows], panel.lengths[rows]
    there = ~np.isnan(scores)
    shared = there.all(axis=0)
    return LengthEffect(
        axis=panel.axis.name,
        rank_correlation=spearman(scores[there], lengths[there]),
        within=_within(scores[:, shared], lengths[:, shared]),
        adjusted=tuple(_adjusted(panel, models, base, resampler)),
    )


def _within(scores: NDArray[np.float64], lengths: NDArray[np.float64]) -> float | None:
    return within_rank_correlation(scores, lengths) if scores.shape[1] else None


def _adjusted(
    panel: ScoreMatrix, models: Sequence[str], base: str | None, resampler: Resampler
) -> Iterator[tuple[str, str, Estimate]]:
    pairs = [(b, a) if b == base else (a, b) for a, b in combinations(models, 2)]
    if not pairs:
        return
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
    for (reference, model), estimate, tested in zip(pairs, found, enough, strict=True):
        if estimate is not None and tested:
            yield model, reference, estimate
