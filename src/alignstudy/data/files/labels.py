"""Labels of responses: a sheet that a person filled in, or a better judge's rows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from alignstudy.data.files.content import content_of, named_faults
from alignstudy.data.files.kinds import rows_of
from alignstudy.errors import DataError
from alignstudy.records.labels import Label

LABELS: Final = "labels"
"""What a study calls a file of labels, and a run the folder that holds the keys of its sheets."""
ID: Final = "id"
LABEL: Final = "label"
SHEET_ROW: Final = "-"
"""Stands between a sheet's name and the row's number in an id."""

_PASSES = {"1", "yes", "y", "true", "t", "pass", "passes", "passed"}
_FAILS = {"0", "no", "n", "false", "f", "fail", "fails", "failed"}
_SKIPPED = {"", "skip", "skipped", "?", "na", "n/a", "none", "null"}
_HINT = "write 1 (passes), 0 (doesn't) or skip"


def read_labels(path: Path, key: Path | None) -> tuple[Label, ...]:
    """Read labels, tolerating what spreadsheets do to a sheet.

    Rows and columns may come in any order, separated by commas, semicolons or tabs; 1.0, yes and
    TRUE are labels as well. Empty rows, and labels that are empty or "skip", are left out.

    Args:
        path: A filled sheet (`id`, `label`), or rows with `model`, `prompt_id`, `label` and, where
            there are several, `seed`.
        key: Which response each row of a sheet is; None for other rows.

    Raises:
        DataError: Naming file and row, if a row can't be used, or no label is there.
    """
    responses = {} if key is None else _read_key(key)
    found: list[Label] = []
    seen: dict[str, bool] = {}
    for number, row in _rows(path):
        where = f"{path.name}:{number}"
        given = _label_of(row.get(LABEL), where)
        name = str(row.get(ID, "")).strip()
        if key is not None and name not in responses:
            raise _fault(where, f"no row of this sheet has the id '{name}'", "restore the id")
        if given is None:
            continue
        if key is None:
            found.append(_other(row, given, where))
        elif name not in seen:
            seen[name] = given
            found += [replace(each, passes=given, where=where) for each in responses[name]]
        elif seen[name] != given:
            raise _fault(where, f"the row {name} is there twice, with two labels", "keep one")
    if not found:
        raise DataError(
            f"{path.name} holds no label",
            why=f"column '{LABEL}' is empty, or every row is skipped",
            hint=_HINT,
            keys=(LABELS,),
        )
    return tuple(found)


def sheet_of(path: Path) -> str | None:
    """Return the name of the sheet that a file is a filled copy of; None if it is none.

    Raises:
        DataError: If the file holds neither a sheet's rows nor labels of named responses.
    """
    for number, row in _rows(path):
        columns, name = set(row), str(row.get(ID, "")).strip()
        if LABEL not in columns or not ({"model", "prompt_id"} <= columns or ID in columns):
            raise _fault(
                f"{path.name}:{number}",
                f"columns are {', '.join(map(str, row))}",
                "a sheet has id and label; other labels have model, prompt_id and label",
            )
        if "model" in columns:
            return None
        sheet, mark, _ = name.rpartition(SHEET_ROW)
        if not mark:
            raise _fault(f"{path.name}:{number}", f"'{name}' is no row's id", "restore the id")
        return sheet
    raise DataError(f"{path.name} holds no rows", hint=_HINT, keys=(LABELS,))


def key_name(sheet: str) -> str:
    """Return what the key of a sheet is called."""
    return f"{sheet}.key.json"


def key_of(path: Path, run: Path) -> Path | None:
    """Find the key of a sheet, in the run's folder or beside the sheet; None of other labels.

    Raises:
        DataError: If it isn't there, or the file holds no labels.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", hint="name the filled sheet", keys=(LABELS,))
    sheet = sheet_of(path)
    if sheet is None:
        return None
    places = [place / key_name(sheet) for place in (run / LABELS, path.parent)]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"the key of the sheet {path.name} isn't there",
        why=f"it says which response each row is; no {' and no '.join(map(str, places))}",
        hint="name the run folder that the sheet was drawn from (--out), or copy its key beside the"
        " sheet",
        keys=(LABELS,),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield rows with lower-case columns, those without any content left out."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, row in rows_of(_in_unicode(path, Path(scratch)), name=path.name):
            if isinstance(row, str):
                raise _fault(f"{path.name}:{number}", row, "mend the row, or take it out")
            if any(str(value if value is not None else "").strip() for value in row.values()):
                yield number, {str(key).strip().lower(): value for key, value in row.items()}


def _in_unicode(path: Path, scratch: Path) -> Path:
    """Return the file, or a copy in UTF-8 of a table in a spreadsheet's own 8-bit encoding.

    Only its texts can come out wrong, and they are not read: ids and labels are ASCII.
    """
    if content_of(path, name=path.name).encoding != "utf-8" or path.suffix not in {".csv", ".tsv"}:
        return path
    with named_faults(path.name):
        written = path.read_bytes()
    try:
        written.decode("utf-8")
    except UnicodeDecodeError:
        copy = scratch / path.name
        copy.write_text(written.decode("cp1252", "replace"), encoding="utf-8", newline="")
        return copy
    return path


def _label_of(value: object, where: str) -> bool | None:
    """Return a label; None where the row is skipped."""
    word = "" if value is None else str(value).strip().lower()
    # A spreadsheet may write a number of its own: 1.0, or 1,0 in some countries.
    short = word.replace(",", ".").removesuffix(".0")
    if short in _PASSES or short in _FAILS:
        return short in _PASSES
    if word in _SKIPPED:
        return None
    raise _fault(where, f"the label is '{word[:40]}'", _HINT)


def _other(row: dict[str, Any], given: bool, where: str) -> Label:
    """Return a label of a response that the row names."""
    seed = str("" if row.get("seed") is None else row["seed"]).strip().removesuffix(".0")
    model, prompt_id = (str(row.get(name) or "").strip() for name in ("model", "prompt_id"))
    if not (model and prompt_id) or not (seed.isdecimal() or not seed):
        raise _fault(
            where,
            f"model is '{model}', prompt_id '{prompt_id}', seed '{seed}'",
            "name a model and a prompt_id, as in `responses/`, and the seed as a whole number",
        )
    return Label(
        model=model,
        seed=int(seed) if seed else None,
        prompt_id=prompt_id,
        axis=str(row.get("axis") or "").strip() or None,
        passes=given,
        where=where,
    )


def _read_key(path: Path) -> dict[str, list[Label]]:
    """Return the responses that each row of a sheet stands for; their label is yet to come."""
    try:
        rows: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {
            name: [Label(**each, passes=False) for each in responses]
            for name, responses in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no key of a sheet",
            why=f"{type(error).__name__}: {error}",
            hint="take the file that `alignstudy label` wrote, unchanged",
            keys=(LABELS,),
        ) from error


def _fault(where: str, why: str, hint: str) -> DataError:
    return DataError(f"{where}: no label can be read", why=why, hint=hint, keys=(LABELS,))
