"""Records of whether findings hold under other choices: thresholds, length, seeds, exclusions."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.records import Estimate


@dataclass(frozen=True, kw_only=True)
class PairSweep:
    """One pair of models over all thresholds of a sweep.

    Attributes:
        better_share: Share of thresholds at which the model's rate is higher, in percent.
        worse_share: Share of thresholds at which it is lower.
        shown_share: Share of thresholds with an uncorrected exact McNemar p below 0.05 (several
            seeds, samples or clusters: sign-flip p), in the direction of the difference at the
            study's own threshold; 0 where that is no difference.
    """

    model: str
    reference: str
    better_share: float
    worse_share: float
    shown_share: float


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Every model's rate over a grid of thresholds.

    Attributes:
        thresholds: The grid, ascending.
        rates: Model -> percent at each threshold.
        low: Model -> lower ends of 95 % intervals: Wilson's; with several seeds, samples or
            clusters of near-duplicate prompts, from 1,000 resamples of clusters.
        high: Model -> upper ends.
        leaders: At each threshold, the models with the highest rate.
        best_share: Model -> share of thresholds at which it leads, percent; a shared lead is
            divided equally.
        num_rankings: Number of distinct rankings over the grid.
        pairs: Every pair of models.
    """

    axis: str
    thresholds: tuple[float, ...]
    rates: dict[str, tuple[float, ...]]
    low: dict[str, tuple[float, ...]]
    high: dict[str, tuple[float, ...]]
    leaders: tuple[tuple[str, ...], ...]
    best_share: dict[str, float]
    num_rankings: int
    pairs: tuple[PairSweep, ...]


@dataclass(frozen=True, kw_only=True)
class LengthEffect:
    """Whether a judge's scores go with length, on this study's responses.

    Attributes:
        rank_correlation: Spearman of score and characters over all responses; None if undefined.
        within: The same after subtracting prompt and model means; None if undefined.
        adjusted: Model minus reference in mean score at equal length, as (model, reference,
            estimate in the judge's unit).
    """

    axis: str
    rank_correlation: float | None
    within: float | None
    adjusted: tuple[tuple[str, str, Estimate], ...]


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """One metric of one model by training seed.

    Attributes:
        by_seed: Seed -> value.
        sd: Standard deviation between seeds (n - 1).
        within: Standard error that the draw of prompts alone would give.
    """

    model: str
    metric: str
    by_seed: dict[int, float]
    sd: float
    within: float


@dataclass(frozen=True, kw_only=True)
class ThresholdError:
    """What a calibrated threshold leaves open of a rate, or of a difference of two.

    Attributes:
        metric: Name of a rate.
        reference: The model it is compared with; "" for a rate.
        alone: With the interval that other calibration pairs would give on the same responses;
            percent or percentage points, as the next.
        joined: With the interval of prompts (and seeds) and that of the threshold in one.
    """

    metric: str
    model: str
    reference: str
    alone: Estimate
    joined: Estimate


@dataclass(frozen=True, kw_only=True)
class VarianceSplit:
    """Where the spread of one metric of one model comes from.

    Attributes:
        sds: Source -> standard deviation that it gives the value of one response: "prompts",
            "seeds", "seeds by prompt", "samples", and "judges", between the judges' rates.
        errors: Source -> standard error that it gives the figure.
    """

    model: str
    metric: str
    sds: dict[str, float]
    errors: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """A rate without responses that are flagged, or with a prompt set cut down.

    Attributes:
        without: "empty", "cap", "role_tag", "loop", "overlap", "leak".
        metric: Name of a pass rate.
        value: Percent of the responses that remain; None if none does.
        full: The rate with all responses.
        n: Responses that remain.
    """

    without: str
    metric: str
    model: str
    value: Estimate | None
    full: float
    n: int


@dataclass(frozen=True, kw_only=True)
class WinnerLead:
    """The winner's lead in one metric, on prompts that did not choose it.

    Attributes:
        model: The one with the highest value on the prompts that all models have.
        lead: Its value minus the second highest, on all of them.
        apparent: Mean lead of a half's winner over its runner-up, on that half.
        kept: Mean lead of the same two on the other half: what is left where prompts that chose
            them don't count; below `apparent` by the winner's curse, and below 0 where halves
            contradict each other.
        chosen: Share of halves whose winner is `model`, percent.
    """

    metric: str
    model: str
    lead: float
    apparent: float
    kept: float
    chosen: float


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a test of one difference can find, at the corrected level of its family.

    Attributes:
        detectable: Smallest difference that is found with 80 % power: percentage points, or the
            judge's unit; None where none is.
        level: Two-sided level: 5 % over the tests of its family.
        difference: The smallest difference of interest (the margin), which what follows is of; None
            where there is none.
        power: Chance of finding it, percent.
        n_needed: Paired prompts (a set, for CAS) for 80 % power; None where no million is enough:
            with few training seeds there may be no such number.
        seeds_needed: Training seeds of each recipe for that, on these prompts; None where there is
            one seed, or no number below a hundred is enough.
    """

    detectable: float | None
    level: float = 0.05
    difference: float | None = None
    power: float | None = None
    n_needed: int | None = None
    seeds_needed: int | None = None


@dataclass(frozen=True, kw_only=True)
class MissingBounds:
    """Between which values a model's figure lies, whatever its missing ratings are.

    Attributes:
        metric: A rate or a mean score.
        missing: Ratings that the model lacks.
        n: Ratings that it would have.
        low: If each missing one failed; of scores: was the lowest of any response on the axis.
        high: If each passed; of scores: was the highest.
    """

    metric: str
    model: str
    missing: int
    n: int
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class LeadBounds:
    """A difference that is shown, were all missing ratings against it.

    Attributes:
        difference: Model minus reference, on the prompts that all models have ratings for.
        worst: On all prompts, missing ratings of the better model failing, of the other passing.
        p_value: Two-sided, of `worst`, not corrected: exact McNemar or sign flips.
        survives: Whether `worst` has the sign of `difference` and its p-value is below 5 %.
    """

    metric: str
    model: str
    reference: str
    difference: float
    worst: float
    p_value: float
    survives: bool
