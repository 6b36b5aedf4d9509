"""The methods that one flow trains: their settings are all that TRL needs."""

from __future__ import annotations

from typing import ClassVar, Literal

from alignstudy.methods.base import PreviewExample, TrainingSettings, TrainJob, TrainResult
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.pretrain import PretrainSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFTSettings


class TrainedByTRL:
    """What these methods share: one flow trains them, imported when something is trained."""

    settings: ClassVar[type[TrainingSettings]]
    needs_pairs: ClassVar[bool] = True
    needs_rejected: ClassVar[bool] = False
    trains: ClassVar[Literal["causal_lm", "classifier"]] = "causal_lm"

    @staticmethod
    def train(job: TrainJob) -> TrainResult:
        """Train, and fill `job.out` with the model."""
        from alignstudy.methods.loop.train import train

        return train(job)

    @staticmethod
    def preview(job: TrainJob) -> list[PreviewExample]:
        """Show the first three rows as the trainer would see them; no weights are read."""
        from alignstudy.methods.loop.preview import preview

        return preview(job)


class Pretrain(TrainedByTRL):
    """Pretraining: a language model learns plain documents, from random weights or given ones."""

    settings = PretrainSettings
    needs_pairs = False


class SFT(TrainedByTRL):
    """Supervised fine-tuning: the likelihood of chosen responses is raised."""

    settings = SFTSettings


class DPO(TrainedByTRL):
    """Direct preference optimization: chosen is made likelier than rejected, near the parent."""

    settings = DPOSettings
    needs_rejected = True


class RewardModel(TrainedByTRL):
    """Reward modelling: a one-logit classifier learns which response people preferred."""

    settings = RewardModelSettings
    needs_rejected = True
    trains = "classifier"
