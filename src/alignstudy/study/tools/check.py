"""What `check` does: the data read and audited, training examples made, and nothing trained."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alignstudy.data.audit.audit import LOUD, loss_in_words
from alignstudy.errors import AlignstudyError, EnvironmentFault
from alignstudy.formatting import plural, quantity
from alignstudy.generation.hf import too_long_prompts
from alignstudy.methods import TrainingSettings, TrainJob, method_of
from alignstudy.methods.loop.preview import preview
from alignstudy.methods.online.schedule import schedule_of
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.models.folder import weights_in
from alignstudy.records import Audit
from alignstudy.study.cost.estimate import StudyEstimate
from alignstudy.study.graph.build import Graph
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.runner import Runner
from alignstudy.study.settings.faults import refuse
from alignstudy.study.settings.locate import Located
from alignstudy.study.settings.recipes import chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.template import template_for
from alignstudy.study.settings.tuning import tuning_warnings
from alignstudy.study.settings.yaml_file import YamlFile
from alignstudy.study.stages.base_models import ImportModel, ScratchModel
from alignstudy.study.stages.data import RATED, TRAIN, TRAINING_PARTS, read_audits
from alignstudy.study.stages.generate import Generate, ask_for_the_server
from alignstudy.study.stages.preview import NUM_OFFERED, as_markdown, learnt_of
from alignstudy.study.stages.sources import RowSource, read_part, read_prompts
from alignstudy.study.tools.model_check import model_faults
from alignstudy.study.tools.power import prospects_in_words, sizes_asked

Line = tuple[str, str, str]
SEEDS_FOR_CLAIMS = 5
"""From so many training seeds on a difference of a few points can be shown after correction."""


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        lines: (what, state, detail); state is "ok", "to fetch", "not checked", "new" or
            (power under 80 %) "low".
        warnings: What is allowed, and should be looked at.
        preview: Training examples with the loss mask, as Markdown; "" if none could be made.
        num_prompts: Axis -> prompts that were drawn; {} where the data isn't here.
    """

    lines: list[Line] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    preview: str = ""
    num_prompts: dict[str, int] = field(default_factory=dict)

    def add_plan(self, lines: Sequence[PlanLine], folder: Path, settings: StudySettings) -> None:
        """Say what a run would do, and where; and what its claims and training seeds can tell."""
        new = [line.stage.name for line in lines if line.state == "new"]
        train = [name for name in new if name.startswith(("train/", "judge/", "base"))]
        tried = [line.stage for line in lines if line.state == "new" and line.stage.tried]
        trials = {stage.name for stage in tried}
        trained = ", ".join(name for name in train if name not in trials)
        trained += f"; and {plural(len(trials), 'model')} for trials" if trials else ""
        self.lines += [
            ("to train", "new" if trained else "ok", trained or "nothing"),
            ("to run", "new" if new else "ok", f"{len(new)} of {len(lines)} stages"),
            ("to write", "ok", str(folder)),
        ]
        self.warnings += [
            f"methods.{label}: {note}"
            for label, method in settings.methods.items()
            if isinstance(method, TrainingSettings)
            for note in method_of(method).notes
        ]
        self.warnings += tuning_warnings(settings)
        sizes = self.num_prompts or sizes_asked(settings)
        self.lines += [("power", *said) for said in prospects_in_words(settings, sizes)]
        if advice := seed_advice(settings):
            self.lines.append(("seeds", "ok", advice))

    def add_server(self, lines: Sequence[PlanLine]) -> None:
        """Say whether the server that new responses need is there; it may be started later."""
        try:
            if said := ask_for_the_server(line.stage for line in lines if line.state == "new"):
                self.lines.append(("server", "ok", said))
        except AlignstudyError as error:
            self.lines.append(("server", "missing", error.what))
            self.warnings.append(f"`run` will stop before it trains: {error.in_a_line}")

    def add_examples(self, label: str, counts: Mapping[str, int]) -> None:
        """Add of how many rows a training learns; a warning where many are lost."""
        said = learnt_of(counts)
        self.lines.append((f"examples/{label}", "ok", f"{said}; see below"))
        if counts["rows"] - counts["used"] > LOUD * counts["rows"]:
            self.warnings.append(f"{label}: {said}")

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        names = ("what", "state", "detail")
        return {
            "lines": [dict(zip(names, line, strict=True)) for line in self.lines],
            "warnings": self.warnings,
            "preview": self.preview,
        }


