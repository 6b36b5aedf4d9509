"""What a training that samples is handed: the study's generator and judges, as its two ports."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from alignstudy.errors import InputError
from alignstudy.generation import GenerationSettings
from alignstudy.judges.cache import CachedJudge, ScoreCache
from alignstudy.judges.kinds.seqcls import SeqClsSettings
from alignstudy.methods.base import TrainingSettings, WorkDone
from alignstudy.methods.online.ports import Asked, Ports, Rewards, Sample, Sampler
from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.progress import NotesTo
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.training import training_flops
from alignstudy.study.cost.work import Passes, total_flops
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.graph.stage import FolderOf, StageJob
from alignstudy.study.stages.score import JudgeSpec, JudgeStage


@dataclass(frozen=True, kw_only=True)
class Scoring(JudgeStage):
    """A judge that scores responses, whoever's they are: what its scores are kept by."""

    kind: ClassVar[str] = "score"
    numeric: ClassVar[bool] = True
    judge: JudgeSpec


def kept_judge(
    judge: JudgeSpec, device_class: str, job: StageJob, *, tells: bool = True
) -> CachedJudge:
    """Build a judge that is asked only what no study of the store has asked it; see `CachedJudge`.

    Args:
        judge: Which.
        device_class: Part of what its scores are kept by.
        job: What it is built with.
        tells: Whether it says how many scores it had.
    """
    identity = digest(Scoring(name="", device_class=device_class, judge=judge).fingerprint_inputs)
    return CachedJudge(judge.build(job), ScoreCache(job.scores), identity, tells=tells)


def ports_of(
    settings: OnlineSettings,
    parent: Path,
    template: str,
    judges: Sequence[JudgeSpec],
    device_class: str,
    job: StageJob,
) -> Ports:
    """Return who samples and who rewards in one training."""
    shape = read_shape(parent)
    judge = critic_judge(settings, judges, job.folder_of)
    critic = shape if judge is None else read_shape(judge)

    def flops(work: WorkDone) -> float | None:
        return training_flops(work, settings, shape, critic=critic)

    return Ports(
        sample=_sampler(settings, parent, template, job),
        reward=_rewarder(settings, judges, device_class, job),
        flops=flops,
        critic=judge,
    )


def critic_judge(
    settings: TrainingSettings, judges: Sequence[JudgeSpec], folder_of: FolderOf
) -> Path | None:
    """Return the folder of the classifier that a critic starts as; None: as the policy, or none.

    Raises:
        InputError: If it isn't one classifier alone that rewards, by its only score as it is.
    """
    if not isinstance(settings, PPOSettings) or settings.critic.init == "policy":
        return None
    by, *others = (judge.settings for judge in judges)
    plain = isinstance(by, SeqClsSettings) and (by.better, by.output, by.read) == (
        "higher",
        None,
        None,
    )
    folder = judges[0].place(folder_of)
    if others or not plain or folder is None:
        raise InputError(
            "critic: {init: judge} needs one judge that rewards: a classifier with a single score",
            why=f"{', '.join(judge.settings.use for judge in judges)} reward here",
            hint="name that judge alone (rewarded_by), or set critic: {init: policy}",
        )
    return folder


def drawing(settings: OnlineSettings) -> GenerationSettings:
    """Return how samples are drawn."""
    drawn = settings.sampling
    return GenerationSettings(
        max_new_tokens=drawn.max_new_tokens,
        do_sample=True,
        temperature=drawn.temperature,
        top_p=None if drawn.top_p == 1 else drawn.top_p,
    )


def _sampler(settings: OnlineSettings, parent: Path, template: str, job: StageJob) -> Sampler:
    from alignstudy.generation.live import live_sampler

    draw = live_sampler(parent, template, drawing(settings), note=job.progress.note)

    def sample(policy: Any, asked: Sequence[Asked]) -> list[Sample]:  # noqa: ANN401
        found = draw(policy, asked)
        return [Sample(tokens=one.tokens, text=one.text, ended=one.ended) for one in found]

    return sample


def _rewarder(
    settings: OnlineSettings, judges: Sequence[JudgeSpec], device_class: str, job: StageJob
) -> Callable[[Sequence[tuple[str, str]]], Rewards]:
    built = [kept_judge(judge, device_class, job, tells=False) for judge in judges]
    weights = settings.reward_weights or (1.0,) * len(judges)
    quiet = NotesTo(job.progress.note)

    def reward(items: Sequence[tuple[str, str]]) -> Rewards:
        totals: list[float | None] = [0.0] * len(items)
        for judge, weight in zip(built, weights, strict=True):
            for at, given in enumerate(judge.score(items, progress=quiet)):
                before = totals[at]
                known = before is not None and given.score is not None
                totals[at] = before + weight * given.score if known else None  # type: ignore[operator]
        flops = [judge_flops(judge, items, job.folder_of) for judge in judges]
        return Rewards(scores=tuple(totals), flops=None if None in flops else math.fsum(flops))  # type: ignore[arg-type]

    return reward


def judge_passes(
    judge: JudgeSpec, texts: Sequence[tuple[str, str]], folder_of: FolderOf, *, times: float = 1.0
) -> list[Passes]:
    """Count a judge's pass over each text; [] of a rule."""
    stage = Scoring(name="", judge=judge)
    return stage.passes_over([*texts], folder_of, times=times)


def judge_flops(
    judge: JudgeSpec, texts: Sequence[tuple[str, str]], folder_of: FolderOf
) -> float | None:
    """Return what it takes a judge to read texts, had it read none before; None: not known."""
    passes = judge_passes(judge, texts, folder_of)
    return total_flops(passes) if passes else 0.0
