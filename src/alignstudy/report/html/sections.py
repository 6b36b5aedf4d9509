"""The sections of the report: their order, what of each is shown, and what is folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from alignstudy.analysis.comparisons.orientation import leading_metric
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Analysis
from alignstudy.report.inputs import FigureFile, ReportInputs
from alignstudy.report.tables import comparisons, judges, results, robustness, run, tuning
from alignstudy.report.tables.budget import budget_table
from alignstudy.report.tables.labels import label_tables
from alignstudy.report.tables.likelihoods import likelihoods_table
from alignstudy.report.tables.ranking import ranking_table
from alignstudy.report.tables.rewards import REWARDS_TITLE, rewards_tables
from alignstudy.report.tables.table import Table
from alignstudy.report.text.headline import is_many, sound_metric
from alignstudy.report.text.likelihoods import likelihoods_in_words
from alignstudy.report.text.recipes import untuned_models
from alignstudy.report.text.stamps import judge_stamps

TOP = 12
"""Rows of a table that are shown; a longer one is folded whole below its first rows."""
OPENING = ("rates", "mean_scores")
"""The picture of the first screen: the first of these that was drawn."""

TITLES = {
    "claims": "Claims",
    "comparisons": "The models compared",
    "responses": "What the models wrote",
    "judges": "What the judges are worth",
    "rewards": REWARDS_TITLE,
    "hygiene": "Form of the responses",
    "robustness": "Whether it holds",
    "limitations": "Warnings and limitations",
    "methods": "How it was done",
    "tuning": "Tuning",
    "training": "Training",
    "data": "Data",
    "cost": "Cost",
    "provenance": "Provenance",
    "gallery": "More figures",
}
FOLDED = ("methods", "training", "data", "cost", "provenance", "gallery")
"""Sections that are folded whole."""

_ON_SCORES = ("comparisons", "robustness")
_SHOWN = {
    "comparisons": ("differences", "score_boxes"),
    "judges": ("judge_reliability",),
    "robustness": ("threshold_curves",),
}
_FOLDED = {
    "comparisons": ("mean_scores", "tradeoff", "win_rates", "paired_scores", "power_curve"),
    "judges": ("judge_controls", "judge_agreement"),
    "hygiene": ("hygiene",),
    "robustness": ("divergence", "score_distributions", "score_histograms", "length_scores"),
    "training": ("training_curves", "likelihoods"),
}
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
class Item:
    """A table, or a figure with the link to the samples that it is made of ("" for none)."""

    table: Table | None = None
    figure: FigureFile | None = None
    samples: str = ""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """What opens on demand, under its title."""

    title: str
    items: tuple[Item, ...]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the report.

    Attributes:
        id: What links lead to.
        stamps: What a reader must see before its figures.
        items: What is shown.
        folds: What is folded.
        is_folded: Whether the section is folded whole.
    """

    id: str
    title: str
    stamps: tuple[str, ...] = ()
    items: tuple[Item, ...] = ()
    folds: tuple[Fold, ...] = ()

    @property
    def is_folded(self) -> bool:
        """Whether the section is folded whole."""
        return self.id in FOLDED


def opening(inputs: ReportInputs) -> FigureFile | None:
    """Return the picture of the first screen; None where none was drawn."""
    figures = {file.name: file for file in inputs.figures}
    return next((figures[name] for name in OPENING if name in figures), None)


def ranking(inputs: ReportInputs) -> Table | None:
    """Return the table of all recipes, with which a report of many opens; None of few."""
    table = ranking_table(inputs.findings, inputs.recipe_costs)
    return table if is_many(inputs.findings.first) and table.rows else None


def sections(inputs: ReportInputs) -> dict[str, Section]:
    """Return the sections that have tables or figures, in order."""
    figures, opened = {file.name: file for file in inputs.figures}, opening(inputs)
    named = {*OPENING[:1]} | {
        name for part in (_SHOWN, _FOLDED) for of in part.values() for name in of
    }
    gallery = {"gallery": tuple(name for name in figures if name not in named)}
    first, *others = inputs.analyses
    tables, warned = _tables(inputs, first), judge_stamps(inputs.findings)
    found = {}
    for name, title in TITLES.items():
        shown, folded = tables.get(name, ((), ()))
        items, folds = [], []
        for table in (table for table in shown if table.rows):
            items.append(Item(table=replace(table, rows=table.rows[:TOP])))
            if len(table.rows) > TOP:
                folds.append(_fold(table))
        folds += [_fold(table) for table in folded if table.rows]
        drawn = [
            (is_shown, Item(figure=figures[figure], samples=_SAMPLES.get(figure, "")))
            for is_shown, part in ((True, _SHOWN | gallery), (False, _FOLDED))
            for figure in part.get(name, ())
            if figure in figures and figures[figure] is not opened
        ]
        items += [item for is_shown, item in drawn if is_shown]
        folds += [_figure_fold(item) for is_shown, item in drawn if not is_shown]
        folds += _by_other_judges(inputs.findings, others, name)
        if items or folds:
            found[name] = Section(
                id=name,
                title=title,
                stamps=warned if name in _ON_SCORES else (),
                items=tuple(items),
                folds=tuple(folds),
            )
    return found


