"""Preference losses of the policy alone, each pair by itself: no reference is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alignstudy.methods.losses.loss import MOST, log_odds, log_s, means, nll
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor


def simpo(p: PairLogps, *, beta: float, simpo_gamma: float, cpo_alpha: float) -> Tensor:
    """SimPO: -log S(beta (c / tokens - r / tokens) - simpo_gamma) + cpo_alpha NLL.

    Per-token means, which are what generation follows, and a target margin. Said to beat DPO at
    less cost, with beta 2 to 10, simpo_gamma 0.3 to 0.8 times beta, and a learning rate tuned with
    care; cpo_alpha is 0 there, above it is TRL's CPO-SimPO.
    """
    chosen, rejected = means(p)
    return -log_s(beta * (chosen - rejected) - simpo_gamma) + cpo_alpha * nll(p)


def alphapo(p: PairLogps, *, beta: float, simpo_gamma: float, alphapo_alpha: float) -> Tensor:
    """AlphaPO: SimPO on (1 - p^-alpha) / alpha, p the per-token probability, alpha = alphapo_alpha.

    Bends the reward: above 0 it punishes unlikely responses more. Said to lower the likelihood of
    chosen less than SimPO does.
    """
    chosen, rejected = (
        (1 - (-alphapo_alpha * mean).clamp(max=MOST).exp()) / alphapo_alpha for mean in means(p)
    )
    return -log_s(beta * (chosen - rejected) - simpo_gamma)


def cpo(p: PairLogps, *, beta: float, cpo_alpha: float) -> Tensor:
    """CPO: -log S(beta (c - r)) + cpo_alpha NLL.

    DPO with a uniform reference, and the chosen response learnt so that it stays likely. Said to
    help in translation. The likelihood is a mean over a response's
    tokens, then over pairs; TRL's is over the micro-batch's tokens.
    """
    return -log_s(beta * (p.chosen - p.rejected)) + cpo_alpha * nll(p)


def dpo_reference_free(p: PairLogps, *, beta: float) -> Tensor:
    """What arXiv 2509.09055 prints as DPO: -log S(beta (c - r)), without a reference.

    CPO without its likelihood; the code of that study trains DPO itself. Here for whoever wants the
    printed formula: nothing holds the policy near where it started.
    """
    return -log_s(beta * (p.chosen - p.rejected))


def orpo(p: PairLogps, *, beta: float) -> Tensor:
    """ORPO: NLL - beta log S(log-odds of chosen - log-odds of rejected), of per-token means.

    Learns the chosen response and, with the weight beta (the paper's lambda), that its odds are
    higher: made for a base that had no SFT. The likelihood is the response's; its authors' code and
    TRL's take the prompt's, too.
    """
    chosen, rejected = (log_odds(mean) for mean in means(p))
    return nll(p) - beta * log_s(chosen - rejected)


def asft(p: PairLogps, *, beta: float, asft_lambda: float) -> Tensor:
    """ASFT: NLL - asft_lambda (log S(beta log-odds of chosen) + log S(-beta log-odds of rejected)).

    Aligns each response by itself, in one stage: chosen probable, rejected improbable. The push on
    rejected fades by itself. beta 1 is as published; 0.1 to 0.3 is a tempered form that later
    comparisons prefer. Not Anchored SFT, which has the same initials.
    """
    chosen, rejected = (beta * log_odds(mean) for mean in means(p))
    return nll(p) - asft_lambda * (log_s(chosen) + log_s(-rejected))


def slic(p: PairLogps, *, slic_delta: float, slic_lambda: float) -> Tensor:
    """SLiC-HF: max(0, slic_delta - (c - r)) - slic_lambda c.

    A hinge on whole log-probabilities, calibrated against forgetting by the chosen response's
    likelihood (a sum over its tokens).
    """
    return (slic_delta - (p.chosen - p.rejected)).relu() - slic_lambda * p.chosen


def sft(p: PairLogps) -> Tensor:
    """Likelihood of chosen, a mean over the micro-batch's tokens; added to another loss.

    As TRL adds it. A mean over responses is `sft_seq`.
    """
    return (p.chosen_nll.sum() / p.chosen_tokens.sum()).expand(len(p.chosen_nll))


def sft_seq(p: PairLogps) -> Tensor:
    """Likelihood of chosen, a mean over each response's tokens; added to another loss.

    As RPO's paper prints it; with weights it makes RPO, CPO, ORPO of any loss.
    """
    return nll(p)
