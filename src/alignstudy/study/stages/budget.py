"""Stages that count what trainings take, and fit the last of a recipe to a budget.

They count what would be computed if nothing had been kept and nothing interrupted: a budget doesn't
depend on what a run finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from alignstudy.errors import InputError
from alignstudy.formatting import duration, quantity
from alignstudy.methods import TrainingSettings
from alignstudy.methods.loop.arguments import planned_steps
from alignstudy.records import StopReason
from alignstudy.study.cost.model_shape import read_shape
from alignstudy.study.cost.training import training_passes
from alignstudy.study.cost.work import total_flops
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.settings.budget import BudgetSettings
from alignstudy.study.stages.data import write_json
from alignstudy.study.stages.generate import Generate, ScoreResponses, read_responses
from alignstudy.study.stages.settling import SETTINGS, SettlesSettings
from alignstudy.study.stages.train import Train

if TYPE_CHECKING:
    from alignstudy.methods.loop.ahead import WorkAhead

COST = "cost.json"
BUDGET = "budget.json"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What trainings, or the samples for them, take; two add up.

    Attributes:
        flops: By what computes: "training", "samples", "scores"; None: the model's sizes aren't
            known.
        tokens: Positions that training puts through the policy, padding left out.
        pairs: Rows that training reads, one that is read again counted again.
        targets: Tokens that are learnt from.
        steps: Updates.
        epochs: Passes of the training over its rows.
        samples: Responses that were drawn to train on.
        scored: Different ones that a judge read.
    """

    flops: dict[str, float | None]
    tokens: int = 0
    pairs: int = 0
    targets: int = 0
    steps: int = 0
    epochs: float = 0.0
    samples: int = 0
    scored: int = 0


class CountsCost(Stage):
    """A stage whose artefact holds cost.json."""

    kind: ClassVar[str] = "cost"

    def counted(self) -> dict[str, Stage]:
        """Return the stages whose cost it counts, by the names of their FLOPs."""
        raise NotImplementedError

    def skimmed(self) -> tuple[Stage, ...]:
        """Return all inputs: of models it reads configuration and tokenizer."""
        return tuple(self.inputs())


def read_cost(folder_of: FolderOf, stage: CountsCost) -> Cost:
    """Read what a finished stage counted."""
    return Cost(**json.loads((folder_of(stage) / COST).read_text(encoding="utf-8")))


class BeforeTraining(CountsCost):
    """Counts a training before it runs: it needs what that needs, not the training itself."""

    training: Train

    def counted(self) -> dict[str, Stage]:
        """Return the training."""
        return {"training": self.training}

    def inputs(self) -> Iterator[Stage]:
        """Return the training's inputs in its place."""
        for needed in super().inputs():
            yield from needed.inputs() if needed is self.training else (needed,)

    def cost(self, ahead: WorkAhead, steps: int, folder_of: FolderOf) -> Cost:
        """Return what the training's first steps take."""
        work, shape = ahead.after(steps), read_shape(folder_of(self.training.parent))
        flops = total_flops(training_passes(work, ahead.settings, shape, rows=work.rows))
        return Cost(
            flops={"training": flops},
            tokens=work.processed_tokens + work.measured_tokens,
            pairs=work.rows,
            targets=work.scored_tokens,
            steps=steps,
            epochs=work.rows / len(ahead.rows),
        )


@dataclass(frozen=True, kw_only=True)
class CountTraining(BeforeTraining):
    """Count a training that has its own number of steps."""

    training: Train

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write cost.json."""
        ahead = self.training.ahead(job.records_of)
        steps = planned_steps(ahead.settings, len(ahead.rows))
        write_json(job.out / COST, asdict(self.cost(ahead, steps, job.records_of)))
        return {}


@dataclass(frozen=True, kw_only=True)
class CountSamples(CountsCost):
    """Count samples that are drawn to train on, and what a judge reads of them."""

    samples: Generate
    scores: ScoreResponses | None

    def counted(self) -> dict[str, Stage]:
        """Return who draws, and who scores."""
        return {"samples": self.samples} | ({"scores": self.scores} if self.scores else {})

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write cost.json."""
        folder, flops = job.records_of(self.samples), dict[str, float | None]()
        flops["samples"] = self.samples.work_done(folder, job.records_of, {}).get("flops")
        drawn, texts = read_responses(folder), list[tuple[str, str]]()
        if self.scores is not None:
            read = (each for each in drawn if each.stop_reason != StopReason.TOO_LONG)
            texts = list(dict.fromkeys((each.prompt, each.text) for each in read))
            passes = self.scores.passes_over([*texts], job.records_of)
            flops["scores"] = total_flops(passes) if passes else 0.0  # a rule computes nothing
        write_json(job.out / COST, asdict(Cost(flops=flops, samples=len(drawn), scored=len(texts))))
        return {}