Tables = tuple[Sequence[Table], Sequence[Table]]
"""Those that are shown, and those that are folded."""


def _tables(inputs: ReportInputs, first: Analysis) -> Mapping[str, Tables]:
    """Return section -> its tables, the leading judge's where they are of one judge."""
    findings, by_judge = inputs.findings, _by_judge(inputs.findings, first)
    qualities, verdicts = findings.qualities, findings.verdicts
    whole = comparisons.verdicts_table(verdicts, inputs.responses)
    brief = comparisons.verdicts_table(verdicts, inputs.responses, brief=True)
    trained = run.training_table(inputs.training)
    tuned = tuning.choices_table(inputs.tuning, untuned=untuned_models(inputs.settings))
    said = replace(whole, title="The claims with their parts and all of the evidence")
    subsets = judges.accuracy_table(qualities)
    return {
        "claims": ([brief], [said]),
        "comparisons": by_judge["comparisons"],
        "judges": (
            [
                judges.accuracy_table(qualities, subsets=False).without("Subset"),
                *label_tables(findings),
            ],
            [
                replace(subsets, title=f"{subsets.title}, by subset"),
                judges.calibration_table(qualities),
                judges.probes_table(qualities),
                judges.agreements_table(findings.agreements),
                judges.leave_one_out_table(findings.leave_one_out),
            ],
        ),
        "rewards": rewards_tables(findings.rewards),
        "hygiene": (
            [results.hygiene_table(first)],
            [results.wording_table(first), robustness.sensitivities_table(first)],
        ),
        "robustness": (
            [*by_judge["robustness"][0], robustness.thresholds_table(inputs.analyses)],
            [
                *by_judge["robustness"][1],
                run.records_table(inputs.calibrations, title="Calibration on labelled answers"),
                run.divergence_table(findings.divergences),
            ],
        ),
        "tuning": ([tuned], [tuning.trials_table(inputs.tuning)]),
        "training": (
            [replace(trained, note=" ".join(likelihoods_in_words(inputs.training)))],
            [likelihoods_table(inputs.training), run.guards_table(inputs.training)],
        ),
        "data": (
            [run.audit_table(inputs.audits)],
            [
                run.exclusions_table(inputs.audits),
                run.facts_table(inputs.audit_facts, "Fact", title="More facts about the data"),
            ],
        ),
        "cost": (
            [budget_table(inputs.budget), run.costs_table(inputs.costs, inputs.cost_notes)],
            [],
        ),
        "provenance": (
            [],
            [run.facts_table(inputs.provenance, "What", title="Where these numbers come from")],
        ),
    }


def _by_judge(findings: Findings, analysis: Analysis) -> Mapping[str, Tables]:
    """Return section -> its tables that are of one judge."""
    metric = sound_metric(findings) or leading_metric(analysis)
    rates = comparisons.comparisons_table(analysis, comparisons.mean_first(analysis))
    scores = comparisons.comparisons_table(analysis, analysis.scores)
    figures = [results.rates_table(findings, analysis), results.scores_table(findings, analysis)]
    if metric not in analysis.rates:
        figures.reverse()  # without a threshold there are scores alone
    return {
        "comparisons": (
            [
                figures[0],
                robustness.bounds_table(analysis),
                *([comparisons.leading_table(analysis, metric)] if metric else []),
            ],
            [
                replace(rates, title="All comparisons of rates"),
                *(figures[1:] if metric in analysis.rates else []),
                replace(scores, title="All comparisons of scores"),
                results.improvement_table(analysis),
                results.best_shares_table(analysis),
                results.omnibus_table(analysis),
            ],
        ),
        "robustness": (
            [robustness.seeds_table(analysis), robustness.variances_table(analysis)],
            [
                robustness.threshold_errors_table(analysis),
                robustness.sweeps_table(analysis),
                robustness.pair_sweeps_table(analysis),
                robustness.lengths_table(analysis.lengths),
                robustness.adjusted_table(analysis),
            ],
        ),
    }


def _by_other_judges(findings: Findings, others: Sequence[Analysis], name: str) -> list[Fold]:
    """Return a fold for every further judge, with all its tables of a section."""
    found = []
    for analysis in others:
        shown, folded = _by_judge(findings, analysis).get(name, ((), ()))
        items = tuple(Item(table=table) for table in (*shown, *folded) if table.rows)
        if items:
            found.append(Fold(title=f"By the judge {analysis.judge}", items=items))
    return found


def _fold(table: Table) -> Fold:
    return Fold(title=f"{table.title} ({len(table.rows)} rows)", items=(Item(table=table),))


def _figure_fold(item: Item) -> Fold:
    return Fold(title=f"Figure: {item.figure.title}" if item.figure else "", items=(item,))
