"""What each recipe was spent on beside its budget: the rows of the report's table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alignstudy.formatting import percent
from alignstudy.study.graph.stage import Stage, StageJob
from alignstudy.study.settings.budget import BudgetSettings
from alignstudy.study.stages.budget import BUDGET, MatchBudget
from alignstudy.study.stages.costs import Cost, CountsCost, read_cost

MIXED = "not matched: made of weights, at the cost of all that they were trained for"


@dataclass(frozen=True, kw_only=True)
class Spent:
    """One recipe under one seed: what it took, and of what.

    Attributes:
        costs: What counts its trainings and samples, each once.
        stages: Which they are.
        target: What counts the budget's recipe.
        match: What fitted its last training; None: it is the budget's, or several were trained.
        is_measure: Whether its own settings are the budget.
        adds: What is computed after its last training; "" for nothing.
    """

    recipe: str
    seed: int
    costs: tuple[CountsCost, ...]
    stages: tuple[Stage, ...]
    target: tuple[CountsCost, ...]
    match: MatchBudget | None
    is_measure: bool
    adds: str = ""


def spending(spent: tuple[Spent, ...], budget: BudgetSettings, job: StageJob) -> Iterator[Any]:
    """Yield a row a recipe and seed; see `ReportInputs.budget`."""
    measure = {one.seed: _seconds(one, job) for one in spent if one.is_measure}
    for one in spent:
        costs = [read_cost(job.records_of, stage) for stage in one.costs]
        facts, seconds = [job.facts_of(stage) for stage in one.stages], _seconds(one, job)
        memory = [each.get("device_memory") or each.get("peak_memory") for each in facts]
        asked = [read_cost(job.records_of, stage) for stage in one.target]
        amount, target = (_amount(budget.match, each) for each in (costs, asked))
        if budget.match == "seconds":
            amount, target = seconds, measure[one.seed]
        yield {
            "recipe": one.recipe,
            "seed": one.seed,
            "match": budget.match,
            "amount": amount,
            "target": target,
            "state": _state(one, amount, target, budget, job),
            "steps": sum(cost.steps for cost in costs),
            "epochs": max(cost.epochs for cost in costs),
            "flops": _amount("flops", costs),
            "tokens": sum(cost.tokens for cost in costs),
            "targets": sum(cost.targets for cost in costs),
            "pairs": sum(cost.pairs for cost in costs),
            "samples": sum(cost.samples for cost in costs),
            "scored": sum(cost.scored for cost in costs),
            "seconds": seconds,
            "peak_memory": max((each for each in memory if each), default=None),
        }


def _seconds(one: Spent, job: StageJob) -> float:
    return sum(float(job.facts_of(stage)["seconds"]) for stage in one.stages)


def _amount(match: str, costs: list[Cost]) -> float | None:
    """Add up costs in a unit; None where one isn't known."""
    if match not in ("flops", "seconds"):
        return float(sum(getattr(cost, match) for cost in costs))
    found = [flops for cost in costs for flops in cost.flops.values()]
    return None if None in found else sum(flops or 0.0 for flops in found)


def _state(
    one: Spent, amount: float | None, target: float | None, budget: BudgetSettings, job: StageJob
) -> str:
    """Say how a recipe stands to the budget."""
    if one.is_measure:
        return f"the budget{one.adds}"
    if one.match is None:
        return MIXED
    found = json.loads((job.records_of(one.match) / BUDGET).read_text(encoding="utf-8"))
    if amount is None or not target:
        return "not known"
    share = f"{percent(100 * amount / target, 0)} of the budget"
    short = amount < (1 - budget.within) * target
    if short and (found["stops_short"] or one.match.ends_itself):
        by = ", or by max_kl" if one.match.ends_itself else ""
        said = f"stops short at {budget.epochs:g} epochs{by}: {share}"
    elif abs(amount - target) <= budget.within * target:
        said = f"within {percent(100 * budget.within, 0)}"
    elif budget.match == "seconds":
        said = f"{share}, as measured"
    elif abs(amount - target) <= found["update"]:
        said = "within one update"
    else:
        said = f"NOT MATCHED: {share}"
    return said + one.adds
