"""Many models at once: the set that is not distinguishable from the best, and a control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.comparisons.pair_table import PairTable
from alignstudy.analysis.comparisons.pair_tests import MIN_PROMPTS
from alignstudy.analysis.results import Lineage
from alignstudy.records.ranking import BestSet, ControlTest
from alignstudy.stats.best import Separation, separate
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.power.planning import ALPHA
from alignstudy.stats.seed_tables import Table, complete


@dataclass(frozen=True)
class _Field:
    """All models in one metric, on the prompts that they all have.

    Attributes:
        sides: One an axis: a table a model, shape (seeds, units); rates from 0 to 1.
        groups: As `separate` takes them.
    """

    table: PairTable
    models: tuple[str, ...]
    sides: list[list[Table]]
    groups: list[int]

    @classmethod
    def of(cls, table: PairTable) -> _Field:
        named = {name for pair in table.pairs for name in pair}
        models = tuple(name for name in table.sides[0].panel.models if name in named)
        unit = 100.0 if table.metric.is_rate else 1.0
        values = [
            [side.by_seed[side.panel.row(name)] / unit for name in models] for side in table.sides
        ]
        sides = complete(values, [side.panel.cluster_of for side in table.sides])
        there = [
            tuple(np.logical_and.reduce([~np.isnan(row).all(axis=1) for row in rows]).tolist())
            for rows in zip(*values, strict=True)
        ]
        return cls(table, models, sides, _groups(models, table.lineages, there))

    @property
    def unit(self) -> float:
        """What 1 in `sides` is in the metric's unit."""
        return 100.0 if self.table.metric.is_rate else 1.0

    @property
    def units(self) -> int:
        """Independent prompts; of several axes, on the one that has fewest; 0: no seed has all."""
        whole = (table for tables in self.sides for table in tables)
        return min(int(table.shape[1]) if table.size else 0 for table in whole)

    @property
    def seeds(self) -> int:
        """Seeds of the model that has most."""
        return max(int(table.shape[0]) for table in self.sides[0])

    @property
    def means(self) -> NDArray[np.float64]:
        """The figure of each model on these prompts."""
        return np.array(
            [
                np.mean([table.mean() for table in tables])
                for tables in zip(*self.sides, strict=True)
            ]
        )


def rankings(
    tables: Sequence[PairTable], *, control: str | None, seed: int
) -> tuple[tuple[BestSet, ...], tuple[ControlTest, ...]]:
    """Find the set of the best in every metric, and hold all models against the control.

    Args:
        tables: Of all metrics.
        control: A model; None for none.
        seed: Of the draws.
    """
    sets, against = [], []
    for table in tables:
        whole = _Field.of(table)
        if whole.units < MIN_PROMPTS or len(whole.models) < 2:
            note = (
                f"no test: {whole.units} prompts that all models have in every seed, under"
                f" {MIN_PROMPTS}"
            )
            sets.append(_set(whole, None, note=note))
            continue
        found = separate(whole.sides, whole.groups, rate=table.metric.is_rate, seed=seed)
        sets.append(_set(whole, found))
        if control in whole.models:
            against += _against(whole, found, whole.models.index(control))
    return tuple(sets), _corrected(against)


def _set(whole: _Field, found: Separation | None, *, note: str = "") -> BestSet:
    means = whole.means if whole.units else np.zeros(len(whole.models))
    order = np.argsort(-means, kind="stable").tolist()
    p_values = {} if found is None else dict(zip(whole.models, found.p_values, strict=True))
    return BestSet(
        metric=whole.table.metric.name,
        members=tuple(name for at in order if p_values.get(name := whole.models[at], 1.0) >= ALPHA),
        p_values=p_values,
        p_any=None if found is None else found.p_any,
        reach=None if found is None else found.reach * whole.unit,
        seeds=whole.seeds,
        n=whole.units,
        note=note,
    )


def _against(whole: _Field, found: Separation, control: int) -> list[ControlTest]:
    """Compare every model with the control; p-values are not corrected yet."""
    metric, means = whole.table.metric, whole.means
    tests = []
    for at, model in enumerate(whole.models):
        if at == control:
            continue
        spread = found.spread(at, control).in_unit(whole.unit)
        p_value = spread.p_value() if spread.half_width() > 0.0 else 1.0
        tests.append(
            ControlTest(
                metric=metric.name,
                model=model,
                control=whole.models[control],
                difference=spread.estimate(
                    whole.unit * float(means[at] - means[control]),
                    whole.units,
                    most=whole.unit if metric.is_rate else math.inf,
                ),
                p_value=p_value,
                p_holm=p_value,
                family=metric.family,
                is_shown=found.p_any < ALPHA,
            )
        )
    return tests


def _corrected(tests: Sequence[ControlTest]) -> tuple[ControlTest, ...]:
    """Correct by Holm within each family."""
    done = list(tests)
    for family in dict.fromkeys(test.family for test in tests):
        members = [at for at, test in enumerate(tests) if test.family == family]
        for at, p in zip(members, holm([tests[at].p_value for at in members]), strict=True):
            shown = tests[at].is_shown and p < ALPHA
            done[at] = replace(tests[at], p_holm=p, is_shown=shown)
    return tuple(done)


def _groups(
    models: Sequence[str], lineages: Mapping[str, Lineage], seeds: Sequence[tuple[bool, ...]]
) -> list[int]:
    """Number the groups of models whose trainings began alike, under the same seeds.

    A model of which nothing is known is alone; one that no training made is of no group (-1).
    """
    starts: list[set[str]] = [
        {chain[0] for chain in lineages.get(name, ((f"\0{name}",),))} for name in models
    ]
    groups = [*range(len(models))]
    for at, own in enumerate(starts):
        for other in range(at):
            if own & starts[other] and seeds[at] == seeds[other]:
                joined, gone = groups[other], groups[at]
                groups = [joined if group == gone else group for group in groups]
    return [group if own else -1 for group, own in zip(groups, starts, strict=True)]
