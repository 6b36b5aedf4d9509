"""Stages of tuning: the choice among trials, and the model of the chosen one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from pydantic import TypeAdapter

from alignstudy.errors import GuardError
from alignstudy.methods.weights.save import merge_adapter
from alignstudy.models.digests import weights_digest
from alignstudy.records.tuning import Choice, Edge, Trial
from alignstudy.stats.one_standard_error import best_and_chosen, standings
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import FAILED, WEIGHTS, FolderOf, Stage, StageJob, in_order
from alignstudy.study.run.manifest import MANIFEST
from alignstudy.study.run.run_folder import link_or_copy
from alignstudy.study.stages.data import write_json
from alignstudy.study.stages.generate import Generate, ScoreResponses, read_responses, read_scores
from alignstudy.study.stages.settling import SETTINGS, SettlesSettings
from alignstudy.study.stages.train import Train, read_result
from alignstudy.study.stages.weights import weights_of

CHOICE = "choice.json"
LEAST_SCORED = 0.99
"""Share of a trial's responses that the judge must score, of those that it scores of another."""
FEW_VALUES = 2
"""With so many values every one is an end of them: one says nothing where the default was kept."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial as stages.

    Attributes:
        settings: Setting -> value.
        model: What they made.
        scores: Of its responses.
    """

    settings: dict[str, float]
    model: Stage
    scores: ScoreResponses

    @property
    def responses(self) -> Generate:
        """Its answers to the tuning prompts."""
        return self.scores.responses


@dataclass(frozen=True, kw_only=True)
class Choose(SettlesSettings):
    """Choose the settings of a chain's last method among its trials; the first has its own.

    Attributes:
        chain: The labels.
        judge: The name of the one that scores.
    """

    kind: ClassVar[str] = "choose"
    changes_work: ClassVar[bool] = False
    chain: tuple[str, ...] = not_in_key()
    judge: str = not_in_key()
    trials: tuple[Tried, ...]

    @cached_property
    def in_trial(self) -> bool:
        """It is what trials are for: one that failed is not chosen."""
        return False

    def skimmed(self) -> tuple[Stage, ...]:
        """Return the trials' models: of them it reads what happened."""
        return tuple(each.model for each in self.trials)

    def releases(self, folder: Path) -> list[Stage]:
        """Return the models of trials that were not chosen, those of their rounds included."""
        chosen = _read(folder).chosen - 1
        others = [each.model for at, each in enumerate(self.trials) if at != chosen]
        kept = {stage.key for stage in in_order([self.trials[chosen].model])}
        made = [stage for stage in in_order(others) if stage.in_trial and stage.weights]
        return [stage for stage in made if stage.key not in kept]

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write choice.json, and settings.json: the values that are taken.

        Raises:
            GuardError: If all trials failed.
        """
        found = self._choice(job)
        write_json(job.out / CHOICE, asdict(found))
        write_json(job.out / SETTINGS, dict(found.settings))
        return {"chosen": found.chosen}

    def chosen(self, job: StageJob) -> Stage:
        """Return the model of the trial whose settings were taken."""
        return self.trials[read_choice(self, job).chosen - 1].model

    def _choice(self, job: StageJob) -> Choice:
        failed = [str(job.facts_of(each.scores).get(FAILED, "")) for each in self.trials]
        tables = [
            {} if why else _by_prompt(each, job)
            for each, why in zip(self.trials, failed, strict=True)
        ]
        shared, failed = _shared(tables, failed)
        alive = [at for at, why in enumerate(failed) if not why]
        if not alive:
            raise GuardError(
                f"all {len(self.trials)} trials of {' > '.join(self.chain)} failed",
                why="; ".join(dict.fromkeys(failed)),
                hint="mend the method's own settings, which the first trial has",
            )
        scores = {
            axis: np.array([[tables[at][key] for key in shared if key[0] == axis] for at in alive])
            for axis in sorted({axis for axis, _ in shared})
        }
        rows = standings(scores)
        best, chosen = best_and_chosen(rows)
        with_default = alive[0] == 0
        chosen = alive[chosen if with_default else best]  # without it there is nothing to keep
        trials = [
            Trial(number=at + 1, settings=each.settings, means={}, failed=failed[at])
            for at, each in enumerate(self.trials)
        ]
        for row, at in enumerate(alive):
            means = {axis: float(table[row].mean()) for axis, table in scores.items()}
            against = asdict(rows[row]) if with_default else {"score": rows[row].score}
            known = {**against, "means": means, **self._more(self.trials[at], job)}
            trials[at] = replace(trials[at], **known)
        return Choice(
            chain=self.chain,
            judge=self.judge,
            prompts={axis: int(table.shape[1]) for axis, table in scores.items()},
            unscored=len({key for table in tables for key in table}) - len(shared),
            trials=tuple(trials),
            best=alive[best] + 1,
            chosen=chosen + 1,
            edges=tuple(
                edges([self.trials[at].settings for at in alive], self.trials[chosen].settings)
            ),
        )

    def _more(self, trial: Tried, job: StageJob) -> dict[str, float | None]:
        """Return what else is known of a trial that didn't fail."""
        lengths = [each.num_tokens for each in read_responses(job.folder_of(trial.responses))]
        trained = read_result(trial.model, job) if isinstance(trial.model, Train) else {}
        return {"tokens": fmean(lengths), "final_loss": trained.get("final_loss")}


