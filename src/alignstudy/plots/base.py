"""What every figure is drawn from, and what drawing one gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError
from alignstudy.plots.score_table import ScoreTable, score_table
from alignstudy.records import Axis, Estimate, ScoredResponse
from alignstudy.records.evidence import Agreement, Divergence, JudgeQuality
from alignstudy.records.robustness import Sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATES = {"hmr": "HmR", "hpr": "HpR", "cas": "CAS"}
SCORES = {
    "score_harmless": "Mean score, harmful prompts",
    "score_helpful": "Mean score, helpful prompts",
}
AXIS_TITLES = {Axis.HARMLESS: "Harmful prompts", Axis.HELPFUL: "Helpful prompts"}


class NothingToShow(InputError):
    """The data hold nothing that this figure could show; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A paired difference between two models, model minus reference.

    Attributes:
        estimate: In percentage points for rates, in the judge's unit for mean scores.
        shown: Whether the difference is shown after correction for several comparisons.
        p_value: Corrected p-value; None where no test was made.
        win_rate: Prompts on which the model does better, ties half, percent.
    """

    metric: str
    model: str
    reference: str
    estimate: Estimate | None
    p_value: float | None
    shown: bool
    win_rate: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What one training logged.

    Attributes:
        label: The recipe's chain up to here, "sft > dpo"; the seed too where there are several.
        method: "sft", "dpo": curves of one method share a panel.
        points: Logged steps, each a mapping with "step" and "loss" and what else was logged.
    """

    label: str
    method: str
    points: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class FigureData:
    """All that a figure may need, of one judge.

    Attributes:
        models: In the study's order; a model's colour and marker follow its place here.
        base: The model that others are compared with; None if there is none.
        estimates: metric -> model -> estimate; None where it was not measured.
        thresholds: Score above which a response counts, by axis; None if there is none.
        inclusive: Whether a score equal to the threshold counts.
        empty_fails: Whether an empty response to a helpful prompt fails whatever its score.
        sweeps: Rates over a grid of thresholds, an axis each.
        qualities: What each judge is worth.
        agreements: Of every two judges on an axis.
        divergences: Of every model and seed from the base.
        hygiene: model -> axis -> name of a flag -> percent of responses.
    """

    judge: str
    models: tuple[str, ...]
    base: str | None = None
    estimates: Mapping[str, Mapping[str, Estimate | None]] = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    responses: Sequence[ScoredResponse] = ()
    thresholds: Mapping[Axis, float | None] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    inclusive: bool = False
    empty_fails: bool = False
    sweeps: Sequence[Sweep] = ()
    qualities: Sequence[JudgeQuality] = ()
    agreements: Sequence[Agreement] = ()
    divergences: Sequence[Divergence] = ()
    hygiene: Mapping[str, Mapping[Axis, Mapping[str, float | None]]] = field(default_factory=dict)

    @cached_property
    def _scored(self) -> dict[tuple[Axis, str], list[tuple[ScoredResponse, float]]]:
        """Responses with a score by axis and model: gone through once for all figures."""
        found: dict[tuple[Axis, str], list[tuple[ScoredResponse, float]]] = {}
        for row in self.responses:
            score = row.scores.get(self.judge)
            if score is not None:
                found.setdefault((row.axis, row.model), []).append((row, score))
        return found

    @cached_property
    def _tables(self) -> dict[Axis, ScoreTable]:
        return {
            axis: score_table(
                [self.scores(axis, model) for model in self.models],
                threshold=self.thresholds.get(axis),
                inclusive=self.inclusive,
                empty_fails=self.empty_fails,
            )
            for axis in Axis
        }

    @property
    def reference(self) -> str:
        """The model that others are compared with: the base, else the first; "" without models."""
        return self.base if self.base is not None else next(iter(self.models), "")

    @property
    def compared(self) -> tuple[str, ...]:
        """Every model but the reference."""
        return tuple(model for model in self.models if model != self.reference)

    def scores(self, axis: Axis, model: str) -> list[tuple[ScoredResponse, float]]:
        """Return the responses of a model on an axis that the judge gave a score."""
        return self._scored.get((axis, model), [])

    def table(self, axis: Axis) -> ScoreTable:
        """Return scores by model and prompt, models in the study's order."""
        return self._tables[axis]

    def all_scores(self, axis: Axis) -> list[float]:
        """Return every score on an axis, models in their order."""
        return [score for model in self.models for _, score in self.scores(axis, model)]


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


def intervals_in_words(estimates: Iterable[Estimate | None]) -> str:
    """Return what the whiskers are: level, method and number of prompts."""
    there = [estimate for estimate in estimates if estimate is not None]
    if not there:
        return "Nothing was measured."
    levels = " and ".join(sorted({f"{100 * item.level:g}\u00a0%" for item in there}))
    methods = ", ".join(sorted({item.method for item in there if item.method}))
    made = f" ({methods})" if methods else ""
    return f"Whiskers: {levels} intervals{made}; {numbers_of_prompts(i.n for i in there)}."


def numbers_of_prompts(numbers: Iterable[int]) -> str:
    """Say n, or its range where it differs."""
    found = sorted(set(numbers))
    span = " to ".join(str(n) for n in dict.fromkeys((*found[:1], *found[-1:]))) or "0"
    return f"n\u00a0=\u00a0{span}"


def estimate_row(metric: str, model: str, estimate: Estimate | None) -> dict[str, Any]:
    """Return an estimate as a row of a figure's data."""
    row: dict[str, Any] = {"metric": metric, "model": model}
    names = ("value", "low", "high", "n", "method", "level")
    return row | {name: getattr(estimate, name, None) for name in names}
