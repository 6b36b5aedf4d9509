"""Proximal policy optimization with a critic, and the switches of PPO-max."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from alignstudy.methods.losses.state import LossState
from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import Experience, SampleLogps
from alignstudy.methods.online.method import OnlineMethod, tokens_outside
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class CriticSettings(Settings):
    """What foretells a sample's reward, token by token."""

    init: Literal["policy", "judge"] = Field(
        default="policy",
        description="what it starts as. policy: the model that training starts from, with a head"
        " of zeros; judge: the classifier that rewards, head included, which must read from left"
        " to right with the policy's vocabulary (as PPO-max's authors have it)",
    )
    learning_rate: float = Field(default=1.5e-6, gt=0, le=1, description="its peak learning rate")


class PPOSettings(OnlineSettings):
    """How to optimize a policy near the one that sampled, with a critic. Experimental.

    Names as in TRL's former PPOConfig, but for `method`, `num_generations`, `beta`, `critic`,
    `reward_scaling`, `reward_normalization`, `reward_clip`, `whiten_advantages`, `advantage_clip`,
    `ptx_coef`: the switches of PPO-max (arXiv 2307.04964). The defaults of `learning_rate`, `beta`,
    `gamma`, `lam`, all clipping and all switches are those of its released launchers. These sample
    at temperature 0.8 and top_p 0.9 and punish repetition, which policy gradients would take for
    the policy's own choice; here it samples as it is.
    """

    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"beta": (0.01, 0.05, 0.1)}

    method: Literal["ppo"] = Field(default="ppo", description="proximal policy optimization")
    learning_rate: float = Field(default=5e-7, gt=0, le=1, description="peak learning rate")
    num_generations: int = Field(default=1, ge=1, description="samples after each prompt")
    beta: float = Field(
        default=0.01, ge=0, description="what a nat of log-ratio to the reference costs a token"
    )
    gamma: float = Field(
        default=1.0, gt=0, le=1, description="what a reward one token later counts"
    )
    lam: float = Field(
        default=0.95,
        ge=0,
        le=1,
        description="how far an advantage looks past the critic: 0 one token, 1 to the end",
    )
    cliprange: float | None = Field(
        default=0.2,
        gt=0,
        description="how far a ratio of new and old probability may count; null: any",
    )
    cliprange_value: float | None = Field(
        default=0.2,
        gt=0,
        description="how far the critic's value may move from the old one, in points of reward;"
        " null: any",
    )
    reward_scaling: bool = Field(
        default=True, description="divide scores by the standard deviation of all scores so far"
    )
    reward_normalization: bool = Field(default=False, description="and subtract their mean before")
    reward_clip: float | None = Field(
        default=None, gt=0, description="the largest score, up or down, after that; null: any"
    )
    whiten_advantages: bool = Field(
        default=False, description="give an update's advantages mean 0 and variance 1"
    )
    advantage_clip: float | None = Field(
        default=None, gt=0, description="the largest advantage, up or down; null: any"
    )
    ptx_coef: float = Field(
        default=0.0,
        ge=0,
        description="weight of the rows' chosen responses' negative log-likelihood, a mean over an"
        " update's tokens, beside the policy's loss (PPO-ptx, arXiv 2203.02155, eq. 2); 0: none",
    )
    critic: CriticSettings = Field(
        default=CriticSettings(), description="what foretells a sample's reward, token by token"
    )

    @model_validator(mode="after")
    def _normalizing_is_scaling(self) -> Self:
        if self.reward_normalization and not self.reward_scaling:
            raise ValueError("reward_normalization is a part of reward_scaling, which is off")
        return self

    @model_validator(mode="after")
    def _no_float16(self) -> Self:
        if self.precision == "fp16":
            raise ValueError(
                "precision fp16: the critic's loss isn't scaled against underflow; use bf16 or fp32"
            )
        return self