Key = tuple[str, str]
"""Axis and prompt."""


def _by_prompt(trial: Tried, job: StageJob) -> dict[Key, float]:
    """Return a trial's mean score by axis and prompt; what has none is left out."""
    found: dict[Key, list[float]] = {}
    for row in read_scores(job.folder_of(trial.scores)):
        if row.score is not None and math.isfinite(row.score):
            found.setdefault((row.axis, row.prompt_id), []).append(row.score)
    return {key: fmean(scores) for key, scores in found.items()}


def _shared(
    tables: Sequence[Mapping[Key, float]], failed: Sequence[str]
) -> tuple[list[Key], list[str]]:
    """Return the prompts that every trial has a score of, and why trials failed.

    Prompts that no trial has a score of are nobody's fault: they are too long.
    """
    every = {key for table in tables for key in table}
    failed = [
        why or (f"the judge scored {len(table)} of {len(every)} responses" if few else "")
        for why, table in zip(failed, tables, strict=True)
        for few in [len(table) < LEAST_SCORED * len(every) or not table]
    ]
    kept = [table for why, table in zip(failed, tables, strict=True) if not why]
    return sorted(key for key in every if all(key in table for table in kept)), failed


def edges(tried: Sequence[Mapping[str, float]], taken: Mapping[str, float]) -> list[Edge]:
    """Return the chosen values beyond which nothing was tried.

    Of two values each is an end: one is named only where it was chosen instead of the default.

    Args:
        tried: The trials' settings, the default's first.
        taken: Those of one of them.
    """
    found = []
    for name, value in taken.items():
        values = {settings[name] for settings in tried}
        if len(values) < FEW_VALUES or (len(values) == FEW_VALUES and value == tried[0][name]):
            continue
        if value in (min(values), max(values)):
            end = "smallest" if value == min(values) else "largest"
            found.append(Edge(setting=name, value=value, end=end))
    return found


def read_choice(stage: Choose, job: StageJob) -> Choice:
    """Read a finished choice."""
    return _read(job.folder_of(stage))


def _read(folder: Path) -> Choice:
    found = json.loads((folder / CHOICE).read_text(encoding="utf-8"))
    return TypeAdapter(Choice).validate_python(found)


@dataclass(frozen=True, kw_only=True)
class Chosen(Stage):
    """Take the chosen trial's model: what the trials of the next method start from.

    It is made once, as a trial; an adapter is merged.
    """

    kind: ClassVar[str] = "chosen"
    numeric: ClassVar[bool] = True
    weights: ClassVar[tuple[str, ...]] = WEIGHTS
    choice: Choose

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write full weights."""
        model = self.choice.chosen(job)
        weights = weights_of(model, job)
        if weights.base is not None:
            merge_adapter(weights, job.out)
        else:
            for path in (each for each in weights.folder.iterdir() if each.name != MANIFEST):
                link_or_copy(path, job.out / path.name)
        return {"weights_sha256": weights_digest(job.out)}

    def work_done(self, out: Path, folder_of: FolderOf, found: dict[str, Any]) -> dict[str, Any]:
        """Count nothing: no row goes through a model."""
        return {"flops": 0.0}

    def model_files(self) -> Stage:
        """Return a trial's."""
        return self.choice.trials[0].model


def tuning_alone(stages: Sequence[Stage]) -> set[str]:
    """Return the keys of the stages of a study that only a choice needs, the choice included."""
    needed = {each.key for stage in stages for each in stage.inputs()}
    goals = [stage for stage in stages if stage.key not in needed]
    rest = in_order(goals, known=lambda stage, _: isinstance(stage, Choose))
    return {stage.key for stage in stages} - {stage.key for stage in rest}
