"""What models are asked, how their responses are scored, and what compares them, as stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alignstudy.study.graph.diagnosing import diagnoses
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.rounds import asked_in_layers, last_drafting
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.locate import SHEET_KEY, Located
from alignstudy.study.settings.recipes import chains, lineages
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.compare import Compare, Compared
from alignstudy.study.stages.data import CollectRows
from alignstudy.study.stages.generate import Generate


def compare_stage(
    settings: StudySettings,
    located: Located,
    models: Mapping[tuple[str, int], Stage],
    *,
    judging: JudgeStages,
    base: Stage,
    training: tuple[CollectRows, ...],
    template: str,
) -> Compare:
    """Return the stage that compares all models.

    Args:
        settings: The study.
        located: Its sources.
        models: By recipe and seed.
        judging: Who scores, and what is asked.
        base: What every recipe starts from.
        training: The rows that recipes train on.
        template: How prompts are written.
    """
    return Compare(
        name="compare",
        compared=tuple(_compared(settings, models, judging, template)),
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
            base=base,
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


def _compared(
    settings: StudySettings,
    models: Mapping[tuple[str, int], Stage],
    judging: JudgeStages,
    template: str,
) -> Iterator[Compared]:
    """Yield each model's responses and their scores."""
    for (recipe, seed), model in models.items():
        answers = Generate(
            name=f"generate/{recipe}/seed-{seed}",
            device_class=judging.device_class,
            model=model,
            prompts=judging.prompts,
            settings=settings.generation,
            protocol=settings.prompts.protocol,
            seed=seed if settings.generation.do_sample else 0,  # greedy: no seed enters
            template=template,
        )
        if method := last_drafting(settings, chains(settings.recipes).get(recipe, ())):
            answers = asked_in_layers(answers, method, seed=seed)
        scores = judging.scores(answers, recipe, seed)
        yield Compared(model=recipe, seed=seed, responses=answers, scores=scores)