def refuse_what_models_cannot(
    settings: StudySettings, located: Located, file: YamlFile, beside: Path | None
) -> None:
    """Look at models' and judges' files, as far as they are here.

    Raises:
        SettingsError: With every source that isn't there, and everything that a model can't do and
            the study asks of it.
    """
    template = template_for(settings, beside)
    refuse([*located.faults, *model_faults(settings, located, template)], file)


def check_sources(located: Located, graph: Graph, runner: Runner, *, template: str) -> CheckReport:
    """Read sources as far as they are here: what isn't is reported, not fetched.

    Args:
        located: What is here.
        graph: The study's stages.
        runner: What makes those that need no training.
        template: How the base is asked, in words; "" where it isn't here.

    Raises:
        SettingsError: If a source isn't there, or a model can't do what is asked of it.
        DataError: If the data can't be used.
        GuardError: If a guard that needs no training refuses.
    """
    report = CheckReport()
    for role, source in located.found.items():
        if role in located.missing:
            named = located.missing[role]
            detail = f"{named.name}@{named.revision or 'main'} from the hub"
            report.lines.append((role, "to fetch", detail))
        else:
            report.lines.append((role, "ok", f"{source.path} ({source.digest[:19]})"))
    if template:
        report.lines.append(("template", "ok", template))
    if "data" in located.missing:
        report.lines.append(("data", "not checked", "it is fetched by `run`"))
        return report
    audits = [
        audit
        for stage in (graph.prompts, *graph.parts)
        for audit in read_audits(runner.make(stage).folder)
    ]
    report.lines += [(f"data/{audit.part}", "ok", _in_words(audit)) for audit in audits]
    if said := _shares(audits, graph):
        report.lines.append(("rows", "ok", said))
    report.warnings += filter(None, map(loss_in_words, audits))
    drawn = Counter(prompt.axis for prompt in read_prompts(runner.make(graph.prompts).folder))
    report.num_prompts = dict(drawn)
    report.warnings += _too_long_prompts(graph, located, runner)
    report.preview = _preview(graph, located, runner, report)
    return report


def _too_long_prompts(graph: Graph, located: Located, runner: Runner) -> Iterator[str]:
    """Say how many prompts leave no room for a response, where the base is here."""
    asked = next((s for s in in_order(graph.goals) if isinstance(s, Generate)), None)
    base = located.found.get("base")
    if asked is None or base is None or "base" in located.missing:
        return
    weights = weights_in(base.path)
    folder, new = weights.base or weights.folder, asked.settings.max_new_tokens
    prompts = read_prompts(runner.make(graph.prompts).folder)
    amount = len(too_long_prompts(prompts, folder, new, template=asked.template))
    if amount:
        yield (
            f"{amount} of {len(prompts)} prompts are too long for the base and {new} new tokens:"
            " they are left out for all models; lower generation.max_new_tokens to keep them"
        )


def seed_advice(settings: StudySettings) -> str:
    """Return what so many training seeds can tell, and how many are advised; "" if enough."""
    trained, seeds = any(chains(settings.recipes).values()), len(settings.seeds)
    claims = len(settings.claims)
    if not trained:
        return ""
    if seeds == 1:
        return (
            "1: differences are between these trained models; 3 or more tell what training again"
            " would change, 5 where claims are corrected for one another"
        )
    if seeds == 2:
        return (
            "2: their spread has one degree of freedom (t = 12.7), so that hardly any difference"
            " can be shown, and none after correction; 3 are advised, 5 for several claims"
        )
    if seeds < SEEDS_FOR_CLAIMS and claims > 1:
        return f"{seeds}: 5 are advised where {claims} claims are corrected for one another"
    return ""


