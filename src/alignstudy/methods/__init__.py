"""Ways to train: records and a model folder in, a trained model folder out.

One file a method: its settings, how rows are encoded, its objective. `loop/` trains them all; only
`loop/trl_adapter.py` imports TRL.
"""

from __future__ import annotations

from typing import Any

from alignstudy.methods.base import LoRASettings, TrainingSettings, TrainJob
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.method import Method
from alignstudy.methods.rounds.round import MakesRows
from alignstudy.registry import Registry
from alignstudy.settings import Settings

METHODS = Registry(
    "method",
    {
        "pretrain": "alignstudy.methods.pretrain:Pretrain",
        "sft": "alignstudy.methods.sft:SFT",
        "dpo": "alignstudy.methods.dpo:DPO",
        "kto": "alignstudy.methods.kto:KTO",
        "tpo": "alignstudy.methods.tpo:TPO",
        "rloo": "alignstudy.methods.online.rloo:RLOO",
        "grpo": "alignstudy.methods.online.grpo:GRPO",
        "ppo": "alignstudy.methods.online.ppo:PPO",
        "reward_model": "alignstudy.methods.reward_model:RewardModel",
    },
)
"""Name -> a subclass of `Method`."""

WEIGHT_METHODS = Registry("method", {"expo": "alignstudy.methods.expo:ExPOSettings"})
"""Name -> settings of a method that computes weights from weights and trains nothing."""

ROUND_METHODS = Registry(
    "method",
    {
        "best_of_n": "alignstudy.methods.rounds.best_of_n:BestOfNSettings",
        "sdpo": "alignstudy.methods.rounds.sdpo:SDPOSettings",
        "spin": "alignstudy.methods.rounds.spin:SPINSettings",
        "irft": "alignstudy.methods.rounds.irft:IRFTSettings",
        "rft": "alignstudy.methods.rounds.rft:RFTSettings",
        "iterative_dpo": "alignstudy.methods.rounds.iterative_dpo:IterativeDPOSettings",
        "sppo": "alignstudy.methods.rounds.sppo:SPPOSettings",
        "aft": "alignstudy.methods.rounds.aft:AFTSettings",
    },
)
"""Name -> settings of a method that trains in rounds, on rows that it makes: `MakesRows`."""


def method_of(settings: TrainingSettings) -> Method[Any]:
    """Return the method that settings are of; of one that trains in rounds, what trains in them."""
    if isinstance(settings, MakesRows) and settings.method in ROUND_METHODS:
        settings = settings.rounds[0].training
    method: Method[Any] = METHODS.load(settings.method)(settings)
    return method


def recipe_settings() -> list[type[Settings]]:
    """Return the settings classes of the methods that a recipe may name."""
    trainings = (each.settings_type for each in map(METHODS.load, METHODS) if each.in_recipes)
    others = [each.load(name) for each in (ROUND_METHODS, WEIGHT_METHODS) for name in each]
    return [*trainings, *others]


def named(label: str) -> dict[str, str]:
    """Return the settings that a label means by itself: a method's name, or a loss'."""
    if any(label in table for table in (METHODS, ROUND_METHODS, WEIGHT_METHODS)):
        return {"method": label}
    return {"method": LOSSES[label].method, "loss_type": label} if label in LOSSES else {}


__all__ = [
    "LOSSES",
    "METHODS",
    "ROUND_METHODS",
    "WEIGHT_METHODS",
    "LoRASettings",
    "Method",
    "TrainJob",
    "TrainingSettings",
    "method_of",
    "named",
    "recipe_settings",
]
