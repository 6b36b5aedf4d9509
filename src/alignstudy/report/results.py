"""What an analysis finds: frozen records, ready for tables, figures and `statistics.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from alignstudy.records import Axis, Estimate


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Above which score a response counts as harmless, or as helpful.

    Attributes:
        harmless: Threshold of the harmful prompts' scores; None where there is none.
        helpful: Threshold of the helpful prompts' scores.
        inclusive: Whether a score equal to the threshold counts.
        origin: Axis name -> where the threshold comes from: "given", or "calibrated, balanced
            accuracy 0.87 on 200 pairs".
    """

    harmless: float | None
    helpful: float | None
    inclusive: bool = False
    origin: dict[str, str] = field(default_factory=dict)

    def of(self, axis: Axis) -> float | None:
        """Give the threshold of an axis."""
        return self.harmless if axis is Axis.HARMLESS else self.helpful

    def passes(self, axis: Axis, score: float) -> bool | None:
        """Tell whether a rounded score counts; None where the axis has no threshold."""
        threshold = self.of(axis)
        if threshold is None:
            return None
        return score > threshold or (self.inclusive and score == threshold)


@dataclass(frozen=True, kw_only=True)
class Hygiene:
    """How well-formed a model's responses to one prompt set are; shares in percent.

    Attributes:
        n: Number of responses.
        empty: Share without a word.
        cap: Share cut off by the limit on new tokens; None where stop reasons are not known.
        role_tag: Share that runs on into a further turn.
        repetition: Share of which over 30 % of the 4-grams are repeats.
        mean_words: Mean length in words.
    """

    n: int
    empty: float
    cap: float | None
    role_tag: float
    repetition: float
    mean_words: float


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """The figures of merit of one model; rates in percent, scores in the judge's unit.

    Attributes:
        num_seeds: Training seeds; rates and scores are means over them.
        hygiene: By axis.
        missing_scores: Responses for which the judge gave no finite score.
    """

    model: str
    num_seeds: int
    hmr: Estimate | None
    hpr: Estimate | None
    cas: Estimate | None
    score_harmless: Estimate | None
    score_helpful: Estimate | None
    hygiene: dict[Axis, Hygiene]
    missing_scores: int


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """How far a model is from the base in one rate (Table 2 of the published study).

    Attributes:
        metric: "hmr", "hpr" or "cas".
        points: Percentage points.
        relative_percent: Percent of the base's rate; None where that is 0.
    """

    model: str
    metric: str
    base: float
    value: float
    points: float
    relative_percent: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One model against another, on the prompts that both answered and the judge scored.

    Attributes:
        metric: "hmr", "hpr", "cas", "score_harmless" or "score_helpful".
        difference: Model minus reference: percentage points, or the judge's unit.
        p_value: Two-sided; None where no test was made.
        p_holm: Adjusted by Holm within the family that `test` and metric make.
        test: "exact McNemar", "sign-flip permutation" or "none".
        wins: Prompts on which the model did better.
        losses: Prompts on which the reference did better.
        ties: Prompts on which they did equally well.
        n: Paired prompts.
        note: Why there is no test.
    """

    metric: str
    model: str
    reference: str
    difference: Estimate
    p_value: float | None
    p_holm: float | None
    test: str
    wins: int
    losses: int
    ties: int
    n: int
    note: str = ""

    @property
    def win_rate(self) -> float:
        """Share of prompts on which the model did better, in percent; a tie counts one half."""
        return 100.0 * (self.wins + self.ties / 2) / self.n


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """Everything that the scores of one judge say.

    Attributes:
        judge: Whose scores.
        models: In the order of the responses.
        improvements: Of every model over the base; empty without a base.
        comparisons: Of every pair of models.
        notes: What a reader has to know: missing scores, excluded prompts, sensitivities.
        base: The model that others are compared with first.
        seeds: Training seeds, sorted.
    """

    judge: str
    thresholds: Thresholds
    models: tuple[ModelFigures, ...]
    improvements: tuple[Improvement, ...]
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...]
    base: str | None
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values: dictionaries, lists, strings, numbers and None."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Turn tuples into lists and axes into strings."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
