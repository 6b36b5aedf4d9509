"""How much training every recipe gets: a study's `budget`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.settings import Settings


class BudgetSettings(Settings):
    """One recipe's training as the measure of all: the last training of each other is fitted to it.

    Its steps are solved; `max_steps` and `num_train_epochs` of its method are not read there.
    """

    match: Literal["flops", "tokens", "pairs", "seconds"] = Field(
        "flops",
        description="What is equal: flops: all arithmetic, that of samples, of their judge and of"
        " references included; tokens: positions that training puts through the policy; pairs: rows"
        " that training reads; seconds: as long as stages like these took on this machine, without"
        " a promise.",
    )
    of: str | None = Field(
        None,
        description="The recipe whose own settings say how much; null: of those that sample"
        " nothing the first with the most methods.",
    )
    within: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Share of the budget that a recipe may be off; more is said, unless one update"
        " is more.",
    )
    epochs: float = Field(
        3.0,
        gt=0,
        description="Most passes of a training over its rows: a recipe that would need more stops"
        " short, and the report says so.",
    )
