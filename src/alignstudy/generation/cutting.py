"""Which prompts are answered together on a CPU, and by how many processes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alignstudy.generation.costs import MOST_ROWS, Costs
from alignstudy.generation.settings import GenerationSettings
from alignstudy.models.batching import plan_batches
from alignstudy.runtime.spreading import workers_that_pay

_MOST_TURNS = 4
"""Batches of a process, where there are enough prompts: more share too little."""

Batches = list[list[int]]


@dataclass(frozen=True)
class Work:
    """Prompts to answer.

    Attributes:
        lengths: Their tokens.
        settings: How to answer.
        costs: Of the model on this machine.
    """

    lengths: Sequence[int]
    settings: GenerationSettings
    costs: Costs


def cut(work: Work, asked: int, start_up: float) -> tuple[Batches, int]:
    """Cut work into the batches that end soonest, for as many processes as pay.

    Args:
        work: The work.
        asked: Most processes.
        start_up: Seconds that workers take to start.

    Returns:
        Numbers of prompts, batch by batch, the longest first; and processes.
    """
    most = work.settings.batch_size or MOST_ROWS
    whole = _planned(work, most)
    if asked == 1 or not whole:
        return whole, 1
    seconds = sum(_seconds(work, batch) for batch in whole)
    new, costs = work.settings.max_new_tokens, work.costs
    memory = max(len(batch) * (work.lengths[batch[0]] + new) for batch in whole)
    held = 4 * (2 * costs.parameters + costs.cached * memory)
    workers = workers_that_pay(
        seconds, asked=asked, tasks=len(work.lengths), held=held, start_up=start_up
    )
    if workers == 1:
        return whole, 1
    # Processes share what comes from memory: rows that share a pass over the weights gain the more.
    costs = replace(costs, bandwidth=costs.bandwidth / workers)
    work = replace(work, costs=costs)
    shares = {-(-len(work.lengths) // (workers * turns)) for turns in range(1, _MOST_TURNS + 1)}
    plans = [_planned(work, min(share, most)) for share in sorted(shares, reverse=True)]
    return min(plans, key=lambda plan: _ends(work, plan, workers)), workers


def _planned(work: Work, most: int) -> Batches:
    """Cut work into the batches of at most so many rows that cost least."""
    settings, costs = work.settings, work.costs
    return plan_batches(
        [length + settings.max_new_tokens for length in work.lengths], cost=costs.step,
        batch_size=most, max_batch_tokens=min(settings.max_batch_tokens, costs.most_tokens),
    )  # fmt: skip


def _seconds(work: Work, batch: Sequence[int]) -> float:
    """Return the seconds that a batch takes: its prompts are read, then all write together."""
    lengths, new = [work.lengths[number] for number in batch], work.settings.max_new_tokens
    read = sum(work.costs.reading(1, length) for length in lengths)
    return read + new * work.costs.step(len(batch), max(lengths) + new // 2)


def _ends(work: Work, plan: Batches, workers: int) -> float:
    """Return the seconds after which all batches are done, each by whoever is free first."""
    busy = [0.0] * workers
    for batch in plan:
        heapq.heapreplace(busy, busy[0] + _seconds(work, batch))
    return max(busy)
