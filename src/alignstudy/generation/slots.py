"""Rows that are written side by side; where one has ended, a waiting text takes its place."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import torch
from transformers import PreTrainedModel

from alignstudy.generation.room import Kept, NotSideBySideError, Room, read
from alignstudy.generation.rules import Rules, Text, Written
from alignstudy.models.batching import halved, length_batches, release_memory

_READ_TOKENS = 16_000
"""Of texts that a GPU reads at once."""

_REFILL = 8
"""A GPU reads new texts once one place in so many is free: a reading delays all other rows."""


def reads_alone(model: PreTrainedModel) -> bool:
    """Return whether texts are read one by one: a CPU gains nothing by reading them together."""
    return str(model.device.type) == "cpu"


@dataclass
class _Row:
    """A text that is being written on."""

    number: int
    text: Text
    written: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The token that the model reads next."""
        return (self.written or self.text.tokens)[-1]

    @property
    def position(self) -> int:
        """Of that token, from 0."""
        return len(self.text.tokens) + len(self.written) - 1


class Slots:
    """Writes texts on, as many at once as the rules allow.

    Args:
        model: In evaluation mode; it takes positions.
        texts: The longest first; that has at least two tokens.
        rules: How to write.
        moved: How far company is known to move scores.
    """

    def __init__(
        self, model: PreTrainedModel, texts: Sequence[Text], rules: Rules, *, moved: float = 0.0
    ) -> None:
        self._model, self._rules = model, rules
        self._waiting = deque(_Row(number, text) for number, text in enumerate(texts))
        self._rows: dict[int, _Row] = {}
        self._choice = rules.choose([])
        self._choice.bear(moved)
        self._known: dict[tuple[int, ...], Kept] = {}
        self._nothing: Kept = []
        self._room: Room | None = None
        self._tried = 1
        self._reads_alone = reads_alone(model)

    def run(self) -> Iterator[tuple[int, Written | None]]:
        """Yield a text's number and what was written after it; None: another token was as near.

        Raises:
            EnvironmentFault: If even one row doesn't fit into memory.
            NotSideBySideError: If a model keeps anything but all keys and values.
        """
        while self._waiting or self._rows:
            try:
                with torch.inference_mode():  # the caller's turn is outside
                    ended = self._advance()
            except (RuntimeError, MemoryError) as error:
                ended, rows = [], halved(self._tried, error, note=self._rules.note)
                self._rules = replace(self._rules, rows=rows)
                self._begin_again()
            if not self._room:
                release_memory()  # only here, where the error no longer holds it
            yield from ended

    def _advance(self) -> list[tuple[int, Written | None]]:
        """Write the next token of every row, after new ones were read; return those that ended."""
        room = self._room = self._room or self._first_room()
        self._make_room(room)
        self._fill(room)
        return self._step(room)

    def _begin_again(self) -> None:
        """Put all rows that haven't ended back to the waiting ones, and leave no memory taken."""
        rows = sorted(self._rows.values(), key=lambda row: row.number, reverse=True)
        self._waiting.extendleft(_Row(row.number, row.text) for row in rows)
        self._choice.keep([])
        self._rows, self._known, self._room, self._tried = {}, {}, None, 1

    def _first_room(self) -> Room:
        """Read the first text, and see by it what a model keeps, and how far company moves it."""
        first = self._waiting[0].text.tokens
        if "position_ids" not in inspect.signature(self._model.forward).parameters:
            raise NotSideBySideError("the model takes no positions")
        (kept,), cache = read(self._model, [first])
        self._known = {first: kept}
        self._nothing = [(keys[:, :0].clone(), values[:, :0].clone()) for keys, values in kept]
        if self._rules.rewrite:
            ids = torch.tensor([first[-1:]], device=self._model.device)
            alone = self._model(
                input_ids=ids,
                position_ids=torch.tensor([[len(first) - 1]], device=self._model.device),
                past_key_values=cache,
                use_cache=True,
            ).logits
            self._choice.compare(0, alone[0, -1].float())
        return Room(self._nothing, rows=0, columns=0)

    def _make_room(self, room: Room) -> None:
        """Make as much room as the rows and the waiting texts need, where that is worth a copy."""
        rows, waiting, rules = self._rows, self._waiting, self._rules
        next_one = [waiting[0]] if waiting else []
        longest = max(len(row.text.tokens) for row in [*rows.values(), *next_one])
        wanted = max(len(rows), min(rules.rows_of(longest), len(rows) + len(waiting)))
        too_few, too_many = 4 * wanted >= 5 * room.rows, 2 * wanted <= room.rows
        if not rows or too_few or too_many or room.window.end == room.columns:
            self._tried = wanted
            kept = room.move(rows=wanted, columns=rules.columns_of(longest))
            self._choice.keep(kept)
            self._rows = {new: rows[old] for new, old in enumerate(kept)}
            if not kept:
                room.window.end = longest - 1

    def _fill(self, room: Room) -> None:
        """Read waiting texts into the free places."""
        free = [place for place in range(room.rows) if place not in self._rows]
        if not self._waiting or not (self._reads_alone or _REFILL * len(free) >= room.rows):
            return
        places: dict[tuple[int, ...], list[int]] = {}
        for place in free[: len(self._waiting)]:
            row = self._rows[place] = self._waiting.popleft()
            self._choice.seat(place, row.text.seed)
            places.setdefault(row.text.tokens, []).append(place)
        for tokens, kept in self._read([*places]):
            for place in places[tokens]:
                room.put(place, kept, len(tokens) - 1)
            again = bool(self._waiting) and self._waiting[0].text.tokens == tokens
            # Copied: what was read beside others holds their memory, too.
            self._known = {tokens: [(k.clone(), v.clone()) for k, v in kept]} if again else {}
            del kept  # while the next ones are read

    def _read(self, texts: Sequence[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], Kept]]:
        """Yield texts with what is kept of all their tokens but the last."""
        known = {text: [*self._nothing] for text in texts if len(text) == 1} | self._known
        yield from ((text, known[text]) for text in texts if text in known)
        new = [text for text in texts if text not in known]
        plan = length_batches(
            [len(text) - 1 for text in new],
            batch_size=max(1, len(new)),
            max_batch_tokens=1 if self._reads_alone else _READ_TOKENS,
        )
        for numbers in plan:
            group = [new[number] for number in numbers]
            yield from zip(group, read(self._model, group)[0], strict=True)

    def _step(self, room: Room) -> list[tuple[int, Written | None]]:
        """Write the next token of every row; return the rows that have ended."""
        rules, model, rows = self._rules, self._model, self._rows
        ids, positions = [[rules.pad]] * room.rows, [[0]] * room.rows
        for place, row in rows.items():
            ids[place], positions[place] = [row.last], [row.position]
        inputs = torch.tensor(ids, device=model.device)
        with rules.products.used() if rules.products else nullcontext():
            answer = model(
                input_ids=inputs,
                attention_mask=room.mask(),
                position_ids=torch.tensor(positions, device=model.device),
                past_key_values=room.cache,
                use_cache=True,
            )
        room.window.end += 1
        chosen = self._choice(inputs, answer.logits[:, -1].float()).argmax(dim=-1).tolist()
        near, self._choice.near = self._choice.near, {}
        ended: list[tuple[int, Written | None]] = []
        for place, row in [*rows.items()]:
            row.written.append(chosen[place])
            written = None if rules.rewrite and place in near else rules.ended(row.written)
            if written is not None or (rules.rewrite and place in near):
                ended.append((row.number, written))
                del rows[place], room.window.begins[place]
        return ended
