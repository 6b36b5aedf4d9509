"""Losses of online methods against TRL's own code, MOSS-RLHF's numbers and plain loops."""

import math

import pytest
import torch
from online_oracles import MOSS, trl_loss

from alignstudy.methods.online.advantages import gae, token_rewards, whiten
from alignstudy.methods.online.surrogates import (
    AVERAGES_OVER,
    grpo_token_losses,
    kl_estimates,
    policy_losses,
    rloo_losses,
    sample_losses,
    value_losses,
)

LONGEST = 9


def batch(seed=0, rows=5, length=7):
    """Random new, old and reference log-probabilities, their mask, advantages of both signs."""
    drawn = torch.Generator().manual_seed(seed)
    mask = torch.arange(length) < torch.randint(1, length + 1, (rows, 1), generator=drawn)

    def logps():
        return -2 * torch.rand(rows, length, generator=drawn, dtype=torch.float64)

    new, old, reference = logps().requires_grad_(), logps(), logps()
    return new, old, reference, mask, torch.randn(rows, generator=drawn, dtype=torch.float64)


def with_rubbish(tensor, mask):
    """The same, with nonsense in the padding."""
    return tensor.detach().masked_fill(~mask, math.nan).requires_grad_(tensor.requires_grad)


def averaged(token_losses, mask, loss_type):
    losses = sample_losses(token_losses, mask, loss_type=loss_type, longest=LONGEST)
    return losses.sum() / (mask.sum() if AVERAGES_OVER[loss_type] == "tokens" else len(mask))


def check_loss_and_gradient(found, new, wanted, other):
    """`found` is of `new`, `wanted` of `other`: the same values, the same gradients."""
    found.backward()
    wanted.backward()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    torch.testing.assert_close(new.grad, other.grad, rtol=0, atol=1e-12)
    assert other.grad.any()


@pytest.mark.parametrize("loss_type", list(AVERAGES_OVER))
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize(("high", "beta"), [(None, 0.0), (0.3, 0.0), (None, 0.04)])
def test_grpo_is_trls(loss_type, level, high, beta):
    new, old, reference, mask, advantages = batch()
    ours = with_rubbish(new, mask)
    losses = grpo_token_losses(
        ours, with_rubbish(old, mask), advantages, mask, epsilon=0.2, epsilon_high=high,
        level=level, beta=beta, reference=with_rubbish(reference, mask),
    )  # fmt: skip
    inputs = {"old_per_token_logps": old, "ref_per_token_logps": reference}
    theirs = trl_loss(
        "grpo", new, mask, inputs | {"advantages": advantages}, loss_type=loss_type, beta=beta,
        importance_sampling_level=level, epsilon_low=0.2, epsilon_high=high or 0.2,
        max_completion_length=LONGEST,
    )  # fmt: skip
    check_loss_and_gradient(averaged(losses, mask, loss_type), ours, theirs, new)


@pytest.mark.parametrize("high", [None, 0.9])
def test_rloo_is_trls(high):
    new, old, _, mask, advantages = batch(1)
    old = new.detach() + 0.1 * (old - new.detach())  # else every sample's weight is out of bounds
    ours = with_rubbish(new, mask)
    losses = rloo_losses(ours, with_rubbish(old, mask), advantages, mask, epsilon_high=high)
    inputs = {"old_logps": (old * mask).sum(dim=1), "advantages": advantages}
    theirs = trl_loss("rloo", new, mask, inputs, epsilon_low=0.2, epsilon_high=high or 0.2)
    check_loss_and_gradient(losses.mean(), ours, theirs, new)


@pytest.mark.parametrize(("norm", "clip", "bounded"), list(MOSS.losses))
def test_ppo_is_the_authors(norm, clip, bounded):
    rewards = token_rewards(MOSS.old, MOSS.reference, MOSS.mask, MOSS.scores, beta=0.1)
    advantages, returns = gae(rewards, MOSS.old_values, MOSS.mask)
    if norm:
        advantages = whiten(advantages, MOSS.mask)
    if clip:
        advantages = advantages.clamp(-0.5, 0.5)
    cliprange = 0.2 if bounded else None
    policy = policy_losses(MOSS.new, MOSS.old, advantages, MOSS.mask, cliprange=cliprange)
    value = value_losses(MOSS.values, MOSS.old_values, returns, MOSS.mask, cliprange=cliprange)
    tokens = MOSS.mask.sum()
    found = (float(policy.sum() / tokens), float(value.sum() / tokens))
    assert found == pytest.approx(MOSS.losses[norm, clip, bounded], abs=1e-12)


def test_ppo_is_what_the_formulas_say_token_by_token():
    new, old, values, mask, _ = batch(2)
    new, drawn = new.detach(), torch.Generator().manual_seed(3)
    off, returns, advantages = torch.randn(3, *mask.shape, generator=drawn).double()
    old_values = values + off
    policy = policy_losses(new, with_rubbish(old, mask), advantages, mask, cliprange=0.2)
    value = value_losses(values, old_values, with_rubbish(returns, mask), mask, cliprange=0.2)
    for row, at in torch.cartesian_prod(*map(torch.arange, mask.shape)).tolist():
        if not mask[row, at]:
            assert (float(policy[row, at]), float(value[row, at])) == (0, 0)
            continue
        weight = math.exp(float(new[row, at] - old[row, at]))
        a, near = float(advantages[row, at]), min(max(weight, 0.8), 1.2)
        assert float(policy[row, at]) == pytest.approx(max(-a * weight, -a * near), abs=1e-12)
        v, before, owed = (float(each[row, at]) for each in (values, old_values, returns))
        nearer = min(max(v, before - 0.2), before + 0.2)
        wanted = 0.5 * max((v - owed) ** 2, (nearer - owed) ** 2)
        assert float(value[row, at]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("cliprange", [None, 0.2])
def test_first_pass_without_switches_is_plain_policy_gradient(cliprange):
    """Then the policy is the one that sampled: clipped or not, -(score) * grad log pi."""
    new, _, reference, mask, scores = batch(5)
    old, other = new.detach(), new.detach().requires_grad_()
    rewards = token_rewards(old, reference, mask, scores, beta=0.0)
    advantages, _ = gae(rewards, torch.zeros_like(old), mask, gamma=1.0, lam=1.0)
    ppo = policy_losses(new, old, advantages, mask, cliprange=cliprange).sum() / mask.sum()
    plain = -(scores * other.masked_fill(~mask, 0).sum(dim=1)).sum() / mask.sum()
    ppo.backward()
    plain.backward()
    torch.testing.assert_close(new.grad, other.grad, rtol=0, atol=1e-12)
    grpo = old.clone().requires_grad_()
    averaged(grpo_token_losses(grpo, old, scores, mask), mask, "bnpo").backward()
    torch.testing.assert_close(grpo.grad, other.grad, rtol=0, atol=1e-12)


def test_the_kl_estimate_is_right_on_average():
    """Weighted by the policy it is the divergence, here over a vocabulary of five."""
    drawn = torch.randn(2, 5, generator=torch.Generator().manual_seed(6)).double()
    policy, reference = drawn.log_softmax(dim=1)
    estimates = kl_estimates(policy[:, None], reference[:, None], torch.ones(5, 1).bool())[:, 0]
    exact = float((policy.exp() * (policy - reference)).sum())
    assert float((policy.exp() * estimates).sum()) == pytest.approx(exact, abs=1e-12)
    assert bool((estimates >= 0).all())
