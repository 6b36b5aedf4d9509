"""What this machine has, and what a study would miss on it."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from alignstudy.errors import AlignstudyError
from alignstudy.study.provenance import LIBRARIES, machine
from alignstudy.study.run.store import home

Finding = tuple[str, str, str]


def examine() -> list[Finding]:
    """Return (what, state, detail) lines; state is "ok", "note" or "missing"."""
    return [*_libraries(), *_machine(), _device(), _store(), _network()]


def _libraries() -> list[Finding]:
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, "ok", version(name)))
        except PackageNotFoundError:
            found.append((name, "missing", f"pip install {name}"))
    return found


def _machine() -> list[Finding]:
    facts = machine()
    threads = str(facts["threads"])
    advice = "" if threads == "1" else "; OMP_NUM_THREADS=1 is faster for models of a few million"
    return [
        ("processor", "ok", f"{facts['processor']}, {facts['cores']} cores"),
        ("threads", "ok" if not advice else "note", threads + advice),
    ]


def _device() -> Finding:
    from alignstudy.study.api import accelerator

    try:
        return ("device", "ok", accelerator() or "cpu")
    except (AlignstudyError, ImportError) as error:
        return ("device", "missing", str(error).splitlines()[0])


def _store() -> Finding:
    root = home()
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        return ("store", "missing", f"{root} can't be written: set ALIGNSTUDY_HOME")
    size = sum(p.stat().st_size for p in Path(root).rglob("*") if p.is_file()) / 1e9
    return ("store", "ok", f"{root}: {size:.1f} GB used, {free:.0f} GB free")


def _network() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "") in {"1", "true", "TRUE"}
    state = "HF_HUB_OFFLINE is set: hub ids must be in the local cache" if offline else "as needed"
    return ("hub", "note" if offline else "ok", state)
