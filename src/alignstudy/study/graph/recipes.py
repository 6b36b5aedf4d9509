"""The models of recipes as stages: chains of methods, and what is made of their weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from alignstudy.methods import TrainingSettings
from alignstudy.methods.expo import ExPOSettings
from alignstudy.methods.weights.mix import Slerp, WeightedSum
from alignstudy.study.graph.budgeting import BudgetStages
from alignstudy.study.graph.rounds import RoundStages
from alignstudy.study.graph.stage import Stage
from alignstudy.study.graph.tuning import TuningStages
from alignstudy.study.settings.recipes import Mixture, SphericalMean, chains
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.preview import Preview
from alignstudy.study.stages.publish import ChainEnd
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.tuning import Choose
from alignstudy.study.stages.weights import Merge, Mix, extrapolation


@dataclass
class RecipeStages:
    """Makes each model once; recipes that share a prefix share its stages.

    Attributes:
        base: What every recipe starts from.
        rounds: Makes a method's trainings.
        ends: The trainings, by key, each with the chain up to it.
        budget: What the last training of each recipe is fitted to; None: to nothing.
        tuning: Makes the trials, and what chooses among them; None: settings are as given.
        computed: What is computed from finished weights, by key.
    """

    settings: StudySettings
    device_class: str
    base: Stage
    rounds: RoundStages
    ends: dict[str, ChainEnd]
    budget: BudgetStages | None = None
    tuning: TuningStages | None = None
    chains: dict[tuple[tuple[str, ...], int], Stage] = field(default_factory=dict)
    fitted: dict[tuple[tuple[str, ...], int], Stage] = field(default_factory=dict)
    computed: dict[str, Merge | Mix] = field(default_factory=dict)

    def preview(self) -> Preview | None:
        """Return the stage that shows examples of each method that trains; None without one."""
        firsts: dict[str, Train] = {}
        for stage in (*self.chains.values(), *self.fitted.values()):
            for each in (stage, *stage.reward_models) if isinstance(stage, Train) else ():
                firsts.setdefault(each.label, each)
        if not firsts:
            return None
        return Preview(name="preview", trainings=tuple(firsts.values()), labels=tuple(firsts))

    def model(self, recipe: str, given: tuple[str, ...] | Mixture, seed: int) -> Stage:
        """Return the model that a recipe makes under a seed."""
        if isinstance(given, tuple):
            return self.compared(given, seed)
        return self._mixture(recipe, given, seed)

    def compared(self, labels: tuple[str, ...], seed: int) -> Stage:
        """Return the model of a chain that is a recipe: its last training has the budget."""
        if not self._is_fitted(labels):
            return self.chain(labels, seed)
        if (labels, seed) not in self.fitted:
            self.fitted[labels, seed] = self._last(labels, seed, fitted=True)
        return self.fitted[labels, seed]

    def _is_fitted(self, labels: tuple[str, ...]) -> bool:
        """Whether the budget decides how far a recipe's last training goes."""
        if self.budget is None or labels == self.budget.labels:
            return False
        return any(map(self._trains, labels))

    def _trains(self, label: str) -> bool:
        return isinstance(self.settings.methods[label], TrainingSettings)

    def chain(self, labels: tuple[str, ...], seed: int) -> Stage:
        """Return the model that a chain of methods makes; prefixes are shared."""
        if not labels:
            return self.base
        if (labels, seed) not in self.chains:
            self.chains[labels, seed] = self._last(labels, seed)
        return self.chains[labels, seed]

    def _last(self, labels: tuple[str, ...], seed: int, *, fitted: bool = False) -> Stage:
        """Return the stage of a chain's last method, fitted to the budget or as it is set."""
        method, of = self.settings.methods[labels[-1]], f"{'+'.join(labels)}/seed-{seed}"
        of, words = (f"{of}/fitted", ", fitted") if fitted else (of, "")
        choices: tuple[Choose, ...] = ()
        if self.tuning is not None:
            choices = (self._choice(labels, self.tuning, fitted=fitted),)
            if seed == self.tuning.seed:
                return self.tuning.chosen(choices[0])
        if isinstance(method, ExPOSettings):
            made = (self.compared if fitted else self.chain)(labels[:-1], seed)
            return self._extrapolated(f"expo/{of}", method, made, labels[:-2], seed, choices)
        parent = self._full_chain(labels[:-1], seed)
        trainings = self.rounds.trainings(
            of,
            labels[-1],
            method,
            parent,
            seed,
            merged=self.full_weights,
            settled=choices,
            fitted=self._fit(labels, seed) if fitted else None,
        )
        for at, stage in enumerate(trainings, start=1):
            recipe = " > ".join(labels) + words
            recipe += f", round {at}" if len(trainings) > 1 else ""
            for model in stage.reward_models:
                self.ends[model.key] = ChainEnd(recipe=f"{recipe}, its reward model", stage=model)
            self.ends[stage.key] = ChainEnd(recipe=recipe, stage=stage)
        return trainings[-1]

    def _fit(self, labels: tuple[str, ...], seed: int) -> Callable[[Train, int], Train] | None:
        """Return what fits a recipe's last training to the budget: what that takes under a seed."""
        if self.budget is None:
            return None
        target = self.chain(self.budget.labels, seed)
        return partial(self.budget.matched, target=target, recipe=" > ".join(labels))

    def _choice(self, labels: tuple[str, ...], tuning: TuningStages, *, fitted: bool) -> Choose:
        """Return what chooses the settings of a chain's last method, at its place in the chain.

        Trials of what a budget fits are fitted to it, as it is under the study's first seed.
        """
        before = labels[:-1]
        if fitted and self._is_fitted(before) and not self._trains(labels[-1]):
            parent: Stage = tuning.chosen(self._choice(before, tuning, fitted=True))
        else:
            parent = self._full_chain(before, tuning.seed)
        return tuning.choice(
            labels,
            parent,
            start=self._full_chain(labels[:-2], tuning.seed),
            merged=self.full_weights,
            fitted=self._fit(labels, self.settings.seeds[0]) if fitted else None,
        )

    def _extrapolated(
        self,
        name: str,
        method: ExPOSettings,
        made: Stage,
        before: tuple[str, ...],
        seed: int,
        settled: tuple[Choose, ...],
    ) -> Stage:
        """Return what goes on beyond a model; of an adapter, the change is scaled.

        Args:
            name: Of the stage.
            method: How far it goes.
            made: The model.
            before: The chain that made what its last method started from.
            seed: Of that.
            settled: What decides how far it goes when the study runs.
        """
        start = self._full_chain(before, seed)
        if isinstance(made, Train) and made.is_adapter and made.parent.key == start.key:
            merge = Merge(
                name=name,
                device_class=self.device_class,
                adapter=made,
                factor=method.factor,
                settled=settled,
            )
            return self._once(merge)
        members = (self.full_weights(made), start)
        return self._mixed(name, members, extrapolation(method), settled)

    def _mixture(self, recipe: str, given: Mixture, seed: int) -> Stage:
        """Return what is made of other recipes' models: of one seed, or of all."""
        listed = chains(self.settings.recipes)
        if isinstance(given, SphericalMean):
            ends = tuple(self._full_recipe(listed[name], seed) for name in given.slerp)
            return self._mixed(f"slerp/{recipe}/seed-{seed}", ends, Slerp(given.t))
        seeds = self.settings.seeds if given.over == "seeds" else (seed,)
        members: dict[str, Stage] = {}
        shares: defaultdict[str, float] = defaultdict(float)
        for member, share in given.shares.items():
            for stage in (self._full_recipe(listed[member], each) for each in seeds):
                members[stage.key] = stage  # the base is one model under all seeds
                shares[stage.key] += share / len(seeds)
        order = sorted(members)  # an average has none: however it is written, it is one artefact
        name = f"average/{recipe}" + ("" if given.over == "seeds" else f"/seed-{seed}")
        rule = WeightedSum(tuple(shares[key] for key in order))
        return self._mixed(name, tuple(members[key] for key in order), rule)

    def _mixed(
        self,
        name: str,
        members: tuple[Stage, ...],
        rule: WeightedSum | Slerp,
        settled: tuple[Choose, ...] = (),
    ) -> Merge | Mix:
        return self._once(
            Mix(
                name=name,
                device_class=self.device_class,
                members=members,
                rule=rule,
                settled=settled,
            )
        )

    def _full_recipe(self, labels: tuple[str, ...], seed: int) -> Stage:
        return self.full_weights(self.compared(labels, seed))

    def _full_chain(self, labels: tuple[str, ...], seed: int) -> Stage:
        return self.full_weights(self.chain(labels, seed))

    def full_weights(self, stage: Stage) -> Stage:
        """Return what the next method starts from: an adapter is merged first."""
        if not (isinstance(stage, Train) and stage.is_adapter):
            return stage
        name = stage.name.replace("train/", "merge/")
        return self._once(Merge(name=name, device_class=self.device_class, adapter=stage))

    def _once(self, stage: Merge | Mix) -> Merge | Mix:
        return self.computed.setdefault(stage.key, stage)
