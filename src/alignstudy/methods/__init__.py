"""Ways to train: records and a model folder in, a trained model folder out.

One file a method: its settings. `loop/trained_by_trl.py` names the methods; only
`loop/trl_adapter.py` imports TRL.
"""

from alignstudy.methods.base import LoRASettings, TrainingSettings, TrainJob
from alignstudy.registry import Registry

METHODS = Registry(
    "method",
    {
        "pretrain": "alignstudy.methods.loop.trained_by_trl:Pretrain",
        "sft": "alignstudy.methods.loop.trained_by_trl:SFT",
        "dpo": "alignstudy.methods.loop.trained_by_trl:DPO",
        "reward_model": "alignstudy.methods.loop.trained_by_trl:RewardModel",
    },
)
"""Name -> class that looks like `Method`."""

__all__ = [
    "METHODS",
    "LoRASettings",
    "TrainJob",
    "TrainingSettings",
]
