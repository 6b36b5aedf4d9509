"""REINFORCE with the other samples as the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import Experience, SampleLogps
from alignstudy.methods.online.method import OnlineMethod
from alignstudy.methods.online.settings import GroupSettings

if TYPE_CHECKING:
    from torch import Tensor


class RLOOSettings(GroupSettings):
    """How to learn from samples' scores against those of their siblings (arXiv 2402.14740).

    Names as in TRL's RLOOConfig, but for `method`.
    """

    method: Literal["rloo"] = Field(default="rloo", description="REINFORCE leave-one-out")
    normalize_advantages: bool = Field(
        default=False, description="whether a rollout's advantages get mean 0 and deviation 1"
    )


class RLOO(OnlineMethod[RLOOSettings]):
    """REINFORCE leave-one-out (RLOO): samples that a judge scores above their siblings are raised.

    The policy answers each prompt several times; a judge scores the answers; each is made likelier
    or less so by how far its score, less beta times its log-ratio to the reference, is above the
    mean of the others'. No critic is trained. Its authors find that it does as well as PPO on human
    preferences with less to tune. What the judge rewards by mistake is learnt too: have another one
    report. Source: arXiv 2402.14740.
    """

    settings_type = RLOOSettings

    def credit(self, found: Experience) -> dict[str, Tensor]:
        """Return how far each sample is above its siblings, the same at all of its tokens."""
        from alignstudy.methods.online.advantages import penalised, rloo_advantages

        scores, asked = found.scores, self.settings
        if found.ref is not None and asked.beta:
            taken = penalised(found.by_sample(scores), found.old, found.ref, found.mask, asked.beta)
            scores = found.by_prompt(taken)
        worth = rloo_advantages(scores, normalize=asked.normalize_advantages)
        return {"advantages": found.by_sample(worth)[:, None].expand_as(found.old)}

    @property
    def objective(self) -> Objective:
        """Minus the advantage, weighed by a sample's clipped ratio."""
        return Objective(loss=self._loss, needs_reference=self.reference != "none")

    def figures(self, batch: SampleLogps, losses: Tensor) -> Figures:
        """Return how often a whole sample's ratio of new and old probability leaves its bounds."""
        del losses
        ratio = ((batch.log_probs.detach() - batch.old) * batch.mask).sum(1).exp()
        outside = (ratio - 1).abs() > self.settings.epsilon
        return {"clip_ratio": (outside.sum(), len(ratio))}

    def _loss(self, batch: SampleLogps) -> Tensor:
        from alignstudy.methods.online.surrogates import rloo_losses

        losses = rloo_losses(
            batch.log_probs,
            batch.old,
            batch.advantages[:, 0],
            batch.mask,
            epsilon=self.settings.epsilon,
        )
        return batch.by_prompt(losses) / batch.samples
