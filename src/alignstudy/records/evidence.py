"""Frozen records of how models were trained, and what judges and policies are worth.

They are made where models run (`judges`, `generation`) and read where none does (`report`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter

from alignstudy.errors import DamagedArtefactError
from alignstudy.records import Estimate, GuardOutcome


@dataclass(frozen=True, kw_only=True)
class PairAccuracy:
    """How often a judge scores the response that people preferred higher.

    Attributes:
        subset: Of the preference data; "all" for all pairs of the axis.
        accuracy: In percent; a tie counts as half a hit. With Wilson's interval; where there are
            ties Tango's for hits against misses, which is Wilson's when there are none.
        ties: Pairs with two equal scores.
    """

    axis: str
    subset: str
    accuracy: Estimate
    ties: int


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Pairs for which sigmoid(|score difference|) lies in one range.

    Attributes:
        predicted: Mean predicted probability that people prefer the response that the judge scores
            higher, 0.5 to 1.
        observed: Share of pairs where they do, 0 to 1, with interval; a tie counts as half.
    """

    axis: str
    predicted: float
    observed: Estimate


@dataclass(frozen=True, kw_only=True)
class LengthPreference:
    """Whether a judge prefers the longer response, beside whether people do.

    Attributes:
        judge_longer: Share of pairs whose longer response has the higher score, in percent.
        human_longer: Share of pairs whose longer response was preferred, in percent.
        n: Pairs with two different lengths.
    """

    axis: str
    judge_longer: Estimate
    human_longer: Estimate
    n: int


@dataclass(frozen=True, kw_only=True)
class ProbeShift:
    """What a judge makes of a control text, compared with the response it was made from.

    Attributes:
        probe: "empty", "echo", "repetition", "dont_understand", "shuffled", "human_turn",
            "truncated", "refusal".
        shift: Mean score of the probe minus that of the preferred response, in the judge's unit.
        flipped: Share of items whose label changes, in percent; None without a threshold.
        passed: Share of probes that pass the threshold, in percent; None without a threshold.
    """

    probe: str
    axis: str
    shift: Estimate
    flipped: float | None
    passed: float | None


@dataclass(frozen=True, kw_only=True)
class JudgeQuality:
    """What a judge is worth, measured on preference pairs that hold no evaluation prompt.

    Attributes:
        judge: Its name in the study.
        accuracies: By axis and subset; the one with subset "all" decides about the floor.
        ece: Expected calibration error of sigmoid(chosen - rejected), by axis, 0 to 1.
        reliability: The reliability diagram.
        length: By axis where lengths differ.
        probes: Control texts.
        floor: Percent; an axis whose accuracy interval doesn't lie above it is stamped.
        below_floor: Axes that are stamped.
        batch_effect: Largest change of a score with what else is in the batch; None: not measured.
        is_baseline: Whether it is there to be beaten (length, constant), and decides no verdict.
        notes: What a reader has to know: independence, missing scores.
    """

    judge: str
    accuracies: tuple[PairAccuracy, ...] = ()
    ece: dict[str, float] = field(default_factory=dict)
    reliability: tuple[ReliabilityBin, ...] = ()
    length: tuple[LengthPreference, ...] = ()
    probes: tuple[ProbeShift, ...] = ()
    floor: float = 60.0
    below_floor: tuple[str, ...] = ()
    batch_effect: float | None = None
    is_baseline: bool = False
    notes: tuple[str, ...] = ()

    def accuracy(self, axis: str, subset: str = "all") -> Estimate | None:
        """Return the pairwise accuracy of an axis; None where it was not measured."""
        return next(
            (a.accuracy for a in self.accuracies if a.axis == axis and a.subset == subset), None
        )


def quality_to_json(quality: JudgeQuality) -> dict[str, Any]:
    """Return plain values: dictionaries with string keys, lists, strings, numbers and None."""
    found: dict[str, Any] = plain(asdict(quality))
    return found


