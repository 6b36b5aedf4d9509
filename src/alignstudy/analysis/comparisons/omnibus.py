"""One test per metric over all models: does any differ from any other?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.results import Omnibus
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.errors import MetricError
from alignstudy.metrics.figures import rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.stats.omnibus import cochran_q, friedman

COCHRAN = "Cochran's Q"
FRIEDMAN = "Friedman"


def omnibus_tests(panels: dict[str, ScoreMatrix]) -> tuple[Omnibus, ...]:
    """Test each rate and mean score over all models, on the prompts that all of them have.

    Rates of one seed and sample on independent prompts: Cochran's Q. Means over seeds or samples,
    means over clusters of near-duplicate prompts, and scores: Friedman.

    Args:
        panels: Scores by axis; those with fewer than two models have no test.
    """
    found = []
    for panel in panels.values():
        rows = [panel.row(model) for model in panel.known()]
        if len(rows) < 2:
            continue
        plain = panel.clusters is None and not panel.has_shares
        if panel.passed is not None:
            test = (COCHRAN, cochran_q) if plain else (FRIEDMAN, friedman)
            found.append(_tested(panel, panel.passed[rows], rate_of(panel.axis), *test))
        found.append(_tested(panel, panel.scores[rows], score_of(panel.axis), FRIEDMAN, friedman))
    return tuple(found)


def _tested(
    panel: ScoreMatrix,
    values: NDArray[np.float64],
    metric: Metric,
    name: str,
    test: Callable[[NDArray[np.float64]], tuple[float, float]],
) -> Omnibus:
    """Make the record; too few prompts, or nothing that tells models apart, leave the test out."""
    shared = ~np.isnan(values).any(axis=0)
    blocks = values[:, shared]
    names, number = np.unique(panel.cluster_of[shared], return_inverse=True)
    if len(names) < blocks.shape[1]:  # near-duplicates are one block, not several
        blocks = np.stack([np.bincount(number, weights=row) for row in blocks])
        blocks = np.asarray(blocks / np.bincount(number))
    n, note, statistic, p_value = int(shared.sum()), "", None, None
    if blocks.shape[1] < MIN_PROMPTS:
        note = f"no test: {blocks.shape[1]} prompts that all models have, under {MIN_PROMPTS}"
    else:
        try:
            statistic, p_value = test(blocks)
        except MetricError as error:
            note = f"no test: {error.why or error.what}"
    return Omnibus(
        metric=metric.name, test=name, statistic=statistic, p_value=p_value, n=n, note=note
    )
