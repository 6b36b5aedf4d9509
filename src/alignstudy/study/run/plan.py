"""What a run would do: for every stage, cached or new, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

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
    peek = cache(store.peek)

    def known(stage: Stage, whole: bool) -> bool:
        found = peek(stage.kind, stage.key)
        return found is not None and (found.is_whole or not whole)

    needed = {stage.key for stage in in_order(goals, known=known)}
    lines = []
    for stage in in_order(goals):
        if stage.key in needed:
            dropped = peek(stage.kind, stage.key) is not None
            why = "its weights were dropped" if dropped else _why(stage, store, before)
            lines.append(PlanLine(stage=stage, state="new", why=why))
        elif known(stage, False):
            lines.append(PlanLine(stage=stage, state="cached", why=""))
        else:
            lines.append(PlanLine(stage=stage, state="not needed", why="all made from it is there"))
    return lines


def _why(stage: Stage, store: Store, before: Mapping[str, str]) -> str:
    old_key = before.get(stage.name)
    if old_key is None:
        return "never run here"
    if old_key == stage.key:
        return "its artefact is no longer in the store"
    old = store.record(stage.kind, old_key)
    if old is None:
        return "its settings or inputs changed (the former artefact is gone)"
    inputs = {item.key: item.name for item in stage.inputs()}
    words = []
    for change in changes(old.manifest["ingredients"], stage.fingerprint_inputs):
        name = inputs.get(change.rsplit(" ", 1)[-1])  # an input is named, not shown as two hashes
        short = re.sub(r"(?<=\d)e([+-])0+(\d)", r"e\1\2", change).removeprefix("settings.")
        words.append(f"{name} changes" if name else short)
    return "; ".join(dict.fromkeys(words))
