"""The sections of the report: their order, their tables, and the figures that stand in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from alignstudy.analysis.results import Analysis
from alignstudy.report.inputs import FigureFile, ReportInputs
from alignstudy.report.tables import (
    claims,
    comparisons,
    cost,
    form,
    judges,
    results,
    robustness,
    run,
)
from alignstudy.report.tables.table import Table
from alignstudy.report.text.stamps import judge_stamps

LONG = 20
"""A table with more rows is folded."""

_FIGURES = {
    "merits": ("rates", "mean_scores"),
    "comparisons": ("differences", "win_rates", "paired_scores", "power_curve"),
    "trade-off": ("tradeoff",),
    "judges": ("judge_reliability", "judge_agreement", "judge_controls"),
    "hygiene": ("hygiene",),
    "thresholds": ("threshold_curves", "score_distributions", "score_histograms"),
    "length": ("length_scores",),
    "policy": ("divergence",),
    "training": ("training_curves",),
}
_TITLES = {
    "merits": "Metrics",
    "comparisons": "Differences between models",
    "trade-off": "Rates against each other",
    "claims": "Claims",
    "judges": "What the judges are worth",
    "hygiene": "Form of the responses",
    "thresholds": "Thresholds",
    "length": "Scores and length",
    "omnibus": "All models at once",
    "seeds": "Training seeds",
    "policy": "How far training moved the models",
    "training": "Training",
    "data": "Data",
    "responses": "Responses side by side",
    "cost": "Cost",
    "provenance": "Provenance",
    "limitations": "Warnings and limitations",
    "gallery": "More figures",
}
_ON_SCORES = ("merits", "comparisons", "trade-off", "thresholds", "length", "omnibus", "seeds")
_SAMPLES = {
    "differences": "#samples?show=pair",
    "paired_scores": "#samples?order=gap&show=every",
    "threshold_curves": "#samples?show=near",
    "judge_agreement": "#samples?show=judges",
    "length_scores": "#samples?flag=cap",
    "hygiene": "#samples?show=flagged",
    "tradeoff": "#samples?show=differ",
    "win_rates": "#samples?order=gap&show=every",
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some tables under one heading.

    Attributes:
        heading: Above the tables; "" for none.
        folded: Tables to open on demand.
    """

    heading: str = ""
    tables: tuple[Table, ...] = ()
    folded: tuple[Table, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the report.

    Attributes:
        id: What links lead to.
        stamps: What a reader must see before its figures.
        figures: Stand after the first block.
        samples: Figure name -> link to the samples it is made of.
    """

    id: str
    title: str
    stamps: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    figures: tuple[FigureFile, ...] = ()
    samples: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.figures and not any(b.tables or b.folded for b in self.blocks)


def sections(inputs: ReportInputs) -> dict[str, Section]:
    """Return all sections of tables and figures in order, empty ones left out."""
    blocks = _blocks(inputs)
    warned = judge_stamps(inputs.findings)
    found = {}
    for name, title in _TITLES.items():
        section = Section(
            id=name,
            title=title,
            stamps=warned if name in _ON_SCORES else (),
            blocks=tuple(block for block in blocks.get(name, ()) if block.tables or block.folded),
            figures=_figures(name, inputs.figures),
            samples=_SAMPLES,
        )
        if not section.is_empty:
            found[name] = section
    return found


def titles() -> dict[str, str]:
    """Return every section's id with its title, in the order of the page."""
    return dict(_TITLES)


def _figures(section: str, files: Sequence[FigureFile]) -> tuple[FigureFile, ...]:
    """Return a section's figures in their order; the gallery has those that no section knows."""
    by_name = {file.name: file for file in files}
    if section == "gallery":
        known = {name for names in _FIGURES.values() for name in names}
        return tuple(file for file in files if file.name not in known)
    return tuple(by_name[name] for name in _FIGURES.get(section, ()) if name in by_name)


def _blocks(inputs: ReportInputs) -> dict[str, tuple[Block, ...]]:
    """Return section -> its blocks of tables."""
    findings, first = inputs.findings, inputs.findings.first
    several = len(inputs.analyses) > 1
    by_judge = [(f"By the judge {a.judge}" if several else "", a) for a in inputs.analyses]
    return {
        "merits": tuple(_merits(inputs, a, name) for name, a in by_judge),
        "comparisons": tuple(_comparisons(a, name) for name, a in by_judge),
        "claims": _one(claims.verdicts_table(findings.verdicts, inputs.responses)),
        "judges": _one(
            judges.accuracy_table(findings.qualities),
            judges.calibration_table(findings.qualities),
            judges.probes_table(findings.qualities),
            judges.agreements_table(findings.agreements),
            judges.leave_one_out_table(findings.leave_one_out),
        ),
        "hygiene": _one(
            form.hygiene_table(first),
            form.wording_table(first),
            robustness.sensitivities_table(first),
        ),
        "thresholds": (
            *_one(
                robustness.thresholds_table(inputs.analyses),
                run.records_table(inputs.calibrations, title="Calibration on labelled answers"),
            ),
            *(_swept(a, name) for name, a in by_judge),
        ),
        "length": tuple(_lengths(a, name) for name, a in by_judge),
        "omnibus": tuple(_block(name, results.omnibus_table(a)) for name, a in by_judge),
        "seeds": tuple(_block(name, robustness.seeds_table(a)) for name, a in by_judge),
        **_of_the_run(inputs),
    }


def _of_the_run(inputs: ReportInputs) -> dict[str, tuple[Block, ...]]:
    """Return the blocks on policies, training, data and cost."""
    return {
        "policy": _one(run.divergence_table(inputs.findings.divergences)),
        "training": _one(
            run.training_table(inputs.training), run.guards_table(inputs.training)
        ),
        "data": (
            *_one(run.audit_table(inputs.audits),
                  run.exclusions_table(inputs.audits)),
            Block(
                folded=_filled(
                    run.facts_table(
                        inputs.audit_facts, "Fact", title="More facts about the data"
                    )
                )
            ),
        ),
        "cost": _one(cost.costs_table(inputs.costs, inputs.cost_notes)),
    }  # fmt: skip


def _merits(inputs: ReportInputs, analysis: Analysis, heading: str) -> Block:
    return _block(
        heading,
        results.rates_table(inputs.findings, analysis),
        results.scores_table(inputs.findings, analysis),
        results.improvement_table(analysis),
        results.best_shares_table(analysis),
    )


def _comparisons(analysis: Analysis, heading: str) -> Block:
    rates = comparisons.comparisons_table(analysis, comparisons.mean_first(analysis))
    scores = comparisons.comparisons_table(analysis, analysis.scores)
    if not rates.rows:
        return _block(heading, scores)
    block = _block(heading, rates)
    return Block(heading=heading, tables=block.tables, folded=block.folded + _filled(scores))


def _swept(analysis: Analysis, heading: str) -> Block:
    if not analysis.sweeps:
        return Block()
    return _block(
        heading,
        robustness.sweeps_table(analysis),
        robustness.pair_sweeps_table(analysis),
    )


def _lengths(analysis: Analysis, heading: str) -> Block:
    return _block(
        heading,
        robustness.lengths_table(analysis.lengths),
        robustness.adjusted_table(analysis),
    )


def _one(*tables: Table) -> tuple[Block, ...]:
    return (_block("", *tables),)


def _block(heading: str, *tables: Table) -> Block:
    """Put tables under a heading: empty ones left out, long ones folded."""
    filled = _filled(*tables)
    return Block(
        heading=heading,
        tables=tuple(table for table in filled if len(table.rows) <= LONG),
        folded=tuple(table for table in filled if len(table.rows) > LONG),
    )


def _filled(*tables: Table) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.rows)
