"""What the probe measures: golden values, brute force over whole distributions, differences."""

import math

import numpy as np
import pytest

from alignstudy.methods import LOSSES
from alignstudy.methods.dpo import DPO, DPOSettings
from alignstudy.methods.loop.arguments import PROBE_SHARE, probe_steps
from alignstudy.methods.loop.probing import evenly, gradients
from alignstudy.methods.scoring.likelihoods import (
    Likelihoods,
    changes,
    likelihoods,
    log_gradient_ratio,
    saturation,
)


def made(chosen, rejected, *, chosen_tokens=None, rejected_tokens=None, unseen=None):
    """Write likelihoods of as many pairs as are given."""
    size = len(chosen)
    given = [chosen, rejected, chosen_tokens or [1] * size, rejected_tokens or [1] * size]
    arrays = [np.array(values, dtype=np.float64) for values in (*given, unseen or [0.5] * size)]
    names = ("chosen", "rejected", "chosen_tokens", "rejected_tokens", "unseen")
    return Likelihoods(**dict(zip(names, arrays, strict=True)))


GOLDEN = made([-10.0], [-12.0], chosen_tokens=[5], rejected_tokens=[7])
START = made([-11.0], [-11.5], chosen_tokens=[5], rejected_tokens=[7])


def test_golden_pair():
    found = changes(GOLDEN, START)
    expected = {
        "chosen": -10, "rejected": -12, "chosen_per_token": -2, "rejected_per_token": -12 / 7,
        "chosen_change": 1, "rejected_change": -0.5, "margin_change": 1.5,
        "chosen_fell": 0, "both_fell": 0, "unseen_mass": 0.5,
        "right_by_change": 1, "right_by_sum": 1, "right_by_token": 0,
    }  # fmt: skip
    assert found == pytest.approx(expected)
    assert saturation(GOLDEN, START, beta=0.1) == pytest.approx(1 / (1 + math.exp(0.15)))
    assert saturation(START, START, beta=0.1) == 0.5
    assert saturation(GOLDEN, made([-11.0], [2e4]), beta=0.1) == 0.0  # nothing overflows


@pytest.mark.parametrize(
    ("settings", "ratio"), [(DPOSettings(beta=0.1), 7.389056), (DPOSettings(beta=3.0), 7.389056)]
)
def test_golden_gradient_ratio(settings, ratio):
    sides = gradients(DPO(settings).objective.loss, GOLDEN, START)
    assert math.exp(log_gradient_ratio(GOLDEN, *sides)) == pytest.approx(ratio, abs=1e-6)


def test_flex_dpos_gradient_ratio_is_golden():
    flex = DPO(DPOSettings(loss_type="flex", beta=0.1, beta_rejected=0.08))
    sides = gradients(flex.objective.loss, GOLDEN, START)
    assert sides[0] == pytest.approx(-0.046506, abs=1e-6)
    assert sides[1] == pytest.approx(0.037205, abs=1e-6)
    assert math.exp(log_gradient_ratio(GOLDEN, *sides)) == pytest.approx(5.911245, abs=1e-6)


OTHERS = {"irft_linear": {"max_steps": 9}, "sft_seq": {"loss_type": ["sigmoid", "sft_seq"]}}
PULLING = [
    name
    for name, loss in LOSSES.items()
    if loss.method == "dpo"
    and not (loss.couples_rows or loss.compares_vocabulary or loss.weighs_pairs)
]
"""Losses of a pair's log-probabilities alone."""


@pytest.mark.parametrize("name", PULLING)
def test_gradients_are_the_losses_central_differences(name):
    import torch

    from alignstudy.methods.model_outputs import PairLogps

    rng = np.random.default_rng(0)
    now = made(*rng.normal(-10, 2, (2, 6)), chosen_tokens=[5] * 6, rejected_tokens=[7] * 6)
    start = made(*rng.normal(-10, 2, (2, 6)))
    loss = DPO(DPOSettings(**{"loss_type": name} | OTHERS.get(name, {}))).objective.loss

    def value(chosen, rejected):
        numbers = (chosen, rejected, now.chosen_tokens, now.rejected_tokens)
        c, r, n, m = map(torch.tensor, numbers)
        at = {
            "ref_chosen": torch.tensor(start.chosen),
            "ref_rejected": torch.tensor(start.rejected),
        }
        said = PairLogps(chosen=c, rejected=r, chosen_tokens=n, rejected_tokens=m, chosen_nll=-c,
                         chosen_hits=n, **at)  # fmt: skip
        return loss(said).numpy()

    step, found = 1e-5, gradients(loss, now, start)
    up, down = now.chosen + step, now.chosen - step
    by_chosen = (value(up, now.rejected) - value(down, now.rejected)) / (2 * step)
    up, down = now.rejected + step, now.rejected - step
    by_rejected = (value(now.chosen, up) - value(now.chosen, down)) / (2 * step)
    assert found[0] == pytest.approx(by_chosen, rel=1e-4, abs=1e-7)
    assert found[1] == pytest.approx(by_rejected, rel=1e-4, abs=1e-7)
    pulled = (np.abs(by_chosen) > 1e-6) & (np.abs(by_rejected) > 1e-6)
    wanted = np.log(np.abs(by_rejected / by_chosen)[pulled]) + (now.chosen - now.rejected)[pulled]
    these = made(now.chosen[pulled], now.rejected[pulled], unseen=[0.5] * int(pulled.sum()))
    ratio = log_gradient_ratio(these, found[0][pulled], found[1][pulled])
    assert ratio == (pytest.approx(wanted.mean(), rel=1e-2) if pulled.any() else None)


