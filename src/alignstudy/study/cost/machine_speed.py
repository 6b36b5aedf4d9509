"""How fast this machine is, and how much it has left: kept figures, else a probe of a second."""

from __future__ import annotations

import os
from pathlib import Path

from alignstudy.runtime.kernels import Kernels, kept_kernels, machine_kernels
from alignstudy.runtime.peak_memory import free_device_bytes
from alignstudy.runtime.spreading import free_memory
from alignstudy.study.cost.workload import Speed
from alignstudy.study.run.store import Store


def machine_speed(store: Store, device: str, *, threads: int | None) -> Speed:
    """Return this machine's speed; nothing is written where there is no store yet.

    Args:
        store: Where figures of this machine are kept.
        device: "cpu", or the accelerator to probe.
        threads: CPU threads; None: as many as torch likes.
    """
    if device != "cpu":
        from alignstudy.runtime.device_probe import measure_device

        found = measure_device(device)
        return Speed(
            wide=found.wide, narrow=found.narrow, half=found.half, bandwidth=found.bandwidth,
            dispatch=found.dispatch, basis=f"a probe of {found.name}",
        )  # fmt: skip
    kernels = _kernels(store.machine_file(), threads)
    return Speed(
        wide=kernels.float32, narrow=kernels.small, half=kernels.bfloat16,
        bandwidth=kernels.bandwidth, dispatch=kernels.dispatch, basis="a probe of this processor",
    )  # fmt: skip


def _kernels(file: Path, threads: int | None) -> Kernels:
    """Return what is kept of this processor; torch is loaded only where nothing is."""
    asked = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    kept = kept_kernels(file).get(asked)
    if kept is not None:
        return kept
    from alignstudy.runtime.device import set_threads

    if threads is not None:
        set_threads(threads)
    return machine_kernels(file if file.parent.is_dir() else None)


def free_bytes(device: str) -> int:
    """Return the free bytes of the accelerator, or of this machine within its container's limit."""
    return free_memory() if device == "cpu" else free_device_bytes(device)
