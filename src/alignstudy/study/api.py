"""The Python API: the command line's verbs, and results as plain records and data frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alignstudy.data.audit.folder import audit_data
from alignstudy.data.audit.rows import DataAudit
from alignstudy.errors import NotFetchedError
from alignstudy.progress import Progress, default_progress
from alignstudy.settings import as_yaml
from alignstudy.sources import home_path, resolve
from alignstudy.study.cost.estimate import StudyEstimate, estimate
from alignstudy.study.devices import device_class, device_of, worker_count
from alignstudy.study.graph.build import Graph, build
from alignstudy.study.graph.stage import Stage, in_order, matching
from alignstudy.study.results import Run
from alignstudy.study.run.known_runs import KnownRuns
from alignstudy.study.run.making import make_and_show
from alignstudy.study.run.plan import PlanLine, make_plan
from alignstudy.study.run.publishing import StudyTexts, refuse_incomplete
from alignstudy.study.run.record import RunRecord
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.signals import stop_signals
from alignstudy.study.run.store import Store
from alignstudy.study.settings.faults import data_faults_named, refuse
from alignstudy.study.settings.load import read_study, settings_of
from alignstudy.study.settings.locate import Located, is_here, locate, resolve_data
from alignstudy.study.settings.overrides import Overrides, apply_overrides, override_texts
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import template_in_words
from alignstudy.study.settings.yaml_file import YamlFile, from_mapping
from alignstudy.study.stages.generate import ask_for_the_server
from alignstudy.study.tools.check import (
    CheckReport,
    check_sources,
    refuse_too_small_a_disk,
    refuse_what_models_cannot,
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: its settings, its run folder, and what can be done with them.

    Attributes:
        text: Its YAML, as written; `file` is the same as data, overrides applied.
        overrides: As `--set` has them.
        source: The study file; None for a preset or a dict.

    Example:
        >>> Study.load("demo").run().table("metrics")  # doctest: +SKIP
    """

    settings: StudySettings
    text: str
    file: YamlFile
    folder: Path
    offline: bool = False
    overrides: tuple[str, ...] = ()
    store: Store = field(default_factory=Store)
    source: Path | None = None

    @classmethod
    def load(
        cls,
        study: str | Path,
        overrides: Overrides = (),
        *,
        out: str | Path | None = None,
        offline: bool = False,
    ) -> Study:
        """Read a study.

        Args:
            study: A preset's name, or the path of a YAML file.
            overrides: Settings to change, by dotted key: Python values, or text as for `--set`.
            out: The run folder; `runs/<study>` if not given.
            offline: Never use the network.

        Raises:
            SettingsError: With every fault of the file, each with file, line and key.

        Example:
            >>> Study.load("demo", {"methods.dpo.beta": 0.2, "seeds": [0, 1]}).settings.seeds
            (0, 1)
            >>> Study.load("demo", ["methods.dpo.beta=0.2"]).settings.methods["dpo"].beta
            0.2
        """
        text, file = read_study(str(study))
        path = home_path(study).absolute()
        source = path if path.is_file() else None
        return cls._read(text, file, overrides, out=out, offline=offline, source=source)

    @classmethod
    def from_dict(
        cls,
        study: Mapping[str, Any],
        overrides: Overrides = (),
        *,
        out: str | Path | None = None,
        offline: bool = False,
    ) -> Study:
        """Read a study that Python holds as a file would: the same keys, checks and defaults.

        Files that it names are looked for in the current folder. The other arguments are those of
        `load`.

        Raises:
            SettingsError: With every fault, each with its key.

        Example:
            >>> study = Study.from_dict({
            ...     "study": "mine",
            ...     "base": "facebook/opt-125m",
            ...     "data": {"source": "world"},
            ...     "methods": {"sft": {}, "dpo": {"beta": 0.2}},
            ...     "judges": [{"use": "length"}],
            ... })
            >>> study.settings.methods["dpo"].beta
            0.2
        """
        file = from_mapping(study)
        return cls._read(as_yaml(file.data), file, overrides, out=out, offline=offline)

    @classmethod
    def _read(
        cls,
        text: str,
        file: YamlFile,
        overrides: Overrides,
        *,
        out: str | Path | None,
        offline: bool,
        source: Path | None = None,
    ) -> Study:
        written = override_texts(overrides)
        file = apply_overrides(file, written)
        settings = settings_of(file)
        folder = home_path(out) if out is not None else Path("runs") / settings.study
        return cls(
            settings=settings,
            text=text,
            file=file,
            folder=folder.absolute(),
            offline=offline,
            overrides=written,
            source=source,
        )

    def located(self, *, fetch: bool) -> Located:
        """Find the sources, fetched if asked to; refuse paths that lead nowhere."""
        located = locate(self.settings, run=self.folder, fetch=fetch, offline=self.offline)
        refuse(located.faults, self.file)
        return located

    def _with_data(self) -> Study:
        """Fetch a hub data set that isn't here yet: its splits are the defaults of the study."""
        if self.offline or is_here(self.settings):
            return self
        try:
            resolve_data(self.settings, offline=False)
        except NotFetchedError:  # said, and written down, where all sources are found
            return self
        settings = settings_of(self.file)
        return self if settings == self.settings else replace(self, settings=settings)

    def graph(self, located: Located) -> Graph:
        """Build the stages."""
        return build(self.settings, located, device_class(self.settings), self.beside)

    @property
    def beside(self) -> Path | None:
        """The folder of the study file; None if it isn't one."""
        return None if self.source is None else self.source.parent

    def plan(self) -> tuple[list[PlanLine], Located]:
        """Return for every stage whether it is cached or new, and why; run nothing."""
        located = self.located(fetch=False)
        before = RunFolder(path=self.folder).last_keys()
        return make_plan(self.graph(located).goals, self.store, before), located

    def template_in_words(self, located: Located) -> str:
        """Return how the base is asked and what ends its responses; "" where it isn't here yet."""
        return template_in_words(self.settings, located, self.beside)

    def estimate(
        self, lines: Sequence[PlanLine], *, arithmetic: bool = False, card: float | None = None
    ) -> StudyEstimate:
        """Estimate time, memory and disk of a plan's new stages on this machine; run nothing.

        Of a `card`, by its bytes of memory, whether each stage fits is said, too.
        """
        device = device_of(self.settings)
        return estimate(lines, self.store, device=device, arithmetic=arithmetic, card=card)

    def check(self, *, progress: Progress | None = None) -> CheckReport:
        """Do what `alignstudy check` does: nothing is trained, what isn't here is not fetched.

        Args:
            progress: What shows how far it is; None: lines in a notebook, else nothing.

        Raises:
            SettingsError: If the base or a judge can't do what is asked of it.
            DataError: If the data can't be used.
            GuardError: If a guard that needs no training refuses.

        Example:
            >>> print(Study.load("demo").check().preview)  # doctest: +SKIP
        """
        located = locate(self.settings, run=self.folder, fetch=False, offline=self.offline)
        refuse_what_models_cannot(self.settings, located, self.file, self.beside)
        graph = self.graph(located)
        runner = Runner(store=self.store, device="cpu", progress=progress or default_progress())
        using = KnownRuns(self.store).using(graph.goals, progress=runner.progress)
        with using, data_faults_named(self.file):
            report = check_sources(located, graph, runner, template=self.template_in_words(located))
        lines, _ = self.plan()
        refuse_too_small_a_disk(self.estimate(lines))
        report.add_server(lines)
        report.add_plan(lines, self.folder, self.settings)
        return report

    def audit(self) -> DataAudit:
        """Do what `alignstudy audit` does, with the study's data and prompts; it may be fetched.

        Raises:
            DataError: If the data can't be read.
            NotFetchedError: If it is neither here nor to be had.

        Example:
            >>> print(Study.load("demo").audit().to_markdown())  # doctest: +SKIP
        """
        located = self.located(fetch=False)
        data, settings = self.graph(located).prompts.source, self.settings
        with KnownRuns(self.store).using([data] if isinstance(data, Stage) else []):
            if isinstance(data, Stage):
                path = Runner(store=self.store, device="cpu").make(data).folder
            else:
                path = resolve(data.source, offline=self.offline).path
            found = audit_data(path, how=settings.whole_reading, prompts=settings.asked)
        return replace(found, source=settings.data.source)

    def run(self, *, only: str | None = None, progress: Progress | None = None) -> Run:
        """Run what is missing; write the run folder.

        Args:
            only: A stage (as `plan` names it, or a part of its name): run it and what it needs.
            progress: What shows how far the run is; None: lines in a notebook, else nothing.

        Raises:
            AlignstudyError: With what failed, why, how to fix it, what was kept.

        Example:
            >>> Study.load("demo").run(only="prompts").executed  # doctest: +SKIP
            ('world', 'prompts')
        """
        progress = progress or default_progress()
        study = self._with_data()
        if study is not self:
            return study.run(only=only, progress=progress)
        folder, texts = RunFolder(path=self.folder), StudyTexts.of(self.settings, self.text)
        with folder.locked(), stop_signals(progress.note) as should_stop:
            folder.refuse_links((*texts.files, PROVENANCE))
            notes = texts.place_first(folder)
            record = RunRecord(
                settings=self.settings, overrides=self.overrides, store=self.store, folder=folder
            )
            with record.kept(), data_faults_named(self.file):
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
                absent = (f"judge {judge} absent: {why}" for judge, why in located.absent.items())
                for note in (*texts.notes, *notes, *absent):
                    runner.say(note)
                lines = make_plan(goals, self.store, {})
                ask_for_the_server(line.stage for line in lines if line.state == "new")
                make_and_show(runner, graph, goals, folder, texts)
                refuse_incomplete(stages, runner, self.folder)
        return Run(
            folder=self.folder,
            executed=tuple(runner.executed),
            stages=len(stages),
            notes=tuple(runner.notes),
        )
