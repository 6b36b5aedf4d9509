"""The loss formulas against golden values that were computed from the papers by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import UnknownNameError
from alignstudy.methods.loss_formulas import LossOptions, PairLogps
from alignstudy.methods.losses import LOSSES, at_reference, preference_loss


def logps(c, r, rc, rr, *, chosen_tokens=5, rejected_tokens=7, chosen_nll=float("nan")):
    columns = [np.atleast_1d(np.asarray(x, float)) for x in (c, r, rc, rr)]
    return PairLogps(
        chosen=columns[0],
        rejected=columns[1],
        ref_chosen=columns[2],
        ref_rejected=columns[3],
        chosen_tokens=np.full(len(columns[0]), float(chosen_tokens)),
        rejected_tokens=np.full(len(columns[0]), float(rejected_tokens)),
        chosen_nll=chosen_nll,
    )


ONE = logps(-10, -12, -11, -11.5, chosen_nll=2.0)


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
    ],
)
def test_golden_values(names, options, weights, golden):
    found = preference_loss(names, ONE, LossOptions(**options), weights=weights)
    assert found == pytest.approx(golden, abs=1e-6)


def test_aot_sorts_margins_and_aot_unpaired_sorts_ratios():
    batch = logps([-10, -8, -9], [-12, -11, -8], [-11, -8.5, -9.5], [-11.5, -10, -9])
    z = 0.1 * (np.sort([2, 3, -1]) - np.sort([0.5, 1.5, -0.5]))
    expected = np.mean(np.log1p(np.exp(-z)))
    assert preference_loss(["aot"], batch, LossOptions()) == pytest.approx(expected, abs=1e-12)
    z = 0.1 * (np.sort([1, 0.5, 0.5]) - np.sort([-0.5, -1, 1]))
    expected = np.mean(np.log1p(np.exp(-z)))
    found = preference_loss(["aot_unpaired"], batch, LossOptions())
    assert found == pytest.approx(expected, abs=1e-12)


def test_first_loss_of_dpo_is_ln_2():
    assert preference_loss(["sigmoid"], at_reference(ONE), LossOptions()) == math.log(2)


@given(
    a=st.floats(-30, 30),
    b=st.floats(-30, 30),
    shift=st.floats(-30, 30),
    divergence=st.sampled_from(["reverse_kl", "alpha_divergence"]),
)
def test_margin_losses_depend_on_the_difference_of_ratios_alone(a, b, shift, divergence):
    options = LossOptions(
        label_smoothing=0.1, f_divergence_type=divergence, f_alpha_divergence_coef=1.0
    )  # alpha 1 is reverse KL
    for name in ("sigmoid", "hinge", "robust", "exo_pair", "discopop"):
        one = preference_loss([name], logps(a, b, 0, 0), options)
        other = preference_loss([name], logps(a + shift, b + shift, 0, 0), options)
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


@given(a=st.floats(-2, 2), step=st.floats(0.1, 2))
def test_dpo_like_losses_fall_as_the_margin_grows(a, step):
    for name in ("sigmoid", "sigmoid_norm", "hinge", "nca_pair", "bco_pair", "apo_zero"):
        better = preference_loss([name], logps(a + step, 0, 0, 0), LossOptions())
        assert better < preference_loss([name], logps(a, 0, 0, 0), LossOptions())


def test_unknown_loss_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownNameError, match="unknown loss_type 'ipoo'") as caught:
        preference_loss(["ipoo"], logps(0, 0, 0, 0), LossOptions())
    assert "'ipo'" in caught.value.hint


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_what_it_is_and_where_it_is_from(name):
    assert LOSSES[name].summary
    assert "arXiv" in LOSSES[name].source
