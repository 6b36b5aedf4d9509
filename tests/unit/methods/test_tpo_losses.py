"""TPO's losses against golden values, differences and their relatives; its refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import GuardError
from alignstudy.methods import method_of, named
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.tpo import TPOSettings

NAMES = ("chosen", "rejected", "gold")


def said(chosen=-10.0, rejected=-12.0, gold=-8.0, tokens=(5, 7, 4)):
    """Log-probabilities of one row, or of several; gold None: none was read."""
    sums = [torch.as_tensor(np.atleast_1d(each), dtype=torch.float64)
            for each in (chosen, rejected, 0.0 if gold is None else gold)]  # fmt: skip
    numbers = [torch.full_like(sums[0], number) for number in tokens]
    third = {} if gold is None else {"gold_nll": -sums[2], "gold_tokens": numbers[2]}
    return PairLogps(
        chosen=sums[0], rejected=sums[1], chosen_tokens=numbers[0], rejected_tokens=numbers[1],
        chosen_nll=-sums[0], chosen_hits=torch.zeros_like(sums[0]), **third,
    )  # fmt: skip


def losses(batch, **settings):
    return method_of(TPOSettings(**settings)).objective.loss(batch)


@pytest.mark.parametrize(
    ("settings", "golden"),
    [
        ({}, 2.683197),
        ({"beta": 0.1, "tpo_alpha": 0.05}, 0.698139),
        ({"loss_type": "tpo_l", "beta": 2.0, "tpo_l_gamma": 0.5, "tpo_alpha": 1.0}, 3.365976),
    ],
)
def test_golden_values(settings, golden):
    assert float(losses(said(), **settings)) == pytest.approx(golden, abs=1e-6)


sums = st.floats(-40, -0.5)


@pytest.mark.parametrize("loss_type", ["tpo", "tpo_l"])
@given(at=st.tuples(sums, sums, sums), alpha=st.floats(0.01, 2))
def test_gradients_are_central_differences(loss_type, at, alpha):
    step, settings = 1e-5, {"loss_type": loss_type, "beta": 0.3, "tpo_alpha": alpha}
    points = [torch.tensor([value], dtype=torch.float64, requires_grad=True) for value in at]
    batch = said()
    batch = PairLogps(**(vars(batch) | {
        "chosen": points[0], "rejected": points[1], "gold_nll": -points[2],
    }))  # fmt: skip
    losses(batch, **settings).sum().backward()
    for number, point in enumerate(points):
        ends = [float(losses(said(*(value + sign * step * (place == number)
                                    for place, value in enumerate(at))), **settings))
                for sign in (1, -1)]  # fmt: skip
        assert float(point.grad) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


rows = st.lists(st.tuples(sums, sums), min_size=1, max_size=4).map(np.array)


@given(rows, st.floats(0.01, 2))
def test_with_chosen_as_gold_it_is_cpo_and_by_means_simpo(values, alpha):
    chosen, rejected = values.T
    batch = said(chosen, rejected, None)
    cpo = DPOSettings(loss_type="cpo", beta=0.2, cpo_alpha=alpha)
    simpo = DPOSettings(loss_type="simpo", beta=2.0, simpo_gamma=0.7, cpo_alpha=alpha)
    same = {"tpo_alpha": alpha, "gold": "chosen"}
    by_means = {"loss_type": "tpo_l", "beta": 2.0, "tpo_l_gamma": 0.7}
    for settings, relative in (({"beta": 0.2}, cpo), (by_means, simpo)):
        expected = method_of(relative).objective.loss(batch)
        torch.testing.assert_close(losses(batch, **settings, **same), expected, rtol=1e-12, atol=0)
        gold_is_chosen = said(chosen, rejected, chosen, tokens=(5, 7, 5))
        found = losses(gold_is_chosen, **settings, tpo_alpha=alpha)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@given(rows)
def test_without_the_likelihood_it_is_the_printed_dpo_and_by_means_simpo(values):
    batch = said(*values.T, None)
    printed = DPOSettings(loss_type="dpo_reference_free", beta=0.2)
    simpo = DPOSettings(loss_type="simpo", beta=2.0, simpo_gamma=0.7)
    by_means = {"loss_type": "tpo_l", "beta": 2.0, "tpo_l_gamma": 0.7}
    for settings, relative in (({"beta": 0.2}, printed), (by_means, simpo)):
        expected = method_of(relative).objective.loss(batch)
        assert torch.equal(losses(batch, **settings, tpo_alpha=0.0), expected)


def test_a_row_s_likelihood_counts_as_much_as_another_s():
    """A mean over each gold response's tokens, then over rows: not over all tokens."""
    batch = PairLogps(**(vars(said([-10, -10], [-12, -12], [-8, -30])) | {
        "gold_tokens": torch.tensor([4, 30]),
    }))  # fmt: skip
    found = losses(batch)
    assert float(found.mean() - losses(batch, tpo_alpha=1e-9).mean()) == pytest.approx(1.5)


def test_labels_and_their_defaults():
    tpo, tpo_l = (TPOSettings(**named(name)) for name in ("tpo", "tpo_l"))
    assert (tpo.loss_type, tpo.beta, tpo.tpo_alpha) == ("tpo", 0.01, 1.0)
    assert (tpo_l.loss_type, tpo_l.beta, tpo_l.tpo_alpha) == ("tpo_l", 2.0, 0.05)
    assert TPOSettings(**tpo_l.model_dump()) == tpo_l
    for settings in (tpo, tpo_l):
        method = method_of(settings)
        assert method.branches == method.learnt == NAMES
        assert method.reference == "none"
        assert method.notes == ()


@pytest.mark.parametrize(
    ("settings", "said_of_it"),
    [
        ({"tpo_l_gamma": 0.5}, "tpo_l_gamma is ignored by tpo"),
        ({"gold": "chosen", "tpo_alpha": 0}, "gold is ignored with tpo_alpha 0"),
        ({"reference": "start"}, "reference"),
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"loss_type": "sigmoid"}, "'tpo' or 'tpo_l'"),
        ({"loss_type": ["tpo"]}, "'tpo' or 'tpo_l'"),
    ],
)
def test_what_has_no_effect_is_refused(settings, said_of_it):
    with pytest.raises(ValueError, match=said_of_it):
        TPOSettings(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"gold": "chosen"}, {"tpo_alpha": 0.0}, {"loss_type": "tpo_l", "gold": "chosen"}],
)
def test_where_no_third_response_is_learnt_none_is_computed(settings):
    method = method_of(TPOSettings(**settings))
    assert method.branches == NAMES[:2]
    assert method.guards({"used": 10}) == ()
    told = " ".join(method.notes)
    like = "SimPO" if "loss_type" in settings else "CPO"
    assert (f"this is {like} with cpo_alpha" in told) == (settings.get("gold") == "chosen")


def test_gold_that_is_mostly_chosen_is_refused():
    method = method_of(TPOSettings())
    (outcome,) = method.guards({"used": 10, "gold_is_chosen": 5, "gold_is_rejected": 5})
    assert outcome.guard == "gold_differs"
    assert "in 5 of 10 rows" in outcome.detail
    with pytest.raises(GuardError, match="say gold: chosen") as caught:
        method.guards({"used": 10, "gold_is_chosen": 6, "gold_is_rejected": 0})
    assert "in 6 of 10 rows" in str(caught.value)
