"""What compares a study's models, as a stage."""

from __future__ import annotations

from collections.abc import Mapping

from alignstudy.study.graph.asking import AskedModels
from alignstudy.study.graph.diagnosing import diagnoses
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.recipes import RecipeStages
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.locate import SHEET_KEY, Located
from alignstudy.study.settings.recipes import lineages
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.data import CollectRows


def compare_stage(
    settings: StudySettings,
    located: Located,
    models: Mapping[tuple[str, int], Stage],
    *,
    made: RecipeStages,
    judging: JudgeStages,
    training: tuple[CollectRows, ...],
    template: str,
) -> Compare:
    """Return the stage that compares all models.

    Args:
        settings: The study.
        located: Its sources.
        models: By recipe and seed.
        made: The chains that made them.
        judging: Who scores, and what is asked.
        training: The rows that recipes train on.
        template: How prompts are written.
    """
    asked = AskedModels(settings, judging, template)
    return Compare(
        name="compare",
        compared=tuple(asked.compared(models)),
        learners=tuple(asked.learners(made)),
        lineages=lineages(settings.recipes),
        axes=settings.tested,
        judges=judging.names,
        limits=judging.limits,
        inclusive=settings.thresholds.inclusive,
        sweep=judging.sweep,
        calibrations=judging.calibrations,
        base=settings.base_recipe,
        prompts=judging.prompts,
        training=training,
        panel=settings.leading,
        claims=settings.claims,
        control=settings.control,
        margins=settings.margins,
        assessments=judging.assessments,
        diagnoses=diagnoses(
            settings,
            models,
            base=made.base,
            prompts=judging.prompts,
            device_class=judging.device_class,
            template=template,
        ),
        empty_fails=tuple(
            axis.name
            for axis in settings.tested
            if axis.empty_fails and settings.prompts.protocol == "rigorous"
        ),
        absent=tuple(located.absent),
        labels=located.found.get("labels"),
        sheet_key=located.found.get(SHEET_KEY),
        join_threshold_errors=settings.thresholds.uncertainty == "joined",
    )
