"""Explicit reward learning from demonstrations: a reward model, then a policy that heeds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.methods.online.ppo import PPOSettings
from alignstudy.methods.online.rloo import RLOOSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.rounds.round import MakesRows, Round, inner
from alignstudy.settings import Settings

POLICIES: dict[str, type[OnlineSettings]] = {"rloo": RLOOSettings, "ppo": PPOSettings}
"""What learns a reward, by name."""


class RewardLearning(Settings):
    """How a round's reward model learns to tell demonstrations from samples; full weights, always.

    What it doesn't name is as in the method: max_length, precision, schedule. Names as in TRL's
    RewardConfig, but for `loss_on`.
    """

    learning_rate: float = Field(default=1e-5, gt=0, le=1, description="peak learning rate")
    num_train_epochs: float = Field(default=1, gt=0, description="passes over the rows")
    max_steps: int | None = Field(
        default=None, ge=1, description="stop after so many steps; overrides num_train_epochs"
    )
    warmup_steps: float = Field(
        default=0, ge=0, description="steps of linear warm-up; below 1: the share of all steps"
    )
    per_device_train_batch_size: int = Field(
        default=8, ge=1, description="rows per micro-batch, at most"
    )
    gradient_accumulation_steps: int = Field(
        default=2,
        ge=1,
        description="times per_device_train_batch_size: the rows per optimizer step",
    )
    loss_on: Literal["end", "positions"] = Field(
        default="positions",
        description="positions: unfinished texts are compared, too, from the first token that"
        " differs on; end: whole texts alone",
    )
    center_rewards_coefficient: float | None = Field(
        default=None,
        gt=0,
        description="weight of the squared sum of a pair's scores, which draws scores to mean 0",
    )


class RFTSettings(MakesRows, OnlineSettings):
    """Reward fine-tuning, explicit (RFT): a reward learnt from demonstrations, a policy on it.

    Rejected responses are not read, and no judge is asked. The policy answers the prompts; a reward
    model on the policy's own weights learns to score the data's chosen responses above those
    answers, at every token from the first that differs; then RLOO, or PPO, raises what the reward
    model scores highly, held to the first policy by the KL. Its authors' script does one round,
    which is the default: later ones go on from the last reward model, each with its own part of the
    prompts. They take PPO with KL 0.05 for 2,000 steps, and learn the reward for one epoch at
    learning rate 1e-6, 16 pairs a step, the first 20 of 24 layers frozen. Held against `irft`, the
    implicit form, it shows what a reward model is worth. Source: arXiv 2405.17888.
    """

    method: Literal["rft"] = Field(default="rft", description="reward fine-tuning")
    iterations: int = Field(default=1, ge=1, description="parts of the data, and rounds")
    policy: Literal["rloo", "ppo"] = Field(
        default="rloo",
        description="what learns the reward; ppo: as its own settings are by default, but for those"
        " that stand here (experimental)",
    )
    reward_model: RewardLearning = Field(
        default=RewardLearning(), description="how the reward is learnt"
    )
    rewarded_by: None = Field(
        default=None,
        description="always null: each round's reward model, and no judge of the study",
    )
    reward_weights: None = Field(default=None, description="always null: there is one reward")
    reference: Literal["parent", "start"] = Field(
        default="parent",
        description="what the KL is to: the model that the first round starts from, or the one that"
        " the recipe starts from",
    )

    @property
    def rounds(self) -> tuple[Round, ...]:
        """A part's sampling, pairs, reward model, policy."""
        reward = RewardModelSettings(
            **self.reward_model.model_dump(),
            input="chat",
            max_length=self.max_length,
            precision=self.precision,
            lr_scheduler_type=self.lr_scheduler_type,
            save_steps=self.save_steps,
            logging_steps=self.logging_steps,
        )
        return tuple(
            Round(
                training=inner(self, POLICIES[self.policy]),
                slice=(at, self.iterations),
                rule="demo_v_sample",
                sampling=self.sampling,
                reward_model=reward,
                reference="start",
            )
            for at in range(self.iterations)
        )
