"""Training of a judge: a one-logit sequence classifier, on preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignstudy.dialogue import CUE, without_system
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.demands import rejected_of
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.batches.judgements import encode_judgements
from alignstudy.methods.method import Figures, Method, Objective
from alignstudy.methods.model_outputs import PairScores
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor


class RewardModelSettings(TrainingSettings):
    """How to train a judge: -log S(score(chosen) - score(rejected)), arXiv 2203.02155, eq. 1.

    Names as in TRL's RewardConfig, but for `method`, `dropout`, `prompt_form`, `lora`.
    """

    method: Literal["reward_model"] = Field(default="reward_model", description="a judge")
    learning_rate: float = Field(default=1e-5, gt=0, le=1, description="peak learning rate")
    dropout: Literal["off", "keep"] = Field(
        default="off", description="off: every dropout of the model is 0; keep: its configuration's"
    )
    center_rewards_coefficient: float | None = Field(
        default=None,
        gt=0,
        description="weight of the squared sum of a pair's scores, which draws scores to mean 0"
        " (arXiv 2312.09244, eq. 2; 0.01)",
    )
    prompt_form: Literal["cue", "bare"] = Field(
        default="cue",
        description="what the judge will be shown as prompt: cue: the prompt as it stands, role"
        " tags and cue included (rigorous protocol); bare: stripped, the last cue cut off (paper"
        " protocol)",
    )
    lora: None = Field(default=None, description="always null: full weights are trained")


def judge_texts(row: Pair, prompt_form: Literal["cue", "bare"]) -> tuple[str, str, str]:
    """Return (prompt, chosen, rejected) as a judge is shown them later; responses are stripped.

    Raises:
        DataError: If the pair has no rejected response.
    """
    prompt = without_system(row.prompt)
    prompt = prompt if prompt_form == "cue" else prompt.removesuffix(CUE).strip()
    return prompt, row.chosen.strip(), rejected_of(row).strip()


class RewardModel(Method[RewardModelSettings]):
    """Reward modelling: a one-logit classifier learns which response people preferred."""

    settings_type = RewardModelSettings
    trains = "classifier"
    in_recipes = False

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode (prompt, response) as the judge will be asked."""
        shown = [(row.id, *judge_texts(row, self.settings.prompt_form)) for row in rows]
        return encode_judgements(shown, rendering.tokenizer, max_length=self.settings.max_length)

    @property
    def objective(self) -> Objective:
        """The Bradley-Terry loss of a pair's scores."""
        return Objective(loss=self._loss)

    def _loss(self, batch: PairScores) -> Tensor:
        from torch.nn.functional import logsigmoid

        losses = -logsigmoid(batch.chosen - batch.rejected)
        weight = self.settings.center_rewards_coefficient
        return losses if weight is None else losses + weight * (batch.chosen + batch.rejected) ** 2

    def figures(self, batch: PairScores, losses: Tensor) -> Figures:
        """Return the share of pairs ranked as people did, margin and mean of the scores."""
        chosen, rejected, pairs = batch.chosen.detach(), batch.rejected.detach(), len(losses)
        return {
            "accuracy": ((chosen > rejected).sum(), pairs),
            "margin": ((chosen - rejected).sum(), pairs),
            "mean_reward": (chosen.sum() + rejected.sum(), 2 * pairs),
        }
