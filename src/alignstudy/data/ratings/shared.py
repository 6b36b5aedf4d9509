"""The prompts that every model has a rating for: what all figures rest on."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alignstudy.errors import DataError, InputError
from alignstudy.formatting import count, listing, plural
from alignstudy.metrics.axes import axis_named
from alignstudy.records import ScoredResponse, StopReason

MAX_MISSING_SHARE = 0.01
"""As in a run: of more ratings missing, what is left is no longer what was asked."""

FEWEST_SHARED = 10
"""Under so many shared prompts no test is made."""

_Runs = Mapping[tuple[str, int, int], Mapping[str, str]]
"""(Model, seed, sample) -> id -> text of the prompts that it has a rating for."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Rows on shared prompts, and what is said of the rest.

    Attributes:
        is_whole: Whether every model has a rating for every prompt.
    """

    rows: list[ScoredResponse]
    notes: tuple[str, ...]
    is_whole: bool


def on_shared_prompts(rows: Sequence[ScoredResponse], *, missing: str) -> Shared:
    """Leave out, for all models, the prompts that one of them has no rating for.

    A rating is missing where its row isn't there, and where a judge that scores the axis gave no
    score. Prompts that were too long for a model are left to the analysis, which counts them. A
    model that was asked nothing on an axis takes no part there.

    Args:
        rows: Of all models and seeds.
        missing: Whether more than 1 % of a model's ratings may be missing: "refuse" or "bounds".

    Raises:
        InputError: If `missing` is something else.
        DataError: If more are missing; if fewer than `FEWEST_SHARED` prompts are shared, or fewer
            than half of those of the model with most.
    """
    if missing not in ("refuse", "bounds"):
        raise InputError(f"missing: '{missing}' is neither refuse nor bounds")
    kept: list[ScoredResponse] = []
    notes: list[str] = []
    for axis in dict.fromkeys(row.axis for row in rows):
        part = [row for row in rows if row.axis == axis]
        runs = _rated(part)
        left_out = {row.prompt_id for row in part if row.stop_reason == StopReason.TOO_LONG}
        everything = {name for ids in runs.values() for name in ids}
        shared = set.intersection(*(set(ids) for ids in runs.values())) if runs else set[str]()
        lost = {row.prompt_id for row in part} - left_out - shared
        if lost:
            everything |= lost
            _refuse_too_few(axis, runs, shared)
            if missing == "refuse":
                _refuse_missing(axis, runs, shared, everything)
            notes.append(_said(axis, runs, shared, everything))
        stay = shared | left_out
        kept += [row for row in part if row.prompt_id in stay]
    whole = {id(row) for row in kept}
    return Shared(
        rows=[row for row in rows if id(row) in whole], notes=tuple(notes), is_whole=not notes
    )


def _rated(rows: Sequence[ScoredResponse]) -> _Runs:
    """Return the prompts of one axis that each model, seed and sample has all ratings for."""
    judges = {name for row in rows for name in row.scores}
    found: dict[tuple[str, int, int], dict[str, str]] = {}
    for row in rows:
        ids = found.setdefault((row.model, row.seed, row.sample), {})
        if all(row.scores.get(name) is not None for name in judges):
            ids[row.prompt_id] = row.prompt
    return found


def _missing(runs: _Runs, everything: set[str]) -> dict[str, tuple[int, int]]:
    """Return by model how many of its ratings are missing, and of how many; some are."""
    found: dict[str, tuple[int, int]] = {}
    for (model, *_), ids in runs.items():
        gone, asked = found.get(model, (0, 0))
        found[model] = gone + len(everything) - len(ids), asked + len(everything)
    return {model: (gone, asked) for model, (gone, asked) in found.items() if gone}


def _refuse_missing(axis: str, runs: _Runs, shared: set[str], everything: set[str]) -> None:
    """Stop where a model lacks more than one rating of a hundred."""
    gone = _missing(runs, everything)
    if all(missing <= MAX_MISSING_SHARE * asked for missing, asked in gone.values()):
        return
    raise DataError(
        f"{axis_named(axis).prompts} prompts: ratings are missing: {_counted(gone)}",
        why="a model whose worst answers have no rating looks better than it is",
        hint=f"{_near(runs, shared)}rate what is missing; or, with `--missing bounds`, compare on"
        f" the {plural(len(shared), 'prompt')} that all have ratings for, and be told how far the"
        " missing ones could change that",
        kept="nothing was written",
    )


def _refuse_too_few(axis: str, runs: _Runs, shared: set[str]) -> None:
    """Stop where models share little."""
    most = max(map(len, runs.values()))
    if len(shared) >= FEWEST_SHARED and 2 * len(shared) >= most:
        return
    sizes: dict[str, int] = {}
    for (model, *_), ids in runs.items():
        sizes[model] = max(len(ids), sizes.get(model, 0))
    each = listing([f"{model} {count(size)}" for model, size in sizes.items()])
    raise DataError(
        f"the models share only {count(len(shared))} {axis_named(axis).prompts} prompts with"
        f" ratings (there are: {each})",
        why=f"a comparison needs {FEWEST_SHARED} prompts that all have answered, and half of the"
        " largest model's",
        hint=f"{_near(runs, shared)}let all models answer the same prompts",
        kept="nothing was written",
    )


def _said(axis: str, runs: _Runs, shared: set[str], everything: set[str]) -> str:
    """Return what the figures of an axis rest on."""
    word = axis_named(axis).prompts
    near = _near(runs, shared)
    return (
        f"{word} prompts: all figures rest on the {count(len(shared))} of {count(len(everything))}"
        f" that every model has a rating for; missing are {_counted(_missing(runs, everything))}"
        + (f" ({near.removesuffix('; ')})" if near else "")
    )


def _counted(gone: Mapping[str, tuple[int, int]]) -> str:
    return listing([f"{model} {count(n)} of {count(of)}" for model, (n, of) in gone.items()])


def _near(runs: _Runs, shared: set[str]) -> str:
    """Return how many more prompts would match but for white space and Unicode form; or ""."""
    same = {_plain(text) for ids in runs.values() for name, text in ids.items() if name in shared}
    plain = [{_plain(text) for text in ids.values()} for ids in runs.values()]
    more = len(set.intersection(*plain) - same)
    if not more:
        return ""
    return (
        f"{plural(more, 'prompt')} more would match if white space and Unicode form were alike"
        " (strip them, and write them in NFKC); "
    )


def _plain(text: str) -> str:
    """Return a text without what white space and Unicode form make of it."""
    return " ".join(unicodedata.normalize("NFKC", text).split())
