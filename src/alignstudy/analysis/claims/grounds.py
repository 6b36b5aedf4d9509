"""What verdicts are given on: the valid judges' analyses, and scores as arrays on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.rule import Evidence
from alignstudy.analysis.comparisons.orientation import turned
from alignstudy.analysis.comparisons.pair_inference import (
    PairDifferences,
    design_of,
    equivalence,
    p_above,
)
from alignstudy.analysis.comparisons.pair_table import PairTable, pair_tables
from alignstudy.analysis.comparisons.pair_tests import compared
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.hygiene import FLAGS
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, usable
from alignstudy.errors import DataError
from alignstudy.formatting import percent
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.figures import rate_of, score_of
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, ScoredResponse
from alignstudy.stats.power.planning import TwoOneSided

DRAWS = 2_000
"""Resamples where a claim needs numbers that the analysis doesn't hold."""

_MOST_DECIDING = 50


@dataclass(frozen=True)
class PairPart:
    """What a claim says of one figure of two models.

    Attributes:
        claim: The whole claim.
        metric: The figure.
        pair: The model that is said to be higher, and the other.
    """

    claim: Claim
    metric: Metric
    pair: tuple[str, str]

    @property
    def words(self) -> str:
        """Write the part as a claim."""
        relation = "like" if self.claim.relation == "equivalent" else "higher than"
        return f"{self.pair[0]} {relation} {self.pair[1]} in {self.metric.title}"

    @property
    def missing(self) -> str:
        """Say that its figures are not there."""
        return f"{self.metric.title} of {self.pair[0]} and {self.pair[1]} was not measured"


@dataclass
class ClaimContext:
    """The findings, and the scores behind them.

    Attributes:
        findings: Without verdicts.
        responses: Rows of every model and seed.
        redrawn: What was resampled once already, by judge, axis, model and statistic.
    """

    findings: Findings
    responses: Sequence[ScoredResponse]
    redrawn: dict[tuple[str, str, str, str], NDArray[np.float64]] = field(default_factory=dict)
    _panels: dict[tuple[str, str | None], dict[str, ScoreMatrix]] = field(default_factory=dict)
    _tables: dict[tuple[str, str | None], list[PairTable]] = field(default_factory=dict)
    _made: dict[tuple[str, str, str], tuple[Comparison, ...]] = field(default_factory=dict)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Those of the study."""
        return self.findings.first.axes

    def valid(self, metric: Metric) -> list[Analysis]:
        """Return the analyses of the judges that are not below the floor on a figure's prompts.

        A baseline, which is there to be beaten, decides nothing unless it leads the report.
        A judge that was not assessed counts as valid unless every assessed one is below: a panel
        is worth nothing where none of its members is worth anything.
        """
        first, *others = self.findings.analyses
        voters = [first, *(a for a in others if not self.findings.is_baseline(a.judge))]
        below = self.findings.is_below_floor
        return [a for a in voters if not any(below(a.judge, axis) for axis in metric.axes)]

    def below_floor(self, metric: Metric) -> str:
        """Return why no judge of a figure is valid; "" where one is."""
        if self.valid(metric):
            return ""
        found = []
        for axis in metric.axes:
            prompts = axis_named(axis).prompts
            for quality in self.findings.qualities:
                accuracy = quality.accuracy(axis)
                if axis in quality.below_floor and accuracy is not None:
                    found.append(
                        f"{quality.judge} prefers the response that was preferred in"
                        f" {percent(accuracy.value)} of {accuracy.n} pairs on {prompts}"
                        f" prompts, interval from {percent(accuracy.low)}, floor"
                        f" {percent(quality.floor, 0)}"
                    )
        why = "; ".join(found) or "no judge was found to be above the floor"
        return f"judge below floor: {why}"

    def interest(self, metric: Metric, analysis: Analysis) -> float | None:
        """Return the smallest difference of interest: the margin, in the figure's unit.

        Medians, spreads and ends of scores have that of the mean score, a judge's accuracy that of
        the pass rate.
        """
        wanted = metric
        if not metric.family:
            axis = next(axis for axis in analysis.axes if axis.name == metric.axes[0])
            wanted = rate_of(axis) if metric.is_rate else score_of(axis)
        known = (c.margin for c in analysis.comparisons if c.metric == wanted.name)
        return next((margin for margin in known if margin is not None), None)

    def panels(self, analysis: Analysis, without: str | None = None) -> dict[str, ScoreMatrix]:
        """Lay out a judge's scores, without the responses that are so flagged."""
        key = (analysis.judge, without)
        if key not in self._panels:
            rows = [row for row in usable(self.responses)[0] if analysis.judge in row.scores]
            if without is not None:
                rows = [row for row in rows if not FLAGS[without](row)]
            self._panels[key] = build_matrices(
                rows,
                analysis.thresholds,
                axes=analysis.axes,
                judge=analysis.judge,
                clusters=analysis.clusters,
            )
        return self._panels[key]

    def tables(self, analysis: Analysis, without: str | None) -> list[PairTable]:
        """Lay out the differences of all pairs; none where two models share no prompt."""
        key = (analysis.judge, without)
        if key not in self._tables:
            try:
                self._tables[key] = pair_tables(
                    self.panels(analysis, without),
                    axes=analysis.axes,
                    base=analysis.base,
                    lineages=analysis.lineages,
                )
            except DataError:
                self._tables[key] = []
        return self._tables[key]

    def compare(self, analysis: Analysis, part: PairPart) -> Comparison | None:
        """Return the pair compared, turned as claimed; None where it was not measured."""
        found, without = analysis.comparisons, part.claim.without
        if without is not None:
            key = (analysis.judge, part.metric.family, without)
            if key not in self._made:
                resampler = Resampler(DRAWS, np.random.default_rng(0))
                made: list[Comparison] = []
                for table in self.tables(analysis, without):
                    if table.metric.family == part.metric.family:
                        made += compared(table, margin=None, resampler=resampler)
                self._made[key] = tuple(made)
            found = self._made[key]
        for item in found:
            if item.metric == part.metric.name and {item.model, item.reference} == set(part.pair):
                return item if item.model == part.pair[0] else turned(item)
        return None

    def paired(self, analysis: Analysis, part: PairPart) -> tuple[PairTable, int] | None:
        """Return a pair's table and its row; None where it was not measured."""
        for table in self.tables(analysis, part.claim.without):
            if table.metric.name == part.metric.name:
                for index, names in enumerate(table.pairs):
                    if set(names) == set(part.pair):
                        return table, index
        return None

    def evidence(self, part: PairPart) -> list[Evidence]:
        """Return what each valid judge's scores show; judges that measured nothing are left out."""
        found = []
        for analysis in self.valid(part.metric):
            pair = self.compare(analysis, part)
            place = self.paired(analysis, part)
            if pair is not None and place is not None:
                differences = PairDifferences(*place)
                turn = 1.0 if place[0].pairs[place[1]][1] == part.pair[0] else -1.0
                seen = _equivalent if part.claim.relation == "equivalent" else _better
                found.append(seen(analysis.judge, pair, differences, turn, part.claim.margin))
        return found

    def deciding(self, part: PairPart) -> tuple[str, ...]:
        """Return the ids of the prompts on which a pair differs, the largest differences first."""
        valid = self.valid(part.metric) or list(self.findings.analyses)
        found = self.paired(valid[0], part)
        if found is None:
            return ()
        table, index = found
        sized = []
        for side in table.sides:
            panel, row = side.panel, np.nan_to_num(side.differences[index])
            ours, theirs = (panel.scores[panel.row(name)] for name in part.pair)
            apart = np.nan_to_num(np.abs(ours - theirs))
            sized += [(apart[at], panel.prompt_ids[at]) for at in np.flatnonzero(row)]
        sized.sort(key=lambda item: -item[0])
        return tuple(prompt_id for _, prompt_id in sized[:_MOST_DECIDING])


