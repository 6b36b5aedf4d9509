"""What verdicts are given on: the valid judges' analyses, and scores laid out on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.analysis.comparisons.pair_table import PairTable, pair_tables
from alignstudy.analysis.comparisons.pair_tests import PairDifferences, compared, equivalence
from alignstudy.analysis.comparisons.pairs import adjust
from alignstudy.analysis.comparisons.resampling import Resampler
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.hygiene import FLAGS
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.score_matrix import ScoreMatrix, build_matrices, usable
from alignstudy.errors import DataError
from alignstudy.metrics.metric import Metric
from alignstudy.records import Axis, Estimate, ScoredResponse

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 2_000
"""Resamples where a claim needs numbers that the analysis doesn't hold."""


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
        return [a for a in voters if not any(self.is_below(a, x) for x in metric.axes)]

    def is_below(self, analysis: Analysis, axis: str) -> bool:
        """Return whether a judge is below the floor on a prompt set."""
        return self.findings.is_below_floor(analysis.judge, axis)

    def without_known(self, flag: str) -> bool:
        """Whether responses can be flagged: the cap only where it is known why they ended."""
        return flag != "cap" or all(row.stop_reason is not None for row in self.responses)

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

    def compare(
        self, analysis: Analysis, metric: Metric, pair: tuple[str, str], without: str | None
    ) -> Comparison | None:
        """Return (better, worse) compared, turned so; None where it was not measured."""
        found = (
            analysis.comparisons if without is None else self._compared(analysis, metric, without)
        )
        for item in found:
            if item.metric == metric.name and {item.model, item.reference} == set(pair):
                return item if item.model == pair[0] else turned(item)
        return None

    def _compared(self, analysis: Analysis, metric: Metric, without: str) -> tuple[Comparison, ...]:
        """Compare all pairs of a metric's family anew, without flagged responses."""
        key = (analysis.judge, metric.family, without)
        if key not in self._made:
            resampler = Resampler(DRAWS, np.random.default_rng(0))
            found: list[Comparison] = []
            for table in self.tables(analysis, without):
                if table.metric.family == key[1]:
                    found += compared(table, margin=None, resampler=resampler)
            self._made[key] = adjust(found)
        return self._made[key]

    def tables(self, analysis: Analysis, without: str | None) -> list[PairTable]:
        """Lay out the differences of all pairs; none where two models share no prompt."""
        key = (analysis.judge, without)
        if key not in self._tables:
            try:
                self._tables[key] = pair_tables(
                    self.panels(analysis, without), axes=analysis.axes, base=analysis.base
                )
            except DataError:
                self._tables[key] = []
        return self._tables[key]

    def paired(
        self, analysis: Analysis, metric: Metric, pair: Iterable[str], without: str | None
    ) -> tuple[PairTable, int] | None:
        """Return a pair's table and its row; None where it was not measured."""
        wanted = set(pair)
        for table in self.tables(analysis, without):
            if table.metric.name == metric.name:
                for index, names in enumerate(table.pairs):
                    if set(names) == wanted:
                        return table, index
        return None

    def p_equivalent(
        self,
        analysis: Analysis,
        metric: Metric,
        pair: tuple[str, str],
        *,
        margin: float,
        without: str | None,
    ) -> float | None:
        """Return the p-value that two models are within a margin; None where it isn't defined."""
        found = self.paired(analysis, metric, pair, without)
        return (
            None if found is None or margin <= 0.0 else equivalence(PairDifferences(*found), margin)
        )

    def deciding(
        self, metric: Metric, pair: tuple[str, str], *, without: str | None, most: int = 50
    ) -> tuple[str, ...]:
        """The ids of the prompts on which two models differ, the largest differences first."""
        valid = self.valid(metric) or list(self.findings.analyses)
        found = self.paired(valid[0], metric, pair, without)
        if found is None:
            return ()
        table, index = found
        sized = []
        for side in table.sides:
            panel, row = side.panel, np.nan_to_num(side.differences[index])
            ours, theirs = (panel.scores[panel.row(name)] for name in pair)
            apart = np.nan_to_num(np.abs(ours - theirs))
            sized += [(apart[at], panel.prompt_ids[at]) for at in np.flatnonzero(row)]
        sized.sort(key=lambda item: -item[0])
        return tuple(prompt_id for _, prompt_id in sized[:most])


def turned(item: Comparison) -> Comparison:
    """Return a comparison the other way round."""
    return replace(
        item,
        model=item.reference,
        reference=item.model,
        difference=_mirrored(item.difference, 0.0),
        wins=item.losses,
        losses=item.wins,
        win_interval=item.win_interval and _mirrored(item.win_interval, 100.0),
        effect_size=None if item.effect_size is None else -item.effect_size,
    )


def _mirrored(estimate: Estimate, total: float) -> Estimate:
    return replace(
        estimate,
        value=total - estimate.value,
        low=total - estimate.high,
        high=total - estimate.low,
    )
