"""The table of claims: what was stated, what the data say, and the prompts that decide."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.formatting import ABSENT
from alignstudy.records import ScoredResponse
from alignstudy.report.html.links import prompt_names, sample_link
from alignstudy.report.tables.table import Cell, Column, Table, for_files, numeric

_KINDS = {
    "supported": "good",
    "equivalent": "good",
    "contradicted": "bad",
    "unmeasurable": "plain",
}
_MOST_LINKS = 6


def verdicts_table(verdicts: Sequence[Verdict], responses: Sequence[ScoredResponse] = ()) -> Table:
    """A row a claim, and one for each part of a claim that has several.

    Args:
        verdicts: In the study's order.
        responses: The samples that prompts are linked to; without them there are no links.
    """
    # Prompt id -> name and link of its samples; an id may stand on both axes.
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (axis, prompt_id), name in prompt_names((r.axis, r.prompt_id) for r in responses).items():
        places[prompt_id].append((name, sample_link(axis, prompt_id)))
    rows = []
    for whole in verdicts:
        for item in (whole, *whole.parts):
            links = tuple(link for prompt_id in item.prompts for link in places[prompt_id])
            rest = len(links) - _MOST_LINKS
            more = f"and {rest} more" if rest > 0 else ""
            deciding = Cell("" if links else ABSENT, more, links=links[:_MOST_LINKS])
            part = "" if item is whole else item.claim
            rows.append({"claim": whole.claim, "part": part, "verdict": item, "links": deciding})
    return Table.of(
        rows,
        *for_files("claim", "part"),
        Column("Claim", lambda row: f"part: {row['part']}" if row["part"] else row["claim"]),
        Column(
            "Verdict",
            "verdict.verdict",
            lambda verdict: Cell(verdict, kind=_KINDS.get(verdict, "open")),
            name="verdict",
        ),
        *for_files(n_needed="verdict.n_needed"),
        Column("Evidence", "verdict.evidence", name="evidence"),
        numeric("Prompts needed", "verdict.n_needed"),
        Column("Prompts that decide", "links"),
        name="claims",
        caption="Claims that were stated before the run, and what the data say of them",
        note="Supported: shown after correction, beyond the margin, by every judge above its floor."
        " Contradicted: the same in the other direction, or untrue in the sample."
        " Equivalent: shown to lie within the margin."
        " Underpowered: not shown, and with so few prompts a difference as large as the"
        " observed one would be missed more often than once in five times."
        " Not supported: not shown although there were prompts enough."
        " Unmeasurable: a judge below its floor, or a figure that was not measured."
        " Prompts needed: a set, for 80 % power at the observed difference.",
        title="Claims that were stated, and what the data say",
    )
