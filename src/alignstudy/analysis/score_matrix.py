"""Scores as arrays for statistics: models by prompts, aligned by prompt id, never by order."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.hygiene import fails_as_empty
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import DataError, InputError
from alignstudy.records import DECIMALS, Axis, ScoredResponse, StopReason


@dataclass(frozen=True, kw_only=True)
class ScoreMatrix:
    """The scores of one prompt set.

    Attributes:
        models: Row names.
        seeds: Training seeds of the study, sorted.
        prompt_ids: Column names.
        by_sample: Scores as they are compared, shape (models, seeds, samples, prompts); NaN: none.
        failed: Responses that fail whatever their score, same shape.
        passed_by_sample: 1 where a score passes the threshold, 0 where it doesn't, same shape; None
            without a threshold.
        lengths: Characters of a response, mean over responses, shape (models, prompts).
        cluster_of: Number of the cluster of near-duplicates that a prompt is in, shape (prompts,).
        uneven: Whether some model was not asked some of the prompts.
    """

    axis: Axis
    models: tuple[str, ...]
    seeds: tuple[int, ...]
    prompt_ids: tuple[str, ...]
    by_sample: NDArray[np.float64]
    failed: NDArray[np.bool_]
    passed_by_sample: NDArray[np.float64] | None
    lengths: NDArray[np.float64]
    cluster_of: NDArray[np.int64]
    uneven: bool

    @cached_property
    def by_seed(self) -> NDArray[np.float64]:
        """Mean over the samples that have a score, shape (models, seeds, prompts); else NaN."""
        return known_mean(self.by_sample, axis=2)

    @cached_property
    def passed_by_seed(self) -> NDArray[np.float64] | None:
        """Share of those that pass, same shape; None without a threshold."""
        return None if self.passed_by_sample is None else known_mean(self.passed_by_sample, axis=2)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Mean over the seeds that have a score, shape (models, prompts); NaN where none has."""
        return known_mean(self.by_seed, axis=1)

    @cached_property
    def passed(self) -> NDArray[np.float64] | None:
        """Mean over seeds of the share that passes, same shape; None without a threshold."""
        return None if self.passed_by_seed is None else known_mean(self.passed_by_seed, axis=1)

    @cached_property
    def clusters(self) -> NDArray[np.int64] | None:
        """Cluster of each prompt; None where every prompt is one of its own."""
        return self.cluster_of if self.num_clusters < len(self.prompt_ids) else None

    @property
    def num_clusters(self) -> int:
        """Independent clusters of prompts."""
        return len(np.unique(self.cluster_of))

    @property
    def several_seeds(self) -> bool:
        """Whether any model was trained more than once."""
        return len(self.seeds) > 1

    @property
    def several_samples(self) -> bool:
        """Whether any model answered a prompt more than once."""
        return bool(self.by_sample.shape[2] > 1)

    @property
    def has_shares(self) -> bool:
        """Whether a prompt may pass in part: in some of the seeds, or with some of the samples."""
        return self.several_seeds or self.several_samples

    def row(self, model: str) -> int:
        """Return the row of a model."""
        return self.models.index(model)

    def rows(self, models: Iterable[str]) -> list[int]:
        """Return the rows of several models."""
        return [self.row(model) for model in models]

    def known(self) -> list[str]:
        """Return the models that have any score."""
        return [m for m in self.models if not np.isnan(self.scores[self.row(m)]).all()]

    def pairs(self, base: str | None) -> list[tuple[str, str]]:
        """Return every (reference, model) of those; the base is the reference where it is one."""
        return [(b, a) if b == base else (a, b) for a, b in combinations(self.known(), 2)]


