"""What a report is rendered from: plain records, all of them values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.records import Audit, ScoredResponse
from alignstudy.records.evidence import TrainingRecord
from alignstudy.records.ranking import RecipeCost
from alignstudy.records.tuning import Choice


@dataclass(frozen=True, kw_only=True)
class FigureFile:
    """A figure on disk: the picture twice, and its numbers.

    Attributes:
        is_wide: Whether a narrow screen must scroll to show it.
    """

    name: str
    title: str
    caption: str
    png: Path
    svg: Path
    csv: Path
    is_wide: bool = True


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """All that a report says, and nothing it has to look up.

    Attributes:
        study: The study's name.
        settings: The study as resolved, every default written out; {} where there is none (ratings
            that were read from a folder).
        protocol: How prompts were built and responses cut; None if not known.
        findings: All numbers: analyses by judge, verdicts, judges' quality, divergences.
        responses: Every response with its score by each judge.
        training: One record for each training stage.
        audits: What happened to the rows of each part of the data.
        audit_facts: Other facts about the data, name -> value.
        calibrations: How thresholds were found, a row an axis and judge, name -> value.
        template: How prompts are written, and what ends a response; "" if not known.
        preview: Decoded training examples as text; "" for none.
        costs: What each stage took: rows of name -> value: stage, seconds, cpu_seconds, tokens,
            flops, peak_memory and device_memory in bytes, device, reused (made before the
            run that wrote this report), tuning (there only where methods were tuned: whether it
            served that alone); null: the machine doesn't tell, or nobody counted.
        recipe_costs: What it took to make each recipe's model.
        cost_notes: What there is to say of the costs besides, a sentence each.
        budget: What each recipe was spent on, where all were to have the same: rows of name ->
            value, one a seed: recipe, seed, match (the unit of the next two), amount, target,
            state (in words), steps, epochs (of the training with the most), flops, tokens (through
            the policy), targets (learnt from), pairs (rows read), samples, scored (by a judge),
            seconds, peak_memory; as if nothing had been kept, but for seconds and memory.
        tuning: How each method's settings were chosen, at each place in a chain; () where they are
            as the study gives them.
        partial: Why the run is not whole; "" if it is. Stamped on every page.
        figures: As `write_figures` gave them; the PNG files are read and embedded.
        warnings: What the run had to say, one sentence each.
        provenance: Versions, device, seeds, times, hashes; may be nested.
    """

    study: str
    settings: Mapping[str, Any]
    protocol: Literal["paper", "rigorous"] | None
    findings: Findings
    responses: tuple[ScoredResponse, ...]
    training: tuple[TrainingRecord, ...] = ()
    audits: tuple[Audit, ...] = ()
    audit_facts: Mapping[str, Any] = field(default_factory=dict)
    calibrations: tuple[Mapping[str, Any], ...] = ()
    template: str = ""
    preview: str = ""
    figures: tuple[FigureFile, ...] = ()
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    costs: tuple[Mapping[str, Any], ...] = ()
    recipe_costs: tuple[RecipeCost, ...] = ()
    cost_notes: tuple[str, ...] = ()
    budget: tuple[Mapping[str, Any], ...] = ()
    tuning: tuple[Choice, ...] = ()
    partial: str = ""

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """The analyses of all judges, the leading one first."""
        return self.findings.analyses
