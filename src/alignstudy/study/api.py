"""The Python API: the command line's verbs, and results as plain records and data frames."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alignstudy.errors import GuardError, InterruptedRunError, UnknownNameError
from alignstudy.progress import SILENT, Progress
from alignstudy.runtime.device import device_name, pick_device
from alignstudy.runtime.pool import usable_cores
from alignstudy.study.cost.estimate import StudyEstimate, estimate
from alignstudy.study.graph.build import Graph, build
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.provenance import machine, redacted, versions
from alignstudy.study.results import Run
from alignstudy.study.run.parallel import make_in_parallel
from alignstudy.study.run.plan import PlanLine, make_plan
from alignstudy.study.run.publishing import show_all
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.signals import stop_signals
from alignstudy.study.run.store import Store
from alignstudy.study.settings.faults import refuse
from alignstudy.study.settings.load import load_settings, resolved_yaml
from alignstudy.study.settings.locate import Located, locate
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import template_in_words
from alignstudy.study.settings.yaml_file import YamlFile, apply_overrides, parse_yaml
from alignstudy.study.stages.compare import INCOMPLETE


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: its settings, its run folder, and what can be done with them.

    Attributes:
        source: The study file; None for a preset.
    """

    settings: StudySettings
    text: str
    folder: Path
    offline: bool = False
    overrides: tuple[str, ...] = ()
    store: Store = field(default_factory=Store)
    source: Path | None = None

    @classmethod
    def load(
        cls,
        study: str | Path,
        *,
        overrides: Sequence[str] = (),
        out: str | Path | None = None,
        offline: bool = False,
    ) -> Study:
        """Read a study.

        Args:
            study: A preset's name, or the path of a YAML file.
            overrides: As `--set`: `["seeds=[1]", "methods.dpo.beta=0.2"]`.
            out: The run folder; `runs/<study>` if not given.
            offline: Never use the network.

        Raises:
            SettingsError: With every fault of the file, each with file, line and key.
        """
        text, settings = load_settings(str(study), overrides)
        file = Path(study).expanduser().absolute()
        folder = Path(out).expanduser() if out is not None else Path("runs") / settings.study
        return cls(
            settings=settings,
            text=text,
            folder=folder.absolute(),
            offline=offline,
            overrides=tuple(overrides),
            source=file if file.is_file() else None,
        )

    def located(self, *, fetch: bool) -> Located:
        """Find the sources, fetched if asked to; refuse paths that lead nowhere."""
        located = locate(self.settings, fetch=fetch, offline=self.offline)
        refuse(located.faults, self.file)
        return located

    def graph(self, located: Located) -> Graph:
        """Build the stages."""
        return build(self.settings, located, device_class(self.settings), self.beside)

    @property
    def file(self) -> YamlFile:
        """The study file with its overrides, for messages that name lines."""
        where = f"preset {self.settings.study}" if self.source is None else str(self.source)
        return apply_overrides(parse_yaml(self.text, where), self.overrides)

    @property
    def beside(self) -> Path | None:
        """The folder of the study file; None for a preset."""
        return None if self.source is None else self.source.parent

    def plan(self) -> tuple[list[PlanLine], Located]:
        """Return for every stage whether it is cached or new, and why; run nothing."""
        located = self.located(fetch=False)
        before = RunFolder(path=self.folder).last_keys()
        return make_plan(self.graph(located).goals, self.store, before), located

    def template_in_words(self, located: Located) -> str:
        """Return how the base is asked and what ends its responses; "" where it isn't here yet."""
        return template_in_words(self.settings, located, self.beside)

    def estimate(self, lines: Sequence[PlanLine]) -> StudyEstimate:
        """Estimate time, memory and disk of a plan's new stages on this machine; run nothing."""
        return estimate(lines, self.store, device=device_of(self.settings))

    def run(self, *, only: str | None = None, progress: Progress = SILENT) -> Run:
        """Run what is missing; write the run folder.

        Args:
            only: A stage (as `plan` names it, or a part of its name): run it and what it needs.
            progress: What shows how far the run is.

        Raises:
            AlignstudyError: With what failed, why, how to fix it, what was kept.
        """
        folder = RunFolder(path=self.folder)
        with folder.locked(), stop_signals(progress.note) as should_stop:
            folder.write("study.yaml", self.text)
            folder.write("resolved.yaml", resolved_yaml(self.settings))
            record = _Record(study=self, folder=folder)
            with record.kept():
                located = self.located(fetch=True)
                graph = self.graph(located)
                stages = in_order(graph.goals)
                record.located, record.stages = located, stages
                goals = graph.goals if only is None else matching(stages, only)
                record.runner = runner = Runner(
                    store=self.store,
                    device=device_of(self.settings),
                    progress=progress,
                    threads=self.settings.threads,
                    workers=worker_count(self.settings),
                    should_stop=should_stop,
                )
                for judge, why in located.absent.items():
                    runner.notes.append(f"judge {judge} absent: {why}")
                    progress.note(runner.notes[-1])
                make_in_parallel(runner, goals)
                for goal in goals:
                    runner.make(goal)
                keys = {goal.key for goal in goals}
                chosen = [export for export in graph.exports if export.stage.key in keys]
                show_all(folder, chosen, runner)
                _refuse_incomplete(stages, runner, self.folder)
        return Run(
            folder=self.folder,
            executed=tuple(runner.executed),
            stages=len(stages),
            notes=tuple(runner.notes),
        )


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


