"""Training of a judge: a one-logit sequence classifier, on preference pairs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.dialogue import CUE
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import rejected_of
from alignstudy.records import Pair


class RewardModelSettings(TrainingSettings):
    """How to train a judge: -log S(score(chosen) - score(rejected)), arXiv 2203.02155, eq. 1."""

    method: Literal["reward_model"] = Field(default="reward_model", description="a judge")
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate")
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
    prompt = row.prompt if prompt_form == "cue" else row.prompt.removesuffix(CUE).strip()
    return prompt, row.chosen.strip(), rejected_of(row).strip()
