"""What `check` does: the data read and audited, training examples made, and nothing trained."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import EnvironmentFault
from alignstudy.formatting import quantity
from alignstudy.methods import TrainJob
from alignstudy.methods.loop.preview import preview
from alignstudy.progress import Progress
from alignstudy.records import Audit
from alignstudy.study.cost.estimate import StudyEstimate
from alignstudy.study.graph.build import Graph
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.runner import Runner
from alignstudy.study.settings.faults import refuse
from alignstudy.study.settings.locate import Located, locate
from alignstudy.study.settings.template import template_for
from alignstudy.study.stages.data import RowSource, read_audits
from alignstudy.study.stages.preview import NUM_OFFERED, as_markdown
from alignstudy.study.stages.train import ImportModel, ScratchModel, read_part
from alignstudy.study.tools.model_check import model_faults

if TYPE_CHECKING:
    from alignstudy.study.api import Study

Line = tuple[str, str, str]


@dataclass
class CheckReport:
    """What a check found.

    Attributes:
        lines: (what, state, detail); state is "ok", "to fetch", "not checked" or "new".
        preview: Training examples with the loss mask, as Markdown; "" if none could be made.
    """

    lines: list[Line] = field(default_factory=list)
    preview: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the same for scripts."""
        names = ("what", "state", "detail")
        return {
            "lines": [dict(zip(names, line, strict=True)) for line in self.lines],
            "preview": self.preview,
        }


def check_study(study: Study, progress: Progress) -> CheckReport:
    """Check a study as far as the machine allows: what is not here is reported, not fetched.

    Raises:
        SettingsError: If a source isn't there, or a model can't do what is asked of it.
        DataError: If the data can't be used.
        GuardError: If a guard that needs no training refuses.
    """
    located = locate(study.settings, fetch=False, offline=study.offline)
    template = template_for(study.settings, study.beside)
    refuse([*located.faults, *model_faults(study.settings, located, template)], study.file)
    graph = study.graph(located)
    report = CheckReport()
    for role, source in located.found.items():
        if role in located.missing:
            named = located.missing[role]
            detail = f"{named.name}@{named.revision or 'main'} from the hub"
            report.lines.append((role, "to fetch", detail))
        else:
            report.lines.append((role, "ok", f"{source.path} ({source.digest[:19]})"))
    if said := study.template_in_words(located):
        report.lines.append(("template", "ok", said))
    runner = Runner(store=study.store, device="cpu", progress=progress)
    if "data" in located.missing:
        report.lines.append(("data", "not checked", "it is fetched by `run`"))
    else:
        for stage in (graph.prompts, *graph.parts):
            for audit in read_audits(runner.make(stage).folder):
                report.lines.append((f"data/{audit.part}", "ok", _in_words(audit)))
        report.preview = _preview(graph, located, runner, report)
    lines, _ = study.plan()
    refuse_too_small_a_disk(study.estimate(lines))
    new = [line.stage.name for line in lines if line.state == "new"]
    trained = [name for name in new if name.startswith(("train/", "judge/", "base"))]
    report.lines.append(("to train", "new" if trained else "ok", ", ".join(trained) or "nothing"))
    report.lines.append(("to run", "new" if new else "ok", f"{len(new)} of {len(lines)} stages"))
    report.lines.append(("to write", "ok", str(study.folder)))
    return report


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
        shape: Stage = stage  # what brings the tokenizer is at the root of the chain
        while not isinstance(shape, ImportModel | ScratchModel):
            shape = next(each for each in shape.inputs() if not isinstance(each, RowSource))
        if isinstance(shape, ImportModel) and shape.model_files() == shape.source.path:
            parent = shape.source.path
        else:  # a shape's tokenizer is trained first, an adapter is merged
            parent = runner.make(shape).folder
        rows = read_part(stage.rows, runner.make(stage.rows).folder)[:NUM_OFFERED]
        with tempfile.TemporaryDirectory() as scratch:
            job = TrainJob(
                settings=stage.settings,
                parent=parent,
                rows=rows,
                seed=stage.seed,
                out=Path(scratch),
                work=Path(scratch),
                digest=stage.key,
                template=stage.template,
            )
            sections.append(as_markdown(stage, preview(job)))
        report.lines.append((f"examples/{stage.label}", "ok", "encoded; see below"))
    return "\n".join(sections)
