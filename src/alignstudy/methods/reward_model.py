"""Training of a judge: a one-logit sequence classifier, on preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from alignstudy.dialogue import CUE, without_system
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.demands import rejected_of
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.batches.judgements import encode_judgements
from alignstudy.methods.method import Figures, Method, Objective
from alignstudy.methods.model_outputs import PairScores
from alignstudy.models.encoders.chat import ChatEncoder
from alignstudy.models.encoders.encoding import Encoder
from alignstudy.models.encoders.pairs import PairEncoder
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor


class RewardModelSettings(TrainingSettings):
    """How to train a judge: -log S(score(chosen) - score(rejected)), arXiv 2203.02155, eq. 1.

    Names as in TRL's RewardConfig, but for `method`, `dropout`, `loss_on`, `input`, `prompt_form`,
    `lora`.
    """

    method: Literal["reward_model"] = Field(default="reward_model", description="a judge")
    learning_rate: float = Field(default=1e-5, gt=0, le=1, description="peak learning rate")
    dropout: Literal["off", "keep"] = Field(
        default="off", description="off: every dropout of the model is 0; keep: its configuration's"
    )
    loss_on: Literal["end", "positions"] = Field(
        default="end",
        description="end: whole texts are compared; positions: unfinished ones, too, the mean from"
        " the first token that differs to the longer text's end (RFT, arXiv 2405.17888), which"
        " takes a model that reads forward only",
    )
    center_rewards_coefficient: float | None = Field(
        default=None,
        gt=0,
        description="weight of the squared sum of a pair's scores, which draws scores to mean 0"
        " (arXiv 2312.09244, eq. 2; 0.01)",
    )
    input: Literal["pair", "chat"] = Field(
        default="pair",
        description="what the judge reads, and must be asked with: pair: prompt and response as a"
        " pair of texts; chat: the whole dialogue as language models have it, by the study's"
        " `template`, which is saved with the judge",
    )
    prompt_form: Literal["cue", "bare"] = Field(
        default="cue",
        description="what the judge will be shown as prompt: cue: the prompt as it stands, role"
        " tags and cue included (rigorous protocol); bare: stripped, the last cue cut off (paper"
        " protocol)",
    )
    lora: None = Field(default=None, description="always null: full weights are trained")

    @model_validator(mode="after")
    def _prompts_are_read_as_they_stand(self) -> RewardModelSettings:
        if self.input == "chat" and self.prompt_form == "bare":
            raise ValueError("prompt_form is read only with input: pair: a template writes its own")
        return self


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

    @property
    def writes_prompts(self) -> bool:
        """As the study says."""
        return self.settings.input == "chat"

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode (prompt, response) as the judge will be asked."""
        settings, tokenizer = self.settings, rendering.tokenizer
        encoder: Encoder = PairEncoder(tokenizer, settings.max_length)
        if self.writes_prompts:
            encoder = ChatEncoder(tokenizer, settings.max_length, rendering.template.to_save())
        shown = [(row.id, *judge_texts(row, settings.prompt_form)) for row in rows]
        return encode_judgements(shown, encoder, on_one_prompt=settings.loss_on == "positions")

    @property
    def objective(self) -> Objective:
        """The Bradley-Terry loss of a pair's scores."""
        return Objective(loss=self._loss, compares_positions=self.settings.loss_on == "positions")

    def _loss(self, batch: PairScores) -> Tensor:
        from torch.nn.functional import logsigmoid

        if batch.margins is None or batch.compared is None:
            losses = -logsigmoid(batch.chosen - batch.rejected)
        else:
            summed = (-logsigmoid(batch.margins) * batch.compared).sum(1)
            losses = summed / batch.compared.sum(1)
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
