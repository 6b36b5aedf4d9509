"""Preference losses that compare the policy with a reference, each pair by itself."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from alignstudy.methods.losses.loss import F, log_s, margin, nll, smoothed
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

DEAD_BAND = 1e-3
"""Nats by which chosen may fall before DPOP heeds it: at the start policy and reference differ by
rounding alone, which would decide whether the penalty's slope counts."""


def sigmoid(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """DPO: -log S(z).

    Raises the log-ratio of chosen over that of rejected, the less the further apart they are. The
    common starting point: stable, well studied, and blind to whether chosen itself becomes less
    likely, as long as rejected falls faster. A smaller beta lets the policy go further from the
    reference.
    """
    return -log_s(margin(p, beta, f))


def cdpo(p: PairLogps, *, beta: float, f: F, label_smoothing: float) -> Tensor:
    """Conservative DPO: -(1 - e) log S(z) - e log S(-z), e = label_smoothing.

    Assumes that a share e of the preferences is flipped: the margin has a finite best value,
    log((1 - e) / e), instead of growing for ever. Said to help where labels are noisy.
    """
    return smoothed(margin(p, beta, f), label_smoothing)


def robust(p: PairLogps, *, beta: float, f: F, label_smoothing: float) -> Tensor:
    """rDPO: (-(1 - e) log S(z) + e log S(-z)) / (1 - 2 e), unbiased under flipped preferences.

    In the mean over noisy labels it is DPO's loss on clean ones, if a share e = label_smoothing
    (below 1/2) of them is flipped; it may be negative, and varies more than DPO's. Said to help
    where the share of flipped labels is known.
    """
    z, flipped = margin(p, beta, f), label_smoothing
    return (-(1 - flipped) * log_s(z) + flipped * log_s(-z)) / (1 - 2 * flipped)


def ipo(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """IPO: (a / tokens - b / tokens - 1 / (2 beta))^2, log-ratios averaged a token.

    Pulls the margin to a fixed target instead of driving it up: no runaway on pairs that are
    always labelled alike. Averaged a token as its authors and TRL run it, although the paper prints
    sums (`ipo_sum`): the target is a margin a token, and at beta 0.1 it is 5 nats, never reached,
    so that the loss is nearly linear; try beta 0.5 or 2.
    """
    mean_a, mean_b = (
        f(ratio) / tokens.clamp(min=1)
        for ratio, tokens in ((p.a, p.chosen_tokens), (p.b, p.rejected_tokens))
    )
    return (mean_a - mean_b - 1 / (2 * beta)) ** 2


def ipo_sum(p: PairLogps, *, beta: float) -> Tensor:
    """IPO as printed: (a - b - 1 / (2 beta))^2, log-ratios of whole responses.

    The paper's equation 17 to the letter; its authors ran the mean a token (`ipo`).
    """
    return (p.a - p.b - 1 / (2 * beta)) ** 2


def hinge(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """Hinge on the log-ratios: max(0, 1 - z), SLiC's with a reference.

    Pairs whose margin is reached teach nothing more. Said to be as good as DPO's logistic loss.
    """
    return (1 - margin(p, beta, f)).relu()


def sigmoid_norm(p: PairLogps, *, beta: float, f: F) -> Tensor:
    """DPO on per-token means: -log S(beta (a / tokens - b / tokens)).

    Takes out that long responses have long log-ratios; wants a larger beta than DPO. Said to learn
    less length than DPO does (Tulu 3).
    """
    chosen, rejected = (
        f(p.a) / p.chosen_tokens.clamp(min=1),
        f(p.b) / p.rejected_tokens.clamp(min=1),
    )
    return -log_s(beta * (chosen - rejected))


def exo_pair(p: PairLogps, *, beta: float, f: F, label_smoothing: float) -> Tensor:
    """EXO on pairs: KL from (S(z), S(-z)) to (1 - e, e), e = label_smoothing.

    Reverse KL where DPO minimizes the forward one: it seeks the preferred mode. On HH its authors'
    target amounts to e = 4.5e-5 with beta 0.5; TRL advises e = 1e-3.
    """
    z = margin(p, beta, f)
    chosen = z.sigmoid() * (log_s(z) - log(1 - label_smoothing))
    return chosen + (-z).sigmoid() * (log_s(-z) - log(label_smoothing))


def nca_pair(p: PairLogps, *, beta: float) -> Tensor:
    """NCA on pairs: -log S(beta a) - log S(-beta a) / 2 - log S(-beta b) / 2.

    Classifies each response by itself, so that chosen can't become ever less likely. Said to help
    on reasoning data, where DPO lowers the likelihood of right answers.
    """
    a, b = beta * p.a, beta * p.b
    return -log_s(a) - 0.5 * log_s(-a) - 0.5 * log_s(-b)


def bco_pair(p: PairLogps, *, beta: float) -> Tensor:
    """A classifier of responses: -log S(beta a) - log S(-beta b).

    BCO without its running shift, as TRL has it: not BCO as published (`bco`).
    """
    return -log_s(beta * p.a) - log_s(-beta * p.b)


def sppo_hard(p: PairLogps, *, beta: float) -> Tensor:
    """SPPO with hard preferences: (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2, as in TRL.

    Pulls chosen's log-ratio up and rejected's down to fixed targets. Its authors halve it (`sppo`),
    take beta 1e-3, and make new pairs in every round; at beta 0.1 the targets are 5 nats away.
    """
    return (p.a - 0.5 / beta) ** 2 + (p.b + 0.5 / beta) ** 2


def sppo(p: PairLogps, *, beta: float) -> Tensor:
    """SPPO: half the squared distances of a and b to (P - 1/2) / beta, P their chance to win.

    P is the probability of being preferred to what the policy writes; on given pairs, where nobody
    estimated it, chosen wins always and rejected never: half of `sppo_hard`. Said to keep chosen
    likely, unlike DPO.
    """
    if p.chosen_win is None or p.rejected_win is None:
        return sppo_hard(p, beta=beta) / 2
    up, down = ((win - 0.5) / beta for win in (p.chosen_win, p.rejected_win))
    return ((p.a - up) ** 2 + (p.b - down) ** 2) / 2


def cal_dpo(p: PairLogps, *, beta: float) -> Tensor:
    """Cal-DPO: -log S(a - b) + (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2.

    DPO's comparison with the log-ratios themselves pulled to fixed rewards. Said to stop chosen
    from becoming less likely.
    """
    return -log_s(p.a - p.b) + sppo_hard(p, beta=beta)


def apo_zero(p: PairLogps, *, beta: float) -> Tensor:
    """APO-zero: 1 - S(beta a) + S(beta b), chosen up and rejected down.

    Said to help where the chosen responses are better than what the model writes.
    """
    return 1 - (beta * p.a).sigmoid() + (beta * p.b).sigmoid()


def apo_down(p: PairLogps, *, beta: float) -> Tensor:
    """APO-down: S(beta a) + 1 - S(z), both down and rejected more.

    Said to help where the model already writes better than the chosen responses.
    """
    return (beta * p.a).sigmoid() + 1 - (beta * (p.a - p.b)).sigmoid()


def discopop(p: PairLogps, *, beta: float, f: F, discopop_tau: float) -> Tensor:
    """DiscoPOP: -(1 - m) log S(z) + m exp(-z), m = S(z / discopop_tau).

    Blends the logistic and the exponential loss; a formula that a language model found.
    """
    z = margin(p, beta, f)
    share = (z / discopop_tau).sigmoid()
    return -log_s(z) * (1 - share) + (-z).exp() * share


def rpo(p: PairLogps, *, beta: float, f: F, rpo_alpha: float) -> Tensor:
    """RPO: -log S(z) + rpo_alpha NLL.

    DPO that also learns the chosen response, so that it stays likely. The likelihood is a mean over
    a response's tokens, then over pairs, as printed; TRL's [sigmoid, sft] takes it over the
    micro-batch's tokens. Said to help on reasoning data with rpo_alpha 1; 0.005 to 0.2 on dialogue.
    """
    return -log_s(margin(p, beta, f)) + rpo_alpha * nll(p)


def dpop(p: PairLogps, *, beta: float, dpop_lambda: float) -> Tensor:
    """DPOP (Smaug): -log S(beta (a - b - dpop_lambda max(0, -a))).

    Where chosen becomes less likely than under the reference, the margin is cut by it: DPO may then
    no longer win by lowering both. Said to help where chosen and rejected differ in few tokens. A
    fall of less than 0.001 nats is not heeded: at the start it would be rounding.
    """
    fallen = (-p.a - DEAD_BAND).relu()
    return -log_s(beta * (p.a - p.b - dpop_lambda * fallen))


def flex(p: PairLogps, *, beta: float, beta_rejected: float) -> Tensor:
    """Flex-DPO: -log S(beta a - beta_rejected b).

    A smaller weight of the rejected side slows its fall, which drags chosen along. Said to be best
    a little below beta; far below, it drifts to SFT. The equation is as secondary sources have it.
    """
    return -log_s(beta * p.a - beta_rejected * p.b)


def rdpo(p: PairLogps, *, beta: float, length_alpha: float) -> Tensor:
    """R-DPO: -log S(z + length_alpha (tokens of chosen - tokens of rejected)).

    A longer chosen response counts as won already, so that length itself is not learnt. Said to
    help where the better answers are the longer ones.
    """
    longer = p.chosen_tokens - p.rejected_tokens
    return -log_s(beta * (p.a - p.b) + length_alpha * longer)


def irft_linear(p: PairLogps, *, beta: float) -> Tensor:
    """IRFT's linear loss: -z.

    Never saturates: nothing but the number of steps bounds it, so that `max_steps` must be given,
    and training stops where chosen falls far. Its authors make the rejected side of the model's own
    samples.
    """
    return -beta * (p.a - p.b)
