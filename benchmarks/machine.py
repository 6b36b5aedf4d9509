"""What a benchmark ran on: processor, its instruction sets and speed, memory, GPU, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""Instruction sets that decide how fast float32 and bfloat16 products are."""

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers")


def hardware() -> dict[str, Any]:
    """Describe the machine; nothing that names it among others."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    parts = (line.partition(":") for line in lines if ":" in line)
    cpu = {key.strip(): value.strip() for key, _, value in parts}
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


def usable_cores() -> int:
    """Count the CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def gpu_name() -> str:
    """Return the GPU's name; empty where there is none."""
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip().partition("\n")[0]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    names = ("alignstudy", *LIBRARIES, "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def speed_of_products(rows: int = 128, width: int = 1024) -> dict[str, float]:
    """Measure matrix products in GF/s: "float32" and "bfloat16", the best of three."""
    import torch

    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        inputs, weights = (
            torch.ones(rows, width, dtype=dtype),
            torch.ones(width, width, dtype=dtype),
        )
        seconds = []
        for _ in range(4):  # the first makes ready
            started = time.perf_counter()
            torch.nn.functional.linear(inputs, weights)
            seconds.append(time.perf_counter() - started)
        speed = 2e-9 * rows * width**2 / min(seconds[1:])
        found[str(dtype).removeprefix("torch.")] = speed
    return found
