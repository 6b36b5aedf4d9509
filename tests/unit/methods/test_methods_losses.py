"""The losses against golden values that were computed from the papers by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alignstudy.methods import method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.pair_losses import PAIR_LOSSES


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


MEASURED = {"chosen_kl": column(1.5), "rejected_kl": column(2.0), "likelihoods": column(0.3)}
ONE = logps(-10, -12, -11, -11.5, **MEASURED)


def loss_of(settings, batch):
    return float(method_of(settings).objective.loss(batch).mean())


def preference_loss(names, batch, weights=None, **options):
    settings = DPOSettings(loss_type=names, loss_weights=weights, **options)
    return loss_of(settings, batch)


# At A0: c -10, r -12, rc -11, rr -11.5, 5 and 7 tokens, beta 0.1, unless a setting says otherwise.
GOLDEN = [
    (("sigmoid",), {}, 0.620957, (-0.046257, 0.046257)),
    (("cdpo",), {}, 0.635957, (-0.036257, 0.036257)),
    (("robust",), {}, 0.602207, None),
    (("ipo",), {}, 22.359388, (-1.891429, 1.351020)),
    (("ipo_sum",), {}, 12.25, None),
    (("hinge",), {}, 0.85, None),
    (("sigmoid_norm",), {}, 0.679668, None),
    (("sigmoid",), {"f_divergence_type": "forward_kl"}, 0.631154, None),
    (("sigmoid",), {"f_divergence_type": "js_divergence"}, 0.660652, None),
    (("sigmoid",), {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},
     0.629425, None),
    (("sigmoid",), {"f_divergence_type": "alpha_divergence"}, 0.627691, None),
    (("exo_pair",), {}, 2.505517, None),
    (("nca_pair",), {}, 1.350825, (-0.021253, 0.024375)),
    (("bco_pair",), {}, 1.312856, None),
    (("sppo_hard",), {}, 36.25, (-8.0, 9.0)),
    (("sppo",), {}, 18.125, (-4.0, 4.5)),
    (("cal_dpo",), {}, 36.451413, None),
    (("aot",), {}, 0.620957, None),  # one pair: plain DPO
    (("apo_zero",), {}, 0.962523, None),
    (("apo_down",), {}, 0.987549, None),
    (("discopop",), {}, 0.849338, None),
    (("rpo",), {}, 2.620957, None),
    (("sigmoid", "sft"), {}, 2.620957, None),
    (("sigmoid", "sft_seq"), {"loss_weights": (1.0, 0.2)}, 1.020957, None),
    (("dpop",), {"dpop_lambda": 50.0}, 0.620957, None),  # chosen has not fallen
    (("dpop",), {"dpop_lambda": 5.0}, 0.620957, None),
    (("flex",), {}, 0.625595, (-0.046506, 0.037205)),
    (("rdpo",), {}, 0.630258, None),
    (("wpo",), {}, 0.3 * 0.620957, (-0.013877, 0.013877)),
    (("tdpo1",), {}, 0.644397, None),
    (("tdpo2",), {}, 0.632599, None),
    (("irft_linear",), {"max_steps": 1}, -0.15, (-0.1, 0.1)),
    (("dpo_reference_free",), {}, 0.598139, None),
    (("simpo",), {"beta": 2.0, "simpo_gamma": 0.5}, 1.365976, (-0.297947, 0.212820)),
    (("alphapo",), {"beta": 2.0, "simpo_gamma": 0.5}, 1.627857, None),
    (("cpo",), {}, 2.598139, None),
    (("slic",), {"beta": None}, 1.0, None),
    (("orpo",), {}, 2.087686, (-0.213506, 0.010174)),
    (("asft",), {"beta": 1.0}, 4.198564, (-0.4, 0.031378)),
    (("asft",), {}, 3.410400, None),
]  # fmt: skip


def asked(names, options):
    """Settings with beta 0.1, unless they say otherwise (None: the loss takes none)."""
    given = {"beta": 0.1, **options}
    return DPOSettings(
        loss_type=names, **{key: value for key, value in given.items() if value is not None}
    )


@pytest.mark.parametrize(
    ("names", "options", "golden", "gradients"), GOLDEN, ids=["+".join(row[0]) for row in GOLDEN]
)
def test_golden_values_and_gradients(names, options, golden, gradients):
    chosen, rejected = (column(value).requires_grad_() for value in (-10, -12))
    changed = {"chosen": chosen, "rejected": rejected, "chosen_nll": -chosen}
    loss = method_of(asked(names, options)).objective.loss(replace(ONE, **changed)).mean()
    assert loss.item() == pytest.approx(golden, abs=1e-6)
    loss.backward()
    if gradients is not None:
        found = (float(chosen.grad), float(rejected.grad))
        assert found == pytest.approx(gradients, abs=1e-6)


def test_every_loss_has_a_golden_value():
    tested = {name for names, *_ in GOLDEN for name in names}
    assert set(PAIR_LOSSES) - tested == {"aot_unpaired", "bco", "beta_dpo"}  # of batches, below


def test_sppo_with_estimated_wins():
    """P = .8 and .3 at beta .1: targets of 3 and -2 nats (arXiv 2405.00675, eq. 4.7)."""
    batch = replace(ONE, chosen_win=column(0.8), rejected_win=column(0.3))
    assert preference_loss(("sppo",), batch, beta=0.1) == pytest.approx(3.125, abs=1e-6)
    sure = replace(ONE, chosen_win=column(1.0), rejected_win=column(0.0))
    assert preference_loss(("sppo",), sure, beta=0.1) == pytest.approx(18.125, abs=1e-6)


def test_exo_with_its_authors_target():
    settings = DPOSettings(loss_type="exo_pair", beta=0.1, label_smoothing=1 / (1 + math.exp(10)))
    # Theirs, (0, -10), is not normalised: log(1 - e) is taken for 0.
    assert loss_of(settings, ONE) == pytest.approx(3.935359, abs=1e-4)


def test_dpop_s_penalty_is_inside_and_has_a_dead_band():
    settings = DPOSettings(loss_type="dpop", beta=0.1, dpop_lambda=5.0)
    fallen = loss_of(settings, logps(-11.4, -12, -11, -11.5))
    assert fallen == pytest.approx(0.792653, abs=5e-4)  # 0.001 nats are not heeded
    for nats, factor in ((5e-4, 1.0), (2e-3, 6.0)):
        chosen = column(-11 - nats).requires_grad_()
        batch = replace(logps(-11, -12, -11, -11.5), chosen=chosen)
        method_of(settings).objective.loss(batch).sum().backward()
        slope = float(-chosen.grad) / (0.1 / (1 + math.exp(0.05)))
        assert slope == pytest.approx(factor, rel=1e-2)


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


THREE = logps([-10, -7.5, -9], [-12, -9, -20.6], [-11, -7, -10], [-11.5, -11.5, -10])
"""a = 1, -0.5, 1; b = -0.5, 2.5, -10.6: the batch of the golden values of coupled losses."""


def recorded(name, batch=THREE, values=None, **options):
    """Take one update's loss; return it and what is remembered then."""
    objective = method_of(DPOSettings(loss_type=name, beta=0.1, **options)).objective
    objective.state.values.update(values or {})
    with objective.state.recording():
        return float(objective.loss(batch).mean()), objective.state.values


