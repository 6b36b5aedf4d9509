"""Prompts by role parsing: the last turn is human, the cue follows, no prompt comes twice.

Near-duplicates stay, and are clustered: figures resample a cluster as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypeVar

from alignstudy.data.contamination.leaks import holds_word
from alignstudy.data.contamination.near_duplicates import clustered
from alignstudy.data.files.reading import Reading
from alignstudy.data.formats.row import Answers
from alignstudy.data.select.collect import collect_asked
from alignstudy.data.select.prompt_settings import PromptSelection, PromptSet, numbered
from alignstudy.data.select.selection import RowSelection
from alignstudy.dialogue import CUE, parse_turns
from alignstudy.errors import DataError
from alignstudy.records import Audit, Axis, Pair, Prompt

DUPLICATE = "same prompt as an earlier row"
NO_KEYWORD = "last human turn holds none of the keywords"
NOT_HUMAN = "prompt doesn't end in a human turn"
NOT_DRAWN = "not drawn"

Asked = TypeVar("Asked", Pair, Pair | Answers)


def draw_rigorous_prompts(
    source: Path, sets: Mapping[Axis, PromptSet], *, seed: int, how: Reading
) -> PromptSelection:
    """Draw prompts for each axis from a generator of its own.

    A set with fewer prompts than asked for is used whole, and its audit says how many are missing.

    Raises:
        DataError: If a set has no usable prompt.
    """
    prompts: list[Prompt] = []
    audits: list[Audit] = []
    for axis, chosen_set in sets.items():
        part = f"prompts/{axis.prompts}"
        selection = RowSelection(subsets=chosen_set.subsets, split=chosen_set.split)
        found = collect_asked(source, selection, part=part, how=how)
        candidates, excluded = askable(found.rows, chosen_set.keywords)
        if not candidates:
            raise DataError(
                f"{source}: no usable prompt for {part}",
                why="; ".join(f"{n} {reason}" for reason, n in excluded.items() if n),
                hint="change the keywords, or take more subsets",
            )
        num_drawn = min(chosen_set.size, len(candidates))
        drawn = Random(f"{seed} {axis.name}").sample(candidates, num_drawn)
        excluded[NOT_DRAWN] = len(candidates) - num_drawn
        notes = dict(found.audit.notes)
        if num_drawn < (chosen_set.n or 0):
            notes["fewer prompts than asked for"] = chosen_set.size - num_drawn
        named, clusters = clustered(
            [numbered(axis, number, row.prompt, row.id) for number, row in enumerate(drawn)]
        )
        prompts += named
        excluded = {**found.audit.excluded, **{why: n for why, n in excluded.items() if n}}
        notes |= clusters
        audits.append(replace(found.audit, used=num_drawn, excluded=excluded, notes=notes))
    return PromptSelection(prompts=tuple(prompts), audits=tuple(audits))


def askable(rows: Sequence[Asked], keywords: Sequence[str]) -> tuple[list[Asked], dict[str, int]]:
    """Return the rows whose prompts can be asked, and how many can't, by reason."""
    excluded = dict.fromkeys((NOT_HUMAN, NO_KEYWORD, DUPLICATE), 0)
    seen: set[str] = set()
    candidates = []
    for row in rows:
        last = parse_turns(row.prompt.removesuffix(CUE))[-1]
        if last.role != "human":
            excluded[NOT_HUMAN] += 1
        elif keywords and not holds_word(last.text, keywords):
            excluded[NO_KEYWORD] += 1
        elif row.prompt in seen:
            excluded[DUPLICATE] += 1
        else:
            seen.add(row.prompt)
            candidates.append(row)
    return candidates, excluded
