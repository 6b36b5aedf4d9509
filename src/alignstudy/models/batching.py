"""Batches by length and token budget; smaller ones where memory doesn't suffice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from alignstudy.errors import EnvironmentFault

Row = TypeVar("Row")
Result = TypeVar("Result")


def length_batches(
    lengths: Sequence[int], *, batch_size: int, max_batch_tokens: int
) -> list[list[int]]:
    """Group row numbers into batches of similar length, the longest first.

    Longest first: a batch that doesn't fit into memory shows at once, not after hours.

    Args:
        lengths: Tokens of each row, all that will be held for it.
        batch_size: Most rows a batch.
        max_batch_tokens: Most rows times longest row a batch; a longer row goes alone.

    Returns:
        Every row number once.
    """
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        last = batches[-1] if batches else []
        fits = last and (len(last) + 1) * lengths[last[0]] <= max_batch_tokens
        if fits and len(last) < batch_size:
            last.append(row)
        else:
            batches.append([row])
    return batches


def run_halving(
    rows: Sequence[Row],
    run: Callable[[Sequence[Row]], list[Result]],
    *,
    note: Callable[[str], None],
) -> list[Result]:
    """Run a batch; where memory runs out, run its halves, down to single rows.

    Args:
        rows: The batch.
        run: Gives one result a row; nothing of a failed call is kept.
        note: Told of every halving.

    Raises:
        EnvironmentFault: If even one row doesn't fit.
    """
    import torch

    try:
        return run(rows)
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(rows) == 1:
            raise EnvironmentFault(
                "one row alone doesn't fit into memory",
                why=str(error).splitlines()[0],
                hint="use a machine with more memory, or fewer max_new_tokens",
            ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(rows) // 2
    note(f"out of memory with {len(rows)} rows at once: going on with {half}")
    parts = (rows[:half], rows[half:])
    return [result for part in parts for result in run_halving(part, run, note=note)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; the CPU's allocator has no class for it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error)
