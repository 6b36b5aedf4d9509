"""A JSON file of what was measured of a machine, by section and key.

It only saves time: what can't be read is measured anew, what can't be written is measured again
the next time. It is safe to delete.
"""

from __future__ import annotations

import hashlib
import json
import platform
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_NAMES = ("model name", "vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
_FEATURES = ("flags", "Features")


def processor() -> str:
    """Name this processor: its model, and a digest of the instructions that it knows.

    A hosted machine's name alone ("AMD EPYC") tells nothing of what it can compute.
    """
    try:
        first = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    parts = [line.partition(":") for line in first.splitlines()]
    said = {field.strip(): value.strip() for field, _, value in parts}
    name = " ".join(said[field] for field in _NAMES if field in said)
    features = " ".join(said.get(field, "") for field in _FEATURES)
    return f"{name} ({hashlib.sha256(features.encode()).hexdigest()[:8]})"


def kept_entries(file: Path | None, section: str) -> dict[str, Any]:
    """Return a section's entries by key; none where there is no file that can be read."""
    entries = _read(file).get(section, {}) if file is not None else {}
    return entries if isinstance(entries, dict) else {}


def keep_entry(file: Path, section: str, key: str, entry: dict[str, Any]) -> bool:
    """Write one entry, the others left as they are; tell whether the file could be written.

    The file is whole at any moment. Of two processes that write at once one's entry may be lost:
    it is measured again.
    """
    sections = _read(file)
    sections[section] = {**kept_entries(file, section), key: entry}
    fresh = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(sections, indent=1, sort_keys=True), encoding="utf-8")
        fresh.replace(file)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        return False
    return True


def _read(file: Path) -> dict[str, Any]:
    try:
        sections = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return sections if isinstance(sections, dict) else {}
