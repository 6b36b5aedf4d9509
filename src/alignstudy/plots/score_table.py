"""Scores side by side: a row a model, a column a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.records import DECIMALS, Axis, ScoredResponse


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of one judge on one axis.

    Attributes:
        prompts: Ids, in the order of the responses.
        means: Shape (models, prompts): score, mean over training seeds; NaN where there is none.
        passed: Shape (models, prompts): share of the seeds' scores that count, 0 to 1; NaN where
            there is no score; None without a threshold.
    """

    prompts: tuple[str, ...]
    means: NDArray[np.float64]
    passed: NDArray[np.float64] | None


def score_table(
    rows: Sequence[Sequence[tuple[ScoredResponse, float]]],
    *,
    threshold: float | None,
    inclusive: bool,
    empty_fails: bool = False,
) -> ScoreTable:
    """Align the scores of each model by prompt id.

    Args:
        rows: One sequence of (response, score) a model.
        threshold: Above which a rounded score counts; None where there is none.
        inclusive: Whether a score equal to the threshold counts.
        empty_fails: Whether an empty response to a helpful prompt fails whatever its score.
    """
    ids = dict.fromkeys(row.prompt_id for of_model in rows for row, _ in of_model)
    place = {prompt: i for i, prompt in enumerate(ids)}
    means = np.full((len(rows), len(place)), np.nan)
    passed = means.copy()
    for number, of_model in enumerate(rows):
        columns = np.array([place[row.prompt_id] for row, _ in of_model], dtype=np.intp)
        scores = np.round([score for _, score in of_model], DECIMALS)
        means[number] = _mean_by_column(columns, scores, len(place))
        if threshold is not None:
            counts = scores >= threshold if inclusive else scores > threshold
            if empty_fails:
                counts &= ~np.array([_is_empty_help(row) for row, _ in of_model], dtype=bool)
            passed[number] = _mean_by_column(columns, counts, len(place))
    return ScoreTable(
        prompts=tuple(place), means=means, passed=None if threshold is None else passed
    )


def _is_empty_help(row: ScoredResponse) -> bool:
    return row.axis is Axis.HELPFUL and not row.response.strip()


def _mean_by_column(
    columns: NDArray[np.intp], values: NDArray[np.float64] | NDArray[np.bool_], num_columns: int
) -> NDArray[np.float64]:
    """Average the values of each column; NaN for a column without any."""
    numbers = np.bincount(columns, minlength=num_columns)
    totals = np.bincount(columns, weights=values, minlength=num_columns)
    return np.where(numbers > 0, totals / np.maximum(numbers, 1), np.nan)
