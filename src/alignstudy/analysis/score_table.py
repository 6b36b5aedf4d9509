"""Scores of several judges, a row a response, for what compares judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.score_matrix import models_of, rating
from alignstudy.records import ScoredResponse


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of one axis.

    Attributes:
        models: In order of first appearance.
        num_prompts: Number of different prompt ids.
        model_at: Number of each row's model, shape (rows,).
        prompt_at: Number of each row's prompt, shape (rows,).
        scores: By judge, shape (rows,); NaN where there is none.
    """

    models: tuple[str, ...]
    num_prompts: int
    model_at: NDArray[np.int64]
    prompt_at: NDArray[np.int64]
    scores: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, rows: Sequence[ScoredResponse], judges: Mapping[str, int | None]) -> ScoreTable:
        """Lay out the rows of one axis.

        Args:
            rows: Responses on the axis.
            judges: Name -> decimals to which its scores are rounded.

        Raises:
            InputError: If a judge didn't score a row.
        """
        models = models_of(rows)
        numbers = {name: at for at, name in enumerate(models)}
        prompts = {name: at for at, name in enumerate(dict.fromkeys(r.prompt_id for r in rows))}
        return cls(
            models=models,
            num_prompts=len(prompts),
            model_at=np.array([numbers[row.model] for row in rows], dtype=np.int64),
            prompt_at=np.array([prompts[row.prompt_id] for row in rows], dtype=np.int64),
            scores={
                judge: np.array([rating(row, judge, at) for row in rows], dtype=np.float64)
                for judge, at in judges.items()
            },
        )

    def by_prompt(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over responses of one value a row; shape (models, prompts), NaN for none."""
        there = np.isfinite(values)
        shape = (len(self.models), self.num_prompts)
        cells = (self.model_at * self.num_prompts + self.prompt_at)[there]
        size = shape[0] * shape[1]
        totals = np.bincount(cells, weights=values[there], minlength=size)
        counts = np.bincount(cells, minlength=size)
        means = np.full(size, np.nan)
        np.divide(totals, counts, out=means, where=counts > 0)
        return means.reshape(shape)


def complete_means(by_prompt: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Mean of each row over the prompts that every row has; None if there is no such prompt.

    Rounded to ten decimals, so that equal values in another order have equal means.
    """
    complete = np.isfinite(by_prompt).all(axis=0)
    if not complete.any():
        return None
    return np.asarray(np.round(by_prompt[:, complete].mean(axis=1), 10))