def known_mean(values: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    """Mean over one dimension, of what is there; NaN where nothing is."""
    if values.shape[axis] == 1:
        return values.squeeze(axis)
    there = ~np.isnan(values)
    count = there.sum(axis=axis)
    means = np.full(count.shape, np.nan)
    np.divide(np.where(there, values, 0.0).sum(axis=axis), count, out=means, where=count > 0)
    return means


def rating(row: ScoredResponse, judge: str, decimals: int | None = DECIMALS) -> float | None:
    """Return a judge's score as it is compared, tested and exported; None if not finite.

    Args:
        row: A response.
        judge: Whose score.
        decimals: To which it is rounded (`Thresholds.decimals`); None: not at all.

    Raises:
        InputError: If the judge never saw the response.
    """
    if judge not in row.scores:
        raise InputError(
            f"response of '{row.model}' to {row.prompt_id}: the judge '{judge}' did not score it",
            hint=f"scores at hand: {', '.join(sorted(row.scores)) or 'none'}",
        )
    score = row.scores[judge]
    if score is None or not math.isfinite(score):
        return None
    # `+ 0.0` turns -0.0 into 0.0, which compares equal but reads oddly.
    return (float(score) if decimals is None else round(float(score), decimals)) + 0.0


def models_of(responses: Iterable[ScoredResponse]) -> tuple[str, ...]:
    """Return the models in order of first appearance."""
    return tuple(dict.fromkeys(row.model for row in responses))


def usable(responses: Sequence[ScoredResponse]) -> tuple[list[ScoredResponse], Counter[str]]:
    """Leave out, for all models, prompts that were too long for one of them; count them by axis."""
    too_long = {
        (row.axis, row.prompt_id) for row in responses if row.stop_reason == StopReason.TOO_LONG
    }
    kept = [row for row in responses if (row.axis, row.prompt_id) not in too_long]
    return kept, Counter(axis for axis, _ in too_long)


def build_matrices(
    responses: Sequence[ScoredResponse],
    thresholds: Thresholds,
    *,
    axes: Sequence[Axis],
    judge: str,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, ScoreMatrix]:
    """Lay out scores by axis; axes without responses are left out.

    Args:
        responses: Rows of all models and seeds, in any order.
        axes: Those of the study.
        thresholds: What passes.
        judge: Whose scores.
        clusters: Prompt id -> name of its cluster of near-duplicates; others are alone.

    Raises:
        DataError: If a row is there twice, or one id stands for two texts.
        InputError: If the judge didn't score a response.
    """
    check_rows(responses)
    seeds, named = tuple(sorted({row.seed for row in responses})), clusters or {}
    samples = sorted({row.sample for row in responses})
    panels = {}
    for axis in axes:
        rows = [row for row in responses if row.axis == axis.name]
        if not rows:
            continue
        models = models_of(rows)
        prompt_ids = tuple(dict.fromkeys(row.prompt_id for row in rows))
        at = [
            {name: index for index, name in enumerate(names)}
            for names in (models, seeds, samples, prompt_ids)
        ]
        scores = np.full(tuple(len(names) for names in at), np.nan)
        lengths, failed = scores.copy(), np.zeros(scores.shape, dtype=bool)
        for row in rows:
            cell = (at[0][row.model], at[1][row.seed], at[2][row.sample], at[3][row.prompt_id])
            scores[cell] = rating(row, judge, thresholds.decimals)
            lengths[cell], failed[cell] = len(row.response), fails_as_empty(row, thresholds)
        passed = thresholds.passed(axis.name, scores)
        # Clusters are numbered in order; a prompt without one is alone.
        keys = [("cluster", named[i]) if named.get(i) else ("prompt", i) for i in prompt_ids]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        panels[axis.name] = ScoreMatrix(
            axis=axis,
            models=models,
            seeds=seeds,
            prompt_ids=prompt_ids,
            by_sample=scores,
            failed=failed,
            passed_by_sample=None
            if passed is None
            else np.where(np.isnan(scores), np.nan, passed & ~failed),
            lengths=known_mean(known_mean(lengths, axis=2), axis=1),
            cluster_of=np.array([numbers[key] for key in keys], dtype=np.int64),
            uneven=bool(np.isnan(lengths).all(axis=(1, 2)).any()),
        )
    return panels


def check_rows(responses: Sequence[ScoredResponse]) -> None:
    """Refuse rows that can't be aligned.

    Raises:
        DataError: If a row is there twice, or one id stands for two texts.
    """
    seen: set[tuple[str, int, int, str, str]] = set()
    texts: dict[tuple[str, str], str] = {}
    for row in responses:
        key = (row.model, row.seed, row.sample, row.axis, row.prompt_id)
        if key in seen:
            raise DataError(
                f"model '{row.model}', seed {row.seed}: two responses to prompt {row.prompt_id}",
                hint="give every response of a model its own prompt id, seed or sample",
            )
        seen.add(key)
        if texts.setdefault((row.axis, row.prompt_id), row.prompt) != row.prompt:
            raise DataError(
                f"prompt id {row.prompt_id} stands for two different texts",
                why="responses are compared prompt by prompt, by id",
                hint="give each prompt its own id",
            )