def test_golden_values_of_a_batch():
    assert preference_loss(["sigmoid"], THREE) == pytest.approx(0.582666, abs=1e-6)
    assert preference_loss(["aot_unpaired"], THREE) == pytest.approx(0.567499, abs=1e-6)
    loss, state = recorded("bco")
    assert state["shift"] == pytest.approx(-0.118333, abs=1e-6)
    assert loss / 2 == pytest.approx(0.631797, abs=1e-6)
    loss, _ = recorded("bco", ONE, {"rewards": 10**12, "shift": 0.02})
    assert loss == pytest.approx(1.312707, abs=1e-6)
    shift = {"mismatched": column([0.3] * 3), "ref_mismatched": column([0.0] * 3)}
    assert loss_of(KTOSettings(), replace(THREE, **shift)) == pytest.approx(0.461902, abs=1e-6)


def test_golden_values_of_beta_dpo():
    # Running means of 0.5 and, as the authors' first batch has it, of 0.336667 after the update.
    for before, golden in (((0.5 - 0.1 * 10.1 / 3) / 0.9, 0.577909), (0.0, 0.581318)):
        values = {"mean": before, "spread": 1.0}
        loss, state = recorded("beta_dpo", values=values, beta_dpo_drop=0.0)
        assert loss == pytest.approx(golden, abs=1e-6)
        assert state["mean"] == pytest.approx(0.9 * before + 0.1 * 10.1 / 3)


