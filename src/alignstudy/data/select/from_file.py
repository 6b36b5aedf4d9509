"""Prompts of a file of their own: nothing but what models are asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random

from alignstudy.data.contamination.near_duplicates import clustered
from alignstudy.data.files.jsonl import read_jsonl
from alignstudy.data.formats.messages import turns_of
from alignstudy.data.formats.row import UnusableRow
from alignstudy.data.select.collect import Account
from alignstudy.data.select.prompt_settings import PromptSelection, PromptSet, Protocol, numbered
from alignstudy.data.select.rigorous import NOT_DRAWN, askable
from alignstudy.dialogue import CUE, Turn, parse_turns, render
from alignstudy.errors import DataError
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
    for line, row in _rows(path):
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


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """Yield the rows of JSON lines, or of one JSON list, with their numbers from 1."""
    if path.suffix != ".json":
        for line, fields in read_jsonl(path, name=path.name):
            yield line, UnusableRow(fields) if isinstance(fields, str) else fields
        return
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON in UTF-8", why=str(error)) from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: no rows", why="a JSON list of prompts is expected")
    yield from enumerate(rows, start=1)


def _text(row: object) -> str:
    """Return a row's dialogue up to the cue.

    Raises:
        UnusableRow: If it holds none.
    """
    if isinstance(row, UnusableRow):
        raise row
    prompt = row.get("prompt") if isinstance(row, dict) else row
    if isinstance(prompt, list):
        turns, _ = turns_of(prompt, "prompt")
        return render(turns, cue=True)
    if not isinstance(prompt, str) or not prompt.strip():
        raise UnusableRow("no prompt: it is text, or a list of turns with role and content")
    turns = list(parse_turns(prompt.removesuffix(CUE))) or [Turn("human", prompt.strip())]
    return render(turns, cue=True)
