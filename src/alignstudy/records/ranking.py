"""Records of many models compared at once: who may be the best, who differs from a control."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.records import Estimate


@dataclass(frozen=True, kw_only=True)
class BestSet:
    """Which models are not distinguishable from the best in one metric.

    Attributes:
        members: From the highest figure to the lowest; all models where no test was made.
        p_values: Model -> p of "no other model is better", adjusted for all models; empty where
            no test was made. Members have 5 % or more.
        p_any: Of "all models are alike": of the largest difference; None where no test was made.
        reach: How far below another a model must lie to leave: percentage points, or the judge's
            unit; of pairs whose spread is the median's. None where no test was made.
        seeds: Training seeds of the model that has most; 1: the set is one of these trained models.
        n: Independent prompts that all models have in every seed (of a set, for the mean over
            sets); near-duplicates are one.
        note: Why there is no test.
    """

    metric: str
    members: tuple[str, ...]
    p_values: dict[str, float]
    p_any: float | None
    reach: float | None
    seeds: int
    n: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlTest:
    """One model against the declared control.

    Attributes:
        difference: Model minus control: percentage points, or the judge's unit.
        p_value: Two-sided, not corrected.
        p_holm: Corrected by Holm within `family`, over all models.
        family: "rates", "cas", "scores".
        is_shown: Whether `p_holm` is below 5 %, and so is the test of all models (`p_any`).
    """

    metric: str
    model: str
    control: str
    difference: Estimate
    p_value: float
    p_holm: float
    family: str
    is_shown: bool


@dataclass(frozen=True, kw_only=True)
class RecipeCost:
    """What it took to make a model of a recipe: the mean over seeds.

    Attributes:
        flops: Floating-point operations of its whole chain from the base on, references and samples
            included; None where a stage's weren't counted, or it went on after an interruption.
        tuning_flops: The same of the trials that chose its settings; None where nothing was tuned.
    """

    model: str
    flops: float | None
    tuning_flops: float | None = None
