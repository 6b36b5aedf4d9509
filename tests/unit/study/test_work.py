"""What goes through models: FLOPs against published sizes, memory and disk by formula."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignstudy.methods.base import LoRASettings
from alignstudy.methods.weights.scratch import ArchitectureSettings
from alignstudy.study.cost.memory import Footprint, trained_weights
from alignstudy.study.cost.model_shape import shape_of_architecture, shape_of_config
from alignstudy.study.cost.work import Passes, total_flops

OPT_350M = {
    "model_type": "opt", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "ffn_dim": 4096, "vocab_size": 50272, "word_embed_proj_dim": 512,
    "max_position_embeddings": 2048,
}  # fmt: skip
DEBERTA_LARGE = {
    "model_type": "deberta-v2", "hidden_size": 1024, "num_hidden_layers": 24,
    "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 128100,
    "max_position_embeddings": 512, "position_buckets": 256, "position_biased_input": False,
    "architectures": ["DebertaV2ForSequenceClassification"],
}  # fmt: skip
LLAMA_1B = {  # Llama 3.2
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "tie_word_embeddings": True,
}  # fmt: skip
SMALL = shape_of_architecture(ArchitectureSettings(), vocabulary=1000)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(OPT_350M, 331.2e6), (DEBERTA_LARGE, 435e6), (LLAMA_1B, 1235.8e6)],
    ids=["opt-350m", "deberta-v3-large", "llama-3.2-1b"],
)
def test_parameters_are_the_published_ones(config, parameters):
    assert shape_of_config(config).parameters == pytest.approx(parameters, rel=0.01)


def test_a_config_that_misses_a_size_has_no_shape():
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        assert shape_of_config({key: OPT_350M[key] for key in OPT_350M if key != name}) is None


def test_flops_of_the_published_model():
    """0.604 GF a token in the layers, 98 kF a token of context, 51.5 MF a scored token."""
    shape = shape_of_config(OPT_350M)
    layers = shape.forward_flops(tokens=1, context=0) - 2 * 512 * 1024
    assert layers == pytest.approx(0.604e9, rel=0.001)
    context = shape.forward_flops(tokens=1, context=1) - shape.forward_flops(tokens=1, context=0)
    assert context == pytest.approx(98.3e3, rel=0.001)
    head = shape.forward_flops(tokens=0, context=0, scored=1)
    assert head == pytest.approx(51.5e6 + 2 * 512 * 1024, rel=0.001)


def test_passes_add_up_and_an_unknown_shape_makes_them_unknown():
    ahead = Passes(shape=SMALL, tokens=100, context=10, scored=5)
    half = replace(ahead, times=1, of=2)
    assert total_flops([replace(ahead, times=3), half]) == pytest.approx(3.5 * ahead.flops)
    assert total_flops([ahead, replace(ahead, shape=None)]) is None
    assert total_flops([]) is None


def test_an_adapters_weights_are_counted_as_peft_makes_them():
    lora = LoRASettings(r=8, target_modules=("q_proj", "v_proj"))
    assert trained_weights(shape_of_config(OPT_350M), lora) == 24 * 2 * 8 * 2048
    assert trained_weights(SMALL, None) == SMALL.parameters


@settings(max_examples=50)
@given(rows=st.integers(1, 64), length=st.integers(1, 2048), trains=st.booleans())
def test_memory_grows_with_rows_length_and_what_learns(rows, length, trains):
    given_size = Footprint(
        shape=SMALL, rows=rows, length=length, trained=SMALL.parameters if trains else 0
    )
    assert given_size.memory() > 4 * SMALL.parameters
    assert replace(given_size, rows=rows + 1).memory() > given_size.memory()
    assert replace(given_size, length=length + 1).memory() > given_size.memory()
    assert replace(given_size, trained=given_size.trained + 1).memory() > given_size.memory()
    assert replace(given_size, shape=shape_of_config(OPT_350M)).memory() > given_size.memory()


def test_disk_is_weights_checkpoints_and_text():
    size = Footprint(shape=SMALL, trained=10, saved=100, text=7)
    assert size.disk == 407
    assert size.working_disk == 3 * 3 * 4 * 10
