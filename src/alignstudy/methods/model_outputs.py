"""What a model says of a micro-batch's rows: what objectives take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TextLogps:
    """What a language model says of R texts.

    Attributes:
        nll: (R,) minus the summed log-probabilities of the targets, in nats.
        targets: (R,) how many there are.
        hits: (R,) how many of them no other token is likelier than.
    """

    nll: Tensor
    targets: Tensor
    hits: Tensor


@dataclass(frozen=True, kw_only=True)
class PairLogps:
    """Log-probabilities of B pairs, natural logarithm, prompts excluded, ends included.

    Attributes:
        chosen: (B,) summed over the response's tokens, under the policy.
        rejected: (B,) likewise.
        chosen_tokens: (B,) tokens of each chosen response.
        rejected_tokens: (B,) likewise.
        chosen_nll: (B,) minus the sum over all chosen tokens, whatever weighs in `chosen`.
        chosen_hits: (B,) chosen tokens that no other token is likelier than.
        gold_nll: (B,) minus the sum over a third response's tokens; None where none is read.
        gold_tokens: (B,) tokens of each third response.
        ref_chosen: (B,) under the reference; None where the loss needs none.
        ref_rejected: (B,) likewise.
        mismatched: (B,) of responses to other prompts, under the policy; None without such rows.
        ref_mismatched: (B,) likewise under the reference.
        chosen_kl: (B,) KL(reference || policy) over the vocabulary, summed over the positions that
            predict the chosen response's tokens; None where the loss doesn't ask for it.
        rejected_kl: (B,) likewise.
        likelihoods: (B,) how likely a pair's responses are for the policy, set against its own
            samples, without gradient; None where pairs aren't weighted.
        chosen_win: (B,) the chosen response's mean probability, from 0 to 1, of being preferred to
            one of the policy's samples; None where nobody estimated it.
        rejected_win: (B,) likewise.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_nll: Tensor
    chosen_hits: Tensor
    gold_nll: Tensor | None = None
    gold_tokens: Tensor | None = None
    ref_chosen: Tensor | None = None
    ref_rejected: Tensor | None = None
    mismatched: Tensor | None = None
    ref_mismatched: Tensor | None = None
    chosen_kl: Tensor | None = None
    rejected_kl: Tensor | None = None
    likelihoods: Tensor | None = None
    chosen_win: Tensor | None = None
    rejected_win: Tensor | None = None

    @property
    def a(self) -> Tensor:
        """Log-ratio of policy and reference on the chosen response."""
        assert self.ref_chosen is not None
        return self.chosen - self.ref_chosen

    @property
    def b(self) -> Tensor:
        """Log-ratio of policy and reference on the rejected response."""
        assert self.ref_rejected is not None
        return self.rejected - self.ref_rejected

    @property
    def margin(self) -> Tensor:
        """What the policy gained: the difference of both log-ratios."""
        return self.a - self.b

    def one_by_one(self) -> RatedLogps:
        """Return both responses of each pair by themselves: all chosen, then all rejected."""
        import torch

        assert self.ref_chosen is not None
        assert self.ref_rejected is not None
        chosen = torch.ones_like(self.chosen_tokens, dtype=torch.bool)
        return RatedLogps(
            response=torch.cat([self.chosen, self.rejected]),
            desirable=torch.cat([chosen, ~chosen]),
            ref_response=torch.cat([self.ref_chosen, self.ref_rejected]),
            mismatched=self.mismatched,
            ref_mismatched=self.ref_mismatched,
        )

    def at_reference(self) -> PairLogps:
        """Return the same pairs for a policy that *is* the reference: every log-ratio, KL 0."""
        assert self.ref_chosen is not None
        assert self.ref_rejected is not None
        none = None if self.chosen_kl is None else self.chosen_kl.new_zeros(len(self.chosen))
        return replace(
            self,
            chosen=self.ref_chosen,
            rejected=self.ref_rejected,
            mismatched=self.ref_mismatched,
            chosen_kl=none,
            rejected_kl=none,
        )


