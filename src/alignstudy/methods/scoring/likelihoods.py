"""What a model makes of fixed pairs while it learns: pure functions on log-probabilities.

A preference loss falls as well when both responses become unlikely and the rejected one faster
(likelihood displacement, arXiv 2410.08847; the "3D" effects of arXiv 2406.07327). The loss doesn't
show it; the same pairs, measured again and again, do.

Symbols, natural logarithms: c, r summed log-probabilities of chosen and rejected, a, b what they
have gained since training started, D = a - b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignstudy.methods.reference.values import TokenRow

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Likelihoods:
    """What a model makes of P pairs: shape (P,) each.

    Attributes:
        chosen: Summed log-probabilities, in nats.
        rejected: Likewise.
        chosen_tokens: Tokens of the responses.
        rejected_tokens: Likewise.
        unseen: Probability, where the two responses first differ, of every token that is neither's;
            not a number where they nowhere differ at one place of one text.
    """

    chosen: Values
    rejected: Values
    chosen_tokens: Values
    rejected_tokens: Values
    unseen: Values


def likelihoods(
    token_logps: Sequence[tuple[Values, Values]], pairs: Sequence[TokenRow]
) -> Likelihoods:
    """Sum up what a model makes of pairs.

    Args:
        token_logps: Of each pair the log-probabilities of the chosen response's tokens, and of the
            rejected one's.
        pairs: Their tokens.
    """
    unseen = []
    for (chosen, rejected), pair in zip(token_logps, pairs, strict=True):
        at = first_difference(pair)
        seen = np.nan if at is None else np.exp(chosen[at]) + np.exp(rejected[at])
        unseen.append(np.maximum(0.0, 1.0 - seen))  # keeps what is not a number
    sides = list(zip(*token_logps, strict=True))
    sums = [np.array([values.sum(dtype=np.float64) for values in side]) for side in sides]
    sizes = [np.array([float(len(values)) for values in side]) for side in sides]
    return Likelihoods(
        chosen=sums[0],
        rejected=sums[1],
        chosen_tokens=sizes[0],
        rejected_tokens=sizes[1],
        unseen=np.array(unseen),
    )


def first_difference(pair: TokenRow) -> int | None:
    """Return the first place where a pair's responses differ, after the same text.

    None where one is the other's beginning (cut short), or they don't continue one prompt.
    """
    (prompt, chosen), (other_prompt, rejected) = pair[:2]
    if not prompt or list(prompt) != list(other_prompt):
        return None
    both = enumerate(zip(chosen, rejected, strict=False))
    return next((at for at, (one, other) in both if one != other), None)


def changes(now: Likelihoods, start: Likelihoods) -> dict[str, float | None]:
    """Return how likely pairs are now, and what became of them since the start.

    Returns:
        Means over pairs, in nats, and shares, 0 to 1, by name:
        `chosen`, `rejected`, `chosen_per_token`, `rejected_per_token`: c, r, and each by the tokens
        of its response; `chosen_change`, `rejected_change`, `margin_change`: a, b, D;
        `chosen_fell`: share of pairs with a < 0; `both_fell`: with a < 0 and b < 0;
        `unseen_mass`: see `Likelihoods`, over the pairs where it is defined, None where it is
        nowhere; `right_by_change`, `right_by_sum`, `right_by_token`: share with D > 0, with c > r,
        and with more for the chosen response per token; a tie is wrong.
    """
    a, b = now.chosen - start.chosen, now.rejected - start.rejected
    chosen = now.chosen / np.maximum(1.0, now.chosen_tokens)
    rejected = now.rejected / np.maximum(1.0, now.rejected_tokens)
    return {
        "chosen": _mean(now.chosen),
        "rejected": _mean(now.rejected),
        "chosen_per_token": _mean(chosen),
        "rejected_per_token": _mean(rejected),
        "chosen_change": _mean(a),
        "rejected_change": _mean(b),
        "margin_change": _mean(a - b),
        "chosen_fell": _mean(a < 0),
        "both_fell": _mean((a < 0) & (b < 0)),
        "unseen_mass": _mean(now.unseen),
        "right_by_change": _mean(a - b > 0),
        "right_by_sum": _mean(now.chosen > now.rejected),
        "right_by_token": _mean(chosen > rejected),
    }


def saturation(now: Likelihoods, start: Likelihoods, *, beta: float) -> Values:
    """Return (P,) S(-beta D): what is left of DPO's gradient, 0.5 at the start."""
    margin = (now.chosen - start.chosen) - (now.rejected - start.rejected)
    left: Values = np.exp(-np.logaddexp(0.0, beta * margin))
    return left


def log_gradient_ratio(now: Likelihoods, by_chosen: Values, by_rejected: Values) -> float | None:
    """Return the mean log of how much harder a loss pulls on rejected than on chosen.

    In probability space: |dL/dp(rejected)| / |dL/dp(chosen)|, which is p(chosen) / p(rejected) for
    DPO (arXiv 2406.07327, section 4) and grows without bound as the rejected response vanishes.

    Args:
        now: The pairs.
        by_chosen: (P,) dL/dc of each pair's loss.
        by_rejected: (P,) dL/dr.

    Returns:
        Over the pairs on which the loss pulls both ways; None where there is none.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pulled = np.log(np.abs(by_rejected)) - np.log(np.abs(by_chosen))
    return _mean(np.where(np.isfinite(pulled), pulled + now.chosen - now.rejected, np.nan))


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float | None:
    """Return the mean of the values that are numbers; None where none is."""
    there = values[~np.isnan(values.astype(np.float64))]
    return float(there.mean(dtype=np.float64)) if len(there) else None
