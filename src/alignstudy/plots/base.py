"""What every figure is drawn from, and what drawing one gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices
from alignstudy.errors import InputError
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.records.evidence import TrainingRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NothingToShow(InputError):
    """The data hold nothing that this figure could show; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """All that a figure may need: what was found, of which the leading judge's scores are drawn.

    Attributes:
        findings: The leading judge's analysis, and what stands beside it.
        responses: Those that the analysis is of: prompts too long for some model are left out.
        training: What was trained; may be empty.
    """

    findings: Findings
    responses: Sequence[ScoredResponse] = ()
    training: Sequence[TrainingRecord] = ()

    @property
    def analysis(self) -> Analysis:
        """The leading judge's analysis."""
        return self.findings.first

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """What the prompts test: a panel each, of those that models were asked on."""
        asked = {row.axis for row in self.responses}
        found = tuple(axis for axis in self.analysis.axes if axis.name in asked)
        return found or self.analysis.axes

    @property
    def judge(self) -> str:
        """The leading judge."""
        return self.analysis.judge

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models in the study's order; a model's colour and marker follow its place here."""
        return tuple(model.model for model in self.analysis.models)

    @property
    def reference(self) -> str:
        """The model that others are compared with: the base, else the first; "" without models."""
        base = self.analysis.base
        return base if base is not None else next(iter(self.models), "")

    @property
    def compared(self) -> tuple[str, ...]:
        """Every model but the reference."""
        return tuple(model for model in self.models if model != self.reference)

    @cached_property
    def _scored(self) -> dict[tuple[str, str], list[tuple[ScoredResponse, float]]]:
        """Responses with a score by axis and model: gone through once for all figures."""
        found: dict[tuple[str, str], list[tuple[ScoredResponse, float]]] = {}
        for row in self.responses:
            score = row.scores.get(self.judge)
            if score is not None:
                found.setdefault((row.axis, row.model), []).append((row, score))
        return found

    @cached_property
    def panels(self) -> dict[str, ScoreMatrix]:
        """Scores, and shares of seeds that pass, by model and prompt."""
        rows = [row for row in self.responses if self.judge in row.scores]
        return build_matrices(rows, self.analysis.thresholds, axes=self.axes, judge=self.judge)

    def threshold(self, axis: Axis) -> float | None:
        """Return the score above which a response counts; None if there is none."""
        return self.analysis.thresholds.of(axis.name)

    def estimates(self, metric: Metric) -> list[Estimate | None]:
        """Return a metric of every model; None where it was not measured."""
        return [model.estimates.get(metric.name) for model in self.analysis.models]

    def scores(self, axis: Axis, model: str) -> list[tuple[ScoredResponse, float]]:
        """Return the responses of a model on an axis that the judge gave a score."""
        return self._scored.get((axis.name, model), [])

    def all_scores(self, axis: Axis) -> list[float]:
        """Return every score on an axis, models in their order."""
        return [score for model in self.models for _, score in self.scores(axis, model)]

    def by_prompt(self, axis: Axis, model: str, *, passed: bool = False) -> NDArray[np.float64]:
        """Return a model's score on every prompt of an axis, or the share of its seeds that pass.

        NaN where there is none; empty without responses or, for shares, without a threshold.
        """
        panel = self.panels.get(axis.name)
        values = (panel.passed if passed else panel.scores) if panel else None
        if panel is None or values is None or model not in panel.models:
            return np.empty(0)
        row: NDArray[np.float64] = values[panel.row(model)]
        return row

    def paired(
        self, axis: Axis, model: str, *, passed: bool = False
    ) -> tuple[list[str], NDArray[np.float64]]:
        """Return the prompts that a model shares with the reference, and both models' values.

        Returns:
            Ids, and an array of shape (2, prompts), the reference first; see `by_prompt`.
        """
        rows = [self.by_prompt(axis, name, passed=passed) for name in (self.reference, model)]
        if not all(row.size for row in rows):
            return [], np.empty((2, 0))
        both = np.stack(rows)
        there = np.asarray(~np.isnan(both).any(axis=0))
        return list(compress(self.panels[axis.name].prompt_ids, there)), both[:, there]

    def numbers_of_scores(self) -> str:
        """Return how many scores there are for each model and axis."""
        counts = [len(self.scores(axis, model)) for axis in self.axes for model in self.models]
        return numbers_of_prompts(count for count in counts if count)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn figure with what it shows.

    Attributes:
        data: The numbers in it, a row each; all rows have the same keys.
        title: A few words.
        caption: What is shown, of how many prompts, by which method.
    """

    figure: Figure
    data: list[dict[str, Any]]
    title: str
    caption: str


def axis_title(axis: Axis) -> str:
    """Return the title of an axis' panel."""
    return f"{axis.prompts.capitalize()} prompts"


def intervals_in_words(estimates: Iterable[Estimate | None]) -> str:
    """Return what the whiskers are: level, method and number of prompts."""
    there = [estimate for estimate in estimates if estimate is not None]
    if not there:
        return "Nothing was measured."
    levels = " and ".join(sorted({f"{100 * item.level:g}\u00a0%" for item in there}))
    numbers = numbers_of_prompts(item.n for item in there)
    return f"Whiskers: {levels} intervals{methods_in_words(there)}; {numbers}."


def methods_in_words(estimates: Iterable[Estimate]) -> str:
    """Name the methods of intervals in a bracket, a space before it; "" where none is known."""
    methods = ", ".join(
        sorted({item.method.replace("wilson", "Wilson") for item in estimates if item.method})
    )
    return f" ({methods})" if methods else ""


def numbers_of_prompts(numbers: Iterable[int]) -> str:
    """Say n, or its range where it differs."""
    found = sorted(set(numbers))
    span = " to ".join(str(n) for n in dict.fromkeys((*found[:1], *found[-1:]))) or "0"
    return f"n\u00a0=\u00a0{span}"


def estimate_row(estimate: Estimate | None, **names: str) -> dict[str, Any]:
    """Return an estimate as a row of a figure's data, after what it is called by."""
    return names | columns(estimate, "value", "low", "high", "n", "method", "level")


def columns(record: object, *names: str) -> dict[str, Any]:
    """Return fields of a record as columns of a figure's data; None where there is no record."""
    return {name: getattr(record, name, None) for name in names}
