"""Runs what is missing, in order, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import Timeout

from alignstudy.errors import (
    AlignstudyError,
    DamagedArtefactError,
    EnvironmentFault,
    GuardError,
    InterruptedRunError,
)
from alignstudy.progress import SILENT, Progress
from alignstudy.runtime.device import set_threads
from alignstudy.runtime.machine_faults import machine_fault
from alignstudy.study.cost.estimate import History, planned_flops, work_record
from alignstudy.study.cost.meter import Meter
from alignstudy.study.graph.stage import FAILED, Stage, StageJob
from alignstudy.study.run.manifest import Artefact
from alignstudy.study.run.reading import read_as_hashed
from alignstudy.study.run.store import Store, disk_faults


@dataclass
class Runner:
    """Makes artefacts.

    Attributes:
        store: Where they lie.
        device: "cpu" or "cuda".
        threads: CPU threads of numeric stages; None: PyTorch's default.
        workers: Processes that stages, generation and scoring may be spread over.
        beside: Whether other stages are at work in other processes meanwhile; a stage then spreads
            no further.
        made: Names of the stages that ran, in order, by key.
        notes: What a person should know of this run ("damaged artefact recomputed").
        after: Called when a stage was made.
    """

    store: Store
    device: str
    threads: int | None = None
    workers: int = 1
    beside: bool = False
    progress: Progress = SILENT
    should_stop: Callable[[], bool] = lambda: False
    made: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    after: Callable[[], None] = lambda: None
    _done: dict[str, Artefact] = field(default_factory=dict)

    def make(self, stage: Stage, *, whole: bool = True) -> Artefact:
        """Return a stage's artefact, verified; run the stage, and what it needs, if it is missing.

        Args:
            stage: Any.
            whole: Whether its weights are needed; else they may have been dropped.

        Raises:
            AlignstudyError: As the stage raised it, with what was kept.
        """
        if self.adopt(stage, whole):
            return self._done[stage.key]
        for needed, its_weights in stage.needed():
            self.make(needed, whole=its_weights)
        with self._stage_lock(stage):
            if self.adopt(stage, whole):  # another process made it while this one waited
                return self._done[stage.key]
            self.stop_if_asked()
            started = datetime.now(UTC)
            work = self.store.work_folder(stage.key)
            with self.store.writing(stage.kind, stage.key) as fresh, self._faults(stage):
                work.mkdir(parents=True, exist_ok=True)
                resumed = any(work.iterdir())
                if stage.numeric and self.threads is not None:
                    set_threads(self.threads)
                with self._meter.measured() as cost, read_as_hashed(stage):
                    found = self._found(stage, self._job(fresh, work))
                facts = {
                    **found,
                    "name": stage.name,
                    "started": started.isoformat(timespec="seconds"),
                    **asdict(cost),
                    **({"beside": True} if self.beside else {}),
                    "device": self.device if stage.numeric else "",
                    **self._work(stage, fresh, found, resumed=resumed),
                }
                self._commit(stage, fresh, facts)
            self.made[stage.key] = stage.name
            took = f"done in {facts['seconds']:.1f} s"
            failed = f"failed, as a trial may: {facts[FAILED]}" if FAILED in facts else ""
            self.progress.note(f"{stage.name}: {failed or took}")
        self.after()
        return self._done[stage.key]

    def _found(self, stage: Stage, job: StageJob) -> dict[str, Any]:
        """Run a stage and return its facts; in a trial, what a guard refuses is one of them."""
        if not stage.in_trial:
            return stage.run(job)
        for needed in stage.inputs():
            if failed := self.make(needed, whole=False).facts.get(FAILED):
                return {FAILED: failed}
        try:
            return stage.run(job)
        except GuardError as error:
            if not stage.shows_the_model:
                raise
            for left in job.out.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            return {FAILED: error.in_a_line}

    def _commit(self, stage: Stage, fresh: Path, facts: dict[str, Any]) -> None:
        """Bring what a stage made into the store; say so if it isn't what was dropped."""
        before = self.store.peek(stage.kind, stage.key)
        made = self.store.commit(
            fresh,
            stage.kind,
            stage.key,
            fingerprint_inputs=stage.fingerprint_inputs,
            facts=facts,
            weights=stage.weights,
        )
        self._done[stage.key] = made
        if before is not None and not before.dropped.items() <= made.hashes.items():
            self.say(
                f"{stage.name}: the weights made again are not those that were dropped: what was"
                " computed from those before rests on others"
            )

    def say(self, note: str) -> None:
        """Tell something that a person should know of this run, and keep it for its record."""
        self.notes.append(note)
        self.progress.note(note)

    def adopt(self, stage: Stage, whole: bool = True) -> bool:
        """Take over a verified artefact, whoever made it; return whether there is one.

        A damaged one is moved away and reported: it will be recomputed.

        Args:
            stage: Any.
            whole: Whether one whose weights were dropped doesn't do.
        """
        done = self._done.get(stage.key)
        if done is None or (whole and not done.is_whole):
            try:
                done = self.store.find(stage.kind, stage.key)
            except DamagedArtefactError as error:
                self.say(f"{stage.name}: {error.what} ({error.why}); kept {error.kept}; recomputed")
                return False
            if done is None:
                return False
            self._done[stage.key] = done
        return done.is_whole or not whole

    def forget(self, stage: Stage) -> None:
        """Look a stage's artefact up again when it is asked for next."""
        self._done.pop(stage.key, None)

    @property
    def executed(self) -> list[str]:
        """Names of the stages that ran, in order."""
        return list(self.made.values())

    def finished(self, stage: Stage) -> dict[str, Any]:
        """Return what was noted when a stage of this run ran; {} for one that was not needed."""
        artefact = self._done.get(stage.key)
        return {} if artefact is None else artefact.facts

    @contextmanager
    def _stage_lock(self, stage: Stage) -> Iterator[None]:
        with disk_faults(f"the store at {self.store.root}"):
            lock = self.store.lock(stage.key)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self.progress.note(f"{stage.name}: another run makes this now; waiting for it")
                while not lock.is_locked:
                    self.stop_if_asked()
                    with suppress(Timeout):
                        lock.acquire(timeout=1)
        try:
            yield
        finally:
            lock.release()

    @cached_property
    def _meter(self) -> Meter:
        return Meter(self.device)

    @cached_property
    def _history(self) -> History:
        return History(self.store.root)

    def _work(
        self, stage: Stage, out: Path, found: dict[str, Any], *, resumed: bool
    ) -> dict[str, Any]:
        """Return the arithmetic that a stage did, and what it was for later estimates."""
        if FAILED in found:
            return {}
        facts = stage.work_done(out, self._records_of, found)
        if resumed:
            return {**facts, "resumed": True}
        if found.get("texts") == 0:  # a judge whose scores were all kept from before
            return facts
        return {**facts, "work": work_record(stage, planned_flops(stage, self.store))}

    def _records_of(self, stage: Stage) -> Path:
        return self.make(stage, whole=False).folder

    def _job(self, fresh: Path, work: Path) -> StageJob:
        return StageJob(
            out=fresh,
            work=work,
            scores=self.store.root / "scores" / "scores.sqlite",
            references=self.store.root / "references" / "references.sqlite",
            workers=1 if self.beside else self.workers,
            folder_of=lambda needed: self.make(needed).folder,
            records_of=self._records_of,
            facts_of=lambda it: {
                **self.make(it, whole=False).facts,
                "reused": it.key not in self.made,
            },
            made_with=self.store.made_with,
            pace=lambda like: self._history.pace(like),
            device=self.device,
            progress=self.progress,
            should_stop=self.should_stop,
        )

    def stop_if_asked(self) -> None:
        """Raise InterruptedRunError if a stop was asked for."""
        if self.should_stop():
            raise InterruptedRunError(
                "stopped as asked",
                hint="run the same command again: it goes on from here",
                kept=self.kept,
            )

    @property
    def kept(self) -> str:
        """What a second run need not do again, in words."""
        finished = ", ".join(self.executed) or "nothing new was finished"
        return f"every finished stage ({finished})"

    @contextmanager
    def _faults(self, stage: Stage) -> Iterator[None]:
        """Name the stage that failed and what was kept; turn the machine's faults into words."""
        try:
            yield
        except AlignstudyError as error:
            error.kept = error.kept or self.kept
            error.what = f"{stage.name}: {error.what}"
            raise
        except Exception as error:
            why = machine_fault(error)
            if why is None:
                raise
            raise EnvironmentFault(
                f"{stage.name}: out of memory or disk space, or access denied",
                why=why,
                hint="free disk or memory, then run the same command again",
                kept=self.kept,
            ) from error
