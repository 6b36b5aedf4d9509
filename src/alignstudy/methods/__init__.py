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


def method_of(settings: TrainingSettings) -> Method[Any]:
    """Return the method that settings are of."""
    method: Method[Any] = METHODS.load(settings.method)(settings)
    return method


def named(label: str) -> dict[str, str]:
    """Return the settings that a label means by itself: a method's name, or a loss'."""
    if label in METHODS:
        return {"method": label}
    return {"method": LOSSES[label].method, "loss_type": label} if label in LOSSES else {}


__all__ = [
    "LOSSES",
    "METHODS",
    "LoRASettings",
    "Method",
    "TrainJob",
    "TrainingSettings",
    "method_of",
    "named",
]
