"""Prompts of a file of their own: nothing but what models are asked."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from alignstudy.data.contamination.near_duplicates import clustered
from alignstudy.data.files.kinds import rows_of
from alignstudy.data.formats.row import UnusableRow
from alignstudy.data.formats.turns import turns_of
from alignstudy.data.select.account import Account
from alignstudy.data.select.prompt_settings import PromptSelection, PromptSet, Protocol, numbered
from alignstudy.data.select.rigorous import NOT_DRAWN, askable
from alignstudy.dialogue import CUE, Turn, parse_turns, render
from alignstudy.records import Axis, Pair, Quarantined


def draw_file_prompts(
    path: Path, axis: Axis, chosen_set: PromptSet, *, protocol: Protocol, seed: int
) -> PromptSelection:
    """Read an axis' prompts from a file; where fewer are asked for, draw them.

    A text without role tags is a human turn. Under the rigorous protocol the cue follows, under
    the paper's it doesn't.

    Raises:
        DataError: If the file can't be read, or holds no usable prompt.
    """
    account = Account(f"prompts/{axis.prompts}")
    rows = []
    for line, row in rows_of(path, name=path.name, texts="prompt"):
        account.num_read += 1
        try:
            text = _text(row)
        except UnusableRow as unusable:
            account.quarantined.append(Quarantined(file=path.name, line=line, reason=str(unusable)))
            continue
        rows.append(Pair(id=f"{path.name}:{line}", prompt=text, chosen="", rejected=None))
    candidates, excluded = askable(rows, chosen_set.keywords)
    account.excluded.update(excluded)
    account.check_some_used(len(candidates), path)
    size = min(chosen_set.n or len(candidates), len(candidates))
    drawn = candidates
    if size < len(candidates):
        drawn = Random(f"{seed} {axis.name}").sample(candidates, size)
    account.excluded[NOT_DRAWN] = len(candidates) - size
    cue = protocol == "rigorous"
    prompts, notes = clustered(
        [
            numbered(
                axis, number, pair.prompt if cue else pair.prompt.removesuffix(CUE).strip(), pair.id
            )
            for number, pair in enumerate(drawn)
        ]
    )
    account.notes.update(notes)
    return PromptSelection(prompts=tuple(prompts), audits=(account.audit(used=size),))


def _text(row: dict[str, Any] | str) -> str:
    """Return a row's dialogue up to the cue.

    Raises:
        UnusableRow: If it holds none.
    """
    if isinstance(row, str):
        raise UnusableRow(row)
    prompt = row.get("prompt")
    if isinstance(prompt, list):
        turns, _ = turns_of(prompt, "prompt")
        return render(turns, cue=True)
    if not isinstance(prompt, str) or not prompt.strip():
        raise UnusableRow("no prompt: it is text, or a list of turns with role and content")
    turns = list(parse_turns(prompt.removesuffix(CUE))) or [Turn("human", prompt.strip())]
    return render(turns, cue=True)
