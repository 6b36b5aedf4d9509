"""What a benchmark ran on: processor, its instruction sets, memory, GPU, versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""Instruction sets that decide how fast float32 and bfloat16 products are."""

PACKAGES = (
    "alignstudy", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers",
    "numpy",
)  # fmt: skip


def hardware() -> dict[str, Any]:
    """Describe the machine; nothing that names it among others."""
    cpu = _cpuinfo()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "family": f"{cpu.get('cpu family', '?')}/{cpu.get('model', '?')}",
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in cpu.get("flags", "").split()],
        "memory_gib": round(pages / 2**30),
        "gpu": gpu_name(),
        "system": platform.system(),
    }


def _cpuinfo() -> dict[str, str]:
    """Read the first processor's entry."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def gpu_name() -> str:
    """Name the GPU; empty where there is none."""
    try:
        asked = [
            "nvidia-smi",
            "--query-gpu=name,memory.total,driver_version",
            "--format=csv,noheader",
        ]
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip().splitlines()[0] if told.stdout.strip() else ""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "from source"
    return found
