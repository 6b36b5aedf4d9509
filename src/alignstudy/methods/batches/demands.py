"""What a method demands of its rows before they are encoded: responses, and the cue."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.dialogue import CUE
from alignstudy.errors import DataError, GuardError
from alignstudy.records import Pair, Rated


def rejected_of(row: Pair) -> str:
    """Return a pair's rejected response.

    Raises:
        DataError: If it has none.
    """
    if row.rejected is None:
        raise DataError(
            f"row {row.id} has no rejected response",
            hint="preference methods need pairs; use `sft` for demonstrations, and for responses"
            " that were rated one by one `methods.kto.rows: rated`",
        )
    return row.rejected


def responses_of(rows: Sequence[Pair], *, gold: bool) -> list[list[str]]:
    """Return each row's responses: chosen, rejected and, where asked for, gold.

    Raises:
        DataError: If a row lacks one.
    """
    without = [row.id for row in rows if gold and row.gold is None]
    if without:
        raise DataError(
            f"{len(without)} of {len(rows)} rows have no gold response",
            why="it is read from the column `reference`, a third response beside chosen and"
            f" rejected; without it are rows {', '.join(without[:3])}",
            hint="name the column that holds it (data: {columns: {reference: NAME-IN-THE-FILE}}),"
            " leave those rows out of the data, say gold: chosen (the chosen response stands for"
            " it: TPO is then CPO), or set tpo_alpha: 0",
            keys=("data", "columns"),
        )
    return [[row.chosen, rejected_of(row), *([row.gold or ""] if gold else [])] for row in rows]


def check_cue(rows: Sequence[Pair] | Sequence[Rated]) -> None:
    """Refuse prompts that don't end in the cue that generation uses.

    Raises:
        GuardError: Naming the rows.
    """
    without = [row.id for row in rows if not row.prompt.endswith(CUE)]
    if without:
        raise GuardError(
            f"{len(without)} of {len(rows)} prompts don't end in {CUE!r}",
            why=f"at generation the model is asked after that cue; rows {', '.join(without[:3])}",
            hint="split the dialogues at the last cue; the data readers of alignstudy do",
        )
