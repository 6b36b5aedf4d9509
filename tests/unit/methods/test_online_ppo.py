"""What PPO's switches do to a rollout's scores and advantages."""

import numpy as np
import pytest
import torch

from alignstudy.methods import METHODS, method_of
from alignstudy.methods.model_outputs import Experience
from alignstudy.methods.online.advantages import gae, token_rewards

PPOSettings = METHODS.load("ppo").settings_type
PROMPTS, SAMPLES, LENGTH = 4, 2, 6
TWO_UPDATES = {
    "num_generations": SAMPLES, "per_device_train_batch_size": 2, "steps_per_generation": 2,
}  # fmt: skip


def rollout(seed=0):
    drawn = torch.Generator().manual_seed(seed)
    shape = (PROMPTS * SAMPLES, LENGTH)
    lengths = torch.randint(2, LENGTH + 1, (shape[0], 1), generator=drawn)
    old, ref, values = torch.randn(3, *shape, generator=drawn).double()
    return Experience(
        scores=torch.randn(PROMPTS, SAMPLES, generator=drawn).double(),
        old=old, ref=ref, values=values, mask=torch.arange(LENGTH) < lengths,
    )  # fmt: skip


def plain_advantages(found, beta):
    rewards = token_rewards(found.old, found.ref, found.mask, found.by_sample(found.scores), beta)
    return gae(rewards, found.values, found.mask)[0]


def credited(found, **switches):
    return method_of(PPOSettings(**TWO_UPDATES, beta=0.1, **switches)).credit(found)


def test_samples_lie_in_their_rows_and_the_critic_is_told_what_it_should_have_said():
    found = rollout()
    credit = credited(found)
    torch.testing.assert_close(credit["advantages"], plain_advantages(found, 0.1))
    missed = (credit["returns"] - credit["old_values"]) * found.mask
    torch.testing.assert_close(missed, credit["advantages"])
    assert torch.equal(credit["learns"] != 0, found.mask)


def test_each_update_is_whitened_by_itself_and_clipped_after_that():
    found = rollout()
    plain = plain_advantages(found, 0.1).numpy()
    white = credited(found, whiten_advantages=True)["advantages"].numpy()
    clipped = credited(found, whiten_advantages=True, advantage_clip=0.5)["advantages"].numpy()
    for prompts in ((0, 1), (2, 3)):
        rows = [sample * PROMPTS + prompt for sample in range(SAMPLES) for prompt in prompts]
        mask = found.mask[rows].numpy()
        values = plain[rows][mask]
        wanted = (values - values.mean()) / np.sqrt(values.var() + 1e-6)
        np.testing.assert_allclose(white[rows][mask], wanted, rtol=0, atol=1e-12)
        np.testing.assert_allclose(clipped[rows][mask], wanted.clip(-0.5, 0.5), atol=1e-12)
    assert not white[~found.mask.numpy()].any()


@pytest.mark.parametrize(
    ("switches", "rule"),
    [
        ({"reward_scaling": False}, lambda scores, _: scores),
        ({}, lambda scores, all_: scores / all_.std(ddof=1)),
        (
            {"reward_normalization": True},
            lambda scores, all_: (scores - all_.mean()) / all_.std(ddof=1),
        ),
        (
            {"reward_normalization": True, "reward_clip": 0.4},
            lambda scores, all_: ((scores - all_.mean()) / all_.std(ddof=1)).clip(-0.4, 0.4),
        ),
    ],
)
def test_scores_are_taken_relative_to_all_so_far(switches, rule):
    method, so_far = method_of(PPOSettings(**TWO_UPDATES, **switches)), []
    for seed in range(3):
        scores = 5 + 3 * rollout(seed).scores
        so_far.append(scores.numpy())
        wanted = rule(so_far[-1], np.array(so_far))
        np.testing.assert_allclose(method.rescaled(scores).numpy(), wanted, atol=1e-12)
    assert bool(method.objective.state.values) == switches.get("reward_scaling", True)


def test_without_a_reference_nothing_is_taken_from_rewards():
    found = rollout()
    alone = Experience(
        scores=found.scores, old=found.old, ref=None, values=found.values, mask=found.mask
    )
    torch.testing.assert_close(credited(alone)["advantages"], plain_advantages(found, 0.0))


def test_an_unscored_sample_has_no_advantage_and_is_not_learnt_from():
    found = rollout()
    found.scores[1, 0] = torch.nan
    credit = credited(found)
    assert not credit["advantages"][1].any()
    assert not credit["learns"][1].any()
    assert all(bool(values.isfinite().all()) for values in credit.values())
