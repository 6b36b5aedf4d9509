"""What trainings read rows of, and what models are asked: stages that others are kinds of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.data.select.collect import Kind
from alignstudy.records import Document, Pair, Prompt, Rated, read_rows
from alignstudy.study.graph.stage import FolderOf, Stage

ROWS = "rows.jsonl"
PROMPTS = "prompts.jsonl"


class PromptSource(Stage):
    """What models are asked: a stage whose artefact holds prompts, as `write_rows` writes them."""

    kind: ClassVar[str] = "prompts"

    @property
    def expected(self) -> int | None:
        """How many there are at most; None: that isn't known before."""
        return None

    def ahead(self, folder_of: FolderOf) -> list[Prompt]:
        """Read the prompts; of prompts that aren't made yet return what will about stand for them.

        Raises:
            NotCountableError: If not even that is known.
        """
        return read_prompts(folder_of(self))


def read_prompts(folder: Path) -> list[Prompt]:
    """Read the prompts of a finished PromptSource."""
    return list(read_rows(folder / PROMPTS, Prompt))


@dataclass(frozen=True, kw_only=True)
class RowSource(Stage):
    """What training reads rows of: a stage whose artefact holds them, as `write_rows` writes.

    Attributes:
        rows: What they are.
    """

    kind: ClassVar[str] = "rows"
    rows: Kind

    @property
    def most(self) -> int | None:
        """How many rows there are at most; None: that isn't known before."""
        return None

    def ahead(self, folder_of: FolderOf) -> list[Any]:
        """Read the rows; of rows that aren't made yet return what will about stand for them.

        Raises:
            NotCountableError: If not even that is known.
        """
        return read_part(self, folder_of(self))

    @property
    def sampler(self) -> Stage | None:
        """The model whose samples are among them; None where nothing was sampled."""
        return None


ROW_TYPES: Mapping[Kind, type[Any]] = {"pairs": Pair, "rated": Rated, "documents": Document}
"""What rows of a kind are read as."""


def read_part(stage: RowSource, folder: Path) -> list[Any]:
    """Read the rows that a finished stage holds: records of `ROW_TYPES`."""
    return list(read_rows(folder / ROWS, ROW_TYPES[stage.rows]))
