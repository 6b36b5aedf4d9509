"""How reliable a judge's scores are, on held-out pairs and on control texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from alignstudy.errors import GuardError
from alignstudy.judges.base import MAX_INCOMPLETE_SHARE, Judge, batch_effect
from alignstudy.judges.quality.held_out import (
    ScoredPairs,
    accuracies,
    length_preference,
    score_pairs,
)
from alignstudy.judges.quality.probes import probe_shifts
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Estimate, Pair
from alignstudy.records.evidence import JudgeQuality, ReliabilityBin

MIN_PAIRS_FOR_DIRECTION = 50
"""With fewer pairs nothing is concluded about a judge's direction."""

BASELINES = frozenset({"constant", "length"})
"""Kinds that judges are measured against: they rank as they rank, and that is the finding."""


def assess(
    judge: Judge,
    name: str,
    pairs_by_axis: Mapping[str, Sequence[Pair]],
    *,
    thresholds: Mapping[str, float | None],
    protocol: Literal["paper", "rigorous"],
    settings: AssessSettings,
    progress: Progress = SILENT,
    inclusive: bool = False,
    notes: Sequence[str] = (),
) -> JudgeQuality:
    """Measure what a judge is worth.

    Scores are rounded to four decimals first, as everywhere. A pair or a control text that the
    judge gave no finite score is left out; above one of a hundred, a note is made. An axis without
    a measured accuracy is stamped like one below the floor.

    Args:
        judge: As the study builds it, without a cache: a cached score can't show what a batch does.
        name: The judge's name in the study.
        pairs_by_axis: Held-out preference pairs, of the axes that the judge is meant to measure.
        thresholds: By axis, what counts as a pass; None or absent: control texts get no labels.
        protocol: How the prompts of the study look; see `as_judged`.
        settings: What to measure.
        progress: What shows how far each call of the judge is.
        inclusive: Whether a score equal to the threshold counts.
        notes: What else a reader has to know of this judge; stand first in the record's notes.

    Raises:
        GuardError: If the accuracy interval of an axis with at least 50 pairs lies below 50 %: the
            judge's direction looks reversed. Not with `reversed: keep`, nor for baseline kinds.
        DataError: If a pair has no rejected response.
    """
    found = [
        score_pairs(judge, axis, pairs, protocol=protocol, progress=progress)
        for axis, pairs in pairs_by_axis.items()
    ]
    measured = tuple(row for scored in found for row in accuracies(scored))
    overall = {row.axis: row.accuracy for row in measured if row.subset == "all"}
    directions = _directions(judge, name, overall, settings)
    low = {axis: accuracy.low for axis, accuracy in overall.items()}  # unmeasured: below the floor
    bins, ece = _reliability(found, settings.bins)
    shifts, odd = probe_shifts(
        judge, found, thresholds, settings, inclusive=inclusive, progress=progress
    )
    items = [i for each in found for i in each.items[: -(-settings.batch_check // len(found))]]
    return JudgeQuality(
        judge=name,
        accuracies=measured,
        ece=ece,
        reliability=bins,
        length=tuple(filter(None, map(length_preference, found))),
        probes=shifts,
        floor=settings.floor,
        below_floor=tuple(axis for axis in pairs_by_axis if low.get(axis, 0) <= settings.floor),
        batch_effect=batch_effect(judge, items, most=settings.batch_check) if items else None,
        is_baseline=judge.name in BASELINES,
        notes=(*notes, *directions, *_missing(found), *odd),
    )


def _directions(
    judge: Judge, name: str, overall: Mapping[str, Estimate], settings: AssessSettings
) -> list[str]:
    """Find the axes on which a judge ranks the wrong way round; refuse to go on with it."""
    found = []
    for axis, accuracy in overall.items():
        if accuracy.n < MIN_PAIRS_FOR_DIRECTION or accuracy.high >= 50.0:
            continue
        fact = (
            f"the preferred response has the higher score in {accuracy.value:.1f} %"
            f" [{accuracy.low:.1f}, {accuracy.high:.1f}] of {accuracy.n} {axis} pairs"
        )
        if settings.reversed == "refuse" and judge.name not in BASELINES:
            raise GuardError(
                f"judge '{name}': its direction looks reversed ({axis})",
                why=f"{fact}; a coin gives 50",
                hint="declare `better: lower` for this judge, or `assess: {reversed: keep}` to go"
                " on with it as it is",
            )
        found.append(f"ranks {axis} pairs the other way round than people: {fact}")
    return found


def _reliability(
    found: Sequence[ScoredPairs], bins: int
) -> tuple[tuple[ReliabilityBin, ...], dict[str, float]]:
    """Compare sigmoid(score difference) with how often people agree."""
    from alignstudy.stats.reliability import reliability
    from alignstudy.stats.resampling.clustered_share import effective_wilson

    rows, ece = [], {}
    for scored in found:
        if not scored.n:
            continue
        parts, ece[scored.axis] = reliability(scored.differences, bins=bins)
        for predicted, hits, n in parts:
            share = hits / n  # hits may hold halves: ties
            low, high = (end / 100 for end in effective_wilson(share, n))
            observed = Estimate(value=share, low=low, high=high, n=n, method="wilson")
            rows.append(ReliabilityBin(axis=scored.axis, predicted=predicted, observed=observed))
    return tuple(rows), ece


def _missing(found: Sequence[ScoredPairs]) -> list[str]:
    notes = []
    for scored in found:
        asked = len(scored.items)
        if not scored.n:
            notes.append(f"accuracy on {scored.axis} pairs is not known: no pair has two scores")
        if scored.missing > MAX_INCOMPLETE_SHARE * asked:
            notes.append(
                f"no finite score for {scored.missing} of {asked} responses of held-out"
                f" {scored.axis} pairs; their pairs are left out"
            )
    return notes
