"""What must hold between the settings of a study, each of them sound by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from alignstudy.analysis.claims.claims import claim_faults
from alignstudy.data.files.reading import Reading
from alignstudy.data.select.held_out import CalibrationSettings
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.selection import RowSelection
from alignstudy.data.world.generate import WorldSettings
from alignstudy.judges.base import measured_axes
from alignstudy.judges.quality.settings import AssessSettings
from alignstudy.methods import TrainingSettings
from alignstudy.methods.weights.scratch import ArchitectureSettings
from alignstudy.metrics import METRICS
from alignstudy.metrics.axes import PUBLISHED, axis_named
from alignstudy.metrics.figures import rate_of
from alignstudy.settings import Settings
from alignstudy.study.settings.axes import (
    CALIBRATED,
    AxisSettings,
    SweepSettings,
    ThresholdSettings,
)
from alignstudy.study.settings.budget_checks import budget_faults
from alignstudy.study.settings.judges import RESERVED, JudgeEntry, JudgeTraining
from alignstudy.study.settings.own_data import WORLD
from alignstudy.study.settings.recipe_checks import Fault, recipe_faults
from alignstudy.study.settings.recipes import chains, existing
from alignstudy.study.settings.study import DataSettings, StudySettings
from alignstudy.study.settings.tuning import tuning_faults


def cross_faults(study: StudySettings) -> Iterator[Fault]:
    """Find every contradiction: the path of keys, and what is wrong there."""
    for name in ("recipes", "seeds", "judges"):
        if not getattr(study, name):
            yield (name,), "must not be empty"
    yield from recipe_faults(study)
    yield from budget_faults(study)
    if len(set(study.seeds)) < len(study.seeds):
        yield ("seeds",), "a seed stands twice"
    if not (study.judges and study.seeds):
        return
    yield from tuning_faults(study)
    yield from _axis_faults(study)
    yield from _judge_faults(study)
    yield from _panel_faults(study)
    yield from _claim_faults(study)
    yield from _threshold_faults(study)
    yield from _length_faults(study)
    yield from _world_faults(study)
    yield from _idle_faults(study)
    yield from _untrained_faults(study)
    for recipe, given in existing(study.recipes).items():
        if (given.path, given.revision) == (study.base.path, study.base.revision):
            yield ("recipes", recipe, "from"), "is the base: write `[]`"
    if study.prompts.protocol == "paper" and study.template not in ("auto", "hh"):
        text = "must be auto or hh: the paper protocol asks prompts letter by letter"
        yield ("template",), text


def _judge_faults(study: StudySettings) -> Iterator[Fault]:
    names = [judge.name for judge in study.judges]
    for at, judge in enumerate(study.judges):
        if judge.name in names[:at]:
            yield ("judges", at), f"two judges are called '{judge.name}'"
        if judge.name == RESERVED:
            yield ("judges", at, "name"), f"'{RESERVED}' is what the panel's scores are called"
        if judge.train:
            yield from (
                (("judges", at, "train", "reward_model", name), text)
                for name, text in _training_faults(judge, judge.train, study.prompts.protocol)
            )
        measured = measured_axes(judge.settings, study.tested)
        missing = [axis for axis in study.tested if axis.name not in measured]
        if at == 0 and missing and study.leading is None:
            text = (
                f"the first judge fills the tables and doesn't measure '{missing[0].name}' prompts"
            )
            yield ("judges", at), f"{text}: put another one first, or declare a panel"
        if not measured:
            yield ("judges", at, "measures"), "names no axis of this study"
        if getattr(judge.settings, "rendering", "") == "auto" and not study.calibrated:
            text = "auto is chosen on the calibration pairs: it needs `thresholds: calibrated`"
            yield ("judges", at, "rendering"), text


def _training_faults(
    judge: JudgeEntry, training: JudgeTraining, protocol: str
) -> Iterator[tuple[str, str]]:
    """Find what a judge would be trained on and not be asked with."""
    asked, form = training.reward_model, "bare" if protocol == "paper" else "cue"
    if asked.input == "pair" and asked.prompt_form != form:
        yield "prompt_form", f"must be '{form}': what the {protocol} protocol shows"
    read = getattr(judge.settings, "input", asked.input)
    if read != asked.input:
        yield "input", f"must be what the judge reads later, which is `input: {read}`"
    if asked.loss_on == "positions":
        text = f"must be end: a {training.architecture.model_type} reads a text as a whole"
        yield "loss_on", text


def _axis_faults(study: StudySettings) -> Iterator[Fault]:
    """Find axes that the study doesn't have, or says two things of."""
    places: list[tuple[tuple[str | int, ...], Iterable[str], type[Settings]]] = [
        (("thresholds",), study.thresholds.axes, ThresholdSettings),
        (("thresholds", "sweep"), study.thresholds.sweep.axes, SweepSettings),
        *(
            (("judges", at, "thresholds"), judge.thresholds or {}, Settings)
            for at, judge in enumerate(study.judges)
        ),
    ]
    places += [
        ((each.part,), each.subsets, type(each))
        for each in (study.calibration, study.validation)
        if each is not None
    ]
    if study.panel is not None:
        places.append((("panel",), study.panel.judges, type(study.panel)))
    if not study.axes:
        places.append((("prompts",), study.prompts.axes, PromptSettings))
    known = (*PUBLISHED, *(study.tested if study.axes else ()))
    for path, keys, kind in places:
        words = [word for axis in known for word in (axis.name, axis.prompts, axis.quality)]
        for key in keys:
            if axis_named(key).name not in {axis.name for axis in known}:
                close = get_close_matches(key, [*kind.model_fields, *words], n=1)
                hint = f"did you mean '{close[0]}'?" if close else "list it under `axes`"
                yield (*path, key), f"no axis of this study, and no setting; {hint}"
        named = [axis_named(key).name for key in keys]
        if len(set(named)) < len(named):
            yield path, "one axis is named twice"
    yield from _listed_faults(study)


