"""The report's table of what each stage took: time, arithmetic, memory, energy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alignstudy.formatting import duration, listing, plural, quantity
from alignstudy.report.tables.layout import Cell, Table
from alignstudy.report.tables.run_tables import records_table

COST_HEADS = {
    "cpu_seconds": "Processor time#",
    "flops": "FLOPs#",
    "peak_memory": "Peak memory#",
    "device_memory": "GPU memory#",
    "joules": "Energy#",
    "reused": "Made before",
}
_UNTOLD = {
    "flops": "FLOPs (counted in training, generation and judging by a model)",
    "peak_memory": "peak memory",
    "joules": "energy",
}


def costs_table(rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Table:
    """What each stage took, with units; a column of which nothing is known is left out.

    Args:
        rows: As in `ReportInputs.costs`.
        notes: What else there is to say of them, a sentence each.
    """
    untold = [
        name for name in COST_HEADS
        if rows and name in rows[0] and not any(row.get(name) for row in rows)
    ]  # fmt: skip
    told = [{name: row[name] for name in row if name not in untold} for row in rows]
    table = records_table(told, title="What each stage took")
    names = list(dict.fromkeys(name for row in told for name in row))
    cells = tuple(
        tuple(_cost_cell(name, row.get(name), cell) for name, cell in zip(names, line, strict=True))
        for row, line in zip(told, table.rows, strict=True)
    )
    heads = tuple(map(_cost_head, names, table.columns))
    note = " ".join([*_cost_notes(rows, untold), *notes])
    return Table(columns=heads, rows=cells, title=table.title, note=note)


def _cost_head(name: str, plain: str) -> str:
    if name in COST_HEADS:
        return COST_HEADS[name]
    timed = name == "seconds" or name.endswith("_seconds")
    return plain.replace("econds", "ime").replace("Sime", "Time") if timed else plain


def _cost_cell(name: str, value: object, plain: Cell) -> Cell:
    """Write a cost with its unit."""
    if name == "reused":
        return Cell("yes" if value else "")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return plain
    if name == "seconds" or name.endswith("_seconds"):
        return Cell(duration(value))
    if name == "flops":
        return Cell(quantity(value, "FLOP"))
    if name in {"peak_memory", "device_memory"}:
        return Cell(quantity(value, "B"))
    return Cell(quantity(value, "J")) if name == "joules" else plain


def _cost_notes(rows: Sequence[Mapping[str, Any]], untold: Sequence[str]) -> Iterable[str]:
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
            " more than the clock's, and whose energy it was can't be told."
        )
    if any(row.get("joules") for row in rows):
        yield "Energy is what the machine's counters say, whoever else worked meanwhile."
    missing = [_UNTOLD[name] for name in untold if name in _UNTOLD]
    if missing:
        yield f"Not told here: {listing(missing)}."


def _total(rows: Sequence[Mapping[str, Any]]) -> str:
    """Add up times, FLOPs and joules; what some stages don't tell is at least so much."""
    sums = [duration(sum(row.get("seconds") or 0.0 for row in rows))]
    for name, unit in (("flops", "FLOP"), ("joules", "J")):
        found = [row[name] for row in rows if row.get(name)]
        if found:
            sums.append(quantity(sum(found), unit))
    return ", ".join(sums)
