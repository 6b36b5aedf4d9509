"""Where the spread of a model's figures comes from: prompts, training seeds, samples, judges."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import ScoreMatrix
from alignstudy.metrics.figures import rate_of, score_of
from alignstudy.records.robustness import VarianceSplit
from alignstudy.stats.variance_split import variance_parts

JUDGES = "judges"


def variance_splits(panels: Mapping[str, ScoreMatrix]) -> tuple[VarianceSplit, ...]:
    """Split the variance of rates and scores of models with several seeds or samples.

    Args:
        panels: Scores by axis; prompts that lack one in some seed or sample are left out.
    """
    found = []
    for panel in panels.values():
        for model in panel.known():
            for metric, table in (
                (rate_of(panel.axis), panel.passed_by_sample),
                (score_of(panel.axis), panel.by_sample),
            ):
                values = None if table is None else _complete(table[panel.row(model)])
                if values is not None and values.shape[2] > 1 and max(values.shape[:2]) > 1:
                    parts = variance_parts((100.0 if metric.is_rate else 1.0) * values)
                    sds = {name: math.sqrt(one) for name, (one, _) in parts.items()}
                    errors = {name: math.sqrt(whole) for name, (_, whole) in parts.items()}
                    found.append(
                        VarianceSplit(model=model, metric=metric.name, sds=sds, errors=errors)
                    )
    return tuple(found)


def _complete(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a model's seeds and samples on the prompts that have a value in all of them."""
    there = ~np.isnan(table)
    kept = table[there.any(axis=(1, 2))][:, there.any(axis=(0, 2))]
    return kept[..., ~np.isnan(kept).any(axis=(0, 1))]


def with_judges(
    analyses: Sequence[Analysis], left_out: Collection[str]
) -> tuple[VarianceSplit, ...]:
    """Add to the leading judge's splits of rates how far judges differ.

    Args:
        analyses: Of all judges, the leading one's first.
        left_out: Judges that don't speak for themselves: a panel, and baselines.
    """
    found = []
    for split in analyses[0].variances:
        rates = [
            model.estimates[split.metric].value
            for analysis in analyses
            if analysis.judge not in left_out
            for model in analysis.models
            if model.model == split.model and split.metric in model.estimates
        ]
        if len(rates) > 1 and analyses[0].metric(split.metric).is_rate:
            split = replace(split, sds={**split.sds, JUDGES: float(np.std(rates, ddof=1))})
        found.append(split)
    return tuple(found)
