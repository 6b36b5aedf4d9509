"""What updates came to: kept on the device, and read from it several updates at a time.

Whoever asks a GPU for a number waits until it has done all that it was given. Loss, norm and
figures of an update are therefore read with those of the updates after it. Which rows an update
was made of, and where in training it stood, is noted beside it: whatever is wrong is told of the
right update, whenever it is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

READ_EVERY = {"cpu": 1, "cuda": 16}
"""Updates between two looks at what they came to, by kind of device. Nothing on a CPU waits."""


@dataclass(kw_only=True)
class Update:
    """What is known of an update.

    Attributes:
        rows: Numbers of the rows that it was made of.
        step: Its number, from 1.
        epoch: Where it ended.
        learning_rate: That it was made with.
        tokens: Tokens that training had read after it.
        loss: Of its rows; NaN before it was read.
        grad_norm: Before clipping; likewise.
        figures: Means, by the trainers' names; {} before they were read.
    """

    rows: tuple[int, ...]
    step: int
    epoch: float = 0.0
    learning_rate: float = 0.0
    tokens: int = 0
    loss: float = float("nan")
    grad_norm: float = float("nan")
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class _Unread:
    """The numbers of an update, and what they are called.

    Attributes:
        numbers: (2 + 2F,) loss, norm, then every figure's sum and number, on the device; float64.
        names: Of the F figures.
    """

    update: Update
    numbers: torch.Tensor
    names: tuple[str, ...]


def _as_float64(part: torch.Tensor | int, device: torch.device) -> torch.Tensor:
    if isinstance(part, torch.Tensor):
        return part.detach().double()
    # Filled there: to copy a number to a device is to wait for it.
    return torch.full((), part, dtype=torch.float64, device=device)


class Ledger:
    """The updates that were made since they were last told.

    Attributes:
        read_every: Most updates between two looks.
        newest: The update that was noted last; None: there was none.
    """

    def __init__(self, read_every: int) -> None:
        self.read_every = read_every
        self.newest: Update | None = None
        self._unread: list[_Unread] = []
        self._read: list[Update] = []

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return len(self._unread) >= self.read_every

    def note(
        self,
        update: Update,
        *,
        loss: torch.Tensor,
        grad_norm: torch.Tensor,
        figures: Mapping[str, tuple[torch.Tensor, torch.Tensor | int]],
    ) -> None:
        """Keep what an update came to; nothing is read from its device.

        Args:
            update: Its rows and number.
            loss: ().
            grad_norm: ().
            figures: Sums and numbers, by name: a mean is their quotient.
        """
        pairs = [part for pair in figures.values() for part in pair]
        numbers = torch.stack(
            [_as_float64(part, loss.device) for part in (loss, grad_norm, *pairs)]
        )
        self._unread.append(_Unread(update, numbers, tuple(figures)))
        self.newest = update

    def read(self) -> list[Update]:
        """Read the updates that weren't yet, in order; they wait to be told."""
        if not self._unread:
            return []
        unread, self._unread = self._unread, []
        numbers = iter(torch.cat([each.numbers for each in unread]).tolist())
        for each in unread:
            update = each.update
            update.loss, update.grad_norm = next(numbers), next(numbers)
            pairs = {name: (next(numbers), next(numbers)) for name in each.names}
            # Of one kind of response there may be none in an update.
            update.figures = {name: total / n for name, (total, n) in pairs.items() if n}
        self._read += [each.update for each in unread]
        return [each.update for each in unread]

    def told(self) -> list[Update]:
        """Return the updates that were read and not told before, in order."""
        read, self._read = self._read, []
        return read
