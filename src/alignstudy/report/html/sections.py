"""The sections of the report: their order, their tables, and the figures that stand in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.report.inputs import FigureFile, ReportInputs
from alignstudy.report.tables import comparisons, judges, results, robustness, run
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
    "thresholds": ("threshold_curves", "score_distributions", "score_histograms", "score_boxes"),
    "length": ("length_scores",),
    "policy": ("divergence",),
    "training": ("training_curves",),
}
TITLES = {
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


def sections(inputs: ReportInputs) -> dict[str, Section]:
    """Return all sections of tables and figures in order, empty ones left out."""
    facts = run.facts_table(inputs.audit_facts, "Fact", title="More facts about the data")
    blocks = {name: [_block(*tables)] for name, tables in _of_the_run(inputs).items()}
    blocks["data"].append(_block(folded=facts))
    for analysis in inputs.analyses:
        heading = f"By the judge {analysis.judge}" if len(inputs.analyses) > 1 else ""
        rates = comparisons.comparisons_table(analysis, comparisons.mean_first(analysis))
        scores = comparisons.comparisons_table(analysis, analysis.scores)
        shown = _block(rates, folded=scores) if rates.rows else _block(scores)
        of_judge = {
            n: _block(*tables) for n, tables in _by_judge(inputs.findings, analysis).items()
        }
        for name, block in {"comparisons": shown, **of_judge}.items():
            blocks.setdefault(name, []).append(replace(block, heading=heading))
    figures = {file.name: file for file in inputs.figures}
    known = {name for names in _FIGURES.values() for name in names}
    in_sections = _FIGURES | {"gallery": tuple(name for name in figures if name not in known)}
    warned = judge_stamps(inputs.findings)
    found = {}
    for name, title in TITLES.items():
        section = Section(
            id=name,
            title=title,
            stamps=warned if name in _ON_SCORES else (),
            blocks=tuple(block for block in blocks.get(name, ()) if block.tables or block.folded),
            figures=tuple(figures[n] for n in in_sections.get(name, ()) if n in figures),
            samples=_SAMPLES,
        )
        if section.blocks or section.figures:
            found[name] = section
    return found


def _of_the_run(inputs: ReportInputs) -> dict[str, tuple[Table, ...]]:
    """Return section -> its tables that are not of one judge."""
    findings, first = inputs.findings, inputs.findings.first
    return {
        "claims": (comparisons.verdicts_table(findings.verdicts, inputs.responses),),
        "judges": (
            judges.accuracy_table(findings.qualities),
            judges.calibration_table(findings.qualities),
            judges.probes_table(findings.qualities),
            judges.agreements_table(findings.agreements),
            judges.leave_one_out_table(findings.leave_one_out),
        ),
        "hygiene": (
            results.hygiene_table(first),
            results.wording_table(first),
            robustness.sensitivities_table(first),
        ),
        "thresholds": (
            robustness.thresholds_table(inputs.analyses),
            run.records_table(inputs.calibrations, title="Calibration on labelled answers"),
        ),
        "policy": (run.divergence_table(findings.divergences),),
        "training": (run.training_table(inputs.training), run.guards_table(inputs.training)),
        "data": (run.audit_table(inputs.audits), run.exclusions_table(inputs.audits)),
        "cost": (run.costs_table(inputs.costs, inputs.cost_notes),),
    }


def _by_judge(findings: Findings, analysis: Analysis) -> dict[str, tuple[Table, ...]]:
    """Return section -> its tables of one judge."""
    return {
        "merits": (
            results.rates_table(findings, analysis),
            robustness.bounds_table(analysis),
            results.scores_table(findings, analysis),
            results.improvement_table(analysis),
            results.best_shares_table(analysis),
        ),
        "thresholds": (
            robustness.sweeps_table(analysis),
            robustness.pair_sweeps_table(analysis),
        ),
        "length": (
            robustness.lengths_table(analysis.lengths),
            robustness.adjusted_table(analysis),
        ),
        "omnibus": (results.omnibus_table(analysis),),
        "seeds": (robustness.seeds_table(analysis),),
    }


def _block(*tables: Table, folded: Table | None = None) -> Block:
    """Put tables together: empty ones left out, long ones folded, and one in any case."""
    long = [table for table in tables if len(table.rows) > LONG]
    if folded is not None and folded.rows:
        long.append(folded)
    short = tuple(table for table in tables if 0 < len(table.rows) <= LONG)
    return Block(tables=short, folded=tuple(long))
