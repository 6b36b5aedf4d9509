"""A run folder as data: tables as data frames, responses, statistics."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import InputError, UnknownNameError
from alignstudy.sources import home_path
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Run:
    """A finished (or partly made) run folder, and how to read it.

    Attributes:
        folder: The run folder.
        executed: Names of the stages that this call ran; empty if all was cached.
        stages: Number of stages in the study.
        notes: What a person should know of this run.
    """

    folder: Path
    executed: tuple[str, ...] = ()
    stages: int = 0
    notes: tuple[str, ...] = ()

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def has_statistics(self) -> bool:
        """Whether the run came as far as its numbers."""
        return (self.folder / "statistics.json").is_file()

    @property
    def models(self) -> dict[str | tuple[str, int], Path]:
        """The folders of the trained models: by recipe, or (recipe, seed) where seeds are several.

        Example:
            >>> run = Run.open("runs/demo")  # doctest: +SKIP
            >>> AutoModelForCausalLM.from_pretrained(run.models["sft"])
        """
        found: dict[str | tuple[str, int], Path] = {}
        for folder in sorted((self.folder / "models").glob("[!_.]*")):
            seeds = {int(each.name.removeprefix("seed-")): each for each in folder.glob("seed-*")}
            found |= {(folder.name, seed): seeds[seed] for seed in sorted(seeds)}
            if not seeds:
                found[folder.name] = folder
        return found

    @property
    def verdicts(self) -> pd.DataFrame:
        """The verdict on each claim: claim, verdict, evidence, n_needed."""
        import pandas as pd

        names = ("claim", "verdict", "evidence", "n_needed")
        found = self.statistics["verdicts"]
        return pd.DataFrame([{name: row[name] for name in names} for row in found], columns=names)

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Every estimate and test, as in statistics.json."""
        return dict(_load(self.checked("statistics.json")))

    @property
    def standing(self) -> str:
        """What a reader must know first, as that they are of former settings; "" as a rule."""
        return RunFolder(path=self.folder).standing()

    def checked(self, name: str) -> Path:
        """Return the path of a file or folder of the run, unchanged since the run placed it.

        Raises:
            DamagedArtefactError: If it was changed.
        """
        RunFolder(path=self.folder).check(name)
        return self.folder / name

    def rows(self, table: str) -> list[dict[str, str]]:
        """Return a table's rows as they are written; [] where the run has no such table."""
        path = self.checked(f"tables/{table}.csv")
        if not path.is_file():
            return []
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def table(self, name: str = "metrics") -> pd.DataFrame:
        """Return a table: metrics, improvement, scores or comparisons.

        Raises:
            UnknownNameError: If the run has no such table.
            DamagedArtefactError: If it was changed since the run placed it.
        """
        import pandas as pd

        path = self.checked(f"tables/{name}.csv")
        if not path.is_file():
            known = [p.stem for p in sorted(path.parent.glob("*.csv"))]
            raise UnknownNameError("table", name, known, where=str(self.folder))
        return pd.read_csv(path)

    def responses(self) -> pd.DataFrame:
        """Return every response: model, axis, prompt, response, rating, and what else is known."""
        import pandas as pd

        rows = []
        for path in sorted(self.checked("responses").glob("*.json")):
            model, _, prompts = path.stem.rpartition("_")
            rows += [{"model": model, "prompts": prompts, **row} for row in _load(path)]
        return pd.DataFrame(rows)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run that was made before.

        Raises:
            InputError: If the folder holds no run.
        """
        path = home_path(folder).absolute()
        if not (path / PROVENANCE).is_file():
            raise InputError(
                f"{folder} holds no alignstudy run",
                why=f"there is no {path / PROVENANCE}",
                hint="name a run folder: runs/<study>",
            )
        return cls(folder=path)


def _load(path: Path) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} can't be read",
            why=str(error),
            hint="run the study again: what is stored is not recomputed",
        ) from error
