"""Advantages of online methods against TRL's own code, MOSS-RLHF's numbers and plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from online_oracles import MOSS, trl_advantages

from alignstudy.methods.online.advantages import (
    gae,
    grpo_advantages,
    penalised,
    rloo_advantages,
    token_rewards,
    whiten,
)
from alignstudy.methods.online.moments import RunningMoments, rescaled

NAN = math.nan
# TRL corrects a deviation for its degrees of freedom by a factor in float32.
AS_TRL = {"rtol": 1e-7, "atol": 1e-12}
GROUPS = [
    [[1.0, 2.0, 4.0, -3.0], [0.5, 0.5, 0.5, 0.5], [-1.0, 0.0, 1.0, 10.0]],
    [[1.0, NAN, 4.0, -3.0], [NAN, 2.0, NAN, NAN], [NAN, NAN, NAN, NAN], [3.0, 1.0, NAN, 2.0]],
    [[1.0, 2.0]],
    [[NAN, 2.0]],
    [[NAN, NAN]],
]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def random_rollout(seed, groups=3, k=4, length=6):
    """Log-probabilities under policy and reference, a mask, and scores; rubbish in the padding."""
    drawn = torch.Generator().manual_seed(seed)
    shape = (groups * k, length)
    old, reference = (-3 * torch.rand(shape, generator=drawn).double() for _ in range(2))
    lengths = torch.randint(1, length + 1, (groups * k, 1), generator=drawn)
    mask = torch.arange(length) < lengths
    old[~mask], reference[~mask] = NAN, 7.0
    return old, reference, mask, torch.randn(groups * k, generator=drawn).double()


@pytest.mark.parametrize("scores", GROUPS)
@pytest.mark.parametrize("normalize", [False, True])
def test_rloo_advantages_are_trls(scores, normalize):
    found = rloo_advantages(tensor(scores), normalize=normalize)
    wanted = trl_advantages("rloo", tensor(scores), normalize_advantages=normalize)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, **AS_TRL)


@pytest.mark.parametrize("scores", GROUPS)
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_grpo_advantages_are_trls(scores, scale):
    found = grpo_advantages(tensor(scores), scale=scale)
    wanted = trl_advantages("grpo", tensor(scores), scale_rewards=scale)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted, **AS_TRL)


def test_the_penalty_for_leaving_the_reference_is_trls():
    old, reference, mask, scores = random_rollout(0)
    found = penalised(scores, old, reference, mask, 0.3)
    wanted = trl_advantages("rloo", scores.view(3, 4), beta=0.3, logps=(old, reference, mask))
    torch.testing.assert_close(rloo_advantages(found.view(3, 4)), wanted, **AS_TRL)


def test_a_sample_without_a_score_is_worth_nothing_and_moves_no_other():
    scored = tensor([[1.0, 4.0, -3.0]])
    with_one_more = tensor([[1.0, NAN, 4.0, -3.0]])
    for advantages in (rloo_advantages, grpo_advantages):
        found = advantages(with_one_more)
        assert float(found[0, 1]) == 0
        assert found[0, [0, 2, 3]].tolist() == advantages(scored)[0].tolist()


groups_of_scores = st.lists(
    st.lists(st.floats(-5, 5, width=32), min_size=4, max_size=4), min_size=1, max_size=3
)


@given(scores=groups_of_scores, shift=st.floats(-100, 100, width=32))
def test_laws_of_advantages(scores, shift):
    scores = tensor(scores)
    rloo, grpo = rloo_advantages(scores), grpo_advantages(scores, scale="none")
    close = {"rtol": 0, "atol": 1e-9}
    # A whole group's points are shared out: who gains, gains from siblings.
    torch.testing.assert_close(rloo.sum(dim=1), torch.zeros(len(scores)).double(), **close)
    # The sample's own score in the baseline shortens the advantage, and does nothing else.
    torch.testing.assert_close(rloo * 3 / 4, grpo, **close)
    torch.testing.assert_close(rloo_advantages(scores + shift), rloo, **close)
    one_point_each = torch.arange(len(scores)).double()[:, None]
    torch.testing.assert_close(rloo_advantages(scores + one_point_each), rloo, **close)
    torch.testing.assert_close(rloo_advantages(2 * scores), 2 * rloo, **close)


def test_rewards_and_advantages_of_tokens_are_the_authors():
    rewards = token_rewards(MOSS.old, MOSS.reference, MOSS.mask, MOSS.scores, beta=0.1)
    torch.testing.assert_close(rewards, MOSS.rewards, rtol=0, atol=1e-12)
    advantages, returns = gae(rewards, MOSS.old_values, MOSS.mask)
    torch.testing.assert_close(advantages, MOSS.advantages, rtol=0, atol=1e-12)
    torch.testing.assert_close(returns, MOSS.returns, rtol=0, atol=1e-12)
    discounted, _ = gae(rewards, MOSS.old_values, MOSS.mask, gamma=0.9, lam=0.8)
    torch.testing.assert_close(discounted, MOSS.discounted_advantages, rtol=0, atol=1e-12)
    whitened = whiten(advantages, MOSS.mask)
    torch.testing.assert_close(whitened, MOSS.whitened, rtol=0, atol=1e-12)


def test_a_return_is_the_discounted_sum_of_what_follows_where_lam_is_one():
    old, reference, mask, scores = random_rollout(1)
    rewards = token_rewards(old, reference, mask, scores, beta=0.2)
    values = torch.randn(mask.shape).double().masked_fill(~mask, NAN)
    advantages, returns = gae(rewards, values, mask, gamma=0.9, lam=1.0)
    for row in range(len(mask)):
        length = int(mask[row].sum())
        for at in range(length):
            owed = sum(0.9 ** (t - at) * float(rewards[row, t]) for t in range(at, length))
            assert float(returns[row, at]) == pytest.approx(owed, abs=1e-12)
            assert float(advantages[row, at]) == pytest.approx(
                owed - float(values[row, at]), abs=1e-12
            )
        assert not advantages[row, length:].any()
        assert not returns[row, length:].any()


def test_an_advantage_is_the_error_of_one_step_where_lam_is_zero():
    rewards, values = tensor([[0.0, 1.0, 2.0]]), tensor([[0.5, 0.25, -1.0]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    advantages, returns = gae(rewards, values, mask, gamma=0.5, lam=0.0)
    assert advantages[0].tolist() == [0.125 - 0.5, 1 - 0.5 - 0.25, 2 + 1.0]
    assert returns[0].tolist() == [0.125, 0.5, 2.0]


def test_where_a_response_stands_in_its_row_does_not_matter():
    old, reference, mask, scores = random_rollout(2)
    values = torch.randn(mask.shape).double()

    def advantages(*rows):
        old, reference, mask, values = rows
        return gae(token_rewards(old, reference, mask, scores, 0.2), values, mask)[0]

    rows = (old, reference, mask, values)
    after_three = (torch.cat([row.new_zeros(len(row), 3), row], dim=1) for row in rows)
    assert torch.equal(advantages(*after_three)[:, 3:], advantages(*rows))


def test_whitened_numbers_have_mean_zero_and_variance_one():
    old, _, mask, _ = random_rollout(3)
    found = whiten(5 * old, mask)
    inside = found[mask]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-12)
    assert float(inside.var(unbiased=False)) == pytest.approx(1, abs=1e-6)
    assert not found[~mask].any()


@given(
    batches=st.lists(st.lists(st.floats(-1e4, 1e4, width=32), max_size=5), min_size=1, max_size=5)
)
def test_running_moments_are_those_of_all_numbers_at_once(batches):
    moments = RunningMoments()
    for batch in batches:
        moments.update(torch.tensor([*batch, NAN]))
    everything = tensor([number for batch in batches for number in batch])
    assert moments.count == len(everything)
    if len(everything):
        assert moments.mean == pytest.approx(float(everything.mean()), rel=1e-9, abs=1e-9)
    if len(everything) > 1 and len(set(everything.tolist())) > 1:
        assert moments.std == pytest.approx(float(everything.std()), rel=1e-6, abs=1e-9)


def test_scores_are_rescaled_as_the_authors_do():
    moments = RunningMoments()
    for batch, mean, std in MOSS.moments:
        moments.update(torch.tensor(batch))
        assert (moments.mean, moments.std) == pytest.approx((mean, std), rel=1e-7)
    scores = tensor([3.0, -1.0])
    scaled = rescaled(scores, moments, centre=False, clip=None)
    assert scaled.tolist() == pytest.approx([3 / moments.std, -1 / moments.std])
    centred = rescaled(scores, moments, centre=True, clip=1.0)
    assert centred.tolist() == pytest.approx([1.0, max(-1.0, -1.875 / moments.std)])


def test_scores_that_are_all_the_same_are_left_as_they_are():
    moments = RunningMoments()
    for _ in range(2):
        moments.update(tensor([0.5]))
        assert rescaled(tensor([0.5]), moments, centre=False, clip=None).tolist() == [0.5]