def test_beta_dpo_drops_unusual_pairs_rather_and_repeats_its_draws():
    margins = [1.0, 1.1, 0.9, 1.2, 0.8, 1.0, 40.0, -40.0]
    batch = logps(margins, [0.0] * 8, 0.0, 0.0)
    dropped = [0] * 8
    for seed in range(200):
        objective = method_of(
            DPOSettings(loss_type="beta_dpo", beta=0.1, beta_dpo_drop=0.25)
        ).objective
        objective.state.seed = seed
        objective.state.values.update(mean=1.0, spread=2.0)
        losses = objective.loss(batch)
        assert torch.equal(losses, objective.loss(batch))  # not recorded: nothing has moved
        assert int((losses == 0).sum()) == 2
        dropped = [n + int(loss == 0) for n, loss in zip(dropped, losses, strict=True)]
    assert min(dropped[6:]) > 170
    assert max(dropped[:6]) < 30
    with objective.state.recording():
        objective.loss(batch)
    assert objective.state.values["drawn"] == 1


def test_bco_s_shift_is_the_mean_of_all_rewards_so_far():
    objective, seen = method_of(DPOSettings(loss_type="bco")).objective, []
    generator = np.random.default_rng(0)
    for rows in (3, 1, 5):
        a, b = generator.normal(size=(2, rows))
        seen += [*(0.1 * a), *(0.1 * b)]
        with objective.state.recording():
            found = objective.loss(logps(a, b, np.zeros(rows), np.zeros(rows)))
        d = np.mean(seen)
        expected = np.log1p(np.exp(-(0.1 * a - d))) + np.log1p(np.exp(0.1 * b - d))
        assert found.numpy() == pytest.approx(expected, abs=1e-12)


def test_a_failed_update_leaves_a_state_as_it_was():
    objective = method_of(DPOSettings(loss_type="bco")).objective
    objective.state.values.update(rewards=2, shift=0.5)

    def update():
        with objective.state.recording():
            objective.loss(THREE)
            raise MemoryError

    with pytest.raises(MemoryError):
        update()
    assert objective.state.values == {"rewards": 2, "shift": 0.5}


WORDS = [
    # one loss, its settings; another with its own: equal on every batch
    ("flex", {"beta_rejected": 0.1}, "sigmoid", {}),
    ("dpop", {"dpop_lambda": 0.0}, "sigmoid", {}),
    ("rdpo", {"length_alpha": 0.0}, "sigmoid", {}),
    ("beta_dpo", {"beta_dpo_alpha": 0.0, "beta_dpo_drop": 0.0}, "sigmoid", {}),
    ("sigmoid", {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1.0},
     "sigmoid", {}),
    ("cpo", {"cpo_alpha": 0.0}, "dpo_reference_free", {}),
]  # fmt: skip
pairs_of_values = st.lists(
    st.tuples(*(st.floats(-60, -0.5) for _ in range(4))), min_size=2, max_size=5
)


BY_THEMSELVES = [
    name
    for name, loss in PAIR_LOSSES.items()
    if not (loss.couples_rows or loss.compares_vocabulary or loss.weighs_pairs)
    and name not in {"sft", "sft_seq"}
]


