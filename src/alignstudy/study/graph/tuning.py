"""The trials of methods as stages, and what chooses among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from alignstudy.methods import TrainingSettings
from alignstudy.methods.expo import ExPOSettings
from alignstudy.methods.grids import Tuned, with_values
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.rounds import RoundStages, asked_in_layers, last_drafting
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.tune import TuneSettings
from alignstudy.study.settings.tuning import (
    trials_of,
    tuning_axes,
    tuning_judge,
    tuning_prompts,
    tuning_seed,
)
from alignstudy.study.stages.generate import Generate, ScoreResponses
from alignstudy.study.stages.train import Train
from alignstudy.study.stages.trials import TriedMix, TriedTraining, TuningPrompts
from alignstudy.study.stages.tuning import Choose, Chosen, Tried
from alignstudy.study.stages.weights import extrapolation


@dataclass(kw_only=True)
class TuningStages:
    """Makes the trials of each method at its place in a chain, under one seed.

    Attributes:
        settings: The study.
        tune: How it is tuned.
        rounds: Makes a method's trainings.
        judging: The judges, one of which chooses.
        choices: What was made, by chain.
    """

    settings: StudySettings
    tune: TuneSettings
    rounds: RoundStages
    judging: JudgeStages
    choices: dict[str, Choose] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take the same rounds, each training one that is tried; what they build is no data."""
        train = self.rounds.train

        def tried(*given: Any, **named: Any) -> TriedTraining:  # noqa: ANN401 - as `train` is given
            return TriedTraining.like(train(*given, **named))

        self.rounds = replace(self.rounds, train=tried, built={})
        self.seed = tuning_seed(self.settings, self.tune)
        self.judge = tuning_judge(self.settings, self.tune)
        self.prompts = TuningPrompts(
            name="prompts/tuning",
            prompts=self.judging.prompts,
            axes=tuple(axis.name for axis in tuning_axes(self.settings, self.tune)),
            most=tuning_prompts(self.settings, self.tune),
        )

    def choice(
        self,
        labels: tuple[str, ...],
        parent: Stage,
        *,
        start: Stage,
        merged: Callable[[Stage], Stage],
        fitted: Callable[[Train, int], Train] | None = None,
    ) -> Choose:
        """Return what chooses the settings of a chain's last method.

        Args:
            labels: The chain.
            parent: Full weights of the chain before it, as tuned, under the tuning seed.
            start: What the method before the last one started from, likewise.
            merged: Returns a model's full weights.
            fitted: As of `RoundStages.trainings`.
        """
        of_chain = "+".join(labels) + ("/fitted" if fitted else "")
        if of_chain not in self.choices:
            own, trials = self.settings.methods[labels[-1]], []
            for at, values in enumerate(trials_of(self.settings, self.tune, labels[-1]), start=1):
                of, asked = f"{of_chain}/trial-{at}", with_values(own, values)
                model = self._model(of, labels[-1], asked, parent, start, merged, fitted)
                scores = self._scores(of, labels, model)
                trials.append(Tried(settings=values, model=model, scores=scores))
            self.choices[of_chain] = Choose(
                name=f"choose/{of_chain}",
                chain=(*labels[:-1], labels[-1] + (", fitted" if fitted else "")),
                judge=self.judge,
                trials=tuple(trials),
            )
        return self.choices[of_chain]

    def chosen(self, choice: Choose) -> Chosen:
        """Return the chosen trial's model, which the next method's trials start from."""
        return Chosen(
            name=choice.name.replace("choose/", "chosen/"),
            device_class=self.rounds.device_class,
            choice=choice,
        )

    def _model(
        self,
        of: str,
        label: str,
        asked: Tuned,
        parent: Stage,
        start: Stage,
        merged: Callable[[Stage], Stage],
        fitted: Callable[[Train, int], Train] | None,
    ) -> Stage:
        if isinstance(asked, TrainingSettings):
            return self.rounds.trainings(
                of, label, asked, parent, self.seed, merged=merged, fitted=fitted
            )[-1]
        assert isinstance(asked, ExPOSettings)
        return TriedMix(
            name=f"expo/{of}",
            device_class=self.rounds.device_class,
            members=(parent, start),
            rule=extrapolation(asked),
        )

    def _scores(self, of: str, labels: tuple[str, ...], model: Stage) -> ScoreResponses:
        asked = self.settings.generation
        answers = Generate(
            name=f"generate/{of}",
            device_class=self.rounds.device_class,
            model=model,
            prompts=self.prompts,
            settings=asked,
            protocol=self.settings.prompts.protocol,
            seed=self.seed if asked.do_sample else 0,  # greedy: no seed enters
            template=self.rounds.template,
        )
        if method := last_drafting(self.settings, labels):
            answers = asked_in_layers(answers, method, seed=self.seed)
        return self.judging.choosing(self.judge, answers, of)
