"""Claims that a study states before it runs, and the verdicts that its data give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pydantic import Field, field_validator, model_validator

from alignstudy.metrics.figures import figures_of
from alignstudy.metrics.metric import Metric
from alignstudy.metrics.rates import HIGHEST, LOWEST, MEDIAN, SD, win_rate
from alignstudy.records import Axis
from alignstudy.settings import Many, Settings

JUDGE_ACCURACY = Metric(
    kind="judge_accuracy",
    name="judge_accuracy_{axis}",
    title="judge's accuracy on {prompts} prompts",
    of=win_rate,
)
"""How often a judge prefers what people prefer; measured where judges are, in `judges.held_out`."""

_POINTS = (MEDIAN, SD, LOWEST, HIGHEST)


def claimable(axes: Sequence[Axis]) -> dict[str, Metric]:
    """Return what a claim may be about; sd, median, min and max are of scores over a prompt set."""
    kinds = (*_POINTS, JUDGE_ACCURACY)
    found = (*figures_of(axes), *(kind.on(axis) for kind in kinds for axis in axes))
    return {metric.name: metric for metric in found}


VERDICTS = (
    "supported",
    "contradicted",
    "equivalent",
    "too small to decide",
    "no difference of interest shown",
    "not borne out",
    "unmeasurable",
)


class Claim(Settings):
    """One claim: that a model is better than others, or that a figure lies within bounds."""

    name: str = Field("", description="What a person calls it; left out: made from the rest.")
    metric: Many[str] = Field(description="One figure, or several: it must hold for all.")
    better: str | None = Field(None, description="The model that is said to have the higher value.")
    worse: str | None = Field(
        None, description="Instead of `better`: the model that is said to have the lower value."
    )
    than: Many[str] = Field((), description="The models it is compared with; left out: all others.")
    margin: float = Field(
        0.0, ge=0.0, description="By at least so much: percentage points, or the judge's unit."
    )
    relation: Literal["better", "equivalent"] = Field(
        "better", description="equivalent: within the margin of each other, either way."
    )
    without: Literal["empty", "cap", "role_tag", "loop"] | None = Field(
        None, description="Leave out responses that are so flagged (rates only)."
    )
    in_sample: bool = Field(
        False, description="Said of these responses only: true or false as they are, without test."
    )
    models: Many[str] = Field((), description="With bounds: whose figure; left out: every model's.")
    at_least: float | None = Field(None, description="The figure is at least this.")
    at_most: float | None = Field(None, description="The figure is at most this.")

    @field_validator("metric", "than", "models", mode="before")
    @classmethod
    def _bare_name(cls, given: object) -> object:
        """Read one name as a list of it."""
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _one_kind(self) -> Claim:
        if not self.metric:
            raise ValueError("name at least one metric")
        kinds = [self.better is not None, self.worse is not None, self.is_bounded]
        if sum(kinds) != 1:
            raise ValueError(
                "give one of `better` (and `than`), `worse` (and `than`),"
                " or bounds (`at_least`, `at_most`)"
            )
        if self.is_bounded and (
            self.than or self.margin or self.relation != "better" or self.without or self.in_sample
        ):
            raise ValueError("a claim with bounds takes neither than, margin, relation nor without")
        if not self.is_bounded and self.models:
            raise ValueError("`models` is for claims with bounds; name models with better and than")
        if self.relation == "equivalent" and self.margin == 0.0:
            raise ValueError("an equivalence needs a margin above 0")
        return self

    @property
    def is_bounded(self) -> bool:
        """Whether it says that a figure lies within bounds."""
        return self.at_least is not None or self.at_most is not None

    @property
    def subject(self) -> str | None:
        """The model that it is about; None for bounds."""
        return self.better if self.better is not None else self.worse

    def named(self) -> tuple[str, ...]:
        """Return every model that it names, each once."""
        subject = () if self.subject is None else (self.subject,)
        return tuple(dict.fromkeys((*subject, *self.than, *self.models)))

    def renamed(self, names: Mapping[str, str]) -> Claim:
        """Return the claim with models called otherwise; those not in `names` keep theirs."""

        def of(models: Sequence[str]) -> tuple[str, ...]:
            return tuple(names.get(model, model) for model in models)

        return self.model_copy(
            update={
                "better": self.better and names.get(self.better, self.better),
                "worse": self.worse and names.get(self.worse, self.worse),
                "than": of(self.than),
                "models": of(self.models),
            }
        )


def claim_faults(claim: Claim, axes: Sequence[Axis]) -> Iterator[str]:
    """Find what a claim can't mean in a study on these axes."""
    known = claimable(axes)
    unknown = [name for name in claim.metric if name not in known]
    for name in unknown:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        yield f"no figure is called '{name}' here; {hint}"
    metrics = [known[name] for name in claim.metric if name in known]
    if claim.is_bounded:
        return
    if any(metric.kind == JUDGE_ACCURACY.kind for metric in metrics):
        yield "a judge's accuracy is no model's: claim bounds (`at_least`)"
    rates = [metric.name for metric in known.values() if metric.family == "rates"]
    if claim.without and not set(claim.metric) - set(unknown) <= set(rates):
        yield f"`without` is for {' and '.join(rates)}"
    if claim.margin >= 100.0 and any(metric.is_rate for metric in metrics):
        yield "no two rates differ by 100 percentage points or more"
    if claim.relation == "equivalent" and any(is_point(metric) for metric in metrics):
        yield "an equivalence is of rates or mean scores"


def is_point(metric: Metric) -> bool:
    """Whether a figure describes a sample of scores: medians, spreads and ends."""
    return metric.kind in {point.kind for point in _POINTS}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the data say of a claim.

    Attributes:
        claim: The claim in words.
        verdict: One of `VERDICTS`.
        evidence: Why, in one sentence with numbers and intervals.
        p_value: Two-sided, of the claim's own test; None where nothing was tested, and of parts.
        p_holm: Corrected by Holm for all stated claims.
        level: Two-sided level at which the claim was judged: 5 % over the claims that were left.
        power: Of an undecided claim: chance to have found the smallest difference of interest
            beyond its boundary, percent; None where it isn't known.
        detectable: Of an undecided claim about one figure: the smallest distance from its boundary
            that would have been found with 80 % power at its level, in the figure's unit.
        n_needed: Prompts a set at which that chance is 80 %; None where no number is enough.
        seeds_needed: Training seeds of each recipe at which it is, on these prompts.
        prompts: Prompt ids that decide most: the discordant ones, for links to samples.
        parts: The verdicts of a claim's parts, where it has several; else empty.
    """

    claim: str
    verdict: str
    evidence: str
    p_value: float | None = None
    p_holm: float | None = None
    level: float | None = None
    power: float | None = None
    detectable: float | None = None
    n_needed: int | None = None
    seeds_needed: int | None = None
    prompts: tuple[str, ...] = ()
    parts: tuple[Verdict, ...] = ()

    @property
    def brief(self) -> str:
        """The first clause of the evidence: the difference with its interval."""
        return self.evidence.split("; ", 1)[0].strip().rstrip(".")
