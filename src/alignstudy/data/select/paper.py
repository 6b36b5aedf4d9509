"""The published study's prompts, letter by letter (arXiv:2509.09055).

Its defects are kept, and named in the report: keywords are looked for as substrings, in the
response too; only a last paragraph that begins with the assistant's tag is dropped, so that an
answer of several paragraphs stays in the prompt; no cue is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from random import Random

from alignstudy.data.contamination.leaks import leaks
from alignstudy.data.contamination.near_duplicates import clustered
from alignstudy.data.files.reading import PLAIN, Reading, read
from alignstudy.data.formats.row import UnusableRow, text_of
from alignstudy.data.select.account import Account
from alignstudy.data.select.prompt_settings import PromptSelection, PromptSet, numbered
from alignstudy.data.select.selection import RowSelection
from alignstudy.dialogue import parse_turns
from alignstudy.errors import DataError
from alignstudy.records import Audit, Axis, Prompt, Quarantined

NO_KEYWORD = "chosen holds none of the keywords"
NOT_DRAWN = "not drawn"
NOT_WHOLE = "chosen is not a whole dialogue, which the paper protocol needs"


def draw_paper_prompts(
    source: Path, sets: Mapping[Axis, PromptSet], *, seed: int, how: Reading = PLAIN
) -> PromptSelection:
    """Draw the prompts as the published code does: one generator, harmful rows first.

    Raises:
        DataError: If a set has fewer rows than prompts are asked for.
    """
    generator = Random(seed)  # random.seed(100), then random.sample twice
    prompts: list[Prompt] = []
    audits: list[Audit] = []
    for axis, chosen_set in sets.items():
        account = Account(f"prompts/{axis.prompts}")
        rows = []  # (row id, chosen) of the rows with a keyword, in file order
        for row in read(
            source, RowSelection(subsets=chosen_set.subsets, split=chosen_set.split), how=how
        ):
            account.num_read += 1
            if isinstance(row, Quarantined):
                account.quarantined.append(row)
                continue
            try:
                chosen = text_of(row, "chosen")
                if "prompt" in row.fields or not parse_turns(chosen):
                    raise UnusableRow(NOT_WHOLE)
            except UnusableRow as unusable:
                account.quarantined.append(row.quarantined(str(unusable)))
                continue
            if not chosen_set.keywords or any(word in chosen for word in chosen_set.keywords):
                rows.append((row.id, chosen))
            else:
                account.excluded[NO_KEYWORD] += 1
        account.check_some_used(len(rows), source)
        if len(rows) < chosen_set.size:
            raise DataError(
                f"{source}: {account.part}: {len(rows)} rows, but {chosen_set.size} prompts are"
                " asked for",
                why="with fewer, it would not be the prompt set of the paper protocol",
                hint=f"set prompts.{axis.prompts}.n to {len(rows)} or less, take more subsets,"
                " or use protocol: rigorous",
            )
        drawn = generator.sample(rows, chosen_set.size)
        account.excluded[NOT_DRAWN] = len(rows) - len(drawn)
        named, notes = clustered(  # that changes nothing about the selection
            [
                numbered(axis, number, paper_prompt(chosen), row_id)
                for number, (row_id, chosen) in enumerate(drawn)
            ]
        )
        account.notes.update(leaks(named, keywords=chosen_set.keywords).notes)
        account.notes.update(notes)
        prompts += named
        audits.append(account.audit(used=len(drawn)))
    return PromptSelection(prompts=tuple(prompts), audits=tuple(audits))


def paper_prompt(chosen: str) -> str:
    """Cut a whole dialogue to the published prompt: all but a last paragraph of the assistant's."""
    paragraphs = chosen.strip().split("\n\n")
    if paragraphs[-1].startswith("Assistant:"):
        paragraphs.pop()
    return "\n\n".join(paragraphs)
