"""Which models are asked, and how their responses are scored, as stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from alignstudy.judges.quality.assess import BASELINES
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.recipes import RecipeStages
from alignstudy.study.graph.rounds import asked_in_layers, last_drafting
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.ranking import learnt_from
from alignstudy.study.settings.recipes import chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.compare import Compared, Learnt
from alignstudy.study.stages.generate import Generate


@dataclass(frozen=True)
class AskedModels:
    """Makes the responses and scores of models.

    Attributes:
        judging: Who scores, and what is asked.
        template: How prompts are written.
    """

    settings: StudySettings
    judging: JudgeStages
    template: str

    def compared(self, models: Mapping[tuple[str, int], Stage]) -> Iterator[Compared]:
        """Yield those of each compared model, by recipe and seed."""
        listed = chains(self.settings.recipes)
        for (recipe, seed), model in models.items():
            yield self._of(recipe, recipe, seed, model, listed.get(recipe, ()))

    def learners(self, made: RecipeStages) -> Iterator[Learnt]:
        """Yield each recipe that learns from judges' scores, with the model that it does so from.

        Where the study compares that model, too, it is asked and scored once.
        """
        judges, judging, seeds = learnt_from(self.settings), self.judging, self.settings.seeds
        for recipe, labels in chains(self.settings.recipes).items():
            methods = tuple(label for label in labels if label in judges)
            if not methods:
                continue
            before = labels[: labels.index(methods[0])]
            yield Learnt(
                recipe=recipe,
                chain=labels,
                methods=methods,
                trained_by=judging.known_as({name for each in methods for name in judges[each]}),
                baselines=tuple(
                    judge.name for judge, _ in judging.judges if judge.settings.use in BASELINES
                ),
                starts=tuple(
                    self._of(f"before/{recipe}", recipe, seed, made.chain(before, seed), before)
                    for seed in seeds
                ),
            )

    def _of(
        self, name: str, recipe: str, seed: int, model: Stage, labels: tuple[str, ...]
    ) -> Compared:
        """Return those of one model.

        Args:
            name: In the stages' names.
            recipe: That the model is of.
            seed: Of its training.
            model: What is asked.
            labels: The chain that made it; () of one that isn't trained here.
        """
        settings = self.settings
        answers = Generate(
            name=f"generate/{name}/seed-{seed}",
            device_class=self.judging.device_class,
            model=model,
            prompts=self.judging.prompts,
            settings=settings.generation,
            protocol=settings.prompts.protocol,
            seed=seed if settings.generation.do_sample else 0,  # greedy: no seed enters
            template=self.template,
        )
        if method := last_drafting(settings, labels):
            answers = asked_in_layers(answers, method, seed=seed)
        scores = self.judging.scores(answers, name, seed)
        return Compared(model=recipe, seed=seed, responses=answers, scores=scores)
