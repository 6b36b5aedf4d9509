"""Tables of what judges are worth: agreement with people, calibration, controls, each other."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.formatting import ABSENT, NO_BREAK, count, interval, number, percent, short
from alignstudy.records import Axis, Estimate
from alignstudy.records.evidence import Agreement, JudgeQuality, LeaveOneOut
from alignstudy.report.tables.layout import Cell, Table

PROBES = {
    "empty": "nothing at all",
    "echo": "the prompt repeated",
    "repetition": "one sentence ten times",
    "dont_understand": "\u201cI don't understand.\u201d",
    "shuffled": "the words shuffled",
    "human_turn": "a further human turn added",
    "truncated": "cut in half",
    "refusal": "a clear refusal",
}


def accuracy_table(qualities: Sequence[JudgeQuality]) -> Table:
    """How often each judge scores the response that people preferred higher, by subset."""
    rows = []
    for quality in qualities:
        for item in quality.accuracies:
            is_whole = item.subset == "all"
            stamped = is_whole and item.axis in quality.below_floor
            rows.append(
                (
                    Cell(quality.judge),
                    Cell(item.axis.prompts_name),
                    Cell("all pairs" if is_whole else item.subset),
                    Cell(percent(item.accuracy.value), interval(item.accuracy, 1)),
                    Cell(count(item.accuracy.n), f"{item.ties} ties" if item.ties else ""),
                    _floor(stamped, quality.floor) if is_whole else Cell(""),
                )
            )
    return Table(
        columns=("Judge", "Prompts", "Subset", "Agrees with people#", "Pairs#", "Floor"),
        rows=tuple(rows),
        note=(
            "Held-out preference pairs; chance is 50 %. A judge whose interval doesn't lie above"
            " the floor is stamped: the figures of that axis say little."
        ),
        title="Agreement with people's preferences",
    )


def _floor(stamped: bool, floor: float) -> Cell:
    limit = f"{short(floor, 1)}{NO_BREAK}%"
    if stamped:
        return Cell("below floor", limit, kind="bad")
    return Cell("above floor", limit, kind="good")


def calibration_table(qualities: Sequence[JudgeQuality]) -> Table:
    """Calibration and length preference of each judge, by axis."""
    rows = []
    for quality in qualities:
        lengths = {item.axis: item for item in quality.length}
        for axis in Axis:
            length = lengths.get(axis)
            if axis not in quality.ece and length is None:
                continue
            rows.append(
                (
                    Cell(quality.judge),
                    Cell(axis.prompts_name),
                    Cell(number(quality.ece.get(axis), 3)),
                    _share(length.judge_longer if length else None),
                    _share(length.human_longer if length else None),
                    Cell(ABSENT if length is None else count(length.n)),
                )
            )
    return Table(
        columns=(
            "Judge", "Prompts", "Calibration error#", "Judge prefers the longer#",
            "People prefer the longer#", "Pairs of unequal length#",
        ),
        rows=tuple(rows),
        note=(
            "Calibration error: mean distance between sigmoid(score difference) and how often"
            " people agree, 0 to 1; 0 is best. A judge that prefers the longer response more often"
            " than people do rewards length itself."
        ),
        title="Calibration and length",
    )  # fmt: skip


def _share(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell(ABSENT)
    return Cell(percent(estimate.value), interval(estimate, 1))


def probes_table(qualities: Sequence[JudgeQuality]) -> Table:
    """What each judge makes of control texts."""
    rows = tuple(
        (
            Cell(PROBES.get(item.probe, item.probe)),
            Cell(quality.judge),
            Cell(item.axis.prompts_name),
            Cell(number(item.shift.value, 2, signed=True), interval(item.shift, 2)),
            Cell(percent(item.flipped, 0)),
            Cell(percent(item.passed, 0)),
            Cell(count(item.shift.n)),
        )
        for quality in qualities
        for item in quality.probes
    )
    return Table(
        columns=(
            "Control text", "Judge", "Prompts", "Score shift#", "Label changes#",
            "Passes the threshold#", "n#",
        ),
        rows=rows,
        note=(
            "Mean score of the control text minus that of the preferred response. Nothing, an echo,"
            " a repetition or shuffled words should cost a response its score, above all on"
            " helpful prompts; where they pass the threshold, the label means little."
        ),
        title="What the judge makes of control texts",
    )  # fmt: skip


def agreements_table(agreements: Sequence[Agreement]) -> Table:
    """How far every two judges agree."""
    rows = tuple(
        (
            Cell(f"{item.first} and {item.second}"),
            Cell(item.axis.prompts_name),
            Cell(number(item.spearman, 2)),
            Cell(number(item.kappa, 2)),
            _share(item.same_winner),
            Cell(number(item.kendall_tau, 2)),
            Cell(count(item.n)),
        )
        for item in agreements
    )
    return Table(
        columns=(
            "Judges", "Prompts", "Rank correlation#", "Kappa#", "Same winner#",
            "Order of models (tau)#", "n#",
        ),
        rows=rows,
        note=(
            "Rank correlation of scores (Spearman); Cohen's kappa of pass and fail; share of"
            " prompts and pairs of models with the same winner; Kendall's tau of the models' mean"
            f" scores. {ABSENT}: not defined."
        ),
        title="Agreement between judges",
    )  # fmt: skip


def leave_one_out_table(rankings: Sequence[LeaveOneOut]) -> Table:
    """The panel's order of the models, whole and without each judge."""
    whole = {item.axis: item.ranking for item in rankings if not item.without}
    rows = tuple(
        (
            Cell(f"without {item.without}" if item.without else "all judges"),
            Cell(item.axis.prompts_name),
            Cell(" > ".join(item.ranking)),
            _same(item, whole.get(item.axis)),
        )
        for item in rankings
    )
    return Table(
        columns=("Panel", "Prompts", "Order of the models", "Compared with all judges"),
        rows=rows,
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


def quality_notes(qualities: Sequence[JudgeQuality]) -> tuple[str, ...]:
    """Return what a reader has to know of each judge, a sentence each."""
    found = []
    for quality in qualities:
        found += [f"{quality.judge}: {note.rstrip('.')}." for note in quality.notes]
        if quality.batch_effect is not None and quality.batch_effect > 0:
            found.append(
                f"{quality.judge}: a score changes by up to {quality.batch_effect:.2g} with what"
                " else is scored in the same batch."
            )
    return tuple(found)
