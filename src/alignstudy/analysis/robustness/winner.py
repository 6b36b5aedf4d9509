"""The winner's lead on prompts that did not choose it.

The largest of several is the largest by luck too. Prompts are split in halves many times: one half
names the winner and the runner-up, the other says how far they lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.metrics.figures import combined, rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis
from alignstudy.records.robustness import WinnerLead

SPLITS = 500
_FEWEST = 10
"""Clusters of prompts without which halves say nothing."""


def winner_leads(
    panels: Mapping[str, ScoreMatrix], axes: Sequence[Axis], *, seed: int
) -> tuple[WinnerLead, ...]:
    """Re-estimate the winner's lead in every metric on the prompts that all models have.

    Args:
        panels: The scores of all models, by axis.
        axes: Those of the study: CAS rests on all of them.
        seed: Of the splits.
    """
    found, rates = [], []
    for panel in panels.values():
        models = panel.known()
        if len(models) < 2:
            continue
        for metric, table in ((rate_of(panel.axis), panel.passed), (score_of(panel.axis), None)):
            values = panel.scores if metric.family == "scores" else table
            if values is None:
                continue
            halves = _halves(values[panel.rows(models)], panel.cluster_of, seed=seed)
            if halves is None:
                continue
            unit = 100.0 if metric.is_rate else 1.0
            found.append(_lead(metric, models, unit * halves))
            if metric.is_rate:
                rates.append((models, unit * halves))
    if len(rates) == len(axes) > 1 and all(models == rates[0][0] for models, _ in rates):
        mean = np.mean([halves for _, halves in rates], axis=0)
        found.append(_lead(combined(axes), rates[0][0], mean))
    return tuple(found)


def _halves(
    table: NDArray[np.float64], clusters: NDArray[np.int64], *, seed: int
) -> NDArray[np.float64] | None:
    """Return the models' means in both halves of every split: (splits, 2, models); None: too few.

    Args:
        table: Shape (models, prompts); prompts that a model lacks are left out.
        clusters: The cluster of each prompt; clusters are not divided.
        seed: Of the splits.
    """
    whole = ~np.isnan(table).any(axis=0)
    values, labels = table[:, whole], np.unique(clusters[whole], return_inverse=True)[1]
    num_clusters = int(labels.max()) + 1 if labels.size else 0
    if num_clusters < _FEWEST:
        return None
    rng = np.random.default_rng(seed)
    order = np.argsort(rng.random((SPLITS, num_clusters)), axis=1)
    first = (order < num_clusters // 2)[:, labels].astype(np.float64)
    sums, sizes = first @ values.T, first.sum(axis=1, keepdims=True)
    rest = (values.sum(axis=1) - sums) / (values.shape[1] - sizes)
    return np.stack([sums / sizes, rest], axis=1)


def _lead(metric: Metric, models: Sequence[str], halves: NDArray[np.float64]) -> WinnerLead:
    """Choose by each half, and take the lead from the other."""
    # Both halves choose once, so that no prompt counts more than another.
    choosing = np.concatenate([halves[:, 0], halves[:, 1]])
    telling = np.concatenate([halves[:, 1], halves[:, 0]])
    ranked = np.argsort(-choosing, axis=1, kind="stable")
    rows = np.arange(len(choosing))
    kept = telling[rows, ranked[:, 0]] - telling[rows, ranked[:, 1]]
    apparent = choosing[rows, ranked[:, 0]] - choosing[rows, ranked[:, 1]]
    means = halves.mean(axis=(0, 1))
    best = int(np.argmax(means))
    others = np.delete(means, best)
    return WinnerLead(
        metric=metric.name,
        model=models[best],
        lead=float(means[best] - others.max()),
        apparent=float(apparent.mean()),
        kept=float(kept.mean()),
        chosen=100.0 * float((ranked[:, 0] == best).mean()),
    )
