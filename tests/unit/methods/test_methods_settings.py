"""Settings of the methods: what is refused, and why."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from alignstudy.methods import METHODS, LoRASettings, method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.pair_losses import PAIR_LOSSES
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings, judge_texts
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights.scratch import ArchitectureSettings
from alignstudy.records import Pair


def refusal(kind, **values):
    with pytest.raises(ValidationError) as caught:
        kind(**values)
    return caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_and_describes_every_setting(name):
    method = METHODS.load(name)
    settings = method.settings_type()
    assert settings.method == name
    assert METHODS.summary(name)
    assert all(field.description for field in type(settings).model_fields.values())
    assert isinstance(method_of(settings), method)
    assert method.rows in {"documents", "demonstrations", "pairs"}
    assert method.trains in {"causal_lm", "classifier"}
    assert method_of(settings).reference in {"none", "parent"}
    assert method_of(settings).objective.mean_over in {"rows", "targets"}


def test_settings_are_read_without_torch_or_trl():
    code = (
        "import sys; from alignstudy.methods import METHODS;"
        "[METHODS.load(name).settings_type() for name in METHODS];"
        "print([m for m in ('torch', 'trl', 'transformers', 'numpy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_one_loss_may_be_given_as_a_word():
    assert DPOSettings(loss_type="ipo") == DPOSettings(loss_type=["ipo"])
    assert DPOSettings(loss_type="ipo").loss_type == ("ipo",)


def test_unknown_loss_is_refused_with_the_nearest_name():
    assert "did you mean 'sigmoid'?" in refusal(DPOSettings, loss_type="sigmod")
    for other in ("kto_pair", "grpo", "ppo"):
        message = refusal(DPOSettings, loss_type=other)
        assert f"unknown loss '{other}'" in message
        assert "did you mean" not in message


def asked_of(name):
    """Settings with which a loss is accepted."""
    extra = ("sigmoid",) if name in {"sft", "sft_seq"} else ()
    steps = {"max_steps": 1} if "max_steps" in LOSSES[name].needs else {}
    return {"loss_type": (name, *extra), **steps}


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_label_smoothing_is_taken_only_by_losses_that_heed_it(name):
    heeds = "label_smoothing" in LOSSES[name].heeds
    assert heeds == (name in {"cdpo", "robust", "exo_pair", "aot", "aot_unpaired"})
    if heeds:
        assert DPOSettings(**asked_of(name), label_smoothing=0.2).label_smoothing == 0.2
    else:
        message = refusal(DPOSettings, **asked_of(name), label_smoothing=0.2)
        assert "label_smoothing is ignored by" in message


@pytest.mark.parametrize("name", ["cdpo", "robust", "exo_pair"])
def test_losses_that_need_label_smoothing_say_so(name):
    assert DPOSettings(loss_type=name).label_smoothing > 0
    message = refusal(DPOSettings, loss_type=name, label_smoothing=0.0)
    assert f"{name} needs label_smoothing" in message


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_every_loss_has_its_own_defaults_and_refuses_what_it_ignores(name):
    loss, settings = LOSSES[name], DPOSettings(**asked_of(name))
    for key, value in loss.defaults.items():
        assert getattr(settings, key) == value
    assert not method_of(settings).notes or loss.couples_rows == "order"
    others = {"rpo_alpha", "beta_rejected", "dpop_lambda", "simpo_gamma", "beta", "asft_lambda"}
    for key in others - loss.heeds:
        if len(settings.loss_type) == 1:
            message = refusal(DPOSettings, **asked_of(name), **{key: 0.77})
            assert f"{key} is ignored by {name}" in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_type": "sppo_hard", "beta": 0.1}, "sppo_hard: beta is 0.1; found good was 0.001"),
        ({"loss_type": "simpo", "beta": 0.1}, "simpo: beta is 0.1; found good was 2 to 10"),
        ({"loss_type": "nca_pair", "beta": 0.1}, "nca_pair: beta is 0.1; found good was 0.01"),
        ({"loss_type": "aot"}, "aot compares the rows of a micro-batch: 8 are few"),
        ({"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3},
         "f_alpha_divergence_coef 0.3 is TRL's convention; the paper's alpha is 0.7"),
    ],
)  # fmt: skip
def test_what_is_allowed_and_unusual_is_said(settings, words):
    assert words in " ".join(method_of(DPOSettings(**settings)).notes)


def test_losses_whose_defaults_differ_ask_for_a_value():
    assert "give beta" in refusal(DPOSettings, loss_type=("sigmoid", "simpo"))
    settings = DPOSettings(loss_type=("sigmoid", "simpo"), beta=0.5)
    assert (settings.beta, settings.simpo_gamma) == (0.5, 1.0)


@pytest.mark.parametrize("name", [name for name in PAIR_LOSSES if name not in {"sft", "sft_seq"}])
def test_f_divergence_is_taken_only_by_losses_that_heed_it(name):
    values = {**asked_of(name), "f_divergence_type": "js_divergence"}
    if "f" in LOSSES[name].heeds:
        assert DPOSettings(**values).f_divergence_type == "js_divergence"
    else:
        assert f"f_divergence_type is ignored by {name}" in refusal(DPOSettings, **values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss_type": ("sigmoid", "sft"), "loss_weights": (1.0,)}, "1 loss_weights for 2 losses"),
        ({"loss_type": ("sigmoid", "sft"), "loss_weights": (1.0, 0.0)}, "weight 0"),
        ({"loss_type": ("sigmoid", "sigmoid")}, "named twice"),
        ({"loss_type": "sft"}, "use the method sft"),
        ({"loss_type": ()}, "at least 1"),
        ({"loss_type": "aot", "per_device_train_batch_size": 1}, "another loss"),
        ({"loss_type": "bco", "per_device_train_batch_size": "auto"}, "instead of auto"),
        ({"loss_type": "irft_linear"}, "irft_linear needs max_steps"),
        ({"loss_type": "robust", "probe_pairs": 0}, "no lower bound"),
        (
            {"loss_type": ["sigmoid", "hinge"], "loss_weights": [2.0, -1.0], "probe_pairs": 0},
            "no lower bound",
        ),
        ({"loss_type": "alphapo", "alphapo_alpha": 0.0}, "is SimPO"),
        ({"f_alpha_divergence_coef": 0.7}, "f_alpha_divergence_coef is ignored"),
        ({"discopop_tau": 0.1}, "discopop_tau is ignored"),
        ({"label_smoothing": 0.5, "loss_type": "robust"}, "less than 0.5"),
        ({"beta": 0.0}, "greater than 0"),
        ({"ld_alpha": 1.0}, "less than 1"),
    ],
)
def test_impossible_dpo_settings_are_refused(values, words):
    assert words in refusal(DPOSettings, **values)


def test_settings_that_would_be_ignored_are_refused_in_every_method():
    assert "ignores warmup_steps" in refusal(
        SFTSettings, lr_scheduler_type="constant", warmup_steps=5
    )
    assert "no effect on packed rows" in refusal(SFTSettings, packing=True, group_by_length=True)
    for kind in (PretrainSettings, RewardModelSettings):
        assert "None" in refusal(kind, lora=LoRASettings())


def test_preference_training_has_dropout_off_unless_asked():
    assert DPOSettings().dropout == RewardModelSettings().dropout == "off"
    assert SFTSettings().dropout == PretrainSettings().dropout == "keep"


def test_impossible_architectures_are_refused():
    assert "multiple" in refusal(ArchitectureSettings, hidden_size=30, num_attention_heads=4)
    assert "no meaning in deberta-v2" in refusal(
        ArchitectureSettings, model_type="deberta-v2", word_embed_proj_dim=16
    )


def test_a_judge_is_taught_the_prompt_as_it_will_be_shown():
    pair = Pair(id="r", prompt="\n\nHuman: Hi\n\nAssistant:", chosen=" Yes. ", rejected=" No")
    assert judge_texts(pair, "cue") == (pair.prompt, "Yes.", "No")
    assert judge_texts(pair, "bare") == ("Human: Hi", "Yes.", "No")


@pytest.mark.parametrize(
    "settings",
    [{"loss_type": "rdpo", "length_alpha": 0}, {"loss_type": "dpop", "dpop_lambda": 0}],
)
def test_a_term_that_is_switched_off_is_not_far_off(settings):
    assert method_of(DPOSettings(**settings)).notes == ()