def _listed_faults(study: StudySettings) -> Iterator[Fault]:
    """Find what is wrong with the axes that are listed."""
    if not study.axes:
        return
    if study.prompts.axes != PromptSettings(protocol=study.prompts.protocol).axes:
        yield ("prompts",), "names prompts of axes, and `axes` does too: say it there"
    if study.thresholds.axes:
        yield ("thresholds",), "gives thresholds, and `axes` does too: say it there"
    rates = [name for name in METRICS if METRICS.load(name).family == "rates"]
    if len({axis.name for axis in study.tested}) < len(study.axes):
        yield ("axes",), "one axis is named twice"
    names = [rate_of(axis).name for axis in study.tested if axis.rate in rates]
    if len(set(names)) < len(names):
        yield ("axes",), "two axes have the same metric"
    for key, each in study.axes.items():
        yield from _listed_axis_faults(study, key, each, rates)


def _listed_axis_faults(
    study: StudySettings, key: str, each: AxisSettings, rates: Sequence[str]
) -> Iterator[Fault]:
    """Find what is wrong with one axis that is listed."""
    axis, known = axis_named(key), [judge.name for judge in study.judges]
    if each.metric is not None and each.metric not in rates:
        yield ("axes", key, "metric"), f"is no pass rate; known: {', '.join(rates)}"
    if axis not in PUBLISHED and each.prompts.file is None and not each.prompts.subsets:
        yield ("axes", key, "prompts"), "must say where they are: `file`, or `subsets`"
    pairs = study.calibration
    if each.threshold == CALIBRATED and pairs is not None and not pairs.has(axis):
        text = f"calibrated needs pairs: `calibration: {{{key}: [SUBSET]}}`; or give a number"
        yield ("axes", key, "threshold"), text
    if each.judge is not None and each.judge not in known:
        yield ("axes", key, "judge"), f"is not in `judges`; known: {', '.join(known)}"
    elif each.judge is not None and study.panel is not None:
        yield ("axes", key, "judge"), "a panel leads: name its judges under `panel`"


def _panel_faults(study: StudySettings) -> Iterator[Fault]:
    known = {judge.name: measured_axes(judge.settings, study.tested) for judge in study.judges}
    for axis in study.tested if study.leading is not None else ():
        path: tuple[str, ...] = ("axes",) if study.panel is None else ("panel", axis.quality)
        for name in study.leading.members(axis.name) if study.leading is not None else ():
            if name not in known and study.panel is not None:
                text = f"names judge '{name}', which `judges` doesn't hold"
                yield path, f"{text}; known: {', '.join(known)}"
            elif name in known and axis.name not in known[name]:
                yield path, f"judge '{name}' doesn't measure '{axis.name}' prompts"


