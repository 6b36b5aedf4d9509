"""Losses of distances and of weights: gradients, identities, and what they are refused with."""

from dataclasses import replace

import pytest
import torch

from alignstudy.methods import named
from alignstudy.methods.dpo import DPO, DPOSettings
from alignstudy.methods.model_outputs import PairLogps


def pairs(**changes):
    """A0 of the published comparison: a 1, b -0.5."""
    given = {
        "chosen": -10.0, "rejected": -12.0, "ref_chosen": -11.0, "ref_rejected": -11.5,
        "chosen_kl": 1.5, "rejected_kl": 2.0, "chosen_nll": 10.0,
    }  # fmt: skip
    tensors = {
        name: torch.tensor([value], dtype=torch.float64, requires_grad=True)
        for name, value in (given | changes).items()
    }
    counts = {"chosen_tokens": 5, "rejected_tokens": 7, "chosen_hits": 0}
    return PairLogps(**tensors, **{name: torch.tensor([value]) for name, value in counts.items()})


def loss_of(said, loss, **settings):
    return DPO(DPOSettings(loss_type=loss, **{"beta": 0.1} | settings)).objective.loss(said)


@pytest.mark.parametrize("loss", ["tdpo1", "tdpo2"])
def test_gradients_are_central_differences(loss):
    said, step = pairs(), 1e-6
    loss_of(said, loss).sum().backward()
    for name in ("chosen", "rejected", "chosen_kl", "rejected_kl"):
        low, high = (
            loss_of(replace(said, **{name: getattr(said, name).detach() + by}), loss).item()
            for by in (-step, step)
        )
        found = getattr(said, name).grad
        if (loss, name) == ("tdpo2", "chosen_kl"):
            assert found is None  # held fast on purpose
            assert high < low
        else:
            assert found.item() == pytest.approx((high - low) / (2 * step), rel=1e-6)


def test_without_a_distance_they_are_dpo():
    said = pairs(chosen_kl=0.7, rejected_kl=0.7)
    dpo = loss_of(said, "sigmoid")
    for loss in ("tdpo1", "tdpo2"):
        torch.testing.assert_close(loss_of(said, loss), dpo)
        here = loss_of(pairs().at_reference(), loss).item()
        assert here == pytest.approx(0.6931472, abs=1e-7)


def test_tdpo2_of_weight_1_is_tdpo1_but_for_a_gradient():
    said = pairs()
    one, two = loss_of(said, "tdpo1"), loss_of(said, "tdpo2", tdpo_alpha=1.0)
    torch.testing.assert_close(one, two)
    assert torch.autograd.grad(one, said.chosen_kl)[0] != 0
    assert torch.autograd.grad(two, said.chosen_kl, allow_unused=True)[0] is None


def test_weights_multiply_whatever_they_are_put_on():
    said = pairs(likelihoods=0.3)
    for loss in ("sigmoid", "ipo", "hinge", "simpo", "tdpo2"):
        beta = {"beta": 2.0} if loss == "simpo" else {}
        plain = loss_of(said, loss, **beta)
        torch.testing.assert_close(loss_of(said, loss, use_weighting=True, **beta), 0.3 * plain)
    torch.testing.assert_close(loss_of(said, "wpo"), 0.3 * loss_of(said, "sigmoid"))


def test_labels_name_them():
    for label in ("wpo", "tdpo1", "tdpo2"):
        assert named(label) == {"method": "dpo", "loss_type": label}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss_type": "aot", "use_weighting": True}, "use_weighting has no meaning in aot"),
        ({"loss_type": "aot_unpaired", "use_weighting": True}, "no meaning in aot_unpaired"),
        ({"loss_type": ["sigmoid", "sft"], "use_weighting": True}, "no meaning in sft"),
        ({"loss_type": "wpo", "use_weighting": True}, "wpo weights its pairs itself"),
        ({"loss_type": "tdpo1", "tdpo_alpha": 0.3}, "tdpo_alpha is ignored by tdpo1"),
        ({"loss_type": "tdpo2", "ld_alpha": 0.3}, "ld_alpha has no meaning in tdpo2"),
        ({"loss_type": "tdpo2", "label_smoothing": 0.1}, "label_smoothing is ignored by tdpo2"),
        ({"loss_type": "tdpo2", "f_divergence_type": "forward_kl"}, "f_divergence_type is ignored"),
    ],
)
def test_what_has_no_meaning_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        DPOSettings(**given)
