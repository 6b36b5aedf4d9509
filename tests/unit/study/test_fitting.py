"""Whether a training fits a card, how, and which settings would make it fit."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignstudy.errors import InputError
from alignstudy.methods import METHODS, LoRASettings
from alignstudy.study.cost.fitting import card_size, fit, nearest_that_fits, usable
from alignstudy.study.cost.memory import training_footprint
from alignstudy.study.cost.model_shape import shape_of_config
from alignstudy.study.cost.scaling_page import footprint_of as footprint_of_page
from alignstudy.study.cost.scaling_page import scaling_page

GIB = 2.0**30
LLAMA_8B = shape_of_config(
    {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "rope_theta": 5e5,
        "tie_word_embeddings": False,
    }
)
QLORA = LoRASettings(load_in_4bit=True)


def footprint_of(method="sft", **given):
    return training_footprint(settings_of(method, **given), LLAMA_8B)


def settings_of(method="sft", **given):
    return METHODS.load(method).settings_type(**given)


def test_weights_are_those_that_the_qlora_paper_counts():
    assert LLAMA_8B.parameters == pytest.approx(8.03e9, rel=0.01)
    full, packed = (footprint_of(lora=each).parts()["weights"] for each in (LoRASettings(), QLORA))
    assert full == pytest.approx(4 * 8.03e9, rel=0.01)
    # 0.5 bytes a code and 0.127 bits a block's scale (arXiv 2305.14314, section 3); embeddings and
    # head of Llama 3 are 1.05e9 weights in float32.
    assert packed == pytest.approx(6.98e9 * (0.5 + 0.127 / 8) + 4 * 1.05e9, rel=0.01)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (200, "fits"),
        (144, "fits with gradient checkpointing"),
        (96, "fits with gradient checkpointing and moments in the processor's memory"),
        (72, "doesn't fit"),
    ],
)
def test_a_card_is_filled_as_training_fills_it(size, words):
    found = fit(footprint_of(max_length=2048), size * GIB)
    assert found.words == words
    assert (found.memory <= usable(size * GIB)) == found.fits
    assert found.footprint.recomputed == (words != "fits")


def test_moments_that_left_are_no_longer_counted_but_a_critics_are():
    asked = footprint_of()
    away = replace(asked, offloaded=True)
    saved = asked.parts()["optimizer"] - away.parts()["optimizer"]
    assert saved == pytest.approx(8 * (asked.trained - 128256 * 4096))
    with_critic = training_footprint(settings_of(), LLAMA_8B, critic=1e9)
    left = replace(with_critic, offloaded=True).parts()["optimizer"]
    assert left == pytest.approx(away.parts()["optimizer"] + 8e9)
    eight = fit(footprint_of(optim="adamw_8bit"), 60 * GIB)
    assert not eight.footprint.offloaded  # bitsandbytes' stay


@settings(max_examples=50)
@given(
    method=st.sampled_from(["sft", "dpo", "kto", "tpo"]),
    length=st.integers(64, 4096),
    rows=st.integers(4, 64),
    card=st.floats(4, 400),
)
def test_what_fits_a_card_fits_a_larger_one_with_no_less(method, length, rows, card):
    asked = footprint_of(method, max_length=length, per_device_train_batch_size=rows)
    small, large = fit(asked, card * GIB), fit(asked, 1.5 * card * GIB)
    assert small.fits <= large.fits
    assert large.footprint.rows >= small.footprint.rows
    assert small.footprint.rows % small.footprint.texts == 0


def test_what_cant_be_cut_is_not():
    packed = fit(footprint_of(packing=True), 100 * GIB)
    assert packed.words == "doesn't fit"
    assert packed.footprint.rows == 8
    assert fit(footprint_of(), 100 * GIB).fits
    coupled = footprint_of("dpo", loss_type="aot")
    assert fit(coupled, 100 * GIB).footprint == replace(coupled, offloaded=True)


@pytest.mark.parametrize(
    ("size", "nearest"),
    [(110, "optim: adamw_8bit"), (48, "lora: {}"), (24, "lora: {load_in_4bit: true}"), (4, "")],
)
def test_the_least_change_that_fits_is_offered(size, nearest):
    asked = settings_of("dpo", learning_rate=1e-6)
    offered = nearest_that_fits(asked, footprint_of("dpo"), size * GIB)
    assert offered == nearest


def test_rows_are_cut_only_where_nothing_else_helps():
    asked = settings_of("sft", max_length=16384, lora=QLORA, optim="adamw_8bit")
    offered = nearest_that_fits(asked, training_footprint(asked, LLAMA_8B), 16 * GIB)
    length = int(offered.removeprefix("max_length: "))
    shorter = asked.model_copy(update={"max_length": length})
    assert fit(training_footprint(shorter, LLAMA_8B), 16 * GIB).fits
    twice = asked.model_copy(update={"max_length": 2 * length})
    assert not fit(training_footprint(twice, LLAMA_8B), 16 * GIB).fits


def test_a_method_without_adapters_is_not_offered_one():
    asked = settings_of("reward_model")
    large = replace(LLAMA_8B, writes=False)
    offered = nearest_that_fits(asked, training_footprint(asked, large), 24 * GIB)
    assert "lora" not in offered


def test_8_bits_save_three_quarters_of_the_moments():
    plain, packed = (footprint_of(optim=each) for each in ("adamw_torch_fused", "adamw_8bit"))
    saved = plain.parts()["optimizer"] - packed.parts()["optimizer"]
    tables = 128256 * 4096  # the embeddings' stay
    assert saved == pytest.approx((8 - 2.03) * (plain.trained - tables), rel=0.01)
    assert packed.working_disk < plain.working_disk


@pytest.mark.parametrize(
    ("said", "size"),
    [("24GiB", 24 * GIB), ("24 GB", 24e9), ("1.5GiB", 1.5 * GIB), ("80g", 80 * GIB)],
)
def test_a_cards_size_is_read(said, size):
    assert card_size(said) == size


@pytest.mark.parametrize("said", ["", "24", "GiB", "-3GiB", "0GiB", "24MB", "nan GiB", "A100"])
def test_what_is_no_size_is_refused(said):
    with pytest.raises(InputError, match="is no size"):
        card_size(said)


def test_the_page_of_cards_is_up_to_date():
    page = Path(__file__).parents[3] / "docs" / "scaling.md"
    assert page.read_text(encoding="utf-8") == scaling_page(), "run `make docs`"


def test_a_peak_that_was_measured_on_a_gpu_is_near():
    """7.4 GiB on an H100: OPT-350M, SFT in bf16, 8 rows of 214 tokens on average."""
    size = replace(footprint_of_page("350M (OPT)", "SFT"), length=214)
    assert size.memory(on_gpu=True) == pytest.approx(7.4 * GIB, rel=0.15)
