"""A model's scoring pass on shared prefixes: same results, a third to two thirds of the work.

TRL asks a model for log-probabilities by `forward(fused_lm_head=True, labels=...)`. `install` steps
in there, lays the batch out anew, and lets only the hidden states that foretell a target reach the
vocabulary. Every loss, metric and reference pass of TRL goes through that one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch

from alignstudy.errors import GuardError
from alignstudy.methods.scoring.joined_attention import JOINED, joined_mask
from alignstudy.methods.scoring.layout import Layout, lay_out, may_attend
from alignstudy.methods.scoring.token_scores import holds_logits, score_targets

ATTENTION = ("sdpa", "eager", JOINED)
"""Implementations of attention that can be told what may see what."""

BLOCK = 128
"""Length of a flat row is a multiple of it, so that a GPU meets few shapes; not where texts are
attended to one by one."""

_PASSED_ON = {"num_items_in_batch"}
_OURS = {"input_ids", "attention_mask", "labels", "use_cache"} | _PASSED_ON


@dataclass
class Tally:
    """What training passes computed so far; see `WorkDone`."""

    processed_tokens: int = 0
    scored_tokens: int = 0
    passes: int = 0

    def add(self, layout: Layout) -> None:
        """Count one pass."""
        self.processed_tokens += layout.input_ids.numel()
        self.scored_tokens += len(layout.targets)
        self.passes += 1

    def clear(self) -> None:
        """Forget what was counted: it was a trial."""
        self.processed_tokens = self.scored_tokens = self.passes = 0


@dataclass
class SharedPrefixConfig:
    """How a model lays batches out now; may be changed between passes.

    Attributes:
        pairs: Chosen and rejected on their shared prompt.
        flat: All in one row (few large passes); else padded rows.
    """

    pairs: bool
    flat: bool


def install(model: Any, *, pairs: bool, flat: bool, tally: Tally) -> SharedPrefixConfig:  # noqa: ANN401
    """Let a model score batches by a leaner layout.

    Args:
        model: A causal language model that TRL has given a fused head; not its PEFT wrapper.
        pairs: See `SharedPrefixConfig`.
        flat: Likewise.
        tally: Counts the passes that are made with gradients.

    Returns:
        What can be changed later.

    Raises:
        GuardError: If the model's attention can't be told what may see what.
    """
    if attention_of(model) not in ATTENTION:
        raise GuardError(
            f"the model's attention is {attention_of(model)}, which takes no mask of ours",
            hint=f"load the model with one of {', '.join(ATTENTION)}",
        )
    fused: Callable[..., Any] = model.forward
    lean = SharedPrefixConfig(pairs=pairs, flat=flat)

    @wraps(fused)
    def forward(*args: Any, fused_lm_head: bool = False, **given: Any) -> Any:  # noqa: ANN401
        given = {name: value for name, value in given.items() if value is not None}  # PEFT's
        labels = given.get("labels")
        if not fused_lm_head or args or labels is None or not set(given) <= _OURS:
            return fused(*args, fused_lm_head=fused_lm_head, **given)
        if not bool((labels[:, 1:] != -100).any()):
            return fused(fused_lm_head=True, **given)  # nothing to score: its zeros are right
        layout = lay_out(
            given["input_ids"], given["attention_mask"], labels, pairs=lean.pairs,
            flat=lean.flat,
            multiple_of=BLOCK if lean.flat and attention_of(model) != JOINED else 1,
        )  # fmt: skip
        if torch.is_grad_enabled():
            tally.add(layout)
        layout = layout.to(labels.device)
        if holds_logits(model, len(layout.targets)):
            hidden = _hidden(model, layout)
            return score_targets(model, hidden, layout.targets, put=layout.put, labels=labels)
        others = {name: given[name] for name in _PASSED_ON & set(given)}
        return _put_back(_scored(model, fused, layout, others), layout.put, labels)

    model.forward = forward
    return lean


def attention_of(model: Any) -> str:  # noqa: ANN401
    """Name the implementation of a model's attention."""
    return str(model.config._attn_implementation)


def _hidden(model: Any, layout: Layout) -> torch.Tensor:  # noqa: ANN401
    """Return the (N, H) hidden states that foretell a layout's targets."""
    states: torch.Tensor = model.base_model(
        input_ids=layout.input_ids,
        attention_mask=attention_mask(layout, attention_of(model), next(model.parameters()).dtype),
        position_ids=layout.position_ids,
        use_cache=False,
    ).last_hidden_state
    return states.reshape(-1, states.shape[-1])[layout.take]


def _scored(
    model: Any,  # noqa: ANN401
    fused: Callable[..., Any],
    layout: Layout,
    others: dict[str, Any],
) -> Any:  # noqa: ANN401
    """Run the model on a layout; its head sees the hidden states that foretell targets."""
    dtype = next(model.parameters()).dtype
    with _only(model.base_model, layout.take):
        return fused(
            input_ids=layout.input_ids,
            attention_mask=attention_mask(layout, attention_of(model), dtype),
            position_ids=layout.position_ids,
            shift_labels=layout.targets[None],
            fused_lm_head=True,
            use_cache=False,
            **others,
        )


@contextmanager
def _only(backbone: Any, take: torch.Tensor) -> Iterator[None]:  # noqa: ANN401
    """Let a backbone give the hidden states at some positions only, as one row."""

    def pick(_: object, __: object, output: Any) -> Any:  # noqa: ANN401
        hidden = output.last_hidden_state
        output.last_hidden_state = hidden.reshape(-1, hidden.shape[-1])[take][None]
        return output

    handle = backbone.register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def attention_mask(layout: Layout, kind: str, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Write what may see what as an implementation of attention wants it; None: plainly causal.

    Args:
        layout: The rows.
        kind: One of `ATTENTION`. A boolean mask would be *added* to scores by "eager".
        dtype: Of the scores.
    """
    if layout.is_causal:
        return None
    if kind == JOINED and layout.is_joined:
        return joined_mask(layout)
    allowed = may_attend(layout)[:, None]
    if kind != "eager":
        return allowed
    return torch.zeros_like(allowed, dtype=dtype).masked_fill(~allowed, torch.finfo(dtype).min)


def _put_back(outputs: Any, put: torch.Tensor, labels: torch.Tensor) -> Any:  # noqa: ANN401
    """Return every result the place that it has in the batch (R, T-1), zeros elsewhere."""
    shape = (labels.shape[0], labels.shape[1] - 1)
    for name in ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1"):
        values = getattr(outputs, name)
        if values is not None:
            empty = values.new_zeros(shape[0] * shape[1])
            setattr(outputs, name, empty.scatter(0, put, values[0]).view(shape))
    outputs.label_mask = labels[:, 1:] != -100
    return outputs
