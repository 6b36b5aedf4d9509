"""Bytes that a stage's tensors take, by formula."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.methods import TrainingSettings, method_of
from alignstudy.methods.base import LoRASettings
from alignstudy.methods.loop.checkpoints import KEPT
from alignstudy.study.cost.model_shape import ModelShape

BYTES, HALF = 4, 2
"""Of a float32; of a bfloat16 or a float16."""
IN_4BIT = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4: its code, and its share of a block's scale, which is in 8 bits."""
MOMENTS, MOMENTS_8BIT = 8.0, 2 + 2 * 4 / 256
"""Bytes of AdamW's two moments of a weight; in 8 bits with their blocks' scales."""
MIXED = 0.6
"""Of float32's activations, those of mixed precision: norms and what passes by layers stay float32.
"""
TILE, MOST_LOGITS = 4096, 2.0**26
"""Positions whose logits are held at once on a GPU; logits that are on a CPU."""
INNER = frozenset({"fc2", "down_proj", "c_proj"})
"""Names of the matrices that read a feed-forward's inside."""


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What decides how much memory and disk a stage takes at most.

    Attributes:
        shape: Of the model that it computes with; None: it computes with none.
        rows: Rows that go through the model together.
        length: Tokens of the longest row; 0: no row goes through it.
        trained: Weights that learn: each has a gradient and AdamW's two moments.
        held: Weights of a second model, which only speaks.
        saved: Weights that it writes.
        text: Bytes of the other files that it writes.
        moments: Bytes of the moments of a weight that learns.
        in_4bit: Whether the layers' matrices are held in 4 bits.
        dtype: Of weights where nothing learns: "float32", "bfloat16", "float16".
        precision: Of training: "fp32", "bf16", "fp16"; "auto": bf16 on a GPU.
        all_layers: Whether every matrix' inputs are kept for gradients, those of feed-forwards too.
        texts: Texts a row: rows are halved down to one of so many.
        whole: Whether rows can't go through the model in smaller pieces, nor layers be computed
            again.
        recomputed: Whether layers are computed again for their gradients, instead of kept.
        offloaded: Whether moments lie in the processor's memory, but for one weight's at a time.
    """

    shape: ModelShape | None = None
    rows: int = 1
    length: int = 0
    trained: float = 0.0
    held: float = 0.0
    saved: float = 0.0
    text: float = 1e6
    moments: float = MOMENTS
    in_4bit: bool = False
    dtype: str = "float32"
    precision: str = "fp32"
    all_layers: bool = True
    texts: int = 1
    whole: bool = False
    recomputed: bool = False
    offloaded: bool = False

    def parts(self, *, on_gpu: bool = False) -> dict[str, float]:
        """Return peak bytes of tensors by what they are."""
        if self.shape is None:
            return {}
        layers, size = float(self.shape.layers * self.shape.layer_weights), self._size
        weights = size * float(self.shape.parameters)
        if self.in_4bit:
            weights += (IN_4BIT - size) * layers
        found = {"weights": weights, "second model": BYTES * self.held}
        if not self.trained:
            return found | self._of_a_pass()
        mixed = self.precision in {"bf16", "fp16"} or (self.precision == "auto" and on_gpu)
        width = HALF if mixed else BYTES
        head = self.shape.vocabulary * self.shape.embedding if self.shape.writes else 0
        used = layers + head if mixed and not self.in_4bit else 0.0
        if self.in_4bit:  # one matrix is dequantised at a time
            used = float(self.shape.hidden * max(self.shape.ffn, self.shape.hidden))
        return found | {
            "weights as computed with": width * used,
            "gradients": BYTES * self.trained,
            "optimizer": self.moments * (self._moments_there if self.offloaded else self.trained),
            "activations": self._activations(on_gpu=on_gpu) * (MIXED if mixed else 1.0),
            "logits": self._logits(width, on_gpu=on_gpu),
        }

    @property
    def _size(self) -> int:
        """Bytes of a weight that isn't in 4 bits; what learns is float32."""
        return BYTES if self.dtype == "float32" or self.trained else HALF

    @property
    def _moments_there(self) -> float:
        """Weights whose moments are on the device at once where they are offloaded: a critic's."""
        assert self.shape is not None
        shape = self.shape
        widest = max(shape.vocabulary * shape.embedding, shape.hidden * shape.ffn)
        return min(self.saved, widest) + self.trained - self.saved

    def memory(self, *, on_gpu: bool = False) -> float:
        """Return peak bytes of tensors, all together."""
        return sum(self.parts(on_gpu=on_gpu).values())

    def _of_a_pass(self) -> dict[str, float]:
        """Bytes of a pass without gradients: one layer's, keys and values of all, a few logits."""
        assert self.shape is not None
        shape, positions = self.shape, self.rows * self.length
        cache = 2 * shape.layers * shape.keys if shape.writes else 0
        return {
            "activations": self._size * positions * (16 * shape.hidden + 2 * shape.ffn),
            "keys and values": self._size * positions * cache,
            "logits": BYTES * self.rows * shape.vocabulary if shape.writes else 0.0,
        }

    def _activations(self, *, on_gpu: bool) -> float:
        """Bytes in float32 of what a backward pass needs, masks of attention included.

        Of a position a layer keeps the inputs of norms and products, queries, keys and values, and
        the inside of its feed-forward; measured on OPT's and Llama's layers (`test_memory.py`).
        """
        assert self.shape is not None
        shape, positions = self.shape, self.rows * self.length
        inside = (4 if self.all_layers else 3) if shape.gated else 2
        vectors = (7 if self.all_layers else 5) if shape.gated else 8
        layer = vectors * shape.hidden + 2 * shape.keys + inside * shape.ffn
        kept = shape.hidden + layer if self.recomputed else shape.layers * layer
        kept += 2 * layer // 3 + (shape.layers * shape.hidden if self.recomputed else 0)
        attention = 0.0
        if shape.span:  # DeBERTa's positions are compared pair by pair, head by head
            maps = 10 * shape.heads * self.length
            attention = float(positions * maps * (1 if self.recomputed else shape.layers))
        if on_gpu and shape.writes:  # a mask of all a pass' positions, and an additive one a layer
            attention += positions**2 * (1 + (1 if self.recomputed else shape.layers)) / 2
        return BYTES * (positions * kept + attention)

    def _logits(self, width: int, *, on_gpu: bool) -> float:
        """Bytes of the vocabulary's logits: of all positions, or of a tile of them."""
        assert self.shape is not None
        if not self.shape.writes:
            return 0.0
        positions = self.rows * self.length
        tile = float(min(positions, TILE) * self.shape.vocabulary)
        if on_gpu:  # and its gradient
            return 2 * width * tile
        if width == HALF:  # and float32's in between
            return (HALF + 4 * BYTES) * tile
        return float(BYTES * min(positions * self.shape.vocabulary, MOST_LOGITS))

    @property
    def disk(self) -> float:
        """Bytes that stay."""
        return BYTES * self.saved + self.text

    @property
    def working_disk(self) -> float:
        """Bytes of checkpoints that lie on the disk meanwhile: weights and moments."""
        return (KEPT + 1) * (BYTES + self.moments) * self.trained