def batch_of(rows, **tokens):
    c, r, rc, rr = zip(*rows, strict=True)
    return replace(logps(c, r, rc, rr, **tokens), chosen_nll=-column(c))


def losses_of(name, batch, **options):
    return method_of(asked((name,), options)).objective.loss(batch)


@pytest.mark.parametrize(("one", "its", "other", "others"), WORDS)
@given(rows=pairs_of_values)
def test_losses_that_are_another_one_at_some_setting(one, its, other, others, rows):
    batch = batch_of(rows)
    found, expected = losses_of(one, batch, **its), losses_of(other, batch, **others)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@given(rows=pairs_of_values)
def test_identities_of_losses(rows):
    batch = batch_of(rows)
    alone = replace(batch, ref_chosen=batch.chosen * 0, ref_rejected=batch.rejected * 0)
    dpo = losses_of("sigmoid", batch)
    equal = [
        (losses_of("cdpo", batch, label_smoothing=1e-12), dpo),
        (losses_of("dpo_reference_free", batch), losses_of("sigmoid", alone)),
        (losses_of("simpo", batch, simpo_gamma=0.0), losses_of("sigmoid_norm", alone)),
        (losses_of("sppo", batch), losses_of("sppo_hard", batch) / 2),
        (losses_of("rpo", batch, rpo_alpha=0.3), dpo + 0.3 * losses_of_nll(batch)),
        (losses_of("orpo", batch, beta=1e-12), losses_of_nll(batch)),
        (losses_of("alphapo", batch, alphapo_alpha=1e-7), losses_of("simpo", batch)),
        (losses_of("irft_linear", batch, max_steps=1), -0.1 * (batch.a - batch.b)),
    ]
    for found, expected in equal:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    one = batch_of(rows[:1])
    torch.testing.assert_close(losses_of("aot", one), losses_of("sigmoid", one))


def test_bco_without_its_shift_is_a_classifier_of_responses():
    objective = method_of(DPOSettings(loss_type="bco", beta=0.1)).objective
    objective.state.values.update(rewards=10**15, shift=0.0)
    torch.testing.assert_close(objective.loss(THREE), losses_of("bco_pair", THREE))


@pytest.mark.parametrize("name", BY_THEMSELVES)
@settings(max_examples=15)
@given(rows=pairs_of_values, data=st.data())
def test_a_pairs_loss_is_its_own_whatever_stands_beside_it(name, rows, data):
    """In any order, and in any pieces of a micro-batch."""
    order = data.draw(st.permutations(range(len(rows))))
    options = {} if "beta" in LOSSES[name].heeds else {"beta": None}
    options |= {"max_steps": 1} if "max_steps" in LOSSES[name].needs else {}
    whole = losses_of(name, batch_of(rows), **options)
    turned = losses_of(name, batch_of([rows[at] for at in order]), **options)
    torch.testing.assert_close(turned, whole[list(order)], rtol=1e-12, atol=1e-12)
    alone = [losses_of(name, batch_of([row]), **options) for row in rows]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=1e-12, atol=1e-12)


@given(rows=pairs_of_values)
def test_asft_is_likelihood_and_unlikelihood(rows):
    """L_al = -c / tokens - log(1 - exp(r / tokens)) at beta 1."""
    batch = batch_of(rows)
    c, r = batch.chosen / batch.chosen_tokens, batch.rejected / batch.rejected_tokens
    expected = -2 * c - torch.log(-torch.expm1(r.clamp(max=-1e-6)))
    torch.testing.assert_close(losses_of("asft", batch, beta=1.0), expected, rtol=1e-6, atol=1e-6)


