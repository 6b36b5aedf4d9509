"""McNemar's exact test: do two models succeed on the same prompts equally often?"""

from __future__ import annotations

from alignstudy.errors import MetricError


def mcnemar_exact(wins: int, losses: int) -> float:
    """Two-sided exact McNemar test; of scores, the exact sign test.

    Prompts on which both models agree carry no evidence and do not enter; without any discordant
    prompt the p-value is 1.

    Args:
        wins: Prompts on which only the model succeeds, or has the higher score.
        losses: Prompts on which only the reference does.

    Returns:
        The p-value, 0 to 1.

    Raises:
        MetricError: If a count is negative.

    Source: McNemar 1947, doi:10.1007/BF02295996, with the binomial distribution itself; Conover
        1999, Practical Nonparametric Statistics, section 3.4, for the sign test.
    """
    from scipy import special

    if min(wins, losses) < 0:
        raise MetricError(
            f"impossible discordant counts: {wins} wins, {losses} losses",
            why="a count is not negative",
            hint="count the prompts on which one model alone succeeds",
        )
    return min(1.0, 2.0 * float(special.bdtr(min(wins, losses), wins + losses, 0.5)))
