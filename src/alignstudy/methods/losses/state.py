"""What a loss remembers from one micro-batch to the next: part of a training's checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Generator

FILE = "loss_state.json"
"""In a checkpoint's folder; floats are written so that they are read back to the bit."""


@dataclass
class LossState:
    """Running figures of a loss.

    Measurements and retried updates must not move them: outside of `recording` a loss is handed a
    copy.

    Attributes:
        seed: Of what the loss draws.
        values: By name; {} before the first micro-batch.
        is_recording: Whether what a loss changes is kept.
    """

    seed: int = 0
    values: dict[str, float] = field(default_factory=dict)
    is_recording: bool = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Keep what the losses of an update change; where it fails, it is as it was."""
        before = dict(self.values)
        self.is_recording = True
        try:
            yield
        except BaseException:
            self.values = before
            raise
        finally:
            self.is_recording = False

    def at_hand(self) -> LossState:
        """Return what a loss may change now: this, or a copy."""
        return self if self.is_recording else deepcopy(self)

    def generator(self) -> Generator:
        """Return a source of random numbers: another one for every micro-batch."""
        import torch

        drawn = int(self.values.get("drawn", 0))
        self.values["drawn"] = drawn + 1
        return torch.Generator().manual_seed(Random(f"{self.seed}:{drawn}").getrandbits(31))

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder; nothing where nothing is remembered."""
        if self.values:
            (folder / FILE).write_text(json.dumps(self.values), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Read it from a checkpoint's folder."""
        path = folder / FILE
        self.values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
