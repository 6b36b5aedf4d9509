"""Keys and values of the tokens read so far, in memory laid out once for all that will follow.

transformers' own cache is copied whole at every token: a quarter of the time of a batch on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel

RowLayers = list[tuple["torch.Tensor", "torch.Tensor"]]
"""Keys and values of one text, layer by layer; each (heads, tokens, width)."""


def rows_of(read: Cache | None, lengths: Sequence[int]) -> list[RowLayers] | None:
    """Take a cache apart into its texts, without their padding on the left.

    Args:
        read: What a model kept of a left-padded batch.
        lengths: Tokens of each text.

    Returns:
        None if the model keeps anything but all keys and values: a window of them, a state.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if not isinstance(read, DynamicCache):
        return None
    if any(type(layer) is not DynamicLayer for layer in read.layers):
        return None
    return [
        [(layer.keys[row, :, -length:], layer.values[row, :, -length:]) for layer in read.layers]
        for row, length in enumerate(lengths)
    ]


def together(rows: Sequence[RowLayers], *, room: int) -> Cache:
    """Put texts side by side, padded on the left, with room for more tokens.

    Args:
        rows: The texts' keys and values.
        room: Most tokens that will follow.
    """
    from transformers import Cache

    longest = max(row[0][0].shape[1] for row in rows)
    layers = [
        _roomy_layer()(
            _side_by_side([row[at][0] for row in rows], longest, room),
            _side_by_side([row[at][1] for row in rows], longest, room),
            longest,
        )
        for at in range(len(rows[0]))
    ]
    return Cache(layers=layers)


def keep(held: Cache, rows: Sequence[int], *, trim: int) -> Cache:
    """Leave out the rows that ended, and the tokens on the left that pad all others."""
    from transformers import Cache

    return Cache(layers=[layer.kept(rows, trim) for layer in held.layers])


def can_continue(model: PreTrainedModel) -> bool:
    """Return whether a model is told each token's position, as rows of unequal length need."""
    import inspect

    return "position_ids" in inspect.signature(model.forward).parameters


def _side_by_side(texts: Sequence[torch.Tensor], longest: int, room: int) -> torch.Tensor:
    """Return (rows, heads, longest + room, width); zeros where nothing is."""
    heads, _, width = texts[0].shape
    # Masked places are multiplied by zero: what lies there must be a number.
    memory = texts[0].new_zeros(len(texts), heads, longest + room, width)
    for place, text in zip(memory, texts, strict=True):
        place[:, longest - text.shape[1] : longest] = text
    return memory


@cache
def _roomy_layer() -> Any:  # noqa: ANN401 - a class of transformers', made when it is imported
    """Make the layer's class."""
    import torch
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):  # type: ignore[misc]
        """Writes each token's keys and values beside those before; copies nothing."""

        def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int) -> None:
            super().__init__()
            self._memory, self._length = (keys, values), length
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            self.keys, self.values = keys[:, :, :length], values[:, :, :length]

        def update(
            self,
            key_states: torch.Tensor,
            value_states: torch.Tensor,
            *_args: object,
            **_others: object,
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Add tokens; return all there are, (rows, heads, tokens, width) each."""
            start, end = self._length, self._length + key_states.shape[2]
            if end > self._memory[0].shape[2]:
                raise ValueError("more tokens than there is room for")
            self._memory[0][:, :, start:end] = key_states
            self._memory[1][:, :, start:end] = value_states
            self._length = end
            self.keys, self.values = (part[:, :, :end] for part in self._memory)
            return self.keys, self.values

        def kept(self, rows: Sequence[int], trim: int) -> RoomyLayer:
            """Return some of the rows, without the first tokens."""
            chosen = torch.tensor(list(rows), device=self.device)
            keys, values = (part[:, :, trim:].index_select(0, chosen) for part in self._memory)
            return RoomyLayer(keys, values, self._length - trim)

    return RoomyLayer
