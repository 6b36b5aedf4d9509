"""Logs of Inspect: `.eval` archives, and the same as one `.json`.

The layout is that of version 2 of its log files: https://inspect.aisi.org.uk/eval-logs.html.
"""

from __future__ import annotations

import importlib
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from alignstudy.data.ratings.json_files import load_json, parse_json
from alignstudy.data.ratings.rated import Sample, TaskLog, digest
from alignstudy.errors import DataError, EnvironmentFault

_ZSTD = 93
"""Zip's number for what Inspect packs its entries with."""

_HEAD = 30
"""Bytes of a local header of a zip archive before the entry's name."""

MAX_ENTRY_BYTES = 2**28
"""An entry that unpacks to more is refused: one sample's log is some kilobytes."""

_WORDS = {
    **{"c": 1.0, "i": 0.0, "p": 0.5, "n": 0.0},  # correct, incorrect, partially, no answer
    **{"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0},
}
"""What words count as, as Inspect itself counts them."""


def inspect_logs(folder: Path) -> list[Path]:
    """Return the logs of Inspect that a folder holds, at any depth."""
    found = [path for path in folder.rglob("*.eval") if path.is_file()]
    logs = (path for path in folder.rglob("*.json") if path.is_file() and is_inspect_json(path))
    return sorted([*found, *logs])


def is_inspect_json(path: Path) -> bool:
    """Whether a JSON file begins as Inspect's logs do."""
    try:
        with path.open("rb") as file:
            head = file.read(400).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError:  # no file, or none for us: whoever reads the folder says so
        return False
    return head.startswith(b"{") and b'"version"' in head and b'"eval"' in head


def read_inspect(path: Path) -> TaskLog:
    """Read a log: one task by one model.

    Raises:
        DataError: If it is no log of Inspect, damaged, or holds no samples.
        EnvironmentFault: If it can't be read, or needs a library that isn't there.
    """
    log = _unpacked(path) if path.suffix == ".eval" else load_json(path)
    about, samples = (log.get("eval"), log.get("samples")) if isinstance(log, dict) else (None, ())
    if not isinstance(about, dict) or not {"model", "task"} <= about.keys():
        raise DataError(
            f"{path}: no log of Inspect", why="it doesn't say which model did what task"
        )
    if not samples:
        raise DataError(
            f"{path}: the log holds no samples",
            why=f"its status is {log.get('status')!r}; samples are what models are compared by",
            hint="evaluate again with --log-samples",
        )
    order = [score.get("name") for score in (log.get("results") or {}).get("scores") or ()]
    read = [_sample(sample, path) for sample in samples]
    named = dict.fromkeys([*order, *(name for each in read for name in each.values)])
    return TaskLog(
        where=str(path),
        made=str(about.get("created", "")),
        model=str(about["model"]),
        task=str(about["task"]).rsplit("/", 1)[-1],
        metrics=tuple(name for name in named if any(name in each.values for each in read)),
        samples=tuple(read),
    )


def _sample(sample: Mapping[str, Any], path: Path) -> Sample:
    """Read one sample; one that ended in an error has no values.

    Raises:
        DataError: If it lacks what every sample has.
    """
    try:
        asked = _text(sample["input"])
        key = f"{sample['id']}-{digest(json.dumps([asked, sample['target']]))[:12]}"
        output = sample.get("output") or {}
        values: dict[str, float | None] = {}
        for name, score in (sample.get("scores") or {}).items():
            given = score["value"]
            parts = given if isinstance(given, dict) else {"": given}
            for part, value in parts.items():
                values[f"{name}-{part}" if part else name] = _value(value)
        return Sample(key=key, prompt=asked, response=_completion(output), values=values)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: a sample lacks something ({type(error).__name__}: {error})",
            hint="write the log again with a version of Inspect that has layout 2",
        ) from error


def _value(given: object) -> float | None:
    """Return a score's value as a number; None where it is none (an answer that wasn't scored)."""
    if isinstance(given, str) and given.lower() in _WORDS:
        return _WORDS[given.lower()]
    if not isinstance(given, str | bool | int | float):
        return None
    try:
        value = float(given)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _text(given: str | Iterable[Mapping[str, Any]]) -> str:
    """Return what was asked: a text, or messages one below the other."""
    if isinstance(given, str):
        return given
    return "\n\n".join(f"{each['role']}: {_content(each['content'])}" for each in given)


def _content(given: object) -> str:
    """Return a message's text; what isn't text is left out."""
    if isinstance(given, str):
        return given
    parts = given if isinstance(given, list) else []
    return "\n".join(str(part.get("text", "")) for part in parts if part.get("type") == "text")


def _completion(output: Mapping[str, Any]) -> str:
    """Return what the model answered."""
    if isinstance(output.get("completion"), str):
        return str(output["completion"])
    choices = output.get("choices") or [{}]
    return _content((choices[0].get("message") or {}).get("content"))


def _unpacked(path: Path) -> dict[str, Any]:
    """Read an archive: its header, and one entry a sample.

    Raises:
        DataError: If it is no archive, or damaged.
        EnvironmentFault: If it can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            entries = {info.filename: info for info in archive.infolist()}
            head = entries.get("header.json") or entries.get("_journal/start.json")
            if head is None:
                raise DataError(f"{path}: no log of Inspect", why="it has no header.json")
            log = parse_json(_entry(file, archive, head), f"{path}: {head.filename}")
            samples = [
                parse_json(_entry(file, archive, info), f"{path}: {name}")
                for name, info in entries.items()
                if name.startswith("samples/") and name.endswith(".json")
            ]
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError) as error:
        raise DataError(f"{path}: no sound zip archive", why=str(error)) from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: can't be read", why=str(error)) from error
    if not isinstance(log, dict):
        raise DataError(f"{path}: no log of Inspect", why="its header is no object")
    return {**log, "samples": samples}


def _entry(file: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:  # noqa: ANN401
    """Unpack an entry; Python's own `zipfile` knows no zstd before 3.14.

    Raises:
        DataError: If it is damaged, or unpacks to more than `MAX_ENTRY_BYTES`.
    """
    if info.file_size > MAX_ENTRY_BYTES:
        raise DataError(f"{archive.filename}: {info.filename} is larger than any sample's log")
    if info.compress_type != _ZSTD:
        return archive.read(info)
    file.seek(info.header_offset)
    name, extra = struct.unpack("<HH", file.read(_HEAD)[26:])
    file.seek(name + extra, 1)
    zstandard = _zstandard()
    try:
        packed = file.read(info.compress_size)
        found = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_ENTRY_BYTES)
    except zstandard.ZstdError as error:
        raise zipfile.BadZipFile(f"{info.filename}: {error}") from error
    if len(found) != info.file_size or zlib.crc32(found) != info.CRC:
        raise zipfile.BadZipFile(f"{info.filename}: not what was packed")
    return bytes(found)


def _zstandard() -> Any:  # noqa: ANN401 - a module
    """Import what unpacks zstd.

    Raises:
        EnvironmentFault: If it isn't installed.
    """
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise EnvironmentFault(
            "Inspect's .eval logs are packed with zstd, and `zstandard` isn't installed",
            hint="pip install 'alignstudy[logs]'; or: inspect log convert LOG --to json",
        ) from error
