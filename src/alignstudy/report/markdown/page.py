"""The report for terminals and pull requests: what was found, in one Markdown file.

It holds no response and no prompt. Whatever a study file, a model's name or a warning says is made
inert by `inert`: Markdown is HTML to those who render it.
"""

from __future__ import annotations

from collections.abc import Iterable

from alignstudy.report.inputs import ReportInputs
from alignstudy.report.markdown.text import inert
from alignstudy.report.tables import claims, comparisons, form, judges, results, robustness
from alignstudy.report.tables.cost import costs_table
from alignstudy.report.tables.table import Table
from alignstudy.report.tables.write import markdown_table
from alignstudy.report.text.answer import answer
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.limitations import limitations
from alignstudy.report.text.stamps import run_stamp
from alignstudy.report.text.words import study_in_words


def render_markdown(inputs: ReportInputs) -> str:
    """Render the answer, the claims, the main tables, the judges' worth and the warnings.

    Args:
        inputs: What the report says; figures and responses are not read.

    Returns:
        Markdown in GitHub's dialect that can be encoded as UTF-8, with one newline at the end.
    """
    found = answer(inputs.findings)
    lines = [f"# {inert(inputs.study)}", ""]
    if stamp := run_stamp(inputs):
        lines += [f"> **{inert(stamp)}**", ""]
    lines += [f"**{inert(found.headline)}**", "", *_list(found.sentences)]
    lines += [
        "Brackets hold 95 % intervals. 'No difference is shown' does not mean that there is none.",
        "",
        *(line for paragraph in study_in_words(inputs) for line in (inert(paragraph), "")),
    ]
    for title, tables in _sections(inputs):
        filled = [table for table in tables if table.rows]
        if filled:
            lines += [f"## {title}", ""]
            lines += [line for table in filled for line in markdown_table(table)]
    lines += _listed(
        "What it took", filter(None, [costs_table(inputs.costs, inputs.cost_notes).note])
    )
    lines += _listed("Warnings", cautions(inputs))
    lines += _listed("What these figures can't say", limitations(inputs))
    return "\n".join(lines).rstrip("\n") + "\n"


def _sections(inputs: ReportInputs) -> list[tuple[str, tuple[Table, ...]]]:
    """Return title and tables of each section, the leading judge's figures only."""
    findings, first = inputs.findings, inputs.findings.first
    differences = comparisons.comparisons_table(first, comparisons.mean_first(first))
    return [
        ("Claims", (claims.verdicts_table(findings.verdicts).without("Prompts that decide"),)),
        (
            "Metrics",
            (results.rates_table(findings, first), results.scores_table(findings, first)),
        ),
        ("Differences between models", (differences.without("p", "Win rate"),)),
        (
            "What the judges are worth",
            (
                judges.accuracy_table(findings.qualities),
                judges.probes_table(findings.qualities),
                judges.agreements_table(findings.agreements),
            ),
        ),
        (
            "Form of the responses",
            (form.hygiene_table(first), robustness.pair_sweeps_table(first)),
        ),
    ]


def _listed(title: str, sentences: Iterable[str]) -> list[str]:
    said = list(sentences)
    return [f"## {title}", "", *_list(said)] if said else []


def _list(sentences: Iterable[str]) -> list[str]:
    lines = [f"- {inert(sentence)}" for sentence in sentences]
    return [*lines, ""] if lines else []
