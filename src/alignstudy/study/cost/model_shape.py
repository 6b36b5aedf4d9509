"""A model's shape, and from it its parameters and the arithmetic of a pass: no weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignstudy.methods.weights.scratch import ArchitectureSettings
from alignstudy.models.inspection import inspect_folder

DISENTANGLED = frozenset({"deberta", "deberta-v2"})
"""Model types whose attention compares positions too: two more products a layer."""

GATED = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "smollm3"})
"""Model types whose feed-forward has a third matrix."""


_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "facebook/opt-350m": {
        **_LARGE,
        "model_type": "opt",
        "ffn_dim": 4096,
        "vocab_size": 50272,
        "word_embed_proj_dim": 512,
        "max_position_embeddings": 2050,
    },
    "OpenAssistant/reward-model-deberta-v3-large-v2": {
        **_LARGE,
        "model_type": "deberta-v2",
        "architectures": ["DebertaV2ForSequenceClassification"],
        "intermediate_size": 4096,
        "vocab_size": 128100,
        "max_position_embeddings": 512,
        "position_buckets": 256,
        "position_biased_input": False,
    },
}
"""The published study's models by hub id: known before anything is fetched."""


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The sizes that decide what a pass costs.

    Attributes:
        hidden: Width of the layers.
        ffn: Width inside a feed-forward.
        keys: Width of all keys of a layer together: less than `hidden` where heads share them.
        embedding: Width of token embeddings.
        positions: Rows of the table of positions; 0 where positions are computed.
        span: Relative positions, both ways, that attention compares; 0: none.
        gated: Whether a feed-forward has three matrices.
        writes: Whether it is a language model: the vocabulary is computed at scored positions.
        tied: Whether the vocabulary's matrix is the token embeddings'.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    keys: int
    vocabulary: int
    embedding: int
    positions: int = 0
    span: int = 0
    gated: bool = False
    writes: bool = True
    tied: bool = True

    @property
    def layer_weights(self) -> int:
        """Entries of one layer's matrices."""
        attention = 2 * self.hidden * (self.hidden + self.keys)
        return attention + (3 if self.gated else 2) * self.hidden * self.ffn

    @property
    def parameters(self) -> int:
        """Entries of all matrices, biases and norms; within 1 % for the families known here."""
        tables = self.vocabulary * self.embedding * (1 if self.tied or not self.writes else 2)
        tables += (self.positions + self.span) * self.hidden
        if self.embedding != self.hidden:
            tables += 2 * self.embedding * self.hidden
        if not self.writes:
            tables += self.hidden * self.hidden  # the pooler
        small = 9 * self.hidden + self.ffn
        return self.layers * (self.layer_weights + small) + tables

    def forward_flops(
        self, *, tokens: float, context: float, scored: float = 0, passes: float = 0
    ) -> float:
        """Count the floating-point operations of forward passes, a multiply-add as two.

        2 a weight and token in the layers, 4 * hidden * context a layer and token for attention
        (scores and weighted sum, the masked half counted: that is how they are computed), and the
        vocabulary at scored positions only.

        Args:
            tokens: Positions that go through the layers.
            context: Tokens that each of them attends to.
            scored: Positions at which the vocabulary is computed.
            passes: How many passes these are: relative positions are projected once in each.

        Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1; Chowdhery et al. 2022 (PaLM),
        arXiv 2204.02311, appendix B.
        """
        layer = 2.0 * self.layer_weights + 4.0 * self.hidden * context
        layer += 4.0 * self.hidden * self.span  # each token with all relative positions, both ways
        total = self.layers * (tokens * layer + passes * 4.0 * self.span * self.hidden**2)
        if self.embedding != self.hidden:
            total += 2.0 * self.embedding * self.hidden * (tokens + scored)
        return total + (2.0 * self.vocabulary * self.embedding * scored if self.writes else 0.0)


def shape_of_architecture(asked: ArchitectureSettings, *, vocabulary: int) -> ModelShape:
    """Return the shape of a model that is trained from scratch."""
    config = {**asked.model_dump(), "vocab_size": vocabulary}
    if asked.model_type == "opt":
        config["max_position_embeddings"] += 2  # its table begins two rows earlier
    else:
        config |= {"position_biased_input": False, "position_buckets": 256}
        config["architectures"] = ["DebertaV2ForSequenceClassification"]
    found = shape_of_config(config)
    assert found is not None
    return found


def read_shape(folder: Path) -> ModelShape | None:
    """Read a model folder's shape from its config.json; None where that doesn't say it.

    A hub id that isn't here yet is known by the published study's sizes, if at all.

    Raises:
        InputError: If it states sizes that no model has.
        GuardError: If it asks for what isn't supported.
        DamagedArtefactError: If it can't be read.
    """
    if not folder.is_dir() and str(folder) in PUBLISHED:
        return shape_of_config(PUBLISHED[str(folder)])
    if not (folder / "config.json").is_file():
        return None
    return shape_of_config(inspect_folder(folder))


def shape_of_config(config: Mapping[str, Any]) -> ModelShape | None:
    """Return the shape that a config.json states; None if a size is missing."""
    hidden = _whole(config, "hidden_size", "n_embd", "d_model")
    layers = _whole(config, "num_hidden_layers", "n_layer")
    heads = _whole(config, "num_attention_heads", "n_head")
    vocabulary = _whole(config, "vocab_size")
    if hidden is None or layers is None or heads is None or vocabulary is None:
        return None
    kind = str(config.get("model_type", ""))
    positions = _whole(config, "max_position_embeddings", "n_positions") or 0
    rotary = any(name.startswith("rope") for name in config)
    has_table = not rotary and config.get("position_biased_input") is not False
    most = _whole(config, "max_position_embeddings") or 512
    buckets = _whole(config, "position_buckets") or most
    width = _whole(config, "head_dim") or hidden // heads
    return ModelShape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        ffn=_whole(config, "ffn_dim", "intermediate_size", "n_inner") or 4 * hidden,
        keys=(_whole(config, "num_key_value_heads") or heads) * width,
        vocabulary=vocabulary,
        embedding=_whole(config, "word_embed_proj_dim", "embedding_size") or hidden,
        positions=positions if has_table else 0,
        span=2 * min(buckets, most) if kind in DISENTANGLED else 0,
        gated=kind in GATED,
        writes=not any("Classification" in str(n) for n in config.get("architectures") or ()),
        tied=bool(config.get("tie_word_embeddings", True)),
    )


def _whole(config: Mapping[str, Any], *names: str) -> int | None:
    found = (config.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
