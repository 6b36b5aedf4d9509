"""Attention text by text in rows that several texts are joined to, for a CPU.

A joined row has no padding and is one pass, but a mask over all of it would cost the square of its
length. Here each text's queries meet its own keys only, in as many calls of SDPA as there are
texts: on a model of 0.4 million weights updates took 13 % (SFT) and 23 % (DPO) less time than in
padded pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from alignstudy.methods.scoring.layout import Layout, may_see

JOINED = "alignstudy_joined"
"""The implementation's name among transformers'."""


@dataclass(frozen=True)
class _Texts:
    """The texts of a row: their lengths, and what may see what in each (None: plainly causal)."""

    lengths: list[int]
    masks: list[torch.Tensor | None]


def use_joined_attention(model: Any) -> bool:  # noqa: ANN401
    """Let a model attend text by text, if its attention is SDPA; other masks are as they were.

    Returns:
        Whether it does now.
    """
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(JOINED, _attend)
        AttentionMaskInterface.register(JOINED, sdpa_mask)
        model.set_attn_implementation(JOINED)
    return bool(model.config._attn_implementation == JOINED)


def joined_mask(layout: Layout) -> torch.Tensor:
    """Return what may see what in one joined row.

    Returns:
        An empty tensor of a mask's four dimensions, which no other implementation can take for
        one: models hand it on to every layer as they find it.
    """
    lengths = torch.unique_consecutive(layout.document[0], return_counts=True)[1].tolist()
    masks = [
        may_see(branch)[:, None] if branch.any() else None
        for branch in torch.split(layout.branch, lengths, dim=1)
    ]
    mask: Any = torch.empty(1, 1, 0, 0)
    mask.texts = _Texts(lengths, masks)
    return mask  # type: ignore[no-any-return]


def _attend(
    module: Any,  # noqa: ANN401
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,  # noqa: ANN401
    **given: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' SDPA does: (1, heads, length, size) each to (1, length, heads, size).

    A mask that lost its texts on its way is empty, and SDPA refuses it.
    """
    texts: _Texts | None = getattr(attention_mask, "texts", None)
    if texts is None:
        whole: torch.Tensor = sdpa_attention_forward(
            module, query, key, value, attention_mask, **given
        )[0]
        return whole, None
    parts = (torch.split(states, texts.lengths, dim=2) for states in (query, key, value))
    found = [
        sdpa_attention_forward(module, *part, mask, **given)[0]
        for *part, mask in zip(*parts, texts.masks, strict=True)
    ]
    return torch.cat(found, dim=1), None
