"""Base weights in 4 bits, as QLoRA has them: loaded so, computed with, and written out again.

Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3: NF4 blocks of 64, whose scales are
quantised too.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from alignstudy.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BitsAndBytesConfig, PreTrainedModel

LOAD_IN_4BIT = "load_in_4bit"
"""Key of an adapter's record: whether the base that it was trained on was held in 4 bits."""


def check_installed() -> None:
    """Refuse 4-bit weights and 8-bit moments where what packs them isn't there; import nothing.

    Raises:
        EnvironmentFault: If it isn't installed.
    """
    if find_spec("bitsandbytes") is None:
        raise EnvironmentFault(
            "bitsandbytes isn't installed: it holds weights in 4 bits, AdamW's moments in 8",
            hint="pip install 'alignstudy[quantized]', or leave out load_in_4bit and adamw_8bit",
        )


def bitsandbytes() -> Any:  # noqa: ANN401 - a module
    """Import what packs weights and moments.

    Raises:
        EnvironmentFault: If it isn't installed.
    """
    check_installed()
    with _no_fetched_kernels():
        return import_module("bitsandbytes")


def import_before_others() -> None:
    """Import bitsandbytes, if it is there, before TRL or PEFT does."""
    if find_spec("bitsandbytes") is not None:
        bitsandbytes()


@contextmanager
def _no_fetched_kernels() -> Iterator[None]:
    """Keep bitsandbytes from fetching code, which it does on some processors as it is imported.

    It does so by the package `kernels`; without that, it asks the user to install it.
    """
    logger = logging.getLogger("bitsandbytes")
    level, there = logger.level, sys.modules.get("kernels")
    logger.setLevel(logging.CRITICAL)
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if there is not None:
            sys.modules["kernels"] = there


def four_bit_config() -> BitsAndBytesConfig:
    """Return what transformers is to load full weights with."""
    import torch
    from transformers import BitsAndBytesConfig

    bitsandbytes()
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,  # `_layer_type` decides
    )


def check_quantizable(model: PreTrainedModel) -> None:
    """Refuse a model whose layers can't be held in 4 bits and written out again.

    Raises:
        InputError: If it stores them transposed, or has none.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    layers = list(model.modules())
    if any(isinstance(layer, Conv1D) for layer in layers):
        raise InputError(
            "lora.load_in_4bit: the base stores its layers transposed, as GPT-2 does",
            why="bitsandbytes turns them around, and a merged model would be written that way",
            hint="leave load_in_4bit out, or use a base with linear layers",
        )
    head = model.get_output_embeddings()
    if not any(type(layer) is nn.Linear and layer is not head for layer in layers):
        raise InputError(
            "lora.load_in_4bit: the base has no linear layer to hold in 4 bits",
            hint="leave load_in_4bit out",
        )


def prepare_four_bit(model: PreTrainedModel, dtype: Any) -> None:  # noqa: ANN401 - a torch.dtype
    """Have a loaded model's 4-bit layers compute as its other layers do, those being of a dtype.

    The blocks were made of float32 values, whatever the dtype: equal codes for all that read them.
    """
    for layer in four_bit_layers(model).values():
        layer.__class__ = _layer_type()
    for each in model.parameters():
        if each.is_floating_point():
            each.data = each.data.to(dtype)


@cache
def _layer_type() -> type[Any]:
    """Return bitsandbytes' 4-bit layer, computed as torch's linear layer is.

    Its own forward computes in bfloat16 in evaluation on processors that have it, by weights that
    it repacks in place (narrow ones break it), and rounds biases in place: reference and policy
    would be other functions than the model that is trained.
    """
    import torch

    library = bitsandbytes()

    class Linear4bit(library.nn.Linear4bit):  # type: ignore[misc, name-defined]
        """A linear layer whose weights are dequantised where they are used."""

        def forward(self, x: Tensor) -> Tensor:
            """Return x W' + b, in autocast's precision where that is on."""
            kind = x.device.type
            mixed = torch.is_autocast_enabled(kind)
            dtype = torch.get_autocast_dtype(kind) if mixed else x.dtype
            bias = None if self.bias is None else self.bias.to(dtype)
            found: Tensor = library.matmul_4bit(
                x.to(dtype), self.weight, bias=bias, quant_state=self.weight.quant_state
            )
            return found

    return Linear4bit


def four_bit_layers(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's layers that are held in 4 bits, by name."""
    kind = bitsandbytes().nn.Linear4bit
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, kind)}


def dequantize_into(model: PreTrainedModel, quantized: PreTrainedModel) -> None:
    """Write the values that a model in 4 bits computes with into the same model in full.

    Args:
        model: Without an adapter.
        quantized: With or without one.
    """
    for name, layer in four_bit_layers(quantized).items():
        target = model.get_submodule(name.removesuffix(".base_layer"))
        target.weight.data.copy_(_values(layer.weight))


def packed_weights(model: PreTrainedModel) -> dict[str, Any]:
    """Return a model's weights that are held in 4 bits, by name; it has no adapter."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return {}
    return {f"{name}.weight": layer.weight for name, layer in four_bit_layers(model).items()}


def is_made_of(packed: Any, weight: Tensor) -> bool:  # noqa: ANN401 - bitsandbytes' own
    """Return whether a weight in 4 bits is what a weight in full is rounded to, on its device."""
    again = bitsandbytes().nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    return _values(again.to(packed.device)).equal(_values(packed))


def _values(packed: Any) -> Tensor:  # noqa: ANN401 - bitsandbytes' own
    """Return the values that a weight in 4 bits stands for."""
    found: Tensor = bitsandbytes().functional.dequantize_4bit(packed.data, packed.quant_state)
    return found


def share_in_4bit(model: PreTrainedModel) -> float:
    """Return the share of a model's weights that is held in 4 bits, from 0 to 1."""
    held = sum(layer.weight.quant_state.shape.numel() for layer in four_bit_layers(model).values())
    rest = sum(each.numel() for each in model.parameters() if each.is_floating_point())
    return float(held / (held + rest))


def forget_overrides() -> None:
    """Forget which weights' moments an earlier training in this process kept in 32 bits.

    bitsandbytes keeps them by their places in that model, for the same places in any other.
    """
    if "bitsandbytes" in sys.modules:
        bitsandbytes().optim.GlobalOptimManager.get_instance().initialize()


def keep_in_float32(model: Any) -> None:  # noqa: ANN401 - a model, or PEFT's wrapper of one
    """Have what learns in float32: TRL rounds an adapter on 4-bit weights to bfloat16.

    Updates below a weight's last bit would be lost; products are computed in the training's
    precision anyway.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
