"""Scoring spread over processes, where there is enough of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.judges.base import JudgeScore
from alignstudy.judges.encoders.encoding import Encoded
from alignstudy.runtime.spreading import START_UP, workers_that_pay
from alignstudy.runtime.workers import Load, WorkerPool

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Pool = WorkerPool[Sequence[Encoded], list[JudgeScore]]

_FLOPS = 6e10
"""Arithmetic operations a second of a fast core: the work is taken for rather too little."""


class Spread:
    """Worker processes that start when first worth it, and serve all that is scored until `close`.

    Args:
        load: Gives, in a worker, what scores a batch.
        model: The judge's, to tell how much work a text is.
        workers: Most processes.
        start_up: Seconds that their start takes, which spreading must win back.
    """

    def __init__(
        self, load: Load, model: PreTrainedModel, *, workers: int, start_up: float = START_UP
    ) -> None:
        import torch

        self._load, self._asked, self.start_up = load, workers, start_up
        self._weights = sum(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear)
        )
        self._bytes = sum(p.numel() * p.element_size() for p in model.parameters())
        self._pool: Pool | None = None

    def pool_for(self, tasks: Sequence[Sequence[Encoded]]) -> Pool | None:
        """Return the workers if the tasks are worth them, started if need be."""
        if self._pool is not None and self._pool.closed:
            self._pool = None
        tokens = sum(len(row.inputs.get("input_ids", ())) for rows in tasks for row in rows)
        many = workers_that_pay(
            2 * self._weights * tokens / _FLOPS, asked=self._asked, tasks=len(tasks),
            held=2 * self._bytes, start_up=self.start_up if self._pool is None else 0.0,
        )  # fmt: skip
        if many == 1:
            return None
        if self._pool is None:
            self._pool = WorkerPool(self._load, workers=many)
        return self._pool

    def close(self) -> None:
        """End the workers; later work starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
