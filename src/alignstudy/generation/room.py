"""Keys and values of rows that come and go, with room for the tokens to come.

transformers' usual cache is copied whole at every token, and its rows begin and end together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


class NotSideBySideError(Exception):
    """Rows of a model can't be put side by side."""


Kept = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one text, by layer: (heads, tokens, size of a head)."""


@dataclass
class Window:
    """Which columns are used.

    Attributes:
        begins: Row that is used -> the column of its first token.
        end: The column of every row's next token.
    """

    begins: dict[int, int] = field(default_factory=dict)
    end: int = 0

    @property
    def start(self) -> int:
        """The first column that a row uses."""
        return min(self.begins.values(), default=self.end)


class Room:
    """A batch's cache; the latest token of every row lies in the same column.

    Args:
        like: What is kept of any text: its shapes are the model's.
        rows: How many rows there is room for.
        columns: How many tokens a row has room for.

    Attributes:
        cache: What a model reads and writes.
        window: Which columns are used.
    """

    def __init__(self, like: Kept, *, rows: int, columns: int) -> None:
        self.window = Window()
        self._layers = [_Layer(self.window, *sides, rows=rows, columns=columns) for sides in like]
        self._mask = like[0][0].new_zeros((rows, columns), dtype=torch.long)
        self.cache = Cache(layers=[*self._layers])

    @property
    def rows(self) -> int:
        """How many rows there is room for."""
        return len(self._mask)

    @property
    def columns(self) -> int:
        """How many tokens a row has room for."""
        return self._mask.shape[1]

    def put(self, row: int, kept: Kept, length: int) -> None:
        """Put a text of so many tokens, at most as many as columns are used, into a row."""
        start, end = self.window.start, self.window.end
        begin = self.window.begins[row] = end - length
        for layer, sides in zip(self._layers, kept, strict=True):
            layer.put(row, sides, start, begin, end)
        self._mask[row] = 0
        self._mask[row, begin:end] = 1

    def mask(self) -> torch.Tensor:
        """Return what the next tokens attend to, themselves included; (rows, tokens)."""
        self._mask[:, self.window.end] = 1
        return self._mask[:, self.window.start : self.window.end + 1]

    def move(self, *, rows: int, columns: int) -> list[int]:
        """Make room for other numbers of rows and columns; return the rows kept, in new order."""
        window = self.window
        kept, start, end = sorted(window.begins), window.start, window.end
        chosen = torch.tensor(kept, dtype=torch.long, device=self._mask.device)
        for layer in self._layers:
            layer.move(chosen, start, end, rows, columns)
        mask = self._mask.new_zeros((rows, columns))
        mask[: len(kept), : end - start] = self._mask[chosen, start:end]
        self._mask = mask
        window.begins = {new: window.begins[old] - start for new, old in enumerate(kept)}
        window.end = end - start
        return kept


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers has no types
    """One layer's keys and values; what a model gets of them is a view."""

    def __init__(
        self,
        window: Window,
        keys: torch.Tensor,
        values: torch.Tensor,
        *,
        rows: int,
        columns: int,
    ) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._window = window
        self._sides = [
            side.new_zeros((rows, side.shape[0], columns, side.shape[2])) for side in (keys, values)
        ]
        self.keys, self.values = (own[:, :, :0] for own in self._sides)  # some models look first

    def put(
        self, row: int, sides: tuple[torch.Tensor, torch.Tensor], start: int, begin: int, end: int
    ) -> None:
        """Put a text's keys and values into the columns of a row from `begin` on."""
        for own, side in zip(self._sides, sides, strict=True):
            own[row, :, start:begin] = 0  # masked, and multiplied by zero: a number must lie there
            own[row, :, begin:end] = side

    def move(self, kept: torch.Tensor, start: int, end: int, rows: int, columns: int) -> None:
        """Make room for other numbers of rows and columns."""
        for place, old in enumerate(self._sides):
            new = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
            new[: len(kept), :, : end - start] = old[:, :, start:end][kept]
            self._sides[place] = new
        self.keys, self.values = (own[:, :, : end - start] for own in self._sides)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep the next token of every row; return all that is kept."""
        start, end = self._window.start, self._window.end + 1
        for own, side in zip(self._sides, (key_states, value_states), strict=True):
            own[:, :, end - 1 : end] = side
        self.keys, self.values = (own[:, :, start:end] for own in self._sides)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the number of columns in use."""
        return self._window.end - self._window.start


def read(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> tuple[list[Kept], DynamicCache]:
    """Read texts but for their last tokens; return what is kept of each, and the model's own cache.

    They are padded at their ends, which none of their tokens sees.

    Raises:
        NotSideBySideError: If a model keeps anything but all keys and values.
    """
    lengths = [len(text) - 1 for text in texts]
    ids = torch.tensor([[*text[:-1]] + [0] * (max(lengths) - len(text) + 1) for text in texts])
    answer = model(
        input_ids=ids.to(model.device),
        position_ids=torch.arange(max(lengths), device=model.device).expand(len(texts), -1),
        use_cache=True,
        logits_to_keep=1,
    )
    cache: Any = getattr(answer, "past_key_values", None)
    plain = type(cache) is DynamicCache and {*map(type, cache.layers)} == {DynamicLayer}
    if not plain or not all(layer.is_initialized for layer in cache.layers):
        raise NotSideBySideError("the model keeps more of a text than its keys and values")
    kept = [
        [(layer.keys[row, :, :length], layer.values[row, :, :length]) for layer in cache.layers]
        for row, length in enumerate(lengths)
    ]
    return kept, cache