def _claim_faults(study: StudySettings) -> Iterator[Fault]:
    known = ", ".join(study.recipes)
    if study.control is not None and study.control not in study.recipes:
        yield ("control",), f"names '{study.control}', which is no recipe; known: {known}"
    for at, claim in enumerate(study.claims):
        for name in claim.named():
            if name not in study.recipes:
                yield ("claims", at), f"names '{name}', which is no recipe; known: {known}"
        if claim.subject is not None and claim.subject in claim.than:
            yield ("claims", at), f"compares '{claim.subject}' with itself"
        for fault in claim_faults(claim, study.tested):
            yield ("claims", at), fault
        if study.validation is None and any(m.startswith("judge_") for m in claim.metric):
            yield ("claims", at), "is about a judge, and `validation: null` measures none"


def _threshold_faults(study: StudySettings) -> Iterator[Fault]:
    limits = study.thresholds
    if study.calibrated and study.calibration is None:
        text = "is null, and thresholds are chosen on its pairs: give `thresholds` as numbers"
        yield ("calibration",), text
    if limits.uncertainty == "joined" and not study.calibrated:
        text = "joins the error of calibrated thresholds, and no threshold is calibrated"
        yield ("thresholds", "uncertainty"), text
    if study.axes:
        return
    if limits.calibrated == any(number is not None for number in limits.axes.values()):
        words = ", ".join(axis.name for axis in PUBLISHED)
        yield ("thresholds",), f"give numbers ({words}), or `calibrated`, and not both"
        return
    for axis in () if limits.calibrated else study.tested:
        if limits.numbers.get(axis.name) is None:
            yield ("thresholds",), f"there is no number for {axis.name}"


def _length_faults(study: StudySettings) -> Iterator[Fault]:
    """Find rows that would be longer than the model made from scratch can read."""
    asked: list[tuple[tuple[str | int, ...], int | None, ArchitectureSettings, str]] = []
    scratch = study.base.scratch
    if scratch is not None:
        shape, where = scratch.architecture, "base.scratch"
        asked.append((("base", "scratch", "pretrain"), scratch.pretrain.max_length, shape, where))
        for label, method in study.methods.items():
            if isinstance(method, TrainingSettings):
                asked.append((("methods", label), method.max_length, shape, where))
    for at, judge in enumerate(study.judges):
        if judge.train is not None:
            model, shape = judge.train.reward_model, judge.train.architecture
            key = ("judges", at, "train", "reward_model")
            asked.append((key, model.max_length, shape, f"judges.{at}.train"))
    for path, length, shape, where in asked:
        most = shape.max_position_embeddings
        if length is not None and length > most:
            source = f"`{where}.architecture.max_position_embeddings`"
            yield (*path, "max_length"), f"is {length}, and the model reads {most} ({source})"


def _world_faults(study: StudySettings) -> Iterator[Fault]:
    """Find settings that only a source of rows reads, or only the generated world."""
    if study.data.source != WORLD:
        if study.data.world != WorldSettings():
            yield ("data", "world"), f"is read only with `source: {WORLD}`"
        return
    for name in ("revision", *Reading.model_fields):
        if getattr(study.data, name) != DataSettings.model_fields[name].default:
            yield ("data", name), "has no meaning for the generated world"


def _idle_faults(study: StudySettings) -> Iterator[Fault]:
    """Find settings that nothing would read."""
    if not study.calibrated and study.calibration not in (None, CalibrationSettings()):
        yield ("calibration",), "is read only with `thresholds: calibrated`"
    if study.validation is None and study.assess != AssessSettings():
        yield ("assess",), "is read only with `validation` pairs"
    scratch = study.base.scratch
    if scratch is not None and scratch.architecture.model_type != "opt":
        path = ("base", "scratch", "architecture", "model_type")
        yield path, "a base writes text: it must be 'opt'"
    for at, judge in enumerate(study.judges):
        if judge.train is not None and judge.train.architecture.model_type == "opt":
            path_of_judge = ("judges", at, "train", "architecture", "model_type")
            yield path_of_judge, "a judge classifies: it must be 'deberta-v2'"


def _untrained_faults(study: StudySettings) -> Iterator[Fault]:
    """Find settings that nothing would read because no recipe has a method."""
    if any(chains(study.recipes).values()):
        return
    if study.data.train != RowSelection():
        yield ("data", "train"), "is read only by methods, and no recipe has one"
    if len(study.seeds) > 1 and not study.generation.do_sample:
        text = "nothing is trained and nothing is sampled: every seed gives the same; list one"
        yield ("seeds",), text
    if not chains(study.recipes) and study.diagnostics is None:
        yield ("base",), "is read by nothing: list it among the recipes (`base: []`)"
