"""Losses of single responses, rated good or not: no other response to the prompt is needed.

Symbols: a is the log-ratio to the reference of a desirable response, b of an undesirable one. On
pairs, chosen responses are desirable and rejected ones are not; a pair's loss is the mean of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.methods.losses.coupled import running_shift
from alignstudy.methods.losses.loss import log_s
from alignstudy.methods.losses.state import LossState
from alignstudy.methods.model_outputs import RatedLogps

if TYPE_CHECKING:
    from torch import Tensor


def kto(p: RatedLogps, *, beta: float) -> Tensor:
    """KTO: 1 - S(beta (a - K)) of a desirable, 1 - S(beta (K - b)) of an undesirable response.

    K, the reference point, is the micro-batch's mean log-ratio on responses to other prompts, at
    least 0 and not differentiated (eq. 8). Gains and losses saturate, as people's do: said to bear
    noisy and one-sided ratings, such as thumbs up and down. With `rows: rated` each response has a
    text of another prompt beside it, where a pair has one: half as much work again as DPO's.
    """
    assert p.shift is not None
    return 1 - (beta * p.sign * (p.ratio - p.shift.clamp(min=0))).sigmoid()


def apo_zero_unpaired(p: RatedLogps, *, beta: float) -> Tensor:
    """APO-zero by single responses: 1 - S(beta a) of a desirable, S(beta b) of an undesirable one.

    KTO without its reference point, whose texts are not computed: for good responses that are
    better than what the model writes.
    """
    return 1 - (beta * p.sign * p.ratio).sigmoid()


def bco_unpaired(p: RatedLogps, *, beta: float, state: LossState) -> Tensor:
    """BCO by single responses: -log S(beta a - d) of a desirable, -log S(d - beta b) of another.

    A classifier of good and bad whose border d is the mean of all beta a and beta b so far, this
    micro-batch's included. Said to learn from thumbs up and down as DPO does from pairs. Its
    weights for prompts of another distribution are not here.
    """
    rewards = beta * p.ratio
    return -log_s(p.sign * (rewards - running_shift(rewards, state)))