def training_footprint(
    settings: TrainingSettings, shape: ModelShape, *, held: float = 0.0, critic: float = 0.0
) -> Footprint:
    """Count what a training takes: weights, gradients, moments, the largest micro-batch.

    Args:
        settings: Of the training.
        shape: Of the model.
        held: Weights of a reference that is asked in every step.
        critic: Weights of a critic that learns beside it.
    """
    method, lora = method_of(settings), settings.lora
    at_once = settings.per_device_train_batch_size
    rows = settings.effective_batch_size if at_once == "auto" else at_once
    learns = trained_weights(shape, lora)
    moments = MOMENTS
    if settings.optim == "adamw_8bit":
        tables = shape.vocabulary * shape.embedding + shape.positions * shape.hidden
        wide = tables / shape.parameters if lora is None else 0.0  # embeddings' stay in 32 bits
        moments = wide * MOMENTS + (1 - wide) * MOMENTS_8BIT
    return Footprint(
        shape=shape,
        rows=len(method.branches) * rows,
        length=settings.max_length,
        trained=learns + critic,
        held=held + critic,
        saved=learns,
        moments=moments,
        in_4bit=settings.in_4bit,
        precision=settings.precision,
        all_layers=lora is None or bool(INNER & {*lora.target_modules}),
        texts=len(method.branches),
        whole=method.packs or method.objective.couples_rows,
    )


def trained_weights(shape: ModelShape, lora: LoRASettings | None) -> float:
    """Count the weights that learn: all of them, or an adapter's two narrow matrices a layer."""
    if lora is None:
        return float(shape.parameters)
    wide = {"fc1", "fc2", "up_proj", "down_proj", "gate_proj"}
    ends = {name: shape.ffn for name in wide} | {"k_proj": shape.keys, "v_proj": shape.keys}
    sizes = (shape.hidden + ends.get(name, shape.hidden) for name in lora.target_modules)
    return float(shape.layers * lora.r * sum(sizes))