def quality_from_json(found: Mapping[str, Any]) -> JudgeQuality:
    """Read what `quality_to_json` wrote.

    Raises:
        DamagedArtefactError: If it is something else.
    """
    try:
        missing = {item.name for item in fields(JudgeQuality)} - set(found)
        if missing:
            raise KeyError(*sorted(missing))
        return TypeAdapter(JudgeQuality).validate_python(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedArtefactError(
            "not the record of a judge's quality",
            why=f"{type(error).__name__}: {error}",
            hint="run the same command again: the judge is assessed again",
        ) from error


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Turn tuples into lists and keys into strings."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """How far a model is from the base, on its own samples at temperature 1, in nats.

    Attributes:
        model: The recipe's name.
        kl_per_token: Mean over samples of the k3 estimate by token; None for the base itself.
        kl_per_sequence: Mean log-ratio of whole responses (k1).
        kl_per_sequence_k3: The k3 estimate by token, summed over a response.
        entropy_per_token: Of the model's next-token distribution along its own samples.
        implicit_accuracy: Share of held-out pairs with a positive implicit-reward margin, percent;
            None where the recipe doesn't end in a preference method.
        n: Samples.
    """

    model: str
    seed: int
    kl_per_token: Estimate | None
    kl_per_sequence: Estimate | None
    kl_per_sequence_k3: Estimate | None
    entropy_per_token: Estimate
    implicit_accuracy: Estimate | None
    n: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two judges agree on one prompt set.

    Attributes:
        spearman: Rank correlation of their scores over all responses; None if undefined.
        kappa: Cohen's kappa of pass and fail; None if undefined or without thresholds.
        same_winner: Share of (pair of models, prompt) with the same sign of the score difference,
            in percent; two ties agree; None with one model. Wilson's interval at what dependent
            pairs of one prompt are worth.
        kendall_tau: Of the models' mean scores; None if undefined.
        n: Responses that both scored.
    """

    axis: str
    first: str
    second: str
    spearman: float | None
    kappa: float | None
    same_winner: Estimate | None
    kendall_tau: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """The models' order by the panel, and with one judge left out.

    Attributes:
        without: The judge left out; "" for the whole panel.
        ranking: Models from the highest mean of the panel's scores to the lowest, over the prompts
            for which every model has one.
    """

    axis: str
    without: str
    ranking: tuple[str, ...]


COLLAPSED = -3.0
"""Change of chosen responses' mean log-probability, in nats a token, below which a model is taken
for broken: a token is then a twentieth as likely as it was. Sound trainings move it by tenths."""


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """One training stage as it went.

    Attributes:
        stage: The stage's name in the run.
        recipe: The chain of methods up to and including this one: "sft > dpo".
        method: The last method of the chain: "dpo".
        steps: Optimizer steps.
        num_tokens: Tokens that the model read in training.
        seconds: Wall-clock time of the training loop.
        final_loss: Mean loss of the last logged interval; None if none was logged.
        counts: What happened to the rows: "rows", "truncated rows", ...
        guards: What the stage's guards saw.
        curve: The rows of `metrics.jsonl`, in order.
        probe: The rows of `probe.jsonl`, in order; empty where nothing was probed.
    """

    stage: str
    recipe: str
    method: str
    seed: int
    steps: int
    epochs: float
    num_tokens: int
    seconds: float
    final_loss: float | None
    counts: Mapping[str, int] = field(default_factory=dict)
    guards: tuple[GuardOutcome, ...] = ()
    notes: tuple[str, ...] = ()
    curve: tuple[Mapping[str, Any], ...] = ()
    probe: tuple[Mapping[str, Any], ...] = ()

    @property
    def probed(self) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """The probe's first and last row by part ("train", "held_out"); {} without a probe."""
        parts: dict[str, list[Mapping[str, Any]]] = {}
        for row in self.probe:
            parts.setdefault(row["part"], []).append(row)
        return {name: (rows[0], rows[-1]) for name, rows in parts.items()}
