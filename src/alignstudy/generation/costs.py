"""What a batch costs on a CPU, in seconds: how many rows to read, and to write, at once.

A product of few rows takes the time in which its weights come from memory, and each row's own
arithmetic on top. Where there are more rows than weights are laid out for, they are laid out anew,
which takes as long as coming from memory again. So rows share a step's fixed cost, and reading
gains from company only where texts are short.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.models.folder import named_faults
from alignstudy.runtime.kernels import Kernels

if TYPE_CHECKING:
    from transformers import PretrainedConfig

MOST_ROWS = 32
"""Of a batch on a CPU: more share little more."""

MOST_CACHE = 2**30
"""Bytes of keys and values of a batch."""

_GFLOPS, _BANDWIDTH, _DISPATCH = 60.0, 12.0, 5e-6
"""Of a usual core: GF/s of wide products, GB/s from memory, seconds an operation takes at least."""

_LAID_OUT, _LAID_OUT_ANEW = 1.2, 2.2
"""Times that weights pass through memory for a product with few rows, with many; with one: once."""

_SCATTERED = 3.0
"""Times longer than weights a token's keys and values take to come: they lie head by head."""

_OPERATIONS = 300
"""Of a layer, its Python included: a pass over a small model takes that long whatever it reads."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What decides the cost of a batch; see `costs_of`.

    Attributes:
        config: The model's.
        weights: Numbers in the matrices that a token is multiplied with, the vocabulary's
            included.
        parameters: Numbers in the model.
        cached: Numbers kept of a token: keys and values of all layers.
        layers: Layers.
        flops: Arithmetic operations a second.
        bandwidth: Bytes a second from memory.
        dispatch: Seconds that an operation takes at least.
    """

    config: PretrainedConfig
    weights: int
    parameters: int
    cached: int
    layers: int
    flops: float
    bandwidth: float
    dispatch: float

    def reading(self, rows: int, longest: int) -> float:
        """Return the seconds that reading a batch takes, padding included."""
        return self._fixed(rows * longest) + rows * longest * self._row(longest / 2)

    def step(self, rows: int, longest: int) -> float:
        """Return the seconds in which each row of a batch writes a token."""
        return self._fixed(rows) + rows * self._row(_SCATTERED * longest)

    @property
    def most_tokens(self) -> int:
        """Most tokens of a batch whose keys and values still fit."""
        return max(1, MOST_CACHE // (4 * self.cached))

    def _fixed(self, tokens: int) -> float:
        few = 1.0 if tokens == 1 else _LAID_OUT
        passes = few if tokens <= MOST_ROWS else _LAID_OUT_ANEW
        streamed = passes * 4 * self.weights / self.bandwidth
        return streamed + _OPERATIONS * self.layers * self.dispatch

    def _row(self, context: float) -> float:
        """Return the seconds of a token's own arithmetic, and of looking back."""
        return 2 * self.weights / self.flops + 4 * self.cached * context / self.bandwidth


def costs_of(folder: Path, kernels: Kernels | None = None) -> Costs:
    """Read a model's sizes from its configuration; no weight is loaded.

    Args:
        folder: Full weights.
        kernels: What was measured of this CPU; None: a usual core's.

    Raises:
        InputError: If the configuration describes no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with named_faults(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = sum(
        module.weight.numel() for module in model.modules() if isinstance(module, torch.nn.Linear)
    )
    layers = int(getattr(config, "num_hidden_layers", 1))
    gflops, bandwidth, dispatch = (
        (_GFLOPS, _BANDWIDTH, _DISPATCH)
        if kernels is None
        else (kernels.float32, kernels.bandwidth, kernels.dispatch)
    )
    return Costs(
        config=config,
        weights=weights,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        cached=2 * layers * _width(config),
        layers=layers,
        flops=1e9 * gflops,
        bandwidth=1e9 * bandwidth,
        dispatch=dispatch,
    )


def _width(config: PretrainedConfig) -> int:
    """Return the numbers in a token's keys, one layer."""
    hidden = int(getattr(config, "hidden_size", 1))
    heads = int(getattr(config, "num_attention_heads", 1))
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    return shared * int(getattr(config, "head_dim", None) or hidden // heads)
