"""The one way into the data: the rows of a selection, streamed from a folder or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from alignstudy.data import FORMATS
from alignstudy.data.files.jsonl import read_jsonl
from alignstudy.data.files.layout import choose_files
from alignstudy.data.files.parquet import read_parquet
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import RawRow, UnusableRow, opening
from alignstudy.data.select.selection import RowSelection, made_split
from alignstudy.records import Quarantined


def read(
    source: Path, selection: RowSelection, *, fmt: str = "auto"
) -> Iterator[RawRow | Quarantined]:
    """Stream the rows of a selection's subsets and split, in file order.

    `share` and `max_rows` are applied by `collect`, after parsing and exclusion. A line that holds
    no JSON object is given as quarantined (of a source that is one file: in split train). Nothing
    is held in memory but the row at hand.

    Raises:
        DataError: If the source, a subset or the split isn't there, or a file can't be read.
        UnknownNameError: If there is no such format.
    """
    if fmt != "auto":
        FORMATS[fmt]  # refused here rather than at the first row
    for file in choose_files(source, subsets=selection.subsets, split=selection.split):
        reader = read_parquet if file.path.name.endswith(".parquet") else read_jsonl
        for line, content in reader(file.path, name=file.name):
            row: RawRow | Quarantined
            if isinstance(content, str):
                row, split = Quarantined(file=file.name, line=line, reason=content), file.split
            else:
                row = RawRow(
                    file=file.name,
                    line=line,
                    subset=file.subset,
                    split=file.split or "",
                    fields=content,
                )
                if not file.split:
                    try:
                        key = opening(parse_row(row, fmt=fmt).record)
                    except UnusableRow:  # it will be quarantined in the split that it falls into
                        key = json.dumps(dict(row.fields), sort_keys=True, default=str)
                    row = replace(row, split=made_split(key))
                split = row.split
            if (split or "train") == selection.split:
                yield row
