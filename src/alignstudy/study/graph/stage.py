"""What a stage is: declared inputs, a key, and the work that makes its artefact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.errors import UnknownNameError
from alignstudy.progress import Progress
from alignstudy.sources import ResolvedSource
from alignstudy.study.cost.memory import Footprint
from alignstudy.study.cost.model_shape import ModelShape, read_shape
from alignstudy.study.cost.work import Passes
from alignstudy.study.graph.fingerprint import digest, fingerprint_value, key_fields, not_in_key
from alignstudy.version import __version__, library_version

NUMERIC_LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
)

WEIGHTS = ("*.safetensors",)
"""Names of the files that models are saved in here."""


FAILED = "failed"
"""Fact of a stage of a trial that a guard refused, or that needed one: the reason, in a line."""


@dataclass(frozen=True, kw_only=True)
class StageJob:
    """What the runner gives a stage to work with.

    Attributes:
        out: Empty folder: what is in it afterwards is the artefact.
        work: Folder that outlives a kill: checkpoints.
        folder_of: Where a finished input's artefact lies.
        records_of: The same, for its small files: its weights may have been dropped.
        facts_of: What was noted when an input was made (seconds, when), and if before this run.
        device: "cpu" or "cuda".
        scores: File of judges' scores by judge and text, shared by all studies of the store.
        references: File of reference log-probabilities by weights and tokens, shared likewise.
        made_with: All inputs of every artefact of a kind in the store that was made with a value of
            one: (kind, input, value).
        workers: Processes that generation and scoring may be spread over; 1: only this one.
        pace: Seconds that stages like one took on this machine for each FLOP; None: none ran.
    """

    out: Path
    work: Path
    scores: Path
    references: Path
    workers: int
    folder_of: Callable[[Stage], Path]
    records_of: Callable[[Stage], Path]
    facts_of: Callable[[Stage], dict[str, Any]]
    made_with: Callable[[str, str, object], list[dict[str, Any]]]
    pace: Callable[[Stage], float | None]
    device: str
    progress: Progress
    should_stop: Callable[[], bool]


FolderOf = Callable[["Stage"], Path]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One node of a study's graph; subclasses add fields, each an input or a setting.

    Attributes:
        numeric: Whether tensors are computed.
        tried: Whether it makes a model that is only tried: a guard that refuses it, or what is made
            of it, ends the trial and not the study.
        shows_the_model: Whether a guard of its own that refuses says something of the model.
        libraries: Whose versions decide what comes out.
        weights: Patterns of the names of the files that hold a model's weights.
        name: What people call it: `train/sft/seed-0`. Not part of the key: two studies that ask
            for the same work share it.
        device_class: "cpu", or the accelerator's name; "" where no tensor is computed.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    numeric: ClassVar[bool] = False
    tried: ClassVar[bool] = False
    shows_the_model: ClassVar[bool] = True
    libraries: ClassVar[tuple[str, ...]] = NUMERIC_LIBRARIES
    weights: ClassVar[tuple[str, ...]] = ()

    name: str = not_in_key()
    device_class: str = ""

    def run(self, job: StageJob) -> dict[str, Any]:
        """Make the artefact in `job.out`; return facts worth keeping (not part of the key)."""
        raise NotImplementedError

    def planned_work(self, folder_of: FolderOf) -> list[Passes]:
        """Count what will go through models; [] of a stage that runs none, or isn't counted.

        Args:
            folder_of: Returns a finished input's folder; of a model that isn't made yet one with
                the same configuration and tokenizer.

        Raises:
            NotCountableError: If an input that decides it isn't made yet.
        """
        return []

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Return the `flops` of the finished stage, and tokens that they are counted from.

        Args:
            out: Its finished folder.
            folder_of: Returns an input's folder.
            found: What `run` returned.
        """
        return {}

    def footprint(self) -> Footprint | None:
        """Return what decides memory and disk; None where the model isn't on this machine.

        A stage that hands a model on reads and writes its weights.
        """
        if self.model_files() is self:
            return Footprint()
        shape = self.model_shape()
        return None if shape is None else Footprint(shape=shape, saved=shape.parameters)

    def model_files(self) -> Stage | Path:
        """Return where the model's configuration and tokenizer are before it is made."""
        return self

    def model_shape(self) -> ModelShape | None:
        """Return the shape of the model that it makes, as declared; None where that isn't known."""
        other = self.model_files()
        if isinstance(other, Path):
            return read_shape(other)
        return None if other is self else other.model_shape()

    def likeness(self) -> str:
        """Name what makes the times of two stages comparable, apart from their sizes."""
        return f"{self.kind} {self.device_class}"

    @cached_property
    def fingerprint_inputs(self) -> dict[str, Any]:
        """Everything that decides what comes out, as JSON."""
        found: dict[str, Any] = {"stage": self.kind, "version": self.version}
        found["alignstudy"] = __version__  # what a bug made is not used once it is fixed
        if self.numeric:
            found["world_size"] = 1
        if self.numeric or self.libraries != NUMERIC_LIBRARIES:
            names = (*self.libraries, *self.further_libraries())
            found["libraries"] = {name: library_version(name) for name in names}
        for item in key_fields(self):
            found[item.name] = fingerprint_value(getattr(self, item.name))
        return found

    @cached_property
    def key(self) -> str:
        """The artefact's name: a hash of its fingerprint's inputs."""
        return digest(self.fingerprint_inputs)

    @cached_property
    def in_trial(self) -> bool:
        """Whether it is of a trial: it makes a model that is tried, or needs one."""
        return self.tried or any(stage.in_trial for stage in self.inputs())

    def inputs(self) -> Iterator[Stage]:
        """Return the stages that this one reads, in the order of its fields."""
        for item in key_fields(self):
            yield from _stages_in(getattr(self, item.name))

    def skimmed(self) -> tuple[Stage, ...]:
        """Return the inputs of which it reads small files only, never weights."""
        return ()

    def underlying(self) -> tuple[Stage, ...]:
        """Return the stages without whose weights its own are no model: an adapter's base."""
        return ()

    def further_libraries(self) -> tuple[str, ...]:
        """Return the libraries of extras that its settings ask for."""
        return ()

    def releases(self, folder: Path) -> Iterable[Stage]:
        """Return the stages whose weights this study doesn't keep once this one is finished.

        They are dropped when no stage that is yet to be made reads them. One that is asked for
        again, by this study or another, is made again.

        Args:
            folder: Where its own artefact lies.
        """
        return ()

    def needed(self) -> Iterator[tuple[Stage, bool]]:
        """Return what must lie there before it runs, and of each whether its weights must."""
        skimmed = {stage.key for stage in self.skimmed()}
        for stage in self.inputs():
            whole = stage.key not in skimmed
            yield stage, whole
            if whole:
                yield from ((other, True) for other in stage.underlying())


