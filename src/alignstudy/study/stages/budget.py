"""The stage that fits the last training of a recipe to a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from alignstudy.errors import InputError
from alignstudy.formatting import duration, quantity
from alignstudy.methods import TrainingSettings
from alignstudy.methods.loop.arguments import planned_steps
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.study.cost.token_lengths import NotCountableError
from alignstudy.study.graph.fingerprint import not_in_key
from alignstudy.study.graph.stage import FolderOf, Stage, StageJob
from alignstudy.study.settings.budget import BudgetSettings
from alignstudy.study.stages.costs import COST, BeforeTraining, Cost, CountsCost, read_cost
from alignstudy.study.stages.data import write_json
from alignstudy.study.stages.settling import SETTINGS, SettlesSettings
from alignstudy.study.stages.train import Train

if TYPE_CHECKING:
    from alignstudy.methods.loop.ahead import WorkAhead

Pace = Callable[[Stage], float | None]
"""Seconds that a stage takes for a FLOP on this machine; None where nothing like it ran."""

BUDGET = "budget.json"
_SOLVED: dict[tuple[int, int, float, int], tuple[object, int]] = {}
"""By rows, seed and budget: the rows, which so live as long, and the steps."""


@dataclass(frozen=True, kw_only=True)
class MatchBudget(SettlesSettings, BeforeTraining):
    """Solve the number of steps that a training may make within a budget.

    Attributes:
        training: With its own number of steps.
        recipe: Whose last training it is, for people.
        target: What the recipe that says how much takes.
        spent: What came before it in its recipe.
        own: Its samples', and its reward model's; further rounds are expected to take as much.
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
        ahead = self.training.ahead(job.records_of)
        work, share, most = self._share(ahead, job.records_of, job.pace)
        steps = work.nearest(share, most)
        write_json(job.out / SETTINGS, self._settled(steps, share, most, job.pace))
        write_json(job.out / COST, asdict(self.cost(ahead, steps, job.records_of)))
        update = work.of(steps) - (work.of(steps - 1) if steps > 1 else 0.0)
        short = steps == most and share - work.of(steps) > update
        write_json(job.out / BUDGET, {"update": update, "stops_short": short})
        return {"steps": steps}

    def _settled(self, steps: int, share: float, most: int, pace: Pace) -> dict[str, float]:
        """Return how many steps; or where it ends, if it isn't known how long samples will be."""
        if not self.ends_itself:
            return {"max_steps": steps}
        seconds = 1.0 if self.budget.match == "flops" else pace(self.training)
        assert seconds is not None  # or its work wouldn't have been known
        return {"max_steps": most, "max_flops": share / seconds}

    @property
    def ends_itself(self) -> bool:
        """Whether the training ends by what it has spent: how long its samples are shows then."""
        online = isinstance(self.training.settings, OnlineSettings)
        return online and self.budget.match in ("flops", "seconds")

    def settings(self, folder_of: FolderOf) -> dict[str, Any]:
        """Read the number of steps; before it is solved, about what it will be."""
        try:
            return super().settings(folder_of)
        except NotCountableError:
            return {"max_steps": self._steps_ahead(folder_of)[1]}

    def expected(self, folder_of: FolderOf) -> Cost:
        """Return what about as many steps take."""
        return self.cost(*self._steps_ahead(folder_of), folder_of)

    def _steps_ahead(self, folder_of: FolderOf) -> tuple[WorkAhead, int]:
        ahead = self.training.ahead(folder_of, sampled=True)
        work, share, most = self._share(ahead, folder_of, _not_yet_paced)
        asked = id(ahead.rows), ahead.seed, share, most
        if asked not in _SOLVED:  # trials differ in what changes no count
            _SOLVED[asked] = ahead.rows, work.nearest(share, most)
        return ahead, _SOLVED[asked][1]

    def _share(self, ahead: WorkAhead, folder_of: FolderOf, pace: Pace) -> tuple[_Work, float, int]:
        """Return the training's work by steps, how much of it the budget leaves, and most steps.

        Raises:
            InputError: If that is nothing.
        """
        target, spent, own = (
            sum(self.amount(read_cost(folder_of, each), each, pace) for each in stages)
            for stages in (self.target, self.spent, self.own)
        )
        share = (target - spent - own * (1 + self.rounds_left)) / (1 + self.rounds_left)
        if share <= 0:
            raise self._nothing_left(target, spent, own)
        most = max(1, planned_steps(_epochs(ahead.settings, self.budget.epochs), len(ahead.rows)))
        return _Work(self, ahead, folder_of, pace), share, most

    def _nothing_left(self, target: float, spent: float, own: float) -> InputError:
        def amount(value: float) -> str:
            return in_unit(self.budget.match, value)

        rounds = 1 + self.rounds_left
        said = f"what comes before its training takes {amount(spent)}"
        if own:
            drawn = "its samples" + " and reward model" * bool(self.training.reward_models)
            said += f", {drawn} {amount(own)}" + (f" in each of {rounds} rounds" * (rounds > 1))
        return InputError(
            f"recipe '{self.recipe}' takes more than the budget before it is trained",
            why=f"the budget is {amount(target)}; {said}",
            hint="name a recipe that takes more in `budget.of`, give that one more steps, sample"
            " less (rows, samples, iterations, max_new_tokens), or shorten what comes before",
        )

    def amount(self, cost: Cost, stage: CountsCost, pace: Pace) -> float:
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
            seconds = 1.0 if match == "flops" or not flops else pace(counted)
            if seconds is None:
                raise InputError(
                    f"how long {counted.name} takes is not known",
                    why="no stage like it has run on this machine yet",
                    hint="run the study once without `budget`, or match flops",
                )
            total += flops * seconds
        return total


@dataclass(frozen=True)
class _Work:
    """What so many steps of a training take, in the budget's unit."""

    match: MatchBudget
    ahead: WorkAhead
    folder_of: FolderOf
    pace: Pace

    def nearest(self, share: float, most: int) -> int:
        """Return how many steps take as nearly as can be so much."""
        from alignstudy.methods.loop.ahead import nearest_steps

        return nearest_steps(self.until(share, most), share)

    def of(self, steps: int) -> float:
        """Return what the first steps take."""
        cost = self.match.cost(self.ahead, steps, self.folder_of)
        return self.match.amount(cost, self.match, self.pace)

    def until(self, target: float, most: int) -> list[float]:
        """Return the work of 1, 2, ... steps, up to the first that reaches a target."""
        found: list[float] = []
        while len(found) < most and not (found and found[-1] >= target):
            found.append(self.of(len(found) + 1))
        return found


def _not_yet_paced(stage: Stage) -> float | None:
    raise NotCountableError(f"how long {stage.name} takes is known when it has run")


def _epochs(settings: TrainingSettings, most: float) -> TrainingSettings:
    return settings.model_copy(update={"max_steps": None, "num_train_epochs": most})


def in_unit(match: str, value: float) -> str:
    """Write an amount of a budget for people."""
    if match == "seconds":
        return duration(value)
    units = {"flops": "FLOP", "tokens": "tokens", "pairs": "rows"}
    return quantity(value, units[match])
