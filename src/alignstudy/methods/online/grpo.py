"""Group-relative policy optimization: scores in deviations of a prompt's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import Experience, SampleLogps
from alignstudy.methods.online.method import OnlineMethod, tokens_outside
from alignstudy.methods.online.settings import GroupSettings

if TYPE_CHECKING:
    from torch import Tensor


class GRPOSettings(GroupSettings):
    """How to learn from samples' scores relative to their group's (arXiv 2402.03300).

    Names as in TRL's GRPOConfig, but for `method`.
    """

    method: Literal["grpo"] = Field(
        default="grpo", description="group-relative policy optimization"
    )
    beta: float = Field(default=0.04, ge=0, description="weight of the KL to the reference")
    epsilon_high: float | None = Field(
        default=None,
        gt=0,
        description="how far above 1 a ratio may count (arXiv 2503.14476: 0.28); null: as epsilon",
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="group",
        description="what a score's distance from its group's mean is divided by: the deviation of"
        " a prompt's samples, of a rollout's, or nothing (arXiv 2503.20783)",
    )
    importance_sampling_level: Literal["token", "sequence"] = Field(
        default="token",
        description="what the clipped ratio is of: each token, or a sample (arXiv 2507.18071)",
    )
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(
        default="dapo",
        description="what is averaged: grpo: samples' means over their tokens; dapo and bnpo: all"
        " tokens of an update; dr_grpo: samples' sums over max_new_tokens",
    )


class GRPO(OnlineMethod[GRPOSettings]):
    """Group-relative policy optimization (GRPO): scores are compared within a prompt's samples.

    The policy answers each prompt several times; a judge scores the answers; the tokens of each are
    made likelier or less so by how many deviations its score lies above the group's mean, within
    bounds, and held to the reference by an estimate of the KL in the loss. It is what most people
    run on rewards that can be checked. Dividing by a group's deviation makes much of prompts whose
    samples hardly differ: `scale_rewards: none`. Source: arXiv 2402.03300.
    """

    settings_type = GRPOSettings

    def credit(self, found: Experience) -> dict[str, Tensor]:
        """Return how far each sample is above its group's mean, the same at all of its tokens."""
        from alignstudy.methods.online.advantages import grpo_advantages

        worth = grpo_advantages(found.scores, scale=self.settings.scale_rewards)
        return {"advantages": found.by_sample(worth)[:, None].expand_as(found.old)}

    @property
    def objective(self) -> Objective:
        """Minus the advantage, weighed by a token's clipped ratio, and the KL."""
        by_tokens = self.settings.loss_type in {"bnpo", "dapo"}
        return Objective(
            loss=self._loss,
            mean_over="targets" if by_tokens else "rows",
            needs_reference=self.reference != "none",
        )

    def figures(self, batch: SampleLogps, losses: Tensor) -> Figures:
        """Return how often a token's ratio of new and old probability leaves its bounds."""
        del losses
        low, high = self.settings.epsilon, self.settings.epsilon_high
        return tokens_outside(batch, low, low if high is None else high)

    def _loss(self, batch: SampleLogps) -> Tensor:
        from alignstudy.methods.online.surrogates import grpo_token_losses, sample_losses

        asked = self.settings
        by_token = grpo_token_losses(
            batch.log_probs,
            batch.old,
            batch.advantages[:, 0],
            batch.mask,
            epsilon=asked.epsilon,
            epsilon_high=asked.epsilon_high,
            level=asked.importance_sampling_level,
            beta=asked.beta,
            reference=batch.ref,
        )
        losses = sample_losses(
            by_token,
            batch.mask,
            loss_type=asked.loss_type,
            longest=asked.sampling.max_new_tokens,
        )
        by_targets = self.objective.mean_over == "targets"
        return batch.by_prompt(losses) / (1 if by_targets else batch.samples)
