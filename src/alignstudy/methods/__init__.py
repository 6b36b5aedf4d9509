"""Ways to train: records and a model folder in, a trained model folder out.

One file a method: its settings, how rows are encoded, its objective. `loop/` trains them all; only
`loop/trl_adapter.py` imports TRL.
"""

from __future__ import annotations

from typing import Any

from alignstudy.methods.base import LoRASettings, TrainingSettings, TrainJob
from alignstudy.methods.losses import LOSSES
from alignstudy.methods.method import Method
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
        "reward_model": "alignstudy.methods.reward_model:RewardModel",
    },
)
"""Name -> a subclass of `Method`."""

WEIGHT_METHODS = Registry("method", {"expo": "alignstudy.methods.expo:ExPOSettings"})
"""Name -> settings of a method that computes weights from weights and trains nothing."""


def method_of(settings: TrainingSettings) -> Method[Any]:
    """Return the method that settings are of."""
    method: Method[Any] = METHODS.load(settings.method)(settings)
    return method


def recipe_settings() -> list[type[Settings]]:
    """Return the settings classes of the methods that a recipe may name."""
    trainings = (each.settings_type for each in map(METHODS.load, METHODS) if each.in_recipes)
    return [*trainings, *map(WEIGHT_METHODS.load, WEIGHT_METHODS)]


def named(label: str) -> dict[str, str]:
    """Return the settings that a label means by itself: a method's name, or a loss'."""
    if label in METHODS or label in WEIGHT_METHODS:
        return {"method": label}
    return {"method": LOSSES[label].method, "loss_type": label} if label in LOSSES else {}


__all__ = [
    "LOSSES",
    "METHODS",
    "WEIGHT_METHODS",
    "LoRASettings",
    "Method",
    "TrainJob",
    "TrainingSettings",
    "method_of",
    "named",
    "recipe_settings",
]
