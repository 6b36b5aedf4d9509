"""The rounds of a method as stages: sample, score, build rows, train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from alignstudy.generation import GenerationSettings
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.methods import TrainingSettings
from alignstudy.methods.expo import ExPOSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.rounds.aft import AFTSettings
from alignstudy.methods.rounds.round import Round, rounds_of
from alignstudy.methods.rounds.rules import RANKING
from alignstudy.study.graph.judging import JudgeStages
from alignstudy.study.graph.stage import Stage
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.stages.generate import Generate
from alignstudy.study.stages.rounds import SAMPLED, Aggregate, AskedRows, BuildRows, Slice
from alignstudy.study.stages.score import JudgeSpec
from alignstudy.study.stages.settling import SettlesSettings
from alignstudy.study.stages.sources import RowSource
from alignstudy.study.stages.train import Train

STEP = 7919
"""Between the seeds of two rounds' samples: the same prompts are not drawn after alike."""


class MakesTraining(Protocol):
    """Makes a training stage."""

    def __call__(
        self,
        name: str,
        label: str,
        method: TrainingSettings,
        parent: Stage,
        seed: int,
        *,
        rows: RowSource | None = None,
        reference: Stage | None = None,
        rewards: tuple[JudgeSpec, ...] = (),
    ) -> Train:
        """Return it; on the rows of the study, where none are given."""
        ...


@dataclass(kw_only=True)
class RoundStages:
    """Makes the stages of methods' rounds.

    Attributes:
        rows: What recipes train on.
        judging: The judges, one of which may rank samples.
        train: Makes a training.
        built: The rows that were built, by key, for the report.
    """

    device_class: str
    template: str
    rows: Callable[[], RowSource]
    judging: JudgeStages
    train: MakesTraining
    built: dict[str, BuildRows] = field(default_factory=dict)

    def trainings(
        self,
        of: str,
        label: str,
        method: TrainingSettings,
        parent: Stage,
        seed: int,
        *,
        merged: Callable[[Stage], Stage],
        settled: tuple[SettlesSettings, ...] = (),
        fitted: Callable[[Train, int], Train] | None = None,
    ) -> list[Train]:
        """Return a method's trainings, a round each; the last one makes the model.

        Args:
            of: Chain of labels and seed: the stages' names.
            label: The method's.
            method: Its settings.
            parent: Full weights, that the first round starts from.
            seed: Of trainings and samples.
            merged: Returns a model's full weights.
            settled: What decides some of the settings of each round when the study runs.
            fitted: Returns a training of which a budget decides how far it goes, given how many
                follow it; None: each has its own steps.
        """
        rounds, found = rounds_of(method), list[Train]()
        start = parent
        last: BuildRows | None = None
        reward: Train | None = None
        for at, one in enumerate(rounds):
            name = of if len(rounds) == 1 else f"{of}/round-{at + 1}"
            rows = self._part(*one.slice)
            if one.rule:
                before, asked = last if one.keeps_last else None, rows or self.rows()
                last = self._built(name, one, asked, parent, seed, at, before)
                rows = last if one.reward_model is None else asked
            if one.reward_model is not None:
                named = f"train/{name}/reward", f"{label}, its reward model"
                reward = self.train(*named, one.reward_model, reward or parent, seed, rows=last)
            reference = start if one.reference == "start" and parent is not start else None
            stage = self.train(
                f"train/{name}",
                label,
                one.training,
                parent,
                seed,
                rows=rows,
                reference=reference,
                rewards=() if reward is None else (_as_judge(reward),),
            )
            stage = replace(stage, settled=settled) if settled else stage
            if fitted is not None:
                stage = fitted(stage, len(rounds) - at - 1)
            found.append(stage)
            parent = merged(stage) if at + 1 < len(rounds) else stage
        return found

    def _part(self, number: int, parts: int) -> RowSource | None:
        """Return one part of the rows; None for all."""
        if parts == 1:
            return None
        name, rows = f"slice/{number + 1}-of-{parts}", self.rows()
        return Slice(name=name, rows="pairs", of=rows, number=number, parts=parts)

    def _built(
        self,
        name: str,
        one: Round,
        rows: RowSource,
        model: Stage,
        seed: int,
        at: int,
        last: BuildRows | None,
    ) -> BuildRows:
        samples = Generate(
            name=f"sample/{name}",
            device_class=self.device_class,
            model=model,
            prompts=AskedRows(name=f"asked/{name}", rows=rows),
            settings=GenerationSettings(
                do_sample=True, num_samples=one.samples, **one.sampling.model_dump()
            ),
            protocol="rigorous",  # training rows end in the cue
            seed=seed + STEP * at,
            template=self.template,
        )
        scores = None
        if one.rule in RANKING:
            scores = self.judging.ranking(one.ranked_by, samples, name, axis=SAMPLED)
        built = BuildRows(
            name=f"build/{name}",
            rows="pairs",
            part=f"samples of {name}",
            of=rows,
            samples=samples,
            scores=scores,
            rule=one.rule,
            last=last,
        )
        return self.built.setdefault(built.key, built)


def _as_judge(model: Train) -> JudgeSpec:
    """Return a round's reward model as what scores samples: it reads what it was trained on."""
    learnt = model.settings
    assert isinstance(learnt, RewardModelSettings)
    settings = SeqClsSettings(input=learnt.input, max_length=learnt.max_length)
    return JudgeSpec(settings=settings, model=model, axes=(SAMPLED,))


def last_drafting(study: StudySettings, labels: tuple[str, ...]) -> AFTSettings | None:
    """Return the settings by which a chain's model is asked in layers; None if it isn't."""
    trained = [study.methods[label] for label in labels]
    trained = [each for each in trained if not isinstance(each, ExPOSettings)]
    return trained[-1] if trained and isinstance(trained[-1], AFTSettings) else None


def asked_in_layers(answers: Generate, method: AFTSettings, *, seed: int) -> Aggregate:
    """Return what asks a model for drafts, and then for answers that draw on them (AFT).

    Args:
        answers: How the model would be asked without drafts: so the last layer is.
        method: How many drafts and layers.
        seed: Of the drafts.
    """
    name, drafted = answers.name.removeprefix("generate/"), method.sampling
    own = answers.settings
    drawing = {
        "do_sample": True,
        "temperature": drafted.temperature,
        "top_p": drafted.top_p,
        "num_samples": method.drafts,
    }
    settings = own.model_copy(update=drawing)
    drafts = replace(answers, name=f"draft/{name}", settings=settings, seed=seed)
    for layer in range(1, method.layers):
        drafts = _aggregate(drafts, f"draft/{name}/layer-{layer}", settings, seed, drafts)
    return _aggregate(answers, answers.name, own, answers.seed, drafts)


def _aggregate(
    like: Generate, name: str, settings: GenerationSettings, seed: int, drafts: Generate
) -> Aggregate:
    return Aggregate(
        name=name,
        device_class=like.device_class,
        model=like.model,
        prompts=like.prompts,
        settings=settings,
        protocol=like.protocol,
        seed=seed,
        template=like.template,
        drafts=drafts,
    )
