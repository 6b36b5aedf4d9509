"""Rows that are another format's under other names: a shape says how they are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alignstudy.data.formats.answers import AnswersFormat
from alignstudy.data.formats.hh import HHFormat
from alignstudy.data.formats.messages import MessagesFormat
from alignstudy.data.formats.pairs import PairsFormat
from alignstudy.data.formats.row import Format, Parsed, RawRow, UnusableRow
from alignstudy.data.formats.turns import ask, reply

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """A format whose rows are rewritten to pairs, messages or scored answers.

    Attributes:
        rewrite: Returns the columns `prompt`, `chosen` and so on of a row's own; its docstring is
            the shape's summary.
        fields: Columns that a row must have.
        beside: Columns of which it must have one; none: no matter.
        lists: Columns that must be lists, where they are there.
        without: Columns that make it something else.
    """

    rewrite: Callable[[Fields], Fields]
    fields: tuple[str, ...]
    beside: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What its rows are."""
        return (self.rewrite.__doc__ or "").strip().split("\n", 1)[0]

    def recognises(self, fields: Fields) -> bool:
        """Whether a row has the shape's columns, null ones left out."""

        def there(name: str) -> bool:
            return fields.get(name) is not None

        return (
            all(map(there, self.fields))
            and (not self.beside or any(map(there, self.beside)))
            and not any(map(there, self.without))
            and all(isinstance(fields[name], list) for name in self.lists if there(name))
        )

    def parse(self, row: RawRow) -> Parsed:
        """Rewrite the row, and make of it what the format that it then has makes.

        Raises:
            UnusableRow: If it can't be rewritten, or the format refuses it.
        """
        missing = next((name for name in self.fields if row.fields.get(name) is None), None)
        if missing is not None:
            raise UnusableRow(f"field '{missing}' is missing or null")
        try:
            fields = self.rewrite(row.fields)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            said = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise UnusableRow(f"a column isn't laid out as expected: {said[:80]}") from None
        return _format_of(fields).parse(replace(row, fields=fields))


def _format_of(fields: Fields) -> Format:
    if "answers" in fields:
        return AnswersFormat()
    parts = [fields.get(name) for name in ("prompt", "chosen", "rejected")]
    if "messages" in fields or any(isinstance(part, list) for part in parts):
        return MessagesFormat()
    return PairsFormat() if "prompt" in fields else HHFormat()


def pair_of(fields: Fields, prompt: object, chosen: object, *rejected: object) -> Fields:
    """Write a row as a pair, or a demonstration where no second response is given.

    A system turn that stands beside goes before the prompt.
    """
    system = fields.get("system") or fields.get("system_prompt")
    before = []
    if isinstance(system, str) and system.strip():
        before = [{"role": "system", "content": system}]
    if not rejected:
        return {"messages": [*before, *ask(prompt), *reply(chosen)]}
    if not before:
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected[0]}
    halves = {"chosen": reply(chosen), "rejected": reply(rejected[0])}
    return {"prompt": [*before, *ask(prompt)], **halves}
