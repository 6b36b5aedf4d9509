"""The losses against golden values that were computed from the papers by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.methods import method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.model_outputs import PairLogps


def column(values):
    return torch.tensor(np.atleast_1d(np.asarray(values, float)), dtype=torch.float64)


def logps(c, r, rc, rr, *, chosen_tokens=5, rejected_tokens=7, chosen_nll=10.0, **others):
    c, r, rc, rr = (column(each) for each in (c, r, rc, rr))
    return PairLogps(
        chosen=c,
        rejected=r,
        ref_chosen=rc,
        ref_rejected=rr,
        chosen_tokens=torch.full_like(c, chosen_tokens),
        rejected_tokens=torch.full_like(c, rejected_tokens),
        chosen_nll=torch.full_like(c, chosen_nll),
        chosen_hits=torch.zeros_like(c),
        **others,
    )


ONE = logps(-10, -12, -11, -11.5)


def loss_of(settings, batch):
    return float(method_of(settings).objective.loss(batch).mean())


def preference_loss(names, batch, weights=None, **options):
    settings = DPOSettings(loss_type=names, loss_weights=weights, **options)
    return loss_of(settings, batch)


@pytest.mark.parametrize(
    ("names", "options", "weights", "golden"),
    [
        (("sigmoid",), {}, None, 0.620957),
        (("robust",), {"label_smoothing": 0.1}, None, 0.602207),
        (("sigmoid", "robust"), {"label_smoothing": 0.1}, (1.8, -0.8), 0.635957),  # cDPO
        (("ipo",), {}, None, 22.359388),
        (("hinge",), {}, None, 0.85),
        (("sigmoid_norm",), {}, None, 0.679668),
        (("exo_pair",), {"label_smoothing": 1e-3}, None, 2.505517),
        (("nca_pair",), {}, None, 1.350825),
        (("bco_pair",), {}, None, 1.312856),
        (("sppo_hard",), {}, None, 36.25),
        (("apo_zero",), {}, None, 0.962523),
        (("apo_down",), {}, None, 0.987549),
        (("discopop",), {}, None, 0.849338),
        (("sigmoid", "sft"), {}, None, 2.620957),  # RPO, alpha 1
        (("sigmoid", "sft"), {}, (1.0, 0.2), 1.020957),
        (("aot",), {}, None, 0.620957),  # one pair: plain DPO
        (("simpo",), {"simpo_gamma": 0.5}, None, 1.365976),
        (("simpo",), {"beta": 2.0, "simpo_gamma": 0.0}, None, 1.019134),
    ],
)
def test_golden_values(names, options, weights, golden):
    found = preference_loss(names, ONE, weights, **options)
    assert found == pytest.approx(golden, abs=1e-6)


def test_aot_sorts_margins_and_aot_unpaired_sorts_ratios():
    batch = logps([-10, -8, -9], [-12, -11, -8], [-11, -8.5, -9.5], [-11.5, -10, -9])
    z = 0.1 * (np.sort([2, 3, -1]) - np.sort([0.5, 1.5, -0.5]))
    expected = np.mean(np.log1p(np.exp(-z)))
    assert preference_loss(["aot"], batch) == pytest.approx(expected, abs=1e-12)
    z = 0.1 * (np.sort([1, 0.5, 0.5]) - np.sort([-0.5, -1, 1]))
    expected = np.mean(np.log1p(np.exp(-z)))
    found = preference_loss(["aot_unpaired"], batch)
    assert found == pytest.approx(expected, abs=1e-12)


def test_first_loss_of_dpo_is_ln_2():
    assert preference_loss(["sigmoid"], ONE.at_reference()) == pytest.approx(math.log(2), abs=1e-15)


@given(
    a=st.floats(-30, 30),
    b=st.floats(-30, 30),
    shift=st.floats(-30, 30),
    divergence=st.sampled_from(["reverse_kl", "alpha_divergence"]),
)
def test_margin_losses_depend_on_the_difference_of_ratios_alone(a, b, shift, divergence):
    alpha = {"f_alpha_divergence_coef": 1.0} if divergence == "alpha_divergence" else {}
    options = {"f_divergence_type": divergence, **alpha}  # alpha 1 is reverse KL
    for name in ("sigmoid", "hinge", "robust", "exo_pair", "discopop"):
        smoothing = {"label_smoothing": 0.1} if name in ("robust", "exo_pair") else {}
        one = preference_loss([name], logps(a, b, 0, 0), **options, **smoothing)
        other = preference_loss([name], logps(a + shift, b + shift, 0, 0), **options, **smoothing)
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


@given(a=st.floats(-2, 2), step=st.floats(0.1, 2))
def test_dpo_like_losses_fall_as_the_margin_grows(a, step):
    for name in ("sigmoid", "sigmoid_norm", "hinge", "nca_pair", "bco_pair", "apo_zero"):
        better = preference_loss([name], logps(a + step, 0, 0, 0))
        assert better < preference_loss([name], logps(a, 0, 0, 0))


@pytest.mark.parametrize(
    ("settings", "gradients"),
    [
        (DPOSettings(), (-0.046257, 0.046257)),
        (DPOSettings(loss_type="ipo"), (-1.891429, 1.351020)),
        (DPOSettings(loss_type="nca_pair"), (-0.021253, 0.024375)),
        (DPOSettings(loss_type="sppo_hard"), (-8.0, 9.0)),
        (DPOSettings(loss_type="simpo", simpo_gamma=0.5), (-0.297947, 0.212820)),
    ],
)
def test_golden_gradients(settings, gradients):
    chosen, rejected = (column(value).requires_grad_() for value in (-10, -12))
    batch = logps(-10, -12, -11, -11.5)
    batch = PairLogps(**(vars(batch) | {"chosen": chosen, "rejected": rejected}))
    method_of(settings).objective.loss(batch).sum().backward()
    found = (float(chosen.grad), float(rejected.grad))
    assert found == pytest.approx(gradients, abs=1e-6)


def shifted(shift, **more):
    return {"mismatched": column(shift), "ref_mismatched": column(np.zeros_like(shift)), **more}


@pytest.mark.parametrize(
    ("options", "shift", "golden"),
    [
        ({}, 0.0, (0.475021 + 0.487503) / 2),
        ({}, -4.0, (0.475021 + 0.487503) / 2),  # below 0 it is clamped
        ({"undesirable_weight": 1.5}, 0.3, 0.601262),
    ],
)
def test_golden_values_of_kto(options, shift, golden):
    batch = logps(-10, -12, -11, -11.5, **shifted(shift))
    assert loss_of(KTOSettings(**options), batch) == pytest.approx(golden, abs=1e-6)


def test_kto_takes_the_micro_batch_s_mean_shift_and_no_gradient_of_it():
    mismatched = column([1.2, -0.6, 0.3]).requires_grad_()
    batch = logps(
        [-10, -8, -9], [-12, -11, -8], [-11, -8.5, -9.5], [-11.5, -10, -9],
        mismatched=mismatched, ref_mismatched=column([0, 0, 0]),
    )  # fmt: skip
    losses = method_of(KTOSettings()).objective.loss(batch)
    a, b = np.array([1, 0.5, 0.5]), np.array([-0.5, -1, 1])
    s = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    expected = (1 - s(0.1 * (a - 0.3)) + 1 - s(0.1 * (0.3 - b))) / 2
    assert losses.detach().numpy() == pytest.approx(expected, abs=1e-12)
    assert not losses.requires_grad


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_what_it_is_and_where_it_is_from(name):
    assert LOSSES[name].function.__doc__
    assert "arXiv" in LOSSES[name].source
