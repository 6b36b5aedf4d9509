"""The labels of one axis, laid out beside what a judge says of the same responses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.score_matrix import ScoreMatrix, known_mean
from alignstudy.records import Estimate
from alignstudy.records.labels import Label
from alignstudy.stats.ppi import Labelled
from alignstudy.stats.resampling.clustered_share import weighted_share


@dataclass(frozen=True)
class AxisLabels:
    """The labels of one axis beside a judge's passes.

    Attributes:
        panel: The judge's scores.
        truth: 1 where a label passes, 0 where it doesn't, shape (models, seeds, prompts); NaN where
            there is none, or the judge gave no score.
        stands_for: Prompts that one stands for, same shape; NaN where that isn't known.
    """

    panel: ScoreMatrix
    truth: NDArray[np.float64]
    stands_for: NDArray[np.float64]

    @property
    def passed(self) -> NDArray[np.float64]:
        """What the judge says of all responses, same shape."""
        assert self.panel.passed_by_seed is not None
        return self.panel.passed_by_seed

    @property
    def judged(self) -> NDArray[np.float64]:
        """What it says of the labelled ones."""
        return np.where(np.isnan(self.truth), np.nan, self.passed)

    @cached_property
    def skill(self) -> float:
        """Sensitivity plus specificity less 1, over all models; 0 where one isn't known."""
        found = recalls(self.truth, self.judged, self.truth_weights)
        if None in found:
            return 0.0
        return sum(each.value for each in found if each is not None) / 100.0 - 1.0

    @cached_property
    def truth_weights(self) -> NDArray[np.float64]:
        """How much each label counts, same shape: alike where no draw says otherwise."""
        return np.where(np.isnan(self.stands_for), 1.0, self.stands_for)

    def sample(self, models: Sequence[str]) -> Labelled | None:
        """Return the labels of a model, or of a pair's differences (first less second).

        None where too few prompts are labelled of it.
        """
        if not set(models) <= set(self.panel.models):
            return None
        rows, signs = self.panel.rows(models), np.array([1.0, -1.0])[: len(models), None]
        truth, judged, stands, passed = (
            known_mean(part[rows], axis=1)
            for part in (self.truth, self.judged, self.stands_for, self.passed)
        )
        there = ~np.isnan(truth).any(axis=0)
        known = ~np.isnan(passed).any(axis=0)
        if there.sum() < MIN_PROMPTS:
            return None
        weights = stands[0, there]
        return Labelled(
            truth=(signs * truth).sum(axis=0)[there],
            judged=(signs * judged).sum(axis=0)[there],
            stands_for=np.ones_like(weights) if np.isnan(weights).any() else weights,
            everyone=(signs * passed).sum(axis=0)[known],
            clusters=self.panel.cluster_of[there],
            num_clusters=len(np.unique(self.panel.cluster_of[known])),
        )


def labels_on(panel: ScoreMatrix, labels: Iterable[Label]) -> AxisLabels | None:
    """Lay out the labels of an axis; None where there is none."""
    assert panel.passed_by_seed is not None
    places = [
        {name: at for at, name in enumerate(names)}
        for names in (panel.models, panel.seeds, panel.prompt_ids)
    ]
    truth = np.full(panel.by_seed.shape, np.nan)
    stands_for = truth.copy()
    for label in labels:
        if label.prompt_id in places[2]:
            seed = panel.seeds[0] if label.seed is None else label.seed
            cell = (places[0][label.model], places[1][seed], places[2][label.prompt_id])
            truth[cell] = label.passes
            if label.stands_for is not None:
                stands_for[cell] = label.stands_for
    truth[np.isnan(panel.passed_by_seed)] = np.nan
    return None if np.isnan(truth).all() else AxisLabels(panel, truth, stands_for)


def recalls(
    truth: NDArray[np.float64], judged: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[Estimate | None, Estimate | None]:
    """Return which share of what passes, and of what fails, the judge finds; None where none is.

    Args:
        truth: Shape (..., prompts), as the others.
        judged: What the judge says.
        weights: What each label stands for.
    """
    prompts = truth.shape[-1]
    found = []
    for wanted in (1.0, 0.0):
        hits = np.where(truth == wanted, judged == wanted, np.nan).reshape(-1, prompts)
        is_there = bool(np.isfinite(hits).any())
        found.append(weighted_share(hits, weights.reshape(-1, prompts)) if is_there else None)
    return found[0], found[1]