@dataclass(frozen=True, kw_only=True)
class MatchBudget(SettlesSettings, BeforeTraining):
    """Solve the number of steps that a training may make within a budget.

    Attributes:
        training: With its own number of steps.
        recipe: Whose last training it is, for people.
        target: What the recipe that says how much takes.
        spent: What came before it in its recipe.
        own: Its samples'; further rounds are expected to take as much.
        rounds_left: That follow it in its method.
    """

    kind: ClassVar[str] = "budget"
    training: Train
    recipe: str = not_in_key()
    budget: BudgetSettings
    target: tuple[CountsCost, ...]
    spent: tuple[CountsCost, ...]
    own: tuple[CountsCost, ...]
    rounds_left: int = 0

    def run(self, job: StageJob) -> dict[str, Any]:
        """Write settings.json, cost.json of the training so settled, budget.json.

        Raises:
            InputError: If nothing is left of the budget, or the cost isn't known.
        """
        from alignstudy.methods.loop.ahead import nearest_steps

        target, spent, own = (
            sum(self._amounts(stages, job)) for stages in (self.target, self.spent, self.own)
        )
        left = target - spent - own * (1 + self.rounds_left)
        ahead, share = self.training.ahead(job.records_of), left / (1 + self.rounds_left)
        most = max(1, planned_steps(_epochs(ahead.settings, self.budget.epochs), len(ahead.rows)))
        work = _Work(self, ahead, job)
        if share <= 0:
            raise self._nothing_left(target, spent, own)
        steps = nearest_steps(work.until(share, most), share)
        write_json(job.out / SETTINGS, {"max_steps": steps})
        write_json(job.out / COST, asdict(self.cost(ahead, steps, job.records_of)))
        update = work.of(steps) - (work.of(steps - 1) if steps > 1 else 0.0)
        short = steps == most and share - work.of(steps) > update
        write_json(job.out / BUDGET, {"update": update, "stops_short": short})
        return {"steps": steps}

    def _nothing_left(self, target: float, spent: float, own: float) -> InputError:
        def amount(value: float) -> str:
            return in_unit(self.budget.match, value)

        rounds = 1 + self.rounds_left
        said = f"what comes before its training takes {amount(spent)}"
        if own:
            said += f", its samples {amount(own)}" + (f" in each of {rounds} rounds" * (rounds > 1))
        return InputError(
            f"recipe '{self.recipe}' takes more than the budget before it is trained",
            why=f"the budget is {amount(target)}; {said}",
            hint="name a recipe that takes more in `budget.of`, give that one more steps, sample"
            " less (rows, samples, iterations, max_new_tokens), or shorten what comes before",
        )

    def _amounts(self, stages: Sequence[CountsCost], job: StageJob) -> Iterator[float]:
        for stage in stages:
            yield self.amount(read_cost(job.records_of, stage), stage, job)

    def amount(self, cost: Cost, stage: CountsCost, job: StageJob) -> float:
        """Return a cost in the budget's unit.

        Raises:
            InputError: If it isn't known.
        """
        match = self.budget.match
        if match in ("tokens", "pairs"):
            return float(getattr(cost, match))
        total = 0.0
        for name, counted in stage.counted().items():
            flops = cost.flops[name]
            if flops is None:
                raise InputError(
                    f"the FLOPs of {counted.name} are not known",
                    why="its model's config.json doesn't state its sizes",
                    hint="match tokens or pairs (`budget: {match: tokens}`)",
                )
            pace = 1.0 if match == "flops" or not flops else job.pace(counted)
            if pace is None:
                raise InputError(
                    f"how long {counted.name} takes is not known",
                    why="no stage like it has run on this machine yet",
                    hint="run the study once without `budget`, or match flops",
                )
            total += flops * pace
        return total


@dataclass(frozen=True)
class _Work:
    """What so many steps of a training take, in the budget's unit."""

    match: MatchBudget
    ahead: WorkAhead
    job: StageJob

    def of(self, steps: int) -> float:
        """Return what the first steps take."""
        cost = self.match.cost(self.ahead, steps, self.job.records_of)
        return self.match.amount(cost, self.match, self.job)

    def until(self, target: float, most: int) -> list[float]:
        """Return the work of 1, 2, ... steps, up to the first that reaches a target."""
        found: list[float] = []
        while len(found) < most and not (found and found[-1] >= target):
            found.append(self.of(len(found) + 1))
        return found


def _epochs(settings: TrainingSettings, most: float) -> TrainingSettings:
    return settings.model_copy(update={"max_steps": None, "num_train_epochs": most})


def in_unit(match: str, value: float) -> str:
    """Write an amount of a budget for people."""
    if match == "seconds":
        return duration(value)
    units = {"flops": "FLOP", "tokens": "tokens", "pairs": "rows"}
    return quantity(value, units[match])
