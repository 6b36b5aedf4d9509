"""What a study would take on this machine: seconds, memory and disk, with how sure that is."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alignstudy.study.cost.machine_speed import free_bytes
from alignstudy.study.cost.outlook import FACTOR, Outlook, StageEstimate, outlook
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.store import Store

LIBRARIES_SECONDS = 8.0
"""To load them, once a run."""


@dataclass(frozen=True, kw_only=True)
class StudyEstimate:
    """What all new stages would take together.

    Attributes:
        stages: In the order in which they could run one by one.
        processes: In which stages are made side by side.
        seconds: Until all that are known are made, loading of libraries included.
        memory: Peak bytes of the known stages that are at work at the same time.
        disk: Bytes at the fullest moment: all that stays and the largest checkpoints.
        free_memory: Bytes that are free now, where `memory` is needed.
        free_disk: Bytes that are free now where the store lies.
        unknown: Names of the stages of which nothing is known.
        warnings: What won't fit, in words.
    """

    stages: tuple[StageEstimate, ...] = ()
    processes: int = 1
    seconds: float = 0.0
    low: float = 0.0
    high: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    free_memory: int = 0
    free_disk: int = 0
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts: seconds and bytes, whole numbers; null: not known."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}


def estimate(
    lines: Sequence[PlanLine], store: Store, *, device: str, threads: int | None, workers: int
) -> StudyEstimate:
    """Estimate the new stages of a plan; nothing is run but a probe of a second or two.

    Where nothing is new nothing is probed.

    Args:
        lines: The plan.
        store: Where what was made before lies.
        device: "cpu" or "cuda".
        threads: CPU threads of numeric stages; None: as many as torch likes.
        workers: Processes that stages, generation and scoring may be spread over.
    """
    new = [line.stage for line in lines if line.state == "new"]
    if not new:
        return StudyEstimate(free_disk=_free_disk(store.root))
    return _together(outlook(new, store, device=device, threads=threads, workers=workers), new,
                     store, device)  # fmt: skip


def _together(found: Outlook, new: Sequence[Stage], store: Store, device: str) -> StudyEstimate:
    start = LIBRARIES_SECONDS if any(stage.numeric for stage in new) else 0.0
    checkpoints = sorted((each.working_disk or 0.0 for each in found.stages), reverse=True)
    disk = sum(each.disk or 0.0 for each in found.stages) + sum(checkpoints[: found.hands])
    room, free = free_bytes(device), _free_disk(store.root)
    return StudyEstimate(
        stages=found.stages,
        processes=found.hands,
        seconds=round(start + found.seconds, 1),
        low=round(start / FACTOR + found.low, 1),
        high=round(start * FACTOR + found.high, 1),
        memory=found.memory,
        disk=disk,
        free_memory=room,
        free_disk=free,
        unknown=tuple(each.stage for each in found.stages if each.seconds is None),
        warnings=tuple(_warnings(found.memory, room, disk, free, store.root)),
    )


def _warnings(memory: float, room: int, disk: float, free: int, root: Path) -> list[str]:
    said = []
    if memory > room:
        said.append(
            f"memory: about {memory / 1e9:.1f} GB are needed and {room / 1e9:.1f} GB are free;"
            " use a smaller per_device_train_batch_size (or auto), or LoRA"
        )
    if disk > free:
        said.append(
            f"disk: about {disk / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free at"
            f" {root}; free some, or set ALIGNSTUDY_HOME"
        )
    return said


def _free_disk(root: Path) -> int:
    there = next(path for path in (root, *root.parents) if path.exists())
    return shutil.disk_usage(there).free
