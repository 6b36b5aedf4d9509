"""What this machine has, and what a study would miss on it."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import PackageNotFoundError, version

from alignstudy.errors import AlignstudyError
from alignstudy.runtime.device import NO_MPS
from alignstudy.study.devices import accelerator
from alignstudy.study.provenance import LIBRARIES, machine
from alignstudy.study.run.store import home

Line = tuple[str, str, str]


def examine() -> list[Line]:
    """Return (what, state, detail) lines; state is "ok", "note" or "missing"."""
    found = []
    for name in LIBRARIES:
        try:
            found.append((name, "ok", version(name)))
        except PackageNotFoundError:
            found.append((name, "missing", f"pip install {name}"))
    facts = machine()
    threads = str(facts["threads"])
    advice = "" if threads == "1" else "; OMP_NUM_THREADS=1 is faster for models of a few million"
    found.append(("processor", "ok", f"{facts['processor']}, {facts['cores']} cores"))
    found.append(("threads", "note" if advice else "ok", threads + advice))
    try:
        found.append(("device", "ok", accelerator() or "cpu"))
    except (AlignstudyError, ImportError) as error:
        found.append(("device", "missing", str(error).splitlines()[0]))
    if _has_apple_gpu():
        found.append(("Apple GPU", "note", f"there; {NO_MPS}; studies run on the CPU"))
    root = home()
    existing = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if os.access(existing, os.W_OK):
        size = sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) / 1e9
        found.append(("store", "ok", f"{root}: {size:.1f} GB used, {free:.0f} GB free"))
    else:
        found.append(("store", "missing", f"{root} can't be written: set ALIGNSTUDY_HOME"))
    offline = os.environ.get("HF_HUB_OFFLINE", "") in {"1", "true", "TRUE"}
    state = "HF_HUB_OFFLINE is set: hub ids must be in the local cache" if offline else "as needed"
    return [*found, ("hub", "note" if offline else "ok", state)]


def _has_apple_gpu() -> bool:
    try:
        import torch
    except ImportError:  # its own line says so
        return False
    return torch.backends.mps.is_available()
