"""Which recipes were not trained for as much as the others, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alignstudy.formatting import percent

AS_ASKED = ("within", "the budget", "fitted")
"""How the states of recipes begin that were trained for as much as was asked."""


def unequal_budgets(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each recipe that was to be trained as much as others, and wasn't, how it stands.

    Args:
        rows: As in `ReportInputs.budget`.
    """
    named: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not row["state"].startswith(AS_ASKED):
            named.setdefault(row["recipe"], []).append(row)
    for recipe, seeds in named.items():
        shares = [100 * row["amount"] / row["target"] for row in seeds if row["target"]]
        mean = f" ({percent(sum(shares) / len(shares), 0)} of the budget)" if shares else ""
        state, _, _ = seeds[0]["state"].partition(": ")
        yield (
            f"{recipe}: its training is not that of the other recipes in amount{mean}:"
            f" {state[:1].lower()}{state[1:]}."
        )
