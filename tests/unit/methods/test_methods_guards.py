"""The guards on numbers: what they let pass and what they refuse."""

import math

import pytest
import torch

from alignstudy.errors import GuardError
from alignstudy.methods import method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.guards import checks as guards
from alignstudy.methods.model_outputs import PairLogps


def at_start(shift=0.0):
    chosen, rejected = torch.tensor([-10.0, -20.0]), torch.tensor([-12.0, -9.0])
    return PairLogps(
        chosen=chosen + torch.tensor([shift, 0]),
        rejected=rejected,
        ref_chosen=chosen,
        ref_rejected=rejected,
        chosen_tokens=torch.tensor([5.0, 5.0]),
        rejected_tokens=torch.tensor([5.0, 6.0]),
        chosen_nll=torch.tensor([7.5, 7.5]),
        chosen_hits=torch.tensor([0, 0]),
    )


def check_reference(loss, logps, names=("sigmoid",)):
    objective = method_of(DPOSettings(loss_type=names)).objective
    return guards.reference_is_parent(loss, logps, objective=objective.loss, beta=0.1)


def test_a_training_that_starts_at_its_reference_passes():
    outcome = check_reference(math.log(2), at_start())
    assert outcome.passed
    assert "0.693147" in outcome.detail


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("ipo",), 25.0),
        (("hinge",), 1.0),
        (("sppo_hard",), 500_000.0),
        (("sigmoid", "sft"), 2.193147),
    ],
)
def test_the_expected_first_loss_is_that_of_the_losses_asked_for(names, expected):
    assert check_reference(expected, at_start(), names).passed
    with pytest.raises(GuardError, match="reference is not the model"):
        check_reference(math.log(2), at_start(), names)


def test_a_margin_is_refused_even_if_the_loss_looks_right():
    with pytest.raises(GuardError, match="reference is not the model") as caught:
        check_reference(math.log(2), at_start(shift=0.01))
    assert "margin 0.001" in caught.value.why


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(GuardError, match="reference is not the model"):
        check_reference(float("nan"), at_start())


def test_noise_is_refused_with_dropout_off_and_told_with_dropout_kept():
    assert guards.dropout_is_off(0.0, kept=False).passed
    with pytest.raises(GuardError, match=r"differ by 0\.25"):
        guards.dropout_is_off(0.25, kept=False)
    kept = guards.dropout_is_off(0.25, kept=True)
    assert not kept.passed
    assert "0.25" in kept.detail


def check_end(last, truncated):
    rows = [f"r{i}" for i in range(len(last))]
    return guards.end_is_learnt(last, truncated=truncated, row_ids=rows, end=2)


def test_uncut_rows_must_end_in_the_learnt_end_token():
    assert check_end([2, 7, 2], [False, True, False]).passed
    with pytest.raises(GuardError, match="1 of 2 rows") as caught:
        check_end([2, 7], [False, False])
    assert "r1" in caught.value.why


def test_rows_that_were_tokenized_apart_are_noted():
    counts = {"rows": 9, "used": 8, "merged_at_border": 0}
    assert guards.merged_rows_note(counts) == ()
    (note,) = guards.merged_rows_note(counts | {"merged_at_border": 7})
    assert "7 of 8 rows" in note


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_a_merge_that_changes_logits_is_refused(difference):
    assert guards.merge_is_faithful(1e-6).passed
    with pytest.raises(GuardError, match="merged weights"):
        guards.merge_is_faithful(difference)


@pytest.mark.parametrize("difference", [0.5, float("nan")])
def test_packing_that_mixes_documents_is_refused(difference):
    assert guards.documents_are_kept_apart(1e-6, architecture="X").passed
    with pytest.raises(GuardError, match="X reads across"):
        guards.documents_are_kept_apart(difference, architecture="X")