@dataclass(frozen=True, kw_only=True)
class RatedLogps:
    """Log-probabilities of B responses that were rated one by one, as in `PairLogps`.

    Attributes:
        response: (B,) summed over the response's tokens, under the policy.
        desirable: (B,) whether it was found good: bool.
        ref_response: (B,) under the reference.
        mismatched: (M,) of responses to other prompts, under the policy; None without such rows.
        ref_mismatched: (M,) likewise under the reference.
    """

    response: Tensor
    desirable: Tensor
    ref_response: Tensor
    mismatched: Tensor | None = None
    ref_mismatched: Tensor | None = None

    @property
    def ratio(self) -> Tensor:
        """Log-ratio of policy and reference on the response."""
        return self.response - self.ref_response

    @property
    def margin(self) -> Tensor:
        """What the policy gained: the log-ratio, of an undesirable response its negative."""
        return self.sign * self.ratio

    @property
    def sign(self) -> Tensor:
        """1 for a desirable response, -1 for another."""
        return self.desirable.to(self.response.dtype) * 2 - 1

    @property
    def shift(self) -> Tensor | None:
        """Mean log-ratio on mismatched responses, not differentiated; None without such rows."""
        if self.mismatched is None or self.ref_mismatched is None:
            return None
        return (self.mismatched - self.ref_mismatched).mean().detach()

    def at_reference(self) -> RatedLogps:
        """Return the same responses for a policy that *is* the reference: every log-ratio 0."""
        return replace(self, response=self.ref_response, mismatched=self.ref_mismatched)


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """What a classifier says of B pairs.

    Attributes:
        chosen: (B,) scores of the whole texts.
        rejected: (B,) likewise.
        margins: (B, T) chosen less rejected score, as far as each text goes; None where only whole
            texts are scored.
        compared: (B, T) where they count, at one position at least; None likewise.
    """

    chosen: Tensor
    rejected: Tensor
    margins: Tensor | None = None
    compared: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class SampleLogps:
    """What a policy says of the k samples after each of B prompts, token by token.

    Rows are samples: of all prompts the first ones, then the second ones, and so on: R = k B.
    (R, T-1) each, the first token of a row left out.

    Attributes:
        log_probs: Under the policy as it is now, in nats.
        mask: Whether the policy wrote the token, its end included.
        old: Under the policy that sampled.
        ref: Under the reference; None where nothing is compared with one.
        advantages: How much better than expected a token was.
        samples: k.
        more: What a method computed beside it when samples were scored, by name.
    """

    log_probs: Tensor
    mask: Tensor
    old: Tensor
    ref: Tensor | None
    advantages: Tensor
    samples: int
    more: dict[str, Tensor]

    @property
    def targets(self) -> Tensor:
        """(B,) tokens that were written after each prompt."""
        return self.by_prompt(self.mask.sum(1))

    def by_prompt(self, values: Tensor) -> Tensor:
        """Add (R,) values of samples up to (B,) of prompts."""
        return values.view(self.samples, -1).sum(0)


@dataclass(frozen=True, kw_only=True)
class Experience:
    """A rollout as it was scored: k samples after each of P prompts.

    Attributes:
        scores: (P, k) of the samples; NaN where a judge gave none: nothing is learnt of such a one.
        old: (k P, T) log-probabilities of the samples' tokens under the policy that wrote them, 0
            elsewhere; rows as in `SampleLogps`, places as the tokens'.
        ref: Likewise under the reference; None where nothing is compared with one.
        mask: (k P, T), whether a token is a sample's, its end included.
        values: (k P, T) what a critic foretold before each token, 0 elsewhere; None without one.
    """

    scores: Tensor
    old: Tensor
    ref: Tensor | None
    mask: Tensor
    values: Tensor | None = None

    def by_sample(self, values: Tensor) -> Tensor:
        """Write (P, k) values of samples as (k P,), in the order of the rows."""
        return values.T.reshape(-1)

    def by_prompt(self, values: Tensor) -> Tensor:
        """Write (k P,) values of samples as (P, k)."""
        return values.view(self.scores.shape[1], -1).T
