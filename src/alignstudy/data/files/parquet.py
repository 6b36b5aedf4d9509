"""Parquet files, read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.errors import DataError

BATCH_ROWS = 512


def read_parquet(path: Path, *, name: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Read (row number from 1, fields); for a row that can't be used (row number, reason).

    Raises:
        DataError: If the file can't be read to its end.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                for index in range(batch.num_rows):
                    number += 1
                    try:
                        fields = batch.slice(index, 1).to_pylist()[0]
                    except UnicodeDecodeError as error:
                        fields = f"invalid UTF-8 at byte {error.start + 1} of a field"
                    yield number, fields
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{name}:{number + 1}: the Parquet file can't be read further",
            why=(str(error).strip() or type(error).__name__).splitlines()[0],
            hint="fetch or write the file again, or take it out of the source",
            kept=f"nothing was changed; {number} rows before it were readable",
        ) from error
