"""What a stage is: declared inputs, a key, and the work that makes its artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.progress import Progress
from alignstudy.runtime.kernels import Kernels
from alignstudy.study.graph.fingerprint import digest, fingerprint_value, key_fields, not_in_key
from alignstudy.version import __version__

NUMERIC_LIBRARIES = (
    "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers", "safetensors",
    "numpy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """What the runner gives a stage to work with.

    Attributes:
        out: Empty folder: what is in it afterwards is the artefact.
        work: Folder that outlives a kill: checkpoints.
        folder_of: Where a finished input's artefact lies.
        facts_of: What was noted when an input was made (seconds, when, versions).
        device: "cpu" or "cuda".
        scores: File of judges' scores by judge and text, shared by all studies of the store.
        references: File of reference log-probabilities by weights and tokens, shared likewise.
        kernels: What was measured of this CPU; None: nothing was.
        workers: Processes that generation and scoring may be spread over; 1: none beside this.
    """

    out: Path
    work: Path
    scores: Path
    references: Path
    kernels: Kernels | None
    workers: int
    folder_of: Callable[[Stage], Path]
    facts_of: Callable[[Stage], dict[str, Any]]
    device: str
    progress: Progress
    should_stop: Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of a study's graph; subclasses add fields, each an input or a setting.

    Attributes:
        numeric: Whether tensors are computed.
        libraries: Whose versions decide what comes out.
        name: What people call it: `train/sft/seed-0`. Not part of the key: two studies that ask
            for the same work share it.
        device_class: "cpu", or the accelerator's name; "" where no tensor is computed.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    numeric: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = NUMERIC_LIBRARIES

    name: str = not_in_key()
    device_class: str = ""

    def run(self, job: StageJob) -> dict[str, Any]:
        """Make the artefact in `job.out`; return facts worth keeping (not part of the key)."""
        raise NotImplementedError

    @cached_property
    def fingerprint_inputs(self) -> dict[str, Any]:
        """Everything that decides what comes out, as JSON."""
        made_of: dict[str, Any] = {"stage": self.kind, "version": self.version}
        made_of["alignstudy"] = __version__  # a fixed bug must not be served from before
        if self.numeric:
            made_of["world_size"] = 1
        if self.numeric or self.libraries != NUMERIC_LIBRARIES:
            made_of["libraries"] = {name: version(name) for name in self.libraries}
        for item in key_fields(self):
            made_of[item.name] = fingerprint_value(getattr(self, item.name))
        return made_of

    @cached_property
    def key(self) -> str:
        """The artefact's name: a hash of its fingerprint's inputs."""
        return digest(self.fingerprint_inputs)

    def inputs(self) -> Iterator[Stage]:
        """Return the stages that this one reads, in the order of its fields."""
        for item in key_fields(self):
            yield from _stages_in(getattr(self, item.name))


def _stages_in(value: object) -> Iterator[Stage]:
    if isinstance(value, Stage):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _stages_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _stages_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in key_fields(value):
            yield from _stages_in(getattr(value, part.name))


def in_order(
    goals: Iterable[Stage], *, known: Callable[[Stage], bool] = lambda _: False
) -> list[Stage]:
    """List stages so that each comes after its inputs, equal work once.

    Args:
        goals: Where to begin.
        known: Tells of a stage that it is left out, and with it what only it needs.
    """
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key in ordered or known(stage):
            return
        for needed in stage.inputs():
            visit(needed)
        ordered[stage.key] = stage

    for goal in goals:
        visit(goal)
    return list(ordered.values())
