"""What a study's tuning comes to: who chooses, under which seed, among which trials."""

from __future__ import annotations

from collections.abc import Iterator

from alignstudy.judges.base import measured_axes
from alignstudy.methods.grids import Values, default_trials, fault_of, given_trials
from alignstudy.records import Axis
from alignstudy.study.settings.ranking import default_ranker, reporting
from alignstudy.study.settings.recipes import chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.tune import MOST_PROMPTS, TuneSettings
from alignstudy.study.settings.yaml_file import Path_

Fault = tuple[Path_, str]


def tuning_judge(study: StudySettings, tune: TuneSettings) -> str:
    """Return the judge that chooses: the study's choice, another than the report's, else that."""
    return tune.by or default_ranker(study) or study.judges[0].name


def tuning_seed(study: StudySettings, tune: TuneSettings) -> int:
    """Return the seed of all trials."""
    return max(study.seeds) + 1 if tune.seed is None else tune.seed


def tuning_prompts(study: StudySettings, tune: TuneSettings) -> int:
    """Return how many prompts of an axis there are at most."""
    pairs = study.validation.n if study.validation else 0
    return min(pairs, tune.prompts or MOST_PROMPTS)


def tuning_axes(study: StudySettings, tune: TuneSettings) -> tuple[Axis, ...]:
    """Return the axes that count in choosing: those with validation pairs that the judge reads."""
    name, pairs = tuning_judge(study, tune), study.validation
    judge = next(each for each in study.judges if each.name == name)
    measured = measured_axes(judge.settings, study.tested)
    return tuple(a for a in study.tested if pairs and pairs.has(a) and a.name in measured)


def trials_of(study: StudySettings, tune: TuneSettings, label: str) -> tuple[Values, ...]:
    """Return the settings that a label is tried with, its own first."""
    settings = study.methods[label]
    grid = {} if tune.grid == "default" else tune.grid
    if label in grid:
        return given_trials(settings, grid[label])
    return default_trials(settings, tune.trials)


def tuning_faults(study: StudySettings) -> Iterator[Fault]:
    """Find why a study can't be tuned as it asks."""
    tune = study.tune
    if tune is None:
        return
    used = {label for labels in chains(study.recipes).values() for label in labels}
    if not used:
        yield ("tune",), "no recipe has a method that could be tuned"
    if study.prompts.protocol == "paper":
        yield (
            ("tune",),
            "has no meaning under the paper protocol: the published study tuned nothing",
        )
    if tune.seed in study.seeds:
        yield ("tune", "seed"), "is one of `seeds`: a trial must be no model that is compared"
    yield from _prompt_faults(study, tune)
    for label in {} if tune.grid == "default" else tune.grid:
        if label not in used:
            known = ", ".join(sorted(used))
            yield ("tune", "grid", label), f"is no method of a recipe; known: {known}"
    for label in sorted(used & study.methods.keys()):
        yield from _trial_faults(study, tune, label)


def _prompt_faults(study: StudySettings, tune: TuneSettings) -> Iterator[Fault]:
    known, pairs = [judge.name for judge in study.judges], study.validation
    if tune.by is not None and tune.by not in known:
        yield ("tune", "by"), f"is not in `judges`; known: {', '.join(known)}"
        return
    if pairs is None:
        text = "is null, and trials answer its pairs' prompts: say where they are"
        yield ("validation",), text
        return
    if (tune.prompts or 0) > pairs.n:
        yield (
            ("tune", "prompts"),
            f"are more than there are validation pairs of an axis ({pairs.n})",
        )
    if not tuning_axes(study, tune):
        name = tuning_judge(study, tune)
        yield ("tune",), f"no axis has validation pairs and is measured by the judge '{name}'"
    if study.calibration is None:
        return
    for axis in tuning_axes(study, tune):
        calibrated = axis.name in study.calibrated and study.calibration.has(axis)
        if calibrated and pairs.selection(axis) == study.calibration.selection(axis):
            yield (
                ("validation",),
                f"is the calibration's pairs ({axis.prompts}), and methods must not be chosen on"
                " what thresholds were chosen on: give it another `share` or `split`",
            )


def _trial_faults(study: StudySettings, tune: TuneSettings, label: str) -> Iterator[Fault]:
    """Find settings that can't be tried, and too few or too many combinations of them."""
    settings, asked = study.methods[label], tune.grid
    if asked == "default" or label not in asked:
        path: Path_ = ("tune", "trials")
        found = default_trials(settings, tune.trials)
        refused = fault_of(settings, {"learning_rate": 0.5}) if "learning_rate" in found[0] else ""
        if refused:
            yield ("methods", label), f"can't be tuned: {refused}; give it a `tune.grid` of its own"
    else:
        path, grid = ("tune", "grid", label), asked[label]
        empty = [name for name, values in grid.items() if not values]
        if not grid or empty:
            yield (*path, *empty[:1]), "names no values"
            return
        unknown = (fault_of(settings, {name: values[0]}) for name, values in grid.items())
        if said := next(filter(None, unknown), ""):
            yield path, said
            return
        found = given_trials(settings, grid)
        if said := next(filter(None, (fault_of(settings, each) for each in found)), ""):
            yield path, said
    if len(found) < tune.trials:
        yield (
            path,
            f"{label} has {len(found)} combinations, and each method gets {tune.trials} trials",
        )
    elif len(found) > tune.trials:
        yield (
            path,
            f"has {len(found)} combinations, the label's own values included, and each method gets"
            f" {tune.trials} trials: raise `trials`, or leave values out",
        )


def tuning_warnings(study: StudySettings) -> Iterator[str]:
    """Say where a choice rests on less than what is compared: judge, axes, length of trainings."""
    if study.tune is None:
        return
    name = tuning_judge(study, study.tune)
    if name in reporting(study):
        yield (
            f"the judge {name} chose among trials, and reports on what was chosen: what it rewards"
            " by mistake was tuned for; a second judge would tell (`tune: {by: ...}`)"
        )
    heard = tuning_axes(study, study.tune)
    left_out = [axis.prompts for axis in study.tested if axis not in heard]
    if left_out:
        yield f"in the choice among trials {' and '.join(left_out)} prompts had no say"
