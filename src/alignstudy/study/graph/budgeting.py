"""A study's budget as stages: what chains cost, and how far the last training of each may go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.budget import BudgetSettings
from alignstudy.study.settings.budget_checks import budget_of
from alignstudy.study.settings.recipes import AnyRecipe, chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.base_models import ScratchModel
from alignstudy.study.stages.budget import MatchBudget
from alignstudy.study.stages.costs import CountOnline, CountSamples, CountsCost, CountTraining
from alignstudy.study.stages.rounds import BuildRows
from alignstudy.study.stages.spending import Spent
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.tuning import Chosen
from alignstudy.study.stages.weights import Merge, Mix


@dataclass
class BudgetStages:
    """Makes the stages that count costs, each once.

    Attributes:
        settings: The study's budget.
        of: The recipe that says how much.
        labels: Its methods'.
        made: By key.
    """

    settings: BudgetSettings
    of: str
    labels: tuple[str, ...]
    made: dict[str, CountsCost] = field(default_factory=dict)

    def bill(self, model: Stage) -> tuple[CountsCost, ...]:
        """Return what counts all that it took to make a model of the base, each stage once."""
        found: dict[str, CountsCost] = {}
        for stage in trainings(model):
            for cost in (*self.samples(stage), self._training(stage)):
                found[cost.key] = cost
        return tuple(found.values())

    def samples(self, stage: Train) -> tuple[CountsCost, ...]:
        """Return what counts the samples that a training's rows are made of."""
        rows = stage.rows
        if not isinstance(rows, BuildRows):
            return ()
        name = rows.samples.name.replace("sample/", "cost/sample/", 1)
        counts = CountSamples(name=name, samples=rows.samples, scores=rows.scores)
        return (self.made.setdefault(counts.key, counts),)

    def _training(self, stage: Train) -> CountsCost:
        if isinstance(stage.settings, OnlineSettings):
            online = CountOnline(name=f"cost/{stage.name}", training=stage)
            return self.made.setdefault(online.key, online)
        for settles in stage.settled:
            if isinstance(settles, MatchBudget):
                return settles
        counts = CountTraining(name=f"cost/{stage.name}", training=_work_alone(stage))
        return self.made.setdefault(counts.key, counts)

    def matched(self, stage: Train, rounds_left: int, *, target: Stage, recipe: str) -> Train:
        """Return a training whose steps a budget decides.

        Args:
            stage: With its own steps; what comes before it in its recipe is as it will be.
            rounds_left: Of its method, after this one.
            target: The model of the recipe that says how much.
            recipe: Whose training it is, in words.
        """
        spent = self.bill(stage.parent)
        before = {cost.key for cost in spent}
        learnt = (cost for model in stage.reward_models for cost in self.bill(model))
        match = MatchBudget(
            name=stage.name.replace("train/", "budget/", 1),
            training=_work_alone(stage),
            recipe=recipe,
            budget=self.settings,
            target=self.bill(target),
            spent=spent,
            own=(*self.samples(stage), *(cost for cost in learnt if cost.key not in before)),
            rounds_left=rounds_left,
        )
        return replace(stage, settled=(*stage.settled, match))


def budget_stages(study: StudySettings) -> BudgetStages | None:
    """Return what makes the stages of a study's budget; None where it has none."""
    of = budget_of(study)
    if study.budget is None or of is None:
        return None
    return BudgetStages(study.budget, of, chains(study.recipes)[of])


def _work_alone(stage: Train) -> Train:
    """Return a training without what decides settings at no change of its cost: trials' choice."""
    return replace(stage, settled=tuple(each for each in stage.settled if each.changes_work))


def trainings(model: Stage) -> list[Train]:
    """List the trainings that made a model of the base, in order, each once."""
    return list({stage.key: stage for stage in _trainings(model)}.values())


def _trainings(model: Stage) -> Iterator[Train]:
    if isinstance(model, Train) and not isinstance(model.parent, ScratchModel):
        for before in (model.parent, *model.reward_models):
            yield from _trainings(before)
        yield model
    for made_of in _members(model):
        yield from _trainings(made_of)


def _members(model: Stage) -> Sequence[Stage]:
    if isinstance(model, Merge):
        return (model.adapter,)
    if isinstance(model, Chosen):
        return (model.choice.trials[0].model,)  # all take the same
    return model.members if isinstance(model, Mix) else ()


def spent(
    budget: BudgetStages | None,
    recipes: Mapping[str, AnyRecipe],
    models: Mapping[tuple[str, int], Stage],
) -> tuple[Spent, ...]:
    """Return what each recipe that trains was spent on, seed by seed; () without a budget."""
    if budget is None:
        return ()
    found = []
    for (recipe, seed), model in models.items():
        stages, given = trainings(model), recipes[recipe]
        if not stages:
            continue
        listed = isinstance(given, tuple)
        costs, target = budget.bill(model), budget.bill(models[budget.of, seed])
        drawn = (each for cost in costs for each in cost.counted().values())
        fits = [each for each in stages[-1].settled if isinstance(each, MatchBudget)]
        found.append(
            Spent(
                recipe=recipe,
                seed=seed,
                costs=costs,
                stages=(*stages, *(each for each in drawn if not isinstance(each, Train))),
                target=target,
                match=fits[0] if fits and listed else None,
                is_measure=[each.key for each in costs] == [each.key for each in target],
                adds="; nothing is added to its last training" if _adds(model) else "",
            )
        )
    return tuple(found)


def _adds(model: Stage) -> bool:
    """Whether weights are computed beyond a chain's last training."""
    return isinstance(model, Mix) or (isinstance(model, Merge) and model.factor != 1)
