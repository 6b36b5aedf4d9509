"""What a run was made of: versions, machine, sources, seeds, stages, times."""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from alignstudy.study.graph.stage import NUMERIC_LIBRARIES
from alignstudy.version import __version__, library_version

LIBRARIES = (*NUMERIC_LIBRARIES, "scipy", "pydantic")
OPTIONAL = ("bitsandbytes",)
"""Of extras, and named where they are there."""


def versions() -> dict[str, str]:
    """Return the versions of everything that decides numbers."""
    optional = (name for name in OPTIONAL if find_spec(name) is not None)
    return {
        "alignstudy": __version__,
        "python": platform.python_version(),
        **{name: library_version(name) for name in (*LIBRARIES, *optional)},
    }


def machine() -> dict[str, Any]:
    """Describe the machine as far as it can decide numbers or times."""
    return {
        "platform": platform.platform(),
        "processor": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "library default"),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if sys.platform == "linux" and info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
