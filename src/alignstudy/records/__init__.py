"""Frozen rows that cross the borders between layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from alignstudy.records.audit import Audit as Audit
from alignstudy.records.audit import Quarantined as Quarantined
from alignstudy.records.files import read_rows as read_rows
from alignstudy.records.files import write_rows as write_rows
from alignstudy.records.rated import Rated as Rated


@dataclass(frozen=True, kw_only=True)
class Axis:
    """What a prompt tests: a named set of prompts, and what a response to one of them is to be.

    Rows hold the name alone. Which axes there are is data: see `metrics.axes`.

    Attributes:
        name: Key in files and figures; ids of its prompts begin with it.
        prompts: Word for its prompts: "<prompts> prompts", `<model>_<prompts>.json`.
        quality: What it measures: the axis' key in settings.
        labels: Name of its file of labels: `classification/<labels>.json`.
        passes: Label of a response that passes.
        fails: Label of one that doesn't.
        answered: What prompts with a passing response were, in a sentence.
        rate: The metric that its pass rate is.
        empty_fails: Whether an empty response fails under the rigorous protocol.
        manner: What rules look for in a response, "refusal" or "compliance"; "": either.
        unseen: What its rate can't tell of; "" if there is nothing to say.
        veiled: Whether a reader asks for the responses before they are shown.
        threshold: The published study's; None if that has no such axis.
    """

    name: str
    prompts: str
    quality: str
    labels: str
    passes: str = "passed"
    fails: str = "failed"
    answered: str = "answered with a response that passes"
    rate: str = "pass"
    empty_fails: bool = False
    manner: str = ""
    unseen: str = ""
    veiled: bool = False
    threshold: float | None = None


class StopReason(StrEnum):
    """Why a response ended."""

    EOS = "eos"
    STOP_STRING = "stop_string"
    CAP = "cap"
    TOO_LONG = "too_long"


@dataclass(frozen=True, kw_only=True)
class Pair:
    r"""One preference: a prompt with a chosen and a rejected response.

    Attributes:
        id: `<subset>/<split>:<line>`, unique in its source.
        prompt: Everything up to and including the cue: `...\n\nAssistant:`.
        chosen: The preferred response, as it follows the cue (leading space and all).
        rejected: The other one; None for a demonstration, which has no second response.
        gold: A third response, better than both, where the data has one.
        wins: How likely chosen and rejected are to be preferred to what the policy writes, from 0
            to 1, where a judge said so.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str | None
    subset: str = ""
    gold: str | None = None
    wins: tuple[float, float] | None = None

    @property
    def responses(self) -> tuple[str, ...]:
        """The chosen response, and the rejected and the gold one where there are such."""
        return tuple(each for each in (self.chosen, self.rejected, self.gold) if each is not None)

    @property
    def texts(self) -> tuple[str, ...]:
        """The dialogues that are compared: prompt and response."""
        return tuple(self.prompt + each for each in (self.chosen, self.rejected) if each)


@dataclass(frozen=True, kw_only=True)
class Document:
    """A plain text to pretrain on."""

    id: str
    text: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The text."""
        return (self.text,)


TrainingRow = Pair | Rated | Document
"""What trainings read."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What every compared model is asked.

    Attributes:
        id: `<axis>-<number>`, unique in the study.
        text: The exact characters that the tokenizer sees.
        cluster: Name of its cluster of near-duplicate prompts, which is resampled as one; its own
            id if it is alone; "" if nobody looked.
    """

    id: str
    axis: str
    text: str
    source: str = ""
    cluster: str = ""


@dataclass(frozen=True, kw_only=True)
class Response:
    """What one model wrote after one prompt.

    Attributes:
        text: The response as the protocol cuts it; this is what judges read.
        raw_text: All that was generated, before the protocol's cuts.
        num_tokens: Generated tokens, the end-of-sequence token not counted.
        stop_reason: Why it ended, by token position, not by guess.
        prompt_truncated: Whether whole turns were dropped from the prompt's left to fit the model.
        sample: Which of the model's responses to the prompt it is, from 0.
    """

    prompt_id: str
    axis: str
    prompt: str
    text: str
    raw_text: str
    num_tokens: int
    stop_reason: StopReason
    prompt_truncated: bool = False
    sample: int = 0


@dataclass(frozen=True, kw_only=True)
class Score:
    """A judge's score of one response.

    Attributes:
        score: As the judge gave it; None where it gave none that is finite.
        failure: Why there is no score; empty otherwise.
        flags: What was done to make it fit: "prompt_trimmed", "response_trimmed".
        sample: Which of the model's responses to the prompt was scored, from 0.
    """

    prompt_id: str
    axis: str
    score: float | None
    failure: str = ""
    flags: tuple[str, ...] = ()
    sample: int = 0


@dataclass(frozen=True, kw_only=True)
class ScoredResponse:
    """A response with the first judge's score: what tables and figures are made of.

    Attributes:
        model: The recipe's name.
        seed: The training seed.
        scores: Score by judge name; None where a judge gave none.
        flags: By judge name, what it did not read as written: "prompt_trimmed", ...
        failures: By judge name, why there is no score.
        prompt_truncated: Whether the model read the prompt without its oldest turns.
        sample: Which of the model's responses to the prompt it is, from 0.
    """

    model: str
    seed: int
    prompt_id: str
    axis: str
    prompt: str
    response: str
    scores: dict[str, float | None]
    num_tokens: int | None = None
    stop_reason: str | None = None
    raw_response: str | None = None
    flags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    prompt_truncated: bool = False
    sample: int = 0


DECIMALS = 4
"""Scores are compared, tested and exported as rounded to so many decimals, as published."""
LARGEST_SCORE = 1e100
"""Scores beyond it are none: sums of their cubes, which intervals need, are not finite."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its interval.

    Attributes:
        value: The point estimate.
        low: Lower end of the interval, in the unit of `value`.
        high: Upper end.
        n: Number of prompts it rests on.
        method: How the interval was made: "wilson", "bootstrap".
        level: Coverage of the interval.
    """

    value: float
    low: float
    high: float
    n: int
    method: str
    level: float = 0.95


@dataclass(frozen=True, kw_only=True)
class GuardOutcome:
    """What a guard saw.

    Attributes:
        guard: Its name: "reference_is_parent".
        passed: False where it warns and training went on.
        detail: What was measured, with numbers.
    """

    guard: str
    passed: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A trained model on disk.

    Attributes:
        folder: Hugging Face layout: full weights, or an adapter as PEFT saves it.
        base: Where the adapter's base is; None for full weights.
    """

    folder: Path
    base: Path | None = None
