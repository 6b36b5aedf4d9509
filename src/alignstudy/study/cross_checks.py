"""What must hold between the settings of a study, each of them sound by itself."""

from __future__ import annotations

from collections.abc import Iterator

from alignstudy.data.calibration import CalibrationSettings
from alignstudy.data.world import WorldSettings
from alignstudy.judges.assess import AssessSettings
from alignstudy.judges.axes import measured_axes
from alignstudy.records import Axis
from alignstudy.study.judge_spec import RESERVED
from alignstudy.study.spec import WORLD, StudySettings
from alignstudy.study.yamlfile import Path_

Fault = tuple[Path_, str]


def cross_faults(study: StudySettings) -> Iterator[Fault]:
    """Find every contradiction: the path of keys, and what is wrong there."""
    for name in ("recipes", "seeds", "judges"):
        if not getattr(study, name):
            yield (name,), "must not be empty"
    yield from _recipe_faults(study)
    yield from _repetitions(study)
    yield from _judge_faults(study)
    yield from _panel_faults(study)
    yield from _claim_faults(study)
    yield from _threshold_faults(study)
    yield from _length_faults(study)
    yield from _idle_faults(study)


def _recipe_faults(study: StudySettings) -> Iterator[Fault]:
    known = ", ".join(study.methods) or "none"
    for recipe, labels in study.recipes.items():
        for label in labels:
            if label not in study.methods:
                text = f"names method '{label}', which `methods` doesn't hold; known: {known}"
                yield ("recipes", recipe), text
    used = {label for labels in study.recipes.values() for label in labels}
    for label in study.methods:
        if label not in used:
            yield ("methods", label), "is in no recipe"


def _repetitions(study: StudySettings) -> Iterator[Fault]:
    if len(set(study.recipes.values())) < len(study.recipes):
        yield ("recipes",), "two recipes are the same"
    if len(set(study.seeds)) < len(study.seeds):
        yield ("seeds",), "a seed stands twice"


def _judge_faults(study: StudySettings) -> Iterator[Fault]:
    names = [judge.name for judge in study.judges]
    form = "bare" if study.prompts.protocol == "paper" else "cue"
    for at, judge in enumerate(study.judges):
        if judge.name in names[:at]:
            yield ("judges", at), f"two judges are called '{judge.name}'"
        if judge.name == RESERVED:
            yield ("judges", at, "name"), f"'{RESERVED}' is what the panel's scores are called"
        if judge.train and judge.train.reward_model.prompt_form != form:
            path = ("judges", at, "train", "reward_model", "prompt_form")
            yield path, f"must be '{form}': what the {study.prompts.protocol} protocol shows"
        missing = [axis for axis in study.axes if axis not in measured_axes(judge.settings)]
        if at == 0 and missing and study.panel is None:
            text = f"the first judge fills the tables and doesn't measure '{missing[0]}' prompts"
            yield ("judges", at), f"{text}: put another one first, or declare a panel"
        if getattr(judge.settings, "rendering", "") == "auto" and not study.thresholds.calibrated:
            text = "auto is chosen on the calibration pairs: it needs `thresholds: calibrated`"
            yield ("judges", at, "rendering"), text


def _panel_faults(study: StudySettings) -> Iterator[Fault]:
    if study.panel is None:
        return
    known = {judge.name: measured_axes(judge.settings) for judge in study.judges}
    for axis, key in ((Axis.HARMLESS, "harmlessness"), (Axis.HELPFUL, "helpfulness")):
        for name in getattr(study.panel, key):
            if name not in known:
                text = f"names judge '{name}', which `judges` doesn't hold"
                yield ("panel", key), f"{text}; known: {', '.join(known)}"
            elif axis not in known[name]:
                yield ("panel", key), f"judge '{name}' doesn't measure '{axis}' prompts"


def _claim_faults(study: StudySettings) -> Iterator[Fault]:
    known = ", ".join(study.recipes)
    for at, claim in enumerate(study.claims):
        for name in claim.named():
            if name not in study.recipes:
                yield ("claims", at), f"names '{name}', which is no recipe; known: {known}"
        if claim.subject is not None and claim.subject in claim.than:
            yield ("claims", at), f"compares '{claim.subject}' with itself"
        if study.validation is None and any(m.startswith("judge_") for m in claim.metric):
            yield ("claims", at), "is about a judge, and `validation: null` measures none"


def _threshold_faults(study: StudySettings) -> Iterator[Fault]:
    for axis in () if study.thresholds.calibrated else study.axes:
        if getattr(study.thresholds, axis.value) is None:
            yield ("thresholds",), f"there is no number for {axis.value}"


def _length_faults(study: StudySettings) -> Iterator[Fault]:
    """Find rows that would be longer than the model made from scratch can read."""
    scratch = study.base.scratch
    if scratch is not None:
        most = scratch.architecture.max_position_embeddings
        asked: dict[tuple[str, ...], int | None] = {
            ("base", "scratch", "pretrain"): scratch.pretrain.max_length
        }
        asked |= {("methods", label): each.max_length for label, each in study.methods.items()}
        for path, length in asked.items():
            if length is not None and length > most:
                yield (*path, "max_length"), _too_long(length, most, "base.scratch")
    for at, judge in enumerate(study.judges):
        if judge.train is not None:
            most, length = (
                judge.train.architecture.max_position_embeddings,
                judge.train.reward_model.max_length,
            )
            if length is not None and length > most:
                path_of_judge = ("judges", at, "train", "reward_model", "max_length")
                yield path_of_judge, _too_long(length, most, f"judges.{at}.train")


def _too_long(length: int, most: int, where: str) -> str:
    return (
        f"is {length}, and the model reads {most} (`{where}.architecture.max_position_embeddings`)"
    )


def _idle_faults(study: StudySettings) -> Iterator[Fault]:
    """Find settings that nothing would read."""
    world, numbers = study.data.source == WORLD, not study.thresholds.calibrated
    if world and study.data.revision is not None:
        yield ("data", "revision"), "the generated world has no revisions"
    if not world and study.data.world != WorldSettings():
        yield ("data", "world"), f"is read only with `source: {WORLD}`"
    if numbers and study.calibration != CalibrationSettings():
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
