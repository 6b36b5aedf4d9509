"""The report for terminals and pull requests: what was found, in one Markdown file.

It holds no response and no prompt. Whatever a study file, a model's name or a warning says is made
inert by `inert`: Markdown is HTML to those who render it.
"""

from __future__ import annotations

from collections.abc import Iterable

from alignstudy.report.inputs import ReportInputs
from alignstudy.report.tables import comparisons, judges, results, robustness
from alignstudy.report.tables.budget import budget_table
from alignstudy.report.tables.labels import label_tables
from alignstudy.report.tables.ranking import ranking_table
from alignstudy.report.tables.rewards import REWARDS_TITLE, rewards_tables
from alignstudy.report.tables.run import costs_table
from alignstudy.report.tables.tuning import choices_table
from alignstudy.report.tables.write import markdown_table
from alignstudy.report.text.answer import answer
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.headline import is_many
from alignstudy.report.text.likelihoods import likelihoods_in_words
from alignstudy.report.text.limitations import limitations
from alignstudy.report.text.recipes import untuned_models
from alignstudy.report.text.stamps import run_stamp
from alignstudy.report.text.words import study_in_words
from alignstudy.report.untrusted import inert


def render_markdown(inputs: ReportInputs) -> str:
    """Render the answer, the claims, the main tables, the judges' worth and the warnings.

    Args:
        inputs: What the report says; figures and responses are not read.

    Returns:
        Markdown in GitHub's dialect that can be encoded as UTF-8, with one newline at the end.
    """
    findings, first, found = inputs.findings, inputs.findings.first, answer(inputs.findings)
    differences = comparisons.comparisons_table(first, comparisons.mean_first(first))
    # The leading judge's figures only.
    many = is_many(first)
    sections = {
        "All recipes": [ranking_table(findings, inputs.recipe_costs)] if many else [],
        "Claims": [comparisons.verdicts_table(findings.verdicts).without("Prompts that decide")],
        "Metrics": [
            results.rates_table(findings, first),
            results.scores_table(findings, first),
            robustness.bounds_table(first),
        ],
        "Differences between models": [differences.without("p", "Win rate")],
        "What the judges are worth": [
            judges.accuracy_table(findings.qualities),
            judges.probes_table(findings.qualities),
            judges.agreements_table(findings.agreements),
            *label_tables(findings),
        ],
        REWARDS_TITLE: rewards_tables(findings.rewards)[0],
        "Form of the responses": [
            results.hygiene_table(first),
            robustness.pair_sweeps_table(first),
        ],
        "Tuning": [choices_table(inputs.tuning, untuned=untuned_models(inputs.settings))],
    }
    lines = [f"# {inert(inputs.study)}", ""]
    for stamp in filter(None, [run_stamp(inputs), *found.alarms]):
        lines += [f"> **{inert(stamp)}**", ""]
    lines += [f"**{inert(found.headline)}**", "", *_list(found.sentences)]
    lines += _listed("What it rests on", found.rests_on)
    lines += _listed("What would change it", found.would_change)
    lines += [
        "Brackets hold 95 % intervals. 'Not shown' does not mean that there is no difference.",
        "",
        *(line for paragraph in study_in_words(inputs) for line in (inert(paragraph), "")),
    ]
    for title, tables in sections.items():
        told = [line for table in tables if table.rows for line in markdown_table(table)]
        lines += [f"## {title}", "", *told] if told else []
    lines += _listed("What training did", likelihoods_in_words(inputs.training))
    took = costs_table(inputs.costs, inputs.cost_notes).note
    if inputs.budget:
        lines += ["## Budgets", "", *markdown_table(budget_table(inputs.budget))]
    lines += _listed("What it took", [took] if took else [])
    lines += _listed("Warnings", cautions(inputs))
    lines += _listed("What these figures can't say", limitations(inputs))
    return "\n".join(lines).rstrip("\n") + "\n"


def _listed(title: str, sentences: Iterable[str]) -> list[str]:
    said = list(sentences)
    return [f"## {title}", "", *_list(said)] if said else []


def _list(sentences: Iterable[str]) -> list[str]:
    lines = [f"- {inert(sentence)}" for sentence in sentences]
    return [*lines, ""] if lines else []