def refuse_too_small_a_disk(found: StudyEstimate) -> None:
    """Refuse a study whose artefacts the disk can't hold.

    Raises:
        EnvironmentFault: With what is wanted and what is free.
    """
    if found.disk > found.free_disk:
        raise EnvironmentFault(
            "the disk is too small for what this study makes",
            why=f"{quantity(found.disk, 'B')} are wanted at the fullest moment,"
            f" {quantity(found.free_disk, 'B')} are free",
            hint="free some space, set ALIGNSTUDY_HOME to a larger disk, or train adapters (lora)",
        )


def _shares(audits: Sequence[Audit], graph: Graph) -> str:
    """Say what the rows are for; "" where nothing is trained on them."""
    read, used = Counter[tuple[tuple[str, ...], str]](), Counter[str]()
    prompts = graph.prompts
    sets = {f"prompts/{axis.prompts}": each for axis, each in prompts.settings.sets.items()}
    trained = next((part.selection for part in graph.parts if part.part in TRAINING_PARTS), None)
    if trained is None:
        return ""
    for audit in audits:
        asked = sets.get(audit.part)
        used[audit.part if audit.part in TRAINING_PARTS else audit.part.split("/")[0]] += audit.used
        if audit.part in TRAINING_PARTS:
            read[trained.subsets, trained.split] = audit.read
        elif asked is not None and asked.file is None:
            read[asked.subsets, asked.split] = audit.read
    thresholds = "the threshold" if len(prompts.calibrated) == 1 else "thresholds"
    purposes = {
        TRAIN: "to train on",
        RATED: "to train on one by one",
        "calibration": f"to calibrate {thresholds}",
        "validation": "to measure judges on",
        "prompts": "to evaluate on",
    }
    parts = [f"{used[part]:,} {words}" for part, words in purposes.items() if used[part]]
    return f"{read.total():,} rows: {', '.join(parts)}"


def _in_words(audit: Audit) -> str:
    left_out = [f"{n} {reason}" for reason, n in audit.excluded.items()]
    left_out += [f"{n} {note}" for note, n in audit.notes.items()]
    broken = f"{len(audit.quarantined)} quarantined" if audit.quarantined else ""
    return "; ".join(filter(None, [f"{audit.used} of {audit.read} rows", broken, *left_out]))


def _preview(graph: Graph, located: Located, runner: Runner, report: CheckReport) -> str:
    """Show training examples: only a tokenizer is read, so an untrained shape will do."""
    if graph.preview is None:
        return ""
    if "base" in located.missing:
        report.lines.append(("training examples", "not checked", "the base is fetched by `run`"))
        return ""
    sections = []
    for stage in graph.preview.trainings:
        if stage.rows.sampler is not None:
            said = f"its rows are sampled by `run`, from {stage.rows.sampler.name}"
            report.lines.append((f"examples/{stage.label}", "not checked", said))
            continue
        shape: Stage = stage  # what brings the tokenizer is at the root of the chain
        while not isinstance(shape, ImportModel | ScratchModel):
            shape = next(each for each in shape.inputs() if not isinstance(each, RowSource))
        if isinstance(shape, ImportModel) and shape.model_files() == shape.source.path:
            parent = shape.source.path
        else:  # a shape's tokenizer is trained first, an adapter is merged
            parent = runner.make(shape).folder
        rows = read_part(stage.rows, runner.make(stage.rows).folder)
        if isinstance(stage.settings, OnlineSettings):
            schedule_of(stage.settings, len(rows), stage.seed)  # which refuses too few
        with tempfile.TemporaryDirectory() as scratch:
            job = TrainJob(
                settings=stage.settings,
                parent=parent,
                rows=rows[:NUM_OFFERED],
                seed=stage.seed,
                out=Path(scratch),
                work=Path(scratch),
                digest=stage.key,
                template=stage.template,
            )
            shown = preview(job)
        sections.append(as_markdown(stage, shown.examples))
        report.add_examples(stage.label, shown.counts)
    return "\n".join(sections)
