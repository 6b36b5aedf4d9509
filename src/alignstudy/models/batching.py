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
    try:
        return run(rows)
    except (RuntimeError, MemoryError) as error:
        half = halved(len(rows), error, note=note)
    release_memory()
    parts = (rows[:half], rows[half:])
    return [result for part in parts for result in run_halving(part, run, note=note)]


def halved(rows: int, error: BaseException, *, note: Callable[[str], None]) -> int:
    """Return how many rows to go on with after an error; raise any but a lack of memory again.

    Args:
        rows: How many there were at once.
        error: The error.
        note: Told of it.

    Raises:
        EnvironmentFault: If there was but one.
    """
    if not is_out_of_memory(error):
        raise error
    if rows == 1:
        raise EnvironmentFault(
            "one row alone doesn't fit into memory",
            why=str(error).splitlines()[0],
            hint="use a machine with more memory, or fewer max_new_tokens",
        ) from error
    note(f"out of memory with {rows} rows at once: going on with {rows // 2}")
    return rows // 2


def release_memory() -> None:
    """Give back what a GPU's allocator holds of a failed call; its error must be gone by then."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; the CPU's allocator has no class for it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return "can't allocate memory" in str(error)
