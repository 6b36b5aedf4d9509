"""Whether judges agree, and whether a panel's order depends on one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.hygiene import is_empty
from alignstudy.analysis.judge_panel.combine import panel_on_axis, present_members
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import check_rows, usable
from alignstudy.analysis.score_table import ScoreTable, complete_means
from alignstudy.records import Axis, ScoredResponse
from alignstudy.records.evidence import Agreement, LeaveOneOut
from alignstudy.stats.agreement import cohen_kappa, kendall_tau, spearman
from alignstudy.stats.resampling.clustered_share import clustered_share


def agreements(
    responses: Sequence[ScoredResponse],
    thresholds_by_judge: Mapping[str, Thresholds],
    *,
    axes: Sequence[Axis],
) -> tuple[Agreement, ...]:
    """Compare every two judges on each axis.

    Prompts that were too long for some model are left out.

    Args:
        responses: Rows of every model and seed, scored by every judge.
        thresholds_by_judge: The judges to compare, in order, with what passes.
        axes: Those of the study.

    Returns:
        One an axis and pair of judges that scored some response both; nothing with one judge. What
        is not defined (a judge that gives every response the same score has no rank correlation)
        is None.

    Raises:
        DataError: If rows can't be aligned.
        InputError: If a judge saw some responses of an axis and not others.
    """
    found = []
    for axis, rows in _parts(usable(responses)[0], axes):
        judges = [name for name in thresholds_by_judge if any(name in r.scores for r in rows)]
        decimals = {name: thresholds_by_judge[name].decimals for name in judges}
        table = ScoreTable.of(rows, decimals)
        empty = np.array([is_empty(row) for row in rows])
        found += [
            _agreement(axis, table, pair, thresholds_by_judge, empty=empty)
            for pair in combinations(judges, 2)
        ]
    return tuple(agreement for agreement in found if agreement.n)


def leave_one_out(
    responses: Sequence[ScoredResponse],
    thresholds_by_judge: Mapping[str, Thresholds],
    panel: PanelSettings,
    *,
    axes: Sequence[Axis],
    base: str | None,
    absent: Collection[str] = (),
) -> tuple[LeaveOneOut, ...]:
    """Rank the models by the panel, and by the panel without each of its judges.

    Args:
        responses: Rows of every model and seed, scored by every member.
        thresholds_by_judge: Of every judge that scored.
        panel: Who is in it, and how they are combined.
        axes: Those of the study.
        base: Whose responses the scales are fitted on; None: all responses.
        absent: Members that could not be had.

    Returns:
        An axis each: the whole panel's ranking, then one without each judge (none where an axis
        has one judge). Models with equal means stand in the order of the responses. An axis on
        which the models share no prompt with a panel score has no ranking.

    Raises:
        DataError: If rows can't be aligned.
        InputError: If an axis has responses and no judge.
        MetricError: If a member's scale is not defined; see `combine`.
    """
    found = []
    for axis, rows in _parts(responses, axes):
        members = present_members(panel, axis, absent)
        decimals = {name: thresholds_by_judge[name].decimals for name in members}
        table = ScoreTable.of(rows, decimals)
        for without in ("", *members) if len(members) > 1 else ("",):
            others = [name for name in members if name != without]
            panelled = panel_on_axis(
                table, axis, others, thresholds_by_judge, how=panel.combine, base=base
            )
            means = complete_means(table.by_prompt(panelled.scores))
            if means is not None:
                order = np.argsort(-means, kind="stable")
                ranking = tuple(table.models[at] for at in order)
                found.append(LeaveOneOut(axis=axis.name, without=without, ranking=ranking))
    return tuple(found)


def _parts(
    responses: Sequence[ScoredResponse], axes: Sequence[Axis]
) -> list[tuple[Axis, list[ScoredResponse]]]:
    """Part the responses by axis; axes without any are left out."""
    check_rows(responses)
    parts = [(axis, [row for row in responses if row.axis == axis.name]) for axis in axes]
    return [(axis, rows) for axis, rows in parts if rows]


def _agreement(
    axis: Axis,
    table: ScoreTable,
    pair: tuple[str, str],
    thresholds_by_judge: Mapping[str, Thresholds],
    *,
    empty: NDArray[np.bool_],
) -> Agreement:
    scores = np.array([table.scores[judge] for judge in pair])
    both = np.isfinite(scores).all(axis=0)
    # A response that one judge could not score enters nothing, so that all figures rest on the
    # same responses.
    by_prompt = [table.by_prompt(np.where(both, column, np.nan)) for column in scores]
    first, second = scores[:, both]
    one, other = (complete_means(values) for values in by_prompt)
    labels = []
    for judge, column in zip(pair, (first, second), strict=True):
        thresholds = thresholds_by_judge[judge]
        passed = thresholds.passed(axis.name, column)
        if passed is not None and column.size:
            fails = axis.name in thresholds.empty_fails
            labels.append(passed & ~empty[both] if fails else passed)
    # Whether both prefer the same of two models; the pairs of one prompt are one cluster.
    left, right = np.triu_indices(len(table.models), k=1)
    signs = [np.sign(values[left] - values[right]) for values in by_prompt]
    hits = np.where(np.isnan(signs[0] + signs[1]), np.nan, signs[0] == signs[1])
    return Agreement(
        axis=axis.name,
        first=pair[0],
        second=pair[1],
        spearman=spearman(first, second) if first.size > 1 else None,
        # Of pass and fail, as tables count them; None without both thresholds.
        kappa=cohen_kappa(*labels) if len(labels) == 2 else None,
        same_winner=clustered_share(hits) if np.isfinite(hits).any() else None,
        # Of the models' means over the prompts that all models have.
        kendall_tau=None
        if one is None or other is None or len(one) < 2
        else kendall_tau(one, other),
        n=first.size,
    )
