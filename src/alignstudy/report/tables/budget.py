"""The table of budgets: what each recipe was spent on, on four axes, and the one that is equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from alignstudy.formatting import count, duration, quantity, short
from alignstudy.report.tables.table import Cell, Column, Table, numeric, rounded

UNITS: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "flops": ("FLOPs", partial(quantity, unit="FLOP")),
    "tokens": ("positions through the policy", partial(quantity, unit="")),
    "pairs": ("rows read", count),
    "seconds": ("time", duration),
}
"""What can be equal: in words, and how an amount of it is written."""


def budget_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What each recipe took beside its budget; empty where none was set.

    Args:
        rows: As in `ReportInputs.budget`.
    """
    match = rows[0]["match"] if rows else "flops"
    unit, write = UNITS[match]
    several = len({row["seed"] for row in rows}) > 1
    flops = partial(quantity, unit="FLOP")
    return Table.of(
        rows,
        Column("Recipe", partial(_recipe, several=several), name=None),
        *(Column(None, name, name=name) for name in ("recipe", "seed", "match")),
        numeric(f"Its {unit}", "amount", write, name="amount"),
        numeric("Budget", "target", write, name="target"),
        numeric("Off by", _off, rounded(1, signed=True, unit="%"), name="difference_percent"),
        Column("Budget kept", "state", name="state"),
        numeric("Updates", "steps", name="steps"),
        numeric("Epochs, most", "epochs", partial(short, digits=2), name="epochs"),
        numeric("Rows read", "pairs", name="rows_read"),
        numeric("Samples", "samples", name="samples"),
        numeric("Scored", "scored", name="scored"),
        numeric("FLOPs", "flops", flops, name="flops"),
        numeric("Positions", "tokens", name="positions"),
        numeric("Tokens learnt", "targets", name="tokens_learnt"),
        numeric("Time", "seconds", duration, name="seconds"),
        numeric("Peak memory", "peak_memory", partial(quantity, unit="B"), name="peak_memory"),
        title="Equal training",
        note=f"What is equal is {unit}: of all trainings of a recipe, their samples, the judge that"
        " ranks these, and references, the base left out. Counted as if nothing had been computed"
        " before, so that it doesn't depend on what a run found; time and memory are measured."
        " Rows, FLOPs, time and tokens learnt are four ways to be fair: only one can be equal.",
        name="budget",
        caption=f"What each recipe took beside its budget, in {unit}; flops in floating-point"
        " operations, seconds of the wall clock, peak_memory in bytes.",
    )


def _recipe(row: Mapping[str, Any], *, several: bool) -> Cell:
    return Cell(row["recipe"], f"seed {row['seed']}" if several else "")


def _off(row: Mapping[str, Any]) -> float | None:
    if row["amount"] is None or not row["target"]:
        return None
    return 100 * float(row["amount"] / row["target"] - 1)