@given(a=st.floats(-5, 5), b=st.floats(-5, 5))
def test_alpha_divergence_runs_from_forward_to_reverse_kl(a, b):
    batch = logps(a, b, 0, 0)
    for alpha, kind in ((1e-5, "forward_kl"), (1 - 1e-5, "reverse_kl")):
        near = {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": alpha}
        limit = losses_of("sigmoid", batch, f_divergence_type=kind)
        found = losses_of("sigmoid", batch, **near)
        torch.testing.assert_close(found, limit, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("far", [-800.0, 800.0])
@pytest.mark.parametrize("kind", ["forward_kl", "alpha_divergence", "js_divergence"])
def test_divergences_stay_finite_far_from_the_reference(kind, far):
    chosen = torch.tensor([far], requires_grad=True)
    single = {name: value.float() for name, value in vars(ONE).items() if value is not None}
    batch = PairLogps(**{**single, "chosen": chosen, "ref_chosen": torch.zeros(1)})
    loss = losses_of("sigmoid", batch, f_divergence_type=kind)
    loss.backward()
    assert bool(loss.isfinite())
    assert bool(chosen.grad.isfinite())


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name not in {"sft", "sft_seq"}])
def test_losses_stay_finite_far_from_where_they_began(name, sign):
    """In float32, as they train: log-ratios of 800 nats, means of 160 a token."""
    if LOSSES[name].compares_vocabulary or LOSSES[name].weighs_pairs:
        pytest.skip("takes more than log-probabilities")
    chosen, rejected = (
        torch.tensor([-900.0 + far, -20.0], requires_grad=True) for far in (400 * sign, -400 * sign)
    )
    nll = -chosen.detach()
    single = {key: value.float() for key, value in vars(ONE).items() if value is not None}
    single |= {"chosen_tokens": torch.full((2,), 5.0), "rejected_tokens": torch.full((2,), 7.0)}
    single |= {"ref_chosen": torch.tensor([-900.0, -20.0]), "chosen_nll": nll}
    single |= {"ref_rejected": torch.tensor([-900.0, -20.0]), "chosen_hits": torch.zeros(2)}
    batch = PairLogps(**{**single, "chosen": chosen, "rejected": rejected})
    beta = {} if "beta" in LOSSES[name].heeds else {"beta": None}
    loss = losses_of(
        name, batch, **beta, **({"max_steps": 1} if "max_steps" in LOSSES[name].needs else {})
    )
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    for values in (chosen, rejected):
        assert bool(values.grad.isfinite().all())


SLOPES = [name for name in PAIR_LOSSES if name not in {"sft", "sft_seq", "bco", "beta_dpo"}]
"""Losses whose every part is differentiated: BCO's shift and beta-DPO's beta are not."""


@pytest.mark.parametrize("name", SLOPES)
def test_gradients_are_those_of_the_values(name):
    """Central differences in float64, at pairs that lie on no kink and change no order."""
    rows = [(-10.0, -12.0, -11.0, -11.5), (-7.5, -9.0, -7.2, -11.9), (-9.3, -20.6, -8.1, -10.0)]
    beta = {} if "beta" in LOSSES[name].heeds else {"beta": None}
    options = {**beta, **({"max_steps": 1} if "max_steps" in LOSSES[name].needs else {})}
    batch = replace(batch_of(rows), **MEASURED)
    loss = method_of(asked((name,), options)).objective.loss
    for side in ("chosen", "rejected"):
        values = getattr(batch, side).clone().requires_grad_()
        loss(with_side(batch, side, values)).sum().backward()
        for at in range(len(rows)):
            step = torch.zeros(len(rows), dtype=torch.float64).index_fill(0, torch.tensor(at), 1e-5)
            up, down = (
                float(loss(with_side(batch, side, getattr(batch, side) + sign * step)).sum())
                for sign in (1, -1)
            )
            found = float(values.grad[at])
            assert found == pytest.approx((up - down) / 2e-5, rel=1e-5, abs=1e-7), (side, at)


def with_side(batch, side, values):
    nll = {"chosen_nll": -values} if side == "chosen" else {}
    return replace(batch, **{side: values}, **nll)


def losses_of_nll(batch):
    return batch.chosen_nll / batch.chosen_tokens


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_says_what_it_is_and_where_it_is_from(name):
    assert LOSSES[name].function.__doc__
    assert "arXiv" in LOSSES[name].source