def _better(
    judge: str, pair: Comparison, differences: PairDifferences, turn: float, margin: float
) -> Evidence:
    """Test that a difference is above a margin; `turn` is -1 where the table has it reversed."""
    gap, tested = pair.difference, pair.p_value is not None and pair.survives_missing
    above = below = None
    if tested and margin == 0.0:
        # A two-sided test, read in the direction that it points.
        above, below = (pair.p_value if side * gap.value > 0.0 else 1.0 for side in (1.0, -1.0))
    elif tested and (one_sided := p_above(differences, turn * margin)) is not None:
        above, below = _both_ways(one_sided, turn)
    within = p_above(differences, -turn * margin) if tested and margin > 0.0 else None
    return Evidence(
        judge=judge,
        estimate=gap,
        holds=gap.value > margin,
        shows=gap.low > margin,
        p_for=above,
        p_against=below,
        p_within=None if within is None else _both_ways(within, turn)[0],
        design=design_of(differences, bound=margin) if tested else None,
        pair=pair,
    )


def _equivalent(
    judge: str, pair: Comparison, differences: PairDifferences, turn: float, margin: float
) -> Evidence:
    """Test that a difference is within a margin, either way."""
    gap, tested = pair.difference, pair.p_value is not None and pair.survives_missing
    p_for = equivalence(differences, margin) if tested else None
    ends = [p_above(differences, end) for end in (turn * margin, -turn * margin)] if tested else []
    beyond = [
        _both_ways(p_value, turn)[which]
        for which, p_value in enumerate(ends)
        if p_value is not None
    ]
    design = design_of(differences, bound=margin) if tested else None
    return Evidence(
        judge=judge,
        estimate=gap,
        holds=abs(gap.value) < margin,
        shows=True,  # the test is that of a narrower interval, of 90 %
        p_for=p_for,
        p_against=min(beyond) if beyond else None,
        design=None if design is None else TwoOneSided(design),
        pair=pair,
    )


def _both_ways(p_above_bound: float, turn: float) -> tuple[float, float]:
    """Return p-values of "at most the bound" and "at least the bound", on a two-sided scale."""
    one, other = min(1.0, 2.0 * p_above_bound), min(1.0, 2.0 * (1.0 - p_above_bound))
    return (one, other) if turn > 0.0 else (other, one)
