"""Losses of single responses against golden values, and against brute force in float64."""

import math

import pytest
import torch
from pydantic import ValidationError
from test_methods_losses import column, logps, shifted

from alignstudy.errors import DataError
from alignstudy.methods import method_of, named
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.model_outputs import RatedLogps

A, B = 1.0, -0.5
"""Log-ratios of the desirable and of the undesirable response."""


def s(x):
    return 1 / (1 + math.exp(-x))


def rated(ratios, good, shift=None):
    """Rated responses by their log-ratios."""
    ratios = column(ratios)
    ref = torch.full_like(ratios, -11.0)
    others = {} if shift is None else shifted(shift)
    return RatedLogps(
        response=ref + ratios, ref_response=ref, desirable=torch.tensor(good), **others
    )


def losses(batch, **options):
    return method_of(KTOSettings(rows="rated", **options)).objective.loss(batch)


@pytest.mark.parametrize(
    ("options", "shift", "golden"),
    [
        ({}, 0.0, (0.475021, 0.487503)),
        ({}, -4.0, (0.475021, 0.487503)),  # below 0 it is clamped
        ({"loss_type": "apo_zero_unpaired"}, None, (0.475021, 0.487503)),
        ({"undesirable_weight": 1.5}, 0.3,
         (1 - s(0.1 * (A - 0.3)), 1.5 * (1 - s(0.1 * (0.3 - B))))),
        ({"desirable_weight": 2.0, "beta": 0.5}, 0.3,
         (2 * (1 - s(0.5 * (A - 0.3))), 1 - s(0.5 * (0.3 - B)))),
    ],
)  # fmt: skip
def test_golden_values_of_single_responses(options, shift, golden):
    found = losses(rated([A, B], [True, False], shift), **options)
    assert found.tolist() == pytest.approx(golden, abs=1e-6)


def test_a_pair_s_loss_is_the_mean_of_its_responses():
    pair = logps(-10, -12, -11, -11.5, **shifted(0.3))
    for options in ({}, {"undesirable_weight": 1.5}, {"loss_type": "apo_zero_unpaired"}):
        alone = losses(rated([A, B], [True, False], 0.3), **options)
        both = method_of(KTOSettings(**options)).objective.loss(pair)
        assert float(both) == pytest.approx(float(alone.mean()), abs=1e-12)
    assert float(both) == pytest.approx(0.962523 / 2, abs=1e-6)  # APO-zero's halves


def recorded(batch, values=None, **options):
    """Return BCO's losses in a training step, and what it then remembers."""
    method = method_of(KTOSettings(loss_type="bco_unpaired", **options))
    state = method.objective.state
    state.values = dict(values or {})
    with state.recording():
        return method.objective.loss(batch), state.values


def test_golden_values_of_bco():
    far = {"rewards": 10**12, "shift": 0.02}
    found, _ = recorded(rated([A, B], [True, False]), far, rows="rated")
    assert float(found.sum()) == pytest.approx(1.312707, abs=1e-6)
    found, _ = recorded(logps(-10, -12, -11, -11.5), far)  # a pair: the mean of both
    assert float(found) == pytest.approx(1.312707 / 2, abs=1e-6)


def test_bco_s_border_is_the_mean_of_all_rewards_so_far():
    """By brute force over three micro-batches, each seen before its own loss."""
    batches = [[0.4, -1.2, 0.3], [2.0], [-0.7, 0.1]]
    seen, values = [], {}
    for number, ratios in enumerate(batches):
        good = [(number + at) % 2 == 0 for at in range(len(ratios))]
        seen += [0.1 * ratio for ratio in ratios]
        border = sum(seen) / len(seen)
        found, values = recorded(rated(ratios, good), values, rows="rated")
        expected = [
            -math.log(s((0.1 * ratio - border) * (1 if kind else -1)))
            for ratio, kind in zip(ratios, good, strict=True)
        ]
        assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert values == {"rewards": 6, "shift": pytest.approx(border, abs=1e-15)}


def test_measuring_bco_leaves_its_border_where_it_was():
    method = method_of(KTOSettings(loss_type="bco_unpaired", rows="rated"))
    for _ in range(2):
        method.objective.loss(rated([A, B], [True, False]))
    assert method.objective.state.values == {}


