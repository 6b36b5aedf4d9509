"""Parquet and Arrow files, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.data.files.content import Rows
from alignstudy.errors import DataError

BATCH_ROWS = 512


def read_parquet(path: Path, *, name: str) -> Rows:
    """Read (row number from 1, fields); for a row that can't be used (row number, reason).

    Raises:
        DataError: If the file can't be read to its end, or names a column twice.
    """
    return _rows(path, name, "Parquet")


def read_arrow(path: Path, *, name: str) -> Rows:
    """Read an Arrow file, of `Dataset.save_to_disk` or written by pyarrow, as `read_parquet`."""
    return _rows(path, name, "Arrow")


def _rows(path: Path, name: str, kind: str) -> Rows:
    import pyarrow

    number = 0
    try:
        for batch in _parquet_batches(path) if kind == "Parquet" else _arrow_batches(path):
            names = batch.schema.names
            twice = next((each for each in names if names.count(each) > 1), None)
            if twice is not None:
                raise DataError(
                    f"{name}: column '{twice}' comes twice",
                    why="either may be the wrong one",
                    hint="write the file again, with each column once",
                )
            plain = _without_times(batch)
            for index in range(batch.num_rows):
                number += 1
                try:
                    yield number, plain.slice(index, 1).to_pylist()[0]
                except UnicodeDecodeError as error:
                    yield number, f"invalid UTF-8 at byte {error.start + 1} of a field"
                except (ValueError, OverflowError, pyarrow.ArrowException) as error:
                    yield number, f"a value can't be read: {str(error).splitlines()[0][:80]}"
    except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise DataError(
            f"{name}:{number + 1}: the {kind} file can't be read further",
            why=(str(error).strip() or type(error).__name__).splitlines()[0],
            hint="fetch or write the file again, or take it out of the source",
            kept=f"nothing was changed; {number} rows before it were readable",
        ) from error


def _without_times(batch: Any) -> Any:  # noqa: ANN401 - a record batch
    """Return rows with times, dates and durations as numbers: Python's may not reach so far.

    No format reads one.
    """
    from pyarrow import types

    for at, column in enumerate(batch.columns):
        if types.is_temporal(column.type) and column.type.bit_width in (32, 64):
            whole = column.view(f"int{column.type.bit_width}")
            batch = batch.set_column(at, batch.schema.names[at], whole)
    return batch


def _parquet_batches(path: Path) -> Iterator[Any]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=BATCH_ROWS)


def _arrow_batches(path: Path) -> Iterator[Any]:
    from pyarrow import ipc, memory_map

    with memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        if is_file:
            file = ipc.open_file(source)
            yield from map(file.get_batch, range(file.num_record_batches))
        else:
            yield from ipc.open_stream(source)