def _stages_in(value: object) -> Iterator[Stage]:
    return (each for each in _parts_in(value) if isinstance(each, Stage))


def sources_of(stage: Stage) -> list[ResolvedSource]:
    """Return the sources that a stage itself reads."""
    values = (getattr(stage, item.name) for item in key_fields(stage))
    parts = (part for value in values for part in _parts_in(value))
    return [each for each in parts if isinstance(each, ResolvedSource)]


def _parts_in(value: object) -> Iterator[Stage | ResolvedSource]:
    """Yield the stages and the sources in a field's value, not what those are made of."""
    if isinstance(value, Stage | ResolvedSource):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _parts_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts_in(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in key_fields(value):
            yield from _parts_in(getattr(value, part.name))


def in_order(
    goals: Iterable[Stage], *, known: Callable[[Stage, bool], bool] = lambda *_: False
) -> list[Stage]:
    """List stages so that each comes after its inputs, equal work once.

    Args:
        goals: Where to begin.
        known: Whether a stage is left out, and with it what only it needs: given the stage, and
            whether its weights are needed, too.
    """
    ordered: dict[str, Stage] = {}

    def visit(stage: Stage, whole: bool) -> None:
        if stage.key in ordered or known(stage, whole):
            return
        for needed, its_weights in stage.needed():
            visit(needed, its_weights)
        ordered[stage.key] = stage

    for goal in goals:
        visit(goal, True)
    return list(ordered.values())


def matching(stages: Sequence[Stage], wanted: str) -> tuple[Stage, ...]:
    """Return the stages that `--only` means: by whole name, else by a part between slashes.

    Raises:
        UnknownNameError: If there is none.
    """
    exact = [stage for stage in stages if stage.name == wanted]
    parts = [s for s in stages if wanted in s.name.split("/") or s.name.startswith(f"{wanted}/")]
    if not (exact or parts):
        raise UnknownNameError("stage", wanted, [stage.name for stage in stages])
    return tuple(exact or parts)
