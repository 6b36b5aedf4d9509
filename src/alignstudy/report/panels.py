"""Scores laid out for statistics: models by prompts, aligned by prompt id, never by order."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.errors import DataError, InputError
from alignstudy.records import DECIMALS, Axis, ScoredResponse, StopReason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from alignstudy.report.results import Thresholds


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The scores of one prompt set.

    Attributes:
        models: Row names.
        prompt_ids: Column names.
        scores: Mean over seeds of the rounded scores, shape (models, prompts); NaN where a model
            has none.
        passed: Share of seeds whose score passes the threshold, same shape; None without one.
        uneven: Whether some model was not asked some of the prompts.
    """

    axis: Axis
    models: tuple[str, ...]
    prompt_ids: tuple[str, ...]
    scores: NDArray[np.float64]
    passed: NDArray[np.float64] | None
    uneven: bool

    def row(self, model: str) -> int:
        """Give the row of a model."""
        return self.models.index(model)


def rating(row: ScoredResponse, judge: str) -> float | None:
    """Give a judge's score as it is exported: rounded to four decimals; None if not finite.

    Raises:
        InputError: If the judge never saw the response.
    """
    if judge not in row.scores:
        raise InputError(
            f"response of '{row.model}' to {row.prompt_id}: the judge '{judge}' did not score it",
            mend=f"scores at hand: {', '.join(sorted(row.scores)) or 'none'}",
        )
    score = row.scores[judge]
    if score is None or not math.isfinite(score):
        return None
    # `+ 0.0` turns -0.0 into 0.0, which compares equal but reads oddly.
    return round(float(score), DECIMALS) + 0.0


def models_of(responses: Iterable[ScoredResponse]) -> tuple[str, ...]:
    """Give the models in order of first appearance."""
    return tuple(dict.fromkeys(row.model for row in responses))


def usable(responses: Sequence[ScoredResponse]) -> tuple[list[ScoredResponse], dict[Axis, int]]:
    """Leave out, for all models, prompts that were too long for one of them; count them by axis."""
    too_long = {
        (row.axis, row.prompt_id) for row in responses if row.stop_reason == StopReason.TOO_LONG
    }
    kept = [row for row in responses if (row.axis, row.prompt_id) not in too_long]
    return kept, {axis: sum(1 for at, _ in too_long if at is axis) for axis in Axis}


def build_panels(
    responses: Sequence[ScoredResponse],
    thresholds: Thresholds,
    *,
    judge: str,
) -> dict[Axis, Panel]:
    """Lay out scores by axis; axes without responses are left out.

    Args:
        responses: Rows of all models and seeds, in any order.
        thresholds: What passes.
        judge: Whose scores.

    Raises:
        DataError: If a row is there twice, or one id stands for two texts.
        InputError: If the judge didn't score a response.
    """
    check_rows(responses)
    panels = {}
    for axis in Axis:
        rows = [row for row in responses if row.axis is axis]
        if rows:
            panels[axis] = _panel(axis, rows, thresholds, judge)
    return panels


def check_rows(responses: Sequence[ScoredResponse]) -> None:
    """Refuse rows that can't be aligned.

    Raises:
        DataError: If a row is there twice, or one id stands for two texts.
    """
    seen: set[tuple[str, int, Axis, str]] = set()
    texts: dict[tuple[Axis, str], str] = {}
    for row in responses:
        key = (row.model, row.seed, row.axis, row.prompt_id)
        if key in seen:
            raise DataError(
                f"model '{row.model}', seed {row.seed}: two responses to prompt {row.prompt_id}",
                mend="give every response of a model its own prompt id or seed",
            )
        seen.add(key)
        if texts.setdefault((row.axis, row.prompt_id), row.prompt) != row.prompt:
            raise DataError(
                f"prompt id {row.prompt_id} stands for two different texts",
                why="responses are compared prompt by prompt, by id",
                mend="give each prompt its own id",
            )


def _panel(
    axis: Axis,
    rows: Sequence[ScoredResponse],
    thresholds: Thresholds,
    judge: str,
) -> Panel:
    models = models_of(rows)
    prompt_ids = tuple(dict.fromkeys(row.prompt_id for row in rows))
    model_at = {model: index for index, model in enumerate(models)}
    prompt_at = {prompt_id: index for index, prompt_id in enumerate(prompt_ids)}
    found: dict[tuple[int, int], list[float]] = defaultdict(list)
    asked = set()
    for row in rows:
        cell = (model_at[row.model], prompt_at[row.prompt_id])
        asked.add(cell)
        score = rating(row, judge)
        if score is not None:
            found[cell].append(score)
    scores = np.full((len(models), len(prompt_ids)), np.nan)
    passed = None if thresholds.of(axis) is None else scores.copy()
    for cell, values in found.items():
        scores[cell] = sum(values) / len(values)
        if passed is not None:
            passed[cell] = sum(bool(thresholds.passes(axis, v)) for v in values) / len(values)
    return Panel(
        axis=axis,
        models=models,
        prompt_ids=prompt_ids,
        scores=scores,
        passed=passed,
        uneven=len(asked) < scores.size,
    )