class PPO(OnlineMethod[PPOSettings]):
    """Proximal policy optimization (PPO), experimental: a critic says what was to be expected.

    Each token of the policy's own answers is made likelier or less so by how much better it went on
    than a second model foretold, the critic, which learns that alongside: rewards are a judge's
    score at the end, and at every token a price for leaving the reference. The switches of PPO-max
    keep it stable: scores in running deviations, clipping of policy, value, score and advantage, a
    mix with demonstrations (`ptx_coef`). Takes twice the memory of RLOO, and more tuning.
    Source: arXiv 1707.06347, arXiv 2307.04964.
    """

    settings_type = PPOSettings

    def __init__(self, settings: PPOSettings) -> None:
        super().__init__(settings)
        self._state = LossState()

    @property
    def imitates(self) -> float:
        """As the study says."""
        return self.settings.ptx_coef

    @property
    def objective(self) -> Objective:
        """The clipped policy loss, a mean over an update's tokens; the critic has its own."""
        return Objective(
            loss=self._losses,
            mean_over="targets",
            needs_reference=self.reference != "none",
            state=self._state,
        )

    def _losses(self, said: SampleLogps) -> Tensor:
        from alignstudy.methods.online.surrogates import policy_losses

        losses = policy_losses(
            said.log_probs,
            said.old,
            said.advantages,
            said.mask,
            cliprange=self.settings.cliprange,
        )
        return said.by_prompt(losses.sum(1))

    def credit(self, found: Experience) -> dict[str, Tensor]:
        """Return advantages, and what the critic learns from: see `Critic.differentiate`."""
        from alignstudy.methods.online.advantages import gae, token_rewards

        asked, values, old = self.settings, found.values, found.old
        assert values is not None
        scores = found.by_sample(found.scores)
        learns = found.mask & ~scores.isnan()[:, None]
        reference = old if found.ref is None else found.ref
        rewards = token_rewards(old, reference, learns, scores, asked.beta)
        advantages, returns = gae(rewards, values, learns, gamma=asked.gamma, lam=asked.lam)
        if asked.whiten_advantages:
            advantages = self._whitened(advantages, learns)
        if asked.advantage_clip is not None:
            advantages = advantages.clamp(-asked.advantage_clip, asked.advantage_clip)
        critics = {"returns": returns, "old_values": values, "learns": learns.to(values.dtype)}
        return {"advantages": advantages} | critics

    def rescaled(self, scores: Tensor) -> Tensor:
        """Return a rollout's scores in running deviations, clipped, as the study says."""
        from alignstudy.methods.online.moments import RunningMoments, rescaled

        asked, moments = self.settings, RunningMoments()
        if asked.reward_scaling:
            moments = RunningMoments(**self._state.values)
            moments.update(scores)
            self._state.values = asdict(moments)
        return rescaled(scores, moments, centre=asked.reward_normalization, clip=asked.reward_clip)

    def _whitened(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """Whiten the advantages of each update's prompts by themselves, as PPO-max does."""
        import torch

        from alignstudy.methods.online.advantages import whiten

        each, at_once = self.settings.num_generations, self.settings.effective_batch_size
        by_prompt = (rows.view(each, -1, rows.shape[1]) for rows in (advantages, mask))
        updates = zip(*(torch.split(rows, at_once, dim=1) for rows in by_prompt), strict=True)
        return torch.cat([whiten(*update) for update in updates], dim=1).view(advantages.shape)

    @property
    def notes(self) -> tuple[str, ...]:
        """Say that it is experimental."""
        return (
            *super().notes,
            "ppo is experimental: no other program's run was reproduced with it",
        )

    def notes_on(self, steps: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        """Say how much of what samples earned the critic foretold in the end."""
        last = steps[-max(1, len(steps) // 4) :]
        share = median(step["critic/explained"] for step in last)
        return (
            f"in the last quarter of the updates the critic foretold {max(0.0, share):.0%} of the"
            " returns' variance (their median)",
        )

    def figures(self, batch: SampleLogps, losses: Tensor) -> Figures:
        """Return how often the ratio of new and old probabilities leaves its bounds, if any."""
        del losses
        bound = self.settings.cliprange
        return {} if bound is None else tokens_outside(batch, bound, bound)
