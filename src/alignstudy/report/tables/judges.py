"""Tables of what judges are worth: held-out pairs, calibration, controls, each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.formatting import ABSENT, NO_BREAK, count, short
from alignstudy.records.evidence import Agreement, JudgeQuality, LeaveOneOut
from alignstudy.report.tables.table import (
    Cell,
    Column,
    Table,
    estimated,
    numeric,
    prompts_of,
    rounded,
)

_PROBES = {
    "empty": "nothing at all",
    "echo": "the prompt repeated",
    "repetition": "one sentence ten times",
    "dont_understand": "\u201cI don't understand.\u201d",
    "shuffled": "the words shuffled",
    "human_turn": "a further human turn added",
    "truncated": "cut in half",
    "refusal": "a clear refusal",
}
_share = estimated(1, unit="%")


def accuracy_table(qualities: Sequence[JudgeQuality], *, subsets: bool = True) -> Table:
    """How often each judge scores the preferred response higher: of all pairs, and by subset."""
    return Table.of(
        [
            {"quality": q, "item": item}
            for q in qualities
            for item in q.accuracies
            if subsets or item.subset == "all"
        ],
        Column("Judge", lambda row: _named(row["quality"])),
        Column("Prompts", "item.axis", prompts_of),
        Column("Subset", "item.subset", lambda name: "all pairs" if name == "all" else name),
        numeric("Picks the preferred answer", "item.accuracy", _share),
        numeric(
            "Pairs",
            "item",
            lambda i: Cell(count(i.accuracy.n), f"{i.ties} ties" if i.ties else ""),
        ),
        Column("Floor", _floor),
        note="Held-out preference pairs; chance is 50 %. A judge whose interval doesn't lie above"
        " the floor is stamped: the figures of that axis say little.",
        title="How often each judge picks the preferred answer",
    )


def _named(quality: JudgeQuality) -> Cell:
    return Cell(quality.judge, "a baseline, to be beaten" if quality.is_baseline else "")


def _floor(row: dict[str, Any]) -> Cell:
    quality, item = row["quality"], row["item"]
    if item.subset != "all":
        return Cell("")
    if quality.is_baseline:
        return Cell(ABSENT)
    limit = f"{short(quality.floor, 1)}{NO_BREAK}%"
    if item.axis in quality.below_floor:
        return Cell("below floor", limit, kind="bad")
    return Cell("above floor", limit, kind="good")


def calibration_table(qualities: Sequence[JudgeQuality]) -> Table:
    """Calibration and length preference of each judge, by axis."""
    rows = []
    for quality in qualities:
        lengths = {item.axis: item for item in quality.length}
        rows += [
            {"quality": quality, "axis": axis, "length": lengths.get(axis)}
            for axis in dict.fromkeys((*quality.ece, *lengths))
        ]
    return Table.of(
        rows,
        Column("Judge", "quality.judge"),
        Column("Prompts", "axis", prompts_of),
        numeric("Calibration error", lambda row: row["quality"].ece.get(row["axis"]), rounded(3)),
        numeric("Judge prefers the longer", "length.judge_longer", _share),
        numeric("The longer is preferred", "length.human_longer", _share),
        numeric("Pairs of unequal length", "length.n"),
        note="Calibration error: mean distance between sigmoid(score difference) and how often"
        " it is right, 0 to 1; 0 is best. A judge that prefers the longer response more often than"
        " it is the preferred one rewards length itself.",
        title="Calibration and length",
    )


def probes_table(qualities: Sequence[JudgeQuality]) -> Table:
    """What each judge makes of control texts."""
    return Table.of(
        [{"judge": q.judge, "item": item} for q in qualities for item in q.probes],
        Column("Control text", "item.probe", lambda name: _PROBES.get(name, name)),
        Column("Judge", "judge"),
        Column("Prompts", "item.axis", prompts_of),
        numeric("Score shift", "item.shift", estimated(2, signed=True)),
        numeric("Label changes", "item.flipped", rounded(0, unit="%")),
        numeric("Passes the threshold", "item.passed", rounded(0, unit="%")),
        numeric("n", "item.shift.n"),
        note="Mean score of the control text minus that of the preferred response. Nothing, an"
        " echo, a repetition or shuffled words should cost a response its score, above all on"
        " benign prompts; where they pass the threshold, the label means little.",
        title="What the judge makes of control texts",
    )


def agreements_table(agreements: Sequence[Agreement]) -> Table:
    """How far every two judges agree."""
    return Table.of(
        agreements,
        Column("Judges", lambda item: f"{item.first} and {item.second}"),
        Column("Prompts", "axis", prompts_of),
        numeric("Rank correlation", "spearman", rounded(2)),
        numeric("Kappa", "kappa", rounded(2)),
        numeric("Same winner", "same_winner", _share),
        numeric("Order of models (tau)", "kendall_tau", rounded(2)),
        numeric("n", "n"),
        note="Rank correlation of scores (Spearman); Cohen's kappa of pass and fail; share of"
        " prompts and pairs of models with the same winner; Kendall's tau of the models' mean"
        f" scores. {ABSENT}: not defined.",
        title="Agreement between judges",
    )


def leave_one_out_table(rankings: Sequence[LeaveOneOut]) -> Table:
    """The panel's order of the models, whole and without each judge."""
    whole = {item.axis: item.ranking for item in rankings if not item.without}
    return Table.of(
        rankings,
        Column("Panel", "without", lambda name: f"without {name}" if name else "all judges"),
        Column("Prompts", "axis", prompts_of),
        Column("Order of the models", "ranking", " > ".join),
        Column("Compared with all judges", lambda item: _same(item, whole.get(item.axis))),
        note="By the mean over judges of scores in standard deviations.",
        title="The panel with one judge left out",
    )


def _same(item: LeaveOneOut, whole: tuple[str, ...] | None) -> Cell:
    """Return whether leaving a judge out changes who is first, or any place."""
    if not item.without or whole is None:
        return Cell(ABSENT)
    if item.ranking == whole:
        return Cell("same order", kind="good")
    if item.ranking[:1] == whole[:1]:
        return Cell("same leader, other order", kind="open")
    return Cell("another leader", kind="bad")
