"""What a judge makes of control texts, compared with the responses they are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alignstudy.judges.base import Judge
from alignstudy.judges.quality.held_out import ScoredPairs, rounded
from alignstudy.judges.quality.probes import PROBES
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.metrics.axes import place_of
from alignstudy.progress import SILENT, Progress
from alignstudy.records.evidence import ProbeShift

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_ITEMS = 2
"""One item has no interval."""


def probe_shifts(
    judge: Judge,
    found: Sequence[ScoredPairs],
    thresholds: Mapping[str, float | None],
    settings: AssessSettings,
    *,
    inclusive: bool,
    progress: Progress = SILENT,
) -> tuple[tuple[ProbeShift, ...], list[str]]:
    """Score control texts made from preferred responses.

    Args:
        judge: Any judge.
        found: Its scores of held-out pairs, an axis each.
        thresholds: By axis; without one there are no labels.
        settings: How many preferred responses an axis are drawn (0: nothing is measured), the
            bootstrap resamples, and the seed: each axis has its own draws, so that one doesn't
            change the other.
        inclusive: Whether a score equal to the threshold counts.
        progress: What shows how far each call of the judge is.

    Returns:
        One shift an axis and control text, with a percentile bootstrap interval over items, and
        notes on what could not be measured.
    """
    import numpy as np

    shifts: list[ProbeShift] = []
    notes: list[str] = []
    for scored in found if settings.probes else ():
        # The published axes keep the streams that they always had.
        rng = np.random.default_rng([settings.seed, place_of(scored.axis)])
        drawn = np.sort(rng.permutation(scored.whole)[: settings.probes])
        texts = [scored.items[2 * at] for at in drawn]
        probes = [
            (prompt, make(prompt, text, rng)) for make in PROBES.values() for prompt, text in texts
        ]
        given = np.array(rounded(judge.score(probes, progress=progress)), dtype=np.float64)
        for probe, scores in zip(PROBES, given.reshape(len(PROBES), -1), strict=True):
            there = np.isfinite(scores)
            if there.sum() < MIN_ITEMS:
                notes.append(
                    f"control text '{probe}' is not measured on {scored.axis} pairs:"
                    f" {int(there.sum())} items have a score"
                )
                continue
            before, after = scored.scores[drawn[there], 0], scores[there]
            labels = _labels(before, after, thresholds.get(scored.axis), inclusive=inclusive)
            shifts.append(_shift(probe, scored.axis, after - before, labels, settings.draws, rng))
    return tuple(shifts), notes


def _labels(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    threshold: float | None,
    *,
    inclusive: bool,
) -> tuple[float, float] | None:
    """Return the percentages of labels that change, and of control texts that pass."""
    if threshold is None:
        return None
    was, now = (
        scores >= threshold if inclusive else scores > threshold for scores in (before, after)
    )
    return 100.0 * float((was != now).mean()), 100.0 * float(now.mean())


def _shift(
    probe: str,
    axis: str,
    differences: NDArray[np.float64],
    labels: tuple[float, float] | None,
    draws: int,
    rng: np.random.Generator,
) -> ProbeShift:
    from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

    replicates = bootstrap_means(differences[None, :], draws=draws, rng=rng)[:, 0]
    flipped, passed = labels or (None, None)
    return ProbeShift(
        probe=probe,
        axis=axis,
        shift=percentile_estimate(float(differences.mean()), replicates, n=differences.size),
        flipped=flipped,
        passed=passed,
    )
