"""What a run would do: for every stage, cached or new, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from alignstudy.study.graph.fingerprint import changes
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.store import Store

State = Literal["cached", "new", "not needed"]


@dataclass(frozen=True, kw_only=True)
class PlanLine:
    """One stage of a plan.

    Attributes:
        state: "cached": its artefact is in the store. "new": it will run. "not needed": its
            artefact is gone, but everything made from it is there.
        why: For a new stage, what changed since this run folder's last run.
    """

    stage: Stage
    state: State
    why: str


def make_plan(goals: tuple[Stage, ...], store: Store, before: Mapping[str, str]) -> list[PlanLine]:
    """Plan the stages that lead to the goals.

    Args:
        goals: The stages whose artefacts are wanted.
        store: Where artefacts are looked up; files aren't hashed, the run does that.
        before: Stage name -> key, as this run folder's last run left it.
    """
    needed = _needed(goals, store)
    lines = []
    for stage in in_order(goals):
        if store.peek(stage.kind, stage.key) is not None:
            lines.append(PlanLine(stage=stage, state="cached", why=""))
        elif stage.key in needed:
            lines.append(PlanLine(stage=stage, state="new", why=_why(stage, store, before)))
        else:
            lines.append(PlanLine(stage=stage, state="not needed", why="all made from it is there"))
    return lines


def _needed(goals: tuple[Stage, ...], store: Store) -> set[str]:
    """Return the keys of the stages that would run: the missing ones, from the goals backwards."""
    there = cache(lambda kind, key: store.peek(kind, key) is not None)
    return {stage.key for stage in in_order(goals, known=lambda s: there(s.kind, s.key))}


def _why(stage: Stage, store: Store, before: Mapping[str, str]) -> str:
    old_key = before.get(stage.name)
    if old_key is None:
        return "never run here"
    if old_key == stage.key:
        return "its artefact is no longer in the store"
    old = store.peek(stage.kind, old_key)
    if old is None:
        return "its settings or inputs changed (the former artefact is gone)"
    inputs = {item.key: item.name for item in stage.inputs()}
    return "; ".join(
        _in_words(changes(old.manifest["ingredients"], stage.fingerprint_inputs), inputs)
    )


def _in_words(found: list[str], inputs: dict[str, str]) -> list[str]:
    """Write differences for people; a changed input is named, not shown as two hashes."""
    words = []
    for change in found:
        name = inputs.get(change.rsplit(" ", 1)[-1])
        words.append(f"{name} changes" if name else _shorter(change))
    return list(dict.fromkeys(words))


def _shorter(change: str) -> str:
    """Drop the prefix `settings.` and the zero of `1e-05`."""
    change = re.sub(r"(?<=\d)e([+-])0+(\d)", r"e\1\2", change)
    return change.removeprefix("settings.")


def as_json(lines: list[PlanLine]) -> list[dict[str, Any]]:
    """Write a plan for scripts."""
    return [
        {"stage": line.stage.name, "state": line.state, "why": line.why, "key": line.stage.key}
        for line in lines
    ]
