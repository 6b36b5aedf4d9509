"""Scoring spread over processes, where there is enough of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.judges.base import JudgeScore
from alignstudy.models.encoders.encoding import Encoded
from alignstudy.runtime.pool import Load, WorkerPool, workers_that_pay

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Pool = WorkerPool[Sequence[Encoded], list[JudgeScore]]

_FLOPS = 6e10
"""Arithmetic operations a second of a fast core: the work is taken for rather too little."""


def scoring_pool(
    load: Load, model: PreTrainedModel, tasks: Sequence[Sequence[Encoded]], *, workers: int
) -> Pool | None:
    """Return workers if the tasks are worth their start.

    Args:
        load: Returns, in a worker, what scores a batch.
        model: The judge's, which says how much work a text is.
        tasks: Batches.
        workers: Most processes.
    """
    import torch

    if workers == 1:
        return None
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    weights = sum(module.weight.numel() for module in linear)
    held = 2 * sum(each.numel() * each.element_size() for each in model.parameters())
    tokens = sum(len(row.inputs.get("input_ids", ())) for rows in tasks for row in rows)
    seconds = 2 * weights * tokens / _FLOPS
    many = workers_that_pay(seconds, asked=workers, tasks=len(tasks), held=held)
    return None if many == 1 else WorkerPool(load, workers=many, threads=torch.get_num_threads())
