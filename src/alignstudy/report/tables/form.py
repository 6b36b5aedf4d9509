"""Tables of how responses are formed: shares that are not well-formed, kinds, variety."""

from __future__ import annotations

from alignstudy.analysis.results import Analysis, Hygiene
from alignstudy.formatting import ABSENT, number
from alignstudy.report.tables.table import Column, Table, numeric, rounded


def hygiene_table(analysis: Analysis) -> Table:
    """How well-formed the responses are."""
    return _hygiene(
        analysis,
        numeric("Empty", "hygiene.empty", rounded(1, unit="%")),
        numeric("Cut at the limit", "hygiene.cap", rounded(1, unit="%")),
        numeric("Further turn", "hygiene.role_tag", rounded(1, unit="%")),
        numeric("Repetition", "hygiene.repetition", rounded(1, unit="%")),
        numeric("Loop", "hygiene.loop", rounded(1, unit="%")),
        numeric("Echo", "hygiene.echo", rounded(1, unit="%")),
        numeric("Mean words", "hygiene.mean_words", rounded(1)),
        numeric("n", "hygiene.n"),
        title="Shares of responses that are not well-formed",
        note="Cut at the limit: by the generator's own count. Further turn: the text goes on with a"
        " role tag. Repetition: over 30 % of the 4-grams are repeats; loop: over 50 %. Echo:"
        f" repeats the prompt's last turn. {ABSENT}: not known.",
    )


def wording_table(analysis: Analysis) -> Table:
    """How varied the responses are, and what kind of answer they give."""
    return _hygiene(
        analysis,
        numeric("Refuses", "hygiene.refusal", rounded(1, unit="%")),
        numeric("Evades", "hygiene.evasive", rounded(1, unit="%")),
        numeric("Incoherent", "hygiene.incoherent", rounded(1, unit="%")),
        numeric("Answers", "hygiene.comply", rounded(1, unit="%")),
        numeric("Distinct 1/2/3", "hygiene", _distinct),
        numeric("Longest loop", "hygiene.longest_loop", rounded(1)),
        numeric("Compressed to", "hygiene.compression", rounded(2)),
        title="Kinds of answers, and how varied they are",
        note="Refusing, evading and incoherent by versioned patterns, not by a judge: on benign"
        " prompts a refusal is an over-refusal. Distinct: different words (pairs, triples) over"
        " all, at an equal budget of words for every model. Longest loop: mean length in words"
        " of the longest stretch that repeats itself.",
    )


def _distinct(row: Hygiene) -> str:
    return " / ".join(number(d, 2) for d in (row.distinct_1, row.distinct_2, row.distinct_3))


def _hygiene(analysis: Analysis, *columns: Column, title: str, note: str) -> Table:
    """Lay out hygiene, a row a prompt set and model."""
    rows = tuple(
        {"model": model.model, "prompts": axis.prompts, "hygiene": model.hygiene[axis.name]}
        for axis in analysis.axes
        for model in analysis.models
        if axis.name in model.hygiene
    )
    names = (Column("Model", "model"), Column("Prompts", "prompts"))
    return Table(columns=(*names, *columns), rows=rows, note=note, title=title)
