"""Which number of a model's output is the score: named, never guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError

if TYPE_CHECKING:
    import torch

_EXPRESSION = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:\[([0-9]{1,4})\])?")


@dataclass(frozen=True)
class Head:
    """A field of a model's output, and the column of it.

    Attributes:
        name: As the model's class names it: "logits", "score", "rewards".
        column: Of a field with several; None: the field is one number a text.
    """

    name: str
    column: int | None = None

    @classmethod
    def parse(cls, expression: str) -> Head:
        """Read `name` or `name[number]`; nothing is evaluated.

        Raises:
            ValueError: If it is neither.
        """
        found = _EXPRESSION.fullmatch(expression)
        if found is None:
            raise ValueError(f"'{expression}' is no output's name, such as score or rewards[10]")
        return cls(found[1], None if found[2] is None else int(found[2]))

    def of(self, output: Any, labels: dict[int, str]) -> torch.Tensor:  # noqa: ANN401 - a model's
        """Pick the score of each text, shape (n,).

        Args:
            output: What the model returned: fields by name.
            labels: The configuration's id2label, for the message.

        Raises:
            GuardError: If there is no such field or column, or the field has several and none is
                named; all fields are listed with their shapes.
        """
        tensors: dict[str, torch.Tensor] = {
            name: value for name, value in output.items() if hasattr(value, "shape")
        }
        field = tensors.get(self.name)
        if field is not None and self.column is None:
            if field.dim() == 1 or (field.dim() == 2 and field.shape[1] == 1):
                return field.reshape(-1)
        elif field is not None and field.dim() == 2 and (self.column or 0) < field.shape[1]:
            return field[:, self.column]
        listed = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise GuardError(
            f"the judge's output has no single number '{self}'",
            why=f"its outputs for one text are {listed or 'none'}; its labels {labels}",
            hint="name one as `read: name` or `read: name[column]`, as the model's card says",
        )

    def __str__(self) -> str:
        return self.name if self.column is None else f"{self.name}[{self.column}]"
