"""Ways to train: records and a model folder in, a trained model folder out.

One file a method: its settings and how TRL is asked. `_trl.py` is the only file that imports TRL.
"""

from alignstudy.methods.base import (
    LoRASettings,
    Method,
    PreviewExample,
    TrainingSettings,
    TrainJob,
    TrainResult,
)
from alignstudy.registry import Registry

METHODS = Registry(
    "method",
    {
        "pretrain": "alignstudy.methods.pretrain:Pretrain",
        "sft": "alignstudy.methods.sft:SFT",
        "dpo": "alignstudy.methods.dpo:DPO",
        "reward_model": "alignstudy.methods.reward_model:RewardModel",
    },
)
"""Name -> class that looks like `Method`."""

__all__ = [
    "METHODS",
    "LoRASettings",
    "Method",
    "PreviewExample",
    "TrainJob",
    "TrainResult",
    "TrainingSettings",
]
