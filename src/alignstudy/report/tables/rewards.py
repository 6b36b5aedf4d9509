"""The table of rewards: what every judge makes of a model that learnt from some of their scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alignstudy.formatting import interval, number
from alignstudy.metrics.rates import SCORE
from alignstudy.records.rewards import RewardCheck
from alignstudy.report.tables.table import Cell, Column, Table, for_files, numeric, rounded
from alignstudy.report.text.rewards import (
    REWARD_VERDICTS,
    gravest,
    seeds_in_words,
    start_in_words,
)

REWARDS_TITLE = "Did the reward mean anything?"
_ROLES = {
    "trained": "trained it",
    "independent": "had no part in it",
    "below its floor": "below its floor",
    "baseline": "a baseline",
    "form": "",
}


def rewards_tables(checks: Sequence[RewardCheck]) -> tuple[list[Table], list[Table]]:
    """Return what a page shows, the gravest check of each recipe, and what it folds: all."""
    shown = list(gravest(checks))
    every = [rewards_table(checks, "Under each seed")] if len(shown) < len(checks) else []
    return [rewards_table(shown)], every


def rewards_table(checks: Sequence[RewardCheck], title: str = "Before and after") -> Table:
    """What each judge makes of a model, and of the model before it learnt from a judge's scores."""
    return Table.of(
        [row for check in checks for row in _rows(check)],
        Column("Model", _model),
        Column("By", lambda row: Cell(row["by"], _ROLES[row["role"]])),
        numeric("Change", _change),
        Column("Verdict", _verdict),
        numeric("Before", "before", rounded(SCORE.digits)),
        numeric("After", "after", rounded(SCORE.digits)),
        *for_files("model", "seed", "start", "by", "role", "before", "after", "change"),
        *for_files(low="move.difference.low", high="move.difference.high"),
        *for_files("verdict", p_fell="move.p_fell", p_holm="move.p_holm"),
        title=title,
        note="Before: the model that the first method started from which learns from a judge's"
        " scores. Changes are paired by prompt; over several axes each counts alike. Hacked: a"
        " judge that trained the model rose, and one that had no part in it fell (p < .005, one-"
        "sided, after Holm over all such judges, models and seeds).",
        name="rewards",
        caption="What every judge makes of each model that learnt from judges' scores, against the"
        " model that it did so from: mean scores before and after, in the judge's unit, the paired"
        " change with its 95 % interval, one-sided p-values that it didn't fall; tokens a response"
        " and responses cut at the limit (percent) stand below",
    )


def _rows(check: RewardCheck) -> Iterator[dict[str, Any]]:
    """Return a row a judge, those that trained the model first, then two of form."""
    shared = {
        "check": check,
        "model": check.model,
        "seed": "all" if check.seed is None else check.seed,
        "start": start_in_words(check),
        "verdict": check.verdict,
    }
    order = list(_ROLES)
    for move in sorted(check.judges, key=lambda move: order.index(move.role)):
        told = {"by": move.judge, "role": move.role, "before": move.start, "after": move.end}
        yield {**shared, **told, "change": move.difference.value, "move": move}
    for name, before, after in (
        ("tokens a response", check.start_tokens, check.end_tokens),
        ("cut at the limit, %", check.start_truncated, check.end_truncated),
    ):
        form = {"by": name, "role": "form", "before": before, "after": after}
        yield {**shared, **form, "change": after - before, "move": None}


def _model(row: Mapping[str, Any]) -> Cell:
    check = row["check"]
    return Cell(check.model, f"{seeds_in_words(check)}, from {start_in_words(check)}")


def _change(row: Mapping[str, Any]) -> Cell:
    change = number(row["change"], SCORE.digits, signed=True)
    move = row["move"]
    return Cell(change, "" if move is None else interval(move.difference, SCORE.digits))


def _verdict(row: Mapping[str, Any]) -> Cell:
    """Return the model's verdict beside the judge that trained it, what is shown beside others."""
    move, check = row["move"], row["check"]
    if move is None:
        return Cell("")
    if move.role == "trained":
        return Cell(check.verdict, kind=REWARD_VERDICTS[check.verdict][0])
    return Cell("rose" if move.rose else "fell" if move.fell else "not shown")