@pytest.mark.parametrize("name", ["apo_zero_unpaired", "bco_unpaired"])
def test_a_loss_s_name_is_a_label_that_means_it(name):
    assert named(name) == {"method": "kto", "loss_type": name}
    assert named("kto") == {"method": "kto"}


def test_settings_far_from_what_was_found_good_are_said():
    (note,) = method_of(KTOSettings(beta=2.0)).notes
    assert note.startswith("kto: beta is 2; found good was 0.1")
    assert method_of(KTOSettings(rows="rated")).notes == ()


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
def test_gradients_are_those_of_finite_differences(loss):
    ratios, step = [0.7, -0.4, 0.2], 1e-6
    good = [True, False, False]
    batch = rated(ratios, good, 0.3)
    response = batch.response.clone().requires_grad_()
    from dataclasses import replace

    def total(values):
        options = {"loss_type": loss, "undesirable_weight": 1.3}
        return losses(replace(batch, response=values), **options).sum()

    total(response).backward()
    for at in range(3):
        move = torch.zeros(3, dtype=torch.float64)
        move[at] = step
        expected = (total(batch.response + move) - total(batch.response - move)) / (2 * step)
        assert float(response.grad[at]) == pytest.approx(float(expected), abs=1e-8)
    assert (response.grad < 0).tolist() == good  # good responses are to get likelier


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ld_alpha": 0.3}, "ld_alpha is ignored with rows: rated"),
        ({"prefix_sharing": "off"}, "prefix_sharing is ignored with rows: rated"),
        ({"per_device_train_batch_size": 1}, "per_device_train_batch_size 4 or more"),
        ({"loss_type": "apo_zero"}, "apo_zero_unpaired"),
    ],
)
def test_settings_without_a_meaning_are_refused(options, words):
    with pytest.raises(ValidationError) as caught:
        KTOSettings(rows="rated", **options)
    assert words in str(caught.value)


def test_without_a_reference_point_one_row_at_a_time_will_do():
    options = {"loss_type": "apo_zero_unpaired", "per_device_train_batch_size": 1}
    assert not method_of(KTOSettings(rows="rated", **options)).objective.couples_rows
    assert method_of(KTOSettings(rows="rated")).objective.couples_rows


@pytest.mark.parametrize(
    ("good", "bad", "weights", "passes"),
    [
        (50, 50, {}, True), (40, 30, {}, True), (41, 30, {}, False), (49, 50, {}, False),
        (30, 60, {"desirable_weight": 2.3}, True), (90, 30, {"undesirable_weight": 3.0}, True),
    ],
)  # fmt: skip
def test_both_kinds_are_to_weigh_alike(good, bad, weights, passes):
    method = method_of(KTOSettings(rows="rated", **weights))
    counts = {"used": good + bad, "desirable": good, "undesirable": bad}
    outcome = next(o for o in method.guards(counts) if o.guard == "both_kinds_weigh_alike")
    assert outcome.passed is passes
    assert f"{good} desirable" in outcome.detail
    assert f"{bad} undesirable" in outcome.detail
    with pytest.raises(DataError, match="rated responses are"):
        method.guards({"used": good, "desirable": good, "undesirable": 0})


@pytest.mark.parametrize(("rows", "passes"), [(2, False), (3, False), (4, True), ("auto", True)])
def test_small_micro_batches_are_said(rows, passes):
    method = method_of(KTOSettings(per_device_train_batch_size=rows))
    (balance, size) = method.guards({"used": 10})
    assert balance.passed
    assert size.passed is passes


def test_how_often_the_reference_point_was_none_is_said_of_all_steps():
    method = method_of(KTOSettings(rows="rated"))
    steps = [{"kl/clamped": 0.5}, {"kl/clamped": 1.0}, {"kl/clamped": 0.0}, {"loss": 1.0}]
    (note,) = method.notes_on(steps)
    assert "was 0 in 50 % of the micro-batches" in note
    assert method.notes_on([{"kl/clamped": 0.0}]) == ()
