"""Does any model differ from any other, over the prompts that all of them answered?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import MetricError


def cochran_q(passed: NDArray[np.float64] | NDArray[np.bool_]) -> tuple[float, float]:
    """Cochran's Q test that all models pass equally often.

    Prompts that all models pass, or none, carry no evidence.

    Args:
        passed: 0 or 1 (or bool), shape (models, n), at least two models.

    Returns:
        Q, and its p-value by chi-squared with models - 1 degrees of freedom.

    Raises:
        MetricError: If a value is neither 0 nor 1, there are fewer than two models, or no prompt
            tells the models apart.

    Source: Cochran 1950, "The comparison of percentages in matched samples", Biometrika 37.
    """
    from scipy import special

    table = _matrix(passed)
    if not np.isin(table, (0.0, 1.0)).all():
        raise MetricError(
            "Cochran's Q is defined for passes and failures only",
            why="the table holds something other than 0 and 1",
            hint="with several training seeds, test the scores instead",
        )
    models = len(table)
    by_model, by_prompt = table.sum(axis=1), table.sum(axis=0)
    spread = float((by_prompt * (models - by_prompt)).sum())
    if spread == 0.0:
        raise _no_prompt_differs("Cochran's Q")
    deviations = by_model - by_model.mean()
    statistic = models * (models - 1) * float(deviations @ deviations) / spread
    return statistic, float(special.chdtrc(models - 1, statistic))


def friedman(scores: NDArray[np.float64]) -> tuple[float, float]:
    """Friedman's test that all models rank equally, corrected for ties.

    As scipy's, which refuses two models.

    Args:
        scores: Shape (models, n), at least two models.

    Returns:
        The statistic, and its p-value by chi-squared with models - 1 degrees of freedom.

    Raises:
        MetricError: If a score is not finite, there are fewer than two models, or every prompt
            has the same score for all models.

    Source: Friedman 1937, doi:10.1080/01621459.1937.10503522; Conover 1999, section 5.8, for ties.
    """
    from scipy import special, stats

    ranks = stats.rankdata(_matrix(scores), axis=0)
    models, n = ranks.shape
    middle = (models + 1) / 2.0
    spread = float(((ranks - middle) ** 2).sum())
    if spread == 0.0:
        raise _no_prompt_differs("Friedman's test")
    sums = ranks.sum(axis=1) - n * middle
    statistic = (models - 1) * float(sums @ sums) / spread
    return statistic, float(special.chdtrc(models - 1, statistic))


def _matrix(table: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    matrix = np.asarray(table, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < 2 or matrix.shape[1] < 1:
        raise MetricError(
            f"no test over all models on a table of shape {matrix.shape}",
            why="it needs two or more models and at least one prompt",
            hint="give one row a model, one column a prompt",
        )
    if not np.isfinite(matrix).all():
        raise MetricError(
            "a test over all models needs every model's value on every prompt",
            hint="keep only the prompts that all models have",
        )
    return matrix


def _no_prompt_differs(test: str) -> MetricError:
    return MetricError(
        f"{test} is not defined on these prompts",
        why="on every prompt all models came out alike",
        hint="check that the models differ at all, or use more prompts",
    )
