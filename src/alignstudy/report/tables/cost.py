"""The table of what each stage took: time, arithmetic, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from alignstudy.formatting import duration, listing, plural, quantity
from alignstudy.report.tables.run import records_table
from alignstudy.report.tables.table import Table

_WRITTEN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "seconds": ("Time", duration),
    "cpu_seconds": ("Processor time", duration),
    "flops": ("FLOPs", partial(quantity, unit="FLOP")),
    "peak_memory": ("Peak memory", partial(quantity, unit="B")),
    "device_memory": ("GPU memory", partial(quantity, unit="B")),
    "reused": ("Made before", lambda reused: "yes" if reused else ""),
}
_MISSED = {
    "flops": "FLOPs (counted in training, generation and judging by a model)",
    "peak_memory": "peak memory",
}
_NO_LONGER_SHOWN = "joules"  # in run folders of release 0.3


def costs_table(rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Table:
    """What each stage took, with units; a column of which nothing is known is left out.

    Args:
        rows: As in `ReportInputs.costs`.
        notes: What else there is to say of them, a sentence each.
    """
    unknown = [
        name
        for name in (*_WRITTEN, _NO_LONGER_SHOWN)
        if rows and name in rows[0] and not any(row.get(name) for row in rows)
    ]
    known = [
        {name: row[name] for name in row if name not in {*unknown, _NO_LONGER_SHOWN}}
        for row in rows
    ]
    table = records_table(known, title="What each stage took")
    names = dict.fromkeys(name for row in known for name in row)
    columns = []
    for name, column in zip(names, table.columns, strict=True):
        if name in _WRITTEN:
            title, write = _WRITTEN[name]
            column = replace(column, title=title, format=write, is_number=name != "reused")
        elif name.endswith("_seconds"):
            title = str(column.title).replace("seconds", "time")
            column = replace(column, title=title, format=duration)
        columns.append(column)
    note = " ".join([*_cost_notes(rows, unknown), *notes])
    return replace(table, columns=tuple(columns), note=note)


def _cost_notes(rows: Sequence[Mapping[str, Any]], unknown: Sequence[str]) -> Iterable[str]:
    """Return what the stages took together, and what the numbers are of."""
    before = [row for row in rows if row.get("reused")]
    if len(rows) > 1:
        yield f"All stages: {_total(rows)}."
    if before:
        fresh = [row for row in rows if not row.get("reused")]
        yield (
            f"{plural(len(before), 'stage was', 'stages were')} made before the run that wrote this"
            f" report; the cost is that of the making. Made in that run: {_total(fresh)}."
        )
    if any(row.get("resumed") for row in rows):
        yield "Of a stage that went on after an interruption, only the last part is measured."
    if any(row.get("beside") for row in rows):
        yield (
            "Some stages were at work at the same time, in several processes: their times add up to"
            " more than the clock's."
        )
    missing = [_MISSED[name] for name in unknown if name in _MISSED]
    if missing:
        yield f"Not told here: {listing(missing)}."


def _total(rows: Sequence[Mapping[str, Any]]) -> str:
    """Add up times and FLOPs; what some stages don't report is at least so much."""
    total = duration(sum(row.get("seconds") or 0.0 for row in rows))
    flops = [row["flops"] for row in rows if row.get("flops")]
    return f"{total}, {quantity(sum(flops), 'FLOP')}" if flops else total