def _refuse_incomplete(stages: Sequence[Stage], runner: Runner, folder: Path) -> None:
    """Refuse to call a run done whose judges left out more than they may; all is written.

    Raises:
        GuardError: Naming judge, model and prompts.
    """
    for stage in stages:
        incomplete = runner.finished(stage).get(INCOMPLETE, ())
        if incomplete:
            raise GuardError(
                "the comparison is incomplete: " + "; ".join(incomplete),
                why="rates over what is left are not rates over the prompts that were asked",
                hint="use another judge or precision, or score what the judge can read",
                kept=f"everything, in {folder}: figures and report show what is missing",
            )


@dataclass
class _Record:
    """What provenance.json will hold, however the run ends."""

    study: Study
    folder: RunFolder
    located: Located | None = None
    stages: Sequence[Stage] = ()
    runner: Runner | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        started = datetime.now(UTC)
        status, last = "failed", self.folder.provenance()
        try:
            yield
            status = "complete"
        except (InterruptedRunError, KeyboardInterrupt) as error:
            status = "interrupted"
            if isinstance(error, KeyboardInterrupt):
                raise InterruptedRunError(
                    "interrupted",
                    hint="run the same command again: it goes on from the last checkpoint",
                    kept="every finished stage, and the last checkpoint of the one at work",
                ) from error
            raise
        finally:
            self.folder.write(PROVENANCE, self._text(status, started, last))

    def _text(self, status: str, started: datetime, last: dict[str, Any]) -> str:
        settings, runner = self.study.settings, self.runner
        # A stage that was not reached keeps the last run's line.
        former = {line["stage"]: line for line in last.get("stages", []) if "stage" in line}
        lines = []
        for stage in self.stages:
            artefact = self.study.store.peek(stage.kind, stage.key)
            if artefact is not None:
                facts = {k: v for k, v in artefact.facts.items() if k != "work"}
                lines.append({"stage": stage.name, "key": stage.key, **facts})
            elif stage.name in former:
                lines.append(former[stage.name])
        found = self.located.found if self.located else {}
        record = {
            "study": settings.study,
            "status": status,
            "command": redacted(sys.argv),
            "overrides": redacted(self.study.overrides),
            "started": started.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings_sha256": digest(settings.model_dump(mode="json")),
            "seeds": list(settings.seeds),
            "device": device_class(settings),
            "versions": versions(),
            "machine": machine() | ({"workers": runner.workers} if runner else {}),
            "sources": {
                role: {"name": item.source.name, "commit": item.commit, "digest": item.digest}
                for role, item in found.items()
            },
            "executed": list(runner.executed) if runner else [],
            "notes": list(runner.notes) if runner else [],
            "stages": lines or list(former.values()),
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"


def worker_count(settings: StudySettings) -> int:
    """Return the processes that a study's work may be spread over: 1 on an accelerator.

    On a CPU as many as asked for, and not more than there are cores for their threads.
    """
    if device_of(settings) != "cpu":
        return 1
    cores = usable_cores()
    threads = settings.threads or int(os.environ.get("OMP_NUM_THREADS") or 0) or cores
    most = max(1, cores // threads)
    return most if settings.workers == "auto" else min(settings.workers, most)


def device_of(settings: StudySettings) -> str:
    """Return "cpu" or "cuda"."""
    return "cpu" if accelerator(settings.device) is None else "cuda"


def device_class(settings: StudySettings) -> str:
    """Name what computes: the threads of a CPU decide the order of sums, so they belong to it."""
    asked = settings.threads or os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    return accelerator(settings.device) or f"cpu ({asked} threads)"


def accelerator(asked: str = "auto") -> str | None:
    """Name the accelerator; None for a CPU. Torch is imported only where one may be.

    Raises:
        EnvironmentFault: If CUDA is asked for and there is none.
    """
    drivers = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    if asked == "cpu" or (asked == "auto" and not any(Path(name).exists() for name in drivers)):
        return None
    device = pick_device(asked)
    return None if device == "cpu" else device_name(device)