def test_a_pair_that_a_loss_no_longer_pulls_at_has_no_ratio():
    loss = DPO(DPOSettings(loss_type="hinge", beta=1.0)).objective.loss
    both = made([-1.0, -9.0], [-12.0, -9.0])  # the first lies beyond the hinge
    start = made([-9.0, -9.0], [-9.0, -9.0])
    assert log_gradient_ratio(both, *gradients(loss, both, start)) == pytest.approx(0.0)
    first = made([-1.0], [-12.0])
    assert log_gradient_ratio(first, *gradients(loss, first, made([-9.0], [-9.0]))) is None


def test_sums_and_unseen_mass_are_those_of_whole_distributions():
    rng = np.random.default_rng(1)
    prompt, vocabulary = [3, 1, 4], 11
    texts = [([5, 9, 2, 6], [5, 9, 7]), ([5, 3], [5, 3, 8]), ([1, 0], [2, 0])]
    pairs = [((prompt, chosen), (prompt, rejected)) for chosen, rejected in texts]
    pairs.append(((prompt, [1, 2]), (prompt[1:], [2, 2])))  # cut for one alone: other contexts
    token_logps, unseen = [], []
    for (_, chosen), (_, rejected) in pairs:
        shared = 0
        while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
            shared += 1
        first = rng.normal(size=(len(chosen), vocabulary))
        second = rng.normal(size=(len(rejected), vocabulary))
        same = min(shared + 1, len(chosen), len(rejected))  # tokens that follow the same text
        second[:same] = first[:same]
        rows = [np.exp(each) / np.exp(each).sum(1, keepdims=True) for each in (first, second)]
        ids = zip(rows, (chosen, rejected), strict=True)
        token_logps.append(tuple(np.log(row[range(len(text)), text]) for row, text in ids))
        differ = shared < min(len(chosen), len(rejected))
        neither = set(range(vocabulary)) - {chosen[shared], rejected[shared]} if differ else ()
        unseen.append(rows[0][shared, sorted(neither)].sum() if differ else math.nan)
    unseen[3] = math.nan
    found = likelihoods(token_logps, pairs)
    assert found.chosen == pytest.approx([rows[0].sum() for rows in token_logps])
    assert found.rejected == pytest.approx([rows[1].sum() for rows in token_logps])
    assert found.chosen_tokens.tolist() == [4, 2, 2, 2]
    assert found.rejected_tokens.tolist() == [3, 3, 2, 2]
    assert found.unseen == pytest.approx(np.array(unseen), nan_ok=True)
    assert changes(found, found)["unseen_mass"] == pytest.approx(np.nanmean(unseen))


def test_shares_count_pairs():
    start = made([-9.0] * 4, [-9.0] * 4)
    now = made([-10.0, -10.0, -8.0, -9.0], [-12.0, -8.0, -7.0, -9.0])
    found = changes(now, start)
    assert found["chosen_fell"] == 0.5
    assert found["both_fell"] == 0.25
    assert found["right_by_change"] == 0.25  # a tie is wrong
    assert changes(made([-1.0], [-2.0], unseen=[math.nan]), START)["unseen_mass"] is None


@pytest.mark.parametrize("steps", [1, 2, 7, 30, 100, 1000, 20_000])
@pytest.mark.parametrize("pairs", [1, 8, 64])
def test_the_last_step_is_probed_and_the_share_kept(steps, pairs):
    settings = DPOSettings(per_device_train_batch_size=8)
    found = probe_steps(settings, steps, pairs)
    assert found[-1] == steps
    assert found == tuple(sorted(set(found)))
    assert min(found) >= 1
    assert len(found) <= 10
    if len(found) > 1:
        assert (1 + len(found)) * pairs <= PROBE_SHARE * 3 * 8 * steps
        gaps = np.diff([0, *found])
        assert max(gaps) - min(gaps) <= 1
    if (steps, pairs) == (20_000, 64):
        assert len(found) == 10


def test_drawn_rows_are_spread_evenly():
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(3), 32) == [0, 1, 2]
    assert evenly([], 4) == []
