"""Frozen records of labels that people, or a better judge, gave to responses, and of their use."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.records import Estimate


@dataclass(frozen=True, kw_only=True)
class Label:
    """Whether one response passes, by who labelled it.

    Attributes:
        model: The recipe's name.
        seed: The training seed; None: the only one.
        axis: Name of the axis; None: that of the prompt.
        passes: The label.
        stands_for: Prompts that this one stands for, by how it was drawn; None: all labelled ones
            stand for equally many.
        response: sha256 of the text that was labelled; None: not known.
        where: File and row, for messages.
    """

    model: str
    seed: int | None
    prompt_id: str
    axis: str | None
    passes: bool
    stands_for: float | None = None
    response: str | None = None
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class CorrectedFigure:
    """A rate, or a difference of two, with what labels say of it; percent or percentage points.

    Attributes:
        metric: Name of a rate.
        reference: The model it is compared with; "" for a rate.
        raw: As the judge has it: what tables and verdicts stand on.
        labels_only: What the labels alone say.
        corrected: The judge's rate, corrected by the labels (PPI++).
        bias: What the judge says beyond the labels, on the labelled responses; None of the mean of
            several axes.
        trust: How far the judge's rate counts (lambda), 0 (the labels alone) to 1; None of the mean
            of several axes.
        num_labels: Labelled prompts.
        worth: How many labels would give as narrow an interval without the judge.
    """

    metric: str
    model: str
    reference: str
    raw: Estimate
    labels_only: Estimate
    corrected: Estimate
    bias: Estimate | None
    trust: float | None
    num_labels: int
    worth: float


@dataclass(frozen=True, kw_only=True)
class LabelAgreement:
    """How often a judge passes and fails what the labels do, on the study's own responses; percent.

    Attributes:
        axis: Name of the axis.
        model: Whose responses; "" for all.
        agrees: Share of responses of which judge and label say the same.
        balanced: Mean of the next two.
        finds_passes: Of the responses that pass by their label, the share that the judge passes.
        finds_fails: Of those that fail, the share that it fails.
        num_labels: Labelled responses.
    """

    axis: str
    model: str
    agrees: Estimate
    balanced: Estimate | None
    finds_passes: Estimate | None
    finds_fails: Estimate | None
    num_labels: int


@dataclass(frozen=True, kw_only=True)
class LabelEvidence:
    """What labels of some responses say of a judge and of the rates that it gives.

    Attributes:
        judge: Whose rates are corrected.
        figures: Rates, then differences, metric by metric.
        agreements: By axis: all models, then each that has labels enough.
        notes: What a reader has to know.
    """

    judge: str
    figures: tuple[CorrectedFigure, ...] = ()
    agreements: tuple[LabelAgreement, ...] = ()
    notes: tuple[str, ...] = ()
