"""Triple preference optimization: pairs are compared while a third, gold response is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from alignstudy.errors import GuardError
from alignstudy.methods.losses import LOSSES, LossState
from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.preference import PairSettings, ReadsPairs
from alignstudy.methods.rounds.round import MakesRows, Round, SamplingSettings
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from torch import Tensor


class SampledGold(SamplingSettings):
    """A gold response that is the sample which a judge likes best."""

    best_of: int = Field(default=4, ge=2, description="responses to each prompt that are scored")
    by: str | None = Field(
        default=None,
        description="the judge that chooses; null: the first that isn't the report's own",
    )


class TPOSettings(MakesRows, PairSettings):
    """How to learn a gold response while preferring chosen to rejected (arXiv 2405.16681).

    Names as in TRL's TPOConfig, but for `method`, `gold`.
    """

    method: Literal["tpo"] = Field(default="tpo", description="triple preference optimization")
    loss_type: Literal["tpo", "tpo_l"] = Field(
        default="tpo",
        description="tpo: on whole responses (TRL's sigmoid); tpo_l: on means a token, with a"
        " target margin (TRL's tpo-l)",
    )
    beta: float = Field(
        default=0.01, gt=0, description="how strongly a difference of log-probabilities counts"
    )
    tpo_alpha: float = Field(
        default=1.0, ge=0, description="weight of the gold response's likelihood; 0: none is read"
    )
    tpo_l_gamma: float = Field(default=1.6, ge=0, description="tpo_l's target margin, times beta")
    gold: Literal["data", "chosen"] | SampledGold = Field(
        default="data",
        description="what is learnt: data: the rows' third response, their column `reference`;"
        " chosen: the chosen response, which makes TPO CPO; {best_of: N}: the best of so many"
        " samples",
    )

    @property
    def reads_gold(self) -> bool:
        """Whether rows must have a third response."""
        return self.gold == "data" and self.tpo_alpha > 0

    @property
    def rounds(self) -> tuple[Round, ...]:
        """One, on the rows as they are, or with gold responses that are sampled for it."""
        if isinstance(self.gold, str):
            return (Round(training=self),)
        drawn = SamplingSettings(**self.gold.model_dump(include=set(SamplingSettings.model_fields)))
        return (
            Round(
                training=self.model_copy(update={"gold": "data"}),
                rule="gold_of_n",
                sampling=drawn,
                samples=self.gold.best_of,
                ranked_by=self.gold.by or "",
            ),
        )

    @model_validator(mode="before")
    @classmethod
    def _a_loss_has_defaults_of_its_own(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        named = given.get("loss_type", "tpo")
        own = LOSSES[named].defaults if named in ("tpo", "tpo_l") else {}
        return {**own, **given}

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> TPOSettings:
        usual = type(self).model_fields["tpo_l_gamma"].default
        if self.loss_type != "tpo_l" and self.tpo_l_gamma != usual:
            raise ValueError(f"tpo_l_gamma is ignored by {self.loss_type}; it is tpo_l's")
        if self.tpo_alpha == 0 and self.gold != "data":
            raise ValueError("gold is ignored with tpo_alpha 0: no response is learnt")
        return self


class TPO(ReadsPairs[TPOSettings]):
    """Triple preference optimization: CPO or SimPO that learns a third response, better than both.

    No reference is computed.
    """

    settings_type = TPOSettings

    def __init__(self, settings: TPOSettings) -> None:
        super().__init__(settings)
        if settings.reads_gold:
            self.branches = ("chosen", "rejected", "gold")

    @property
    def objective(self) -> Objective:
        """The loss that the study names."""
        return Objective(loss=self._loss)

    def _loss(self, batch: PairLogps) -> Tensor:
        if not self.settings.reads_gold:  # chosen stands for it, or its weight is 0
            batch = replace(batch, gold_nll=batch.chosen_nll, gold_tokens=batch.chosen_tokens)
        return LOSSES[self.settings.loss_type].of(batch, self.settings.model_dump(), LossState())

    @property
    def notes(self) -> tuple[str, ...]:
        """Which settings are far from all that is known to be good, and what stands for gold."""
        asked = self.settings
        loss = LOSSES[asked.loss_type]
        found = [f"{asked.loss_type}: {text}" for text in loss.far_off(asked.model_dump())]
        if asked.gold == "chosen":
            like = "CPO" if asked.loss_type == "tpo" else "SimPO"
            found.append(
                f"gold: chosen: the chosen response is learnt in the place of a third one, so this"
                f" is {like} with cpo_alpha {asked.tpo_alpha:g}"
            )
        return tuple(found)

    def figures(self, batch: PairLogps, losses: Tensor) -> Figures:
        """Return the pairs' figures, and gold's negative log-likelihood a token."""
        found = super().figures(batch, losses)
        if batch.gold_nll is None or batch.gold_tokens is None:
            return found
        return found | {"nll/gold": (batch.gold_nll.detach().sum(), batch.gold_tokens.sum())}

    def guards(self, counts: Mapping[str, int]) -> tuple[GuardOutcome, ...]:
        """Return how many gold responses are the chosen or the rejected ones.

        Raises:
            GuardError: If more than half are chosen ones: what trains would be CPO under another
                name; or rejected ones: they would be learnt.
        """
        if not self.settings.reads_gold:
            return ()
        same, used = counts["gold_is_chosen"], counts["used"]
        worse = counts["gold_is_rejected"]
        seen = f"in {same} of {used} rows gold has the tokens of chosen, in {worse} of rejected"
        if 2 * worse > used:
            raise GuardError(
                "gold responses are the rejected ones, and would be learnt",
                why=f"{seen} (once cut to max_length {self.settings.max_length})",
                hint="name the column that holds the best response: data: {columns:"
                " {reference: NAME-IN-THE-FILE}}",
            )
        if 2 * same > used:
            raise GuardError(
                "gold responses are the chosen ones, and TPO is then CPO",
                why=f"{seen} (once cut to max_length {self.settings.max_length})",
                hint="say gold: chosen if that is meant, or name the column that holds a third"
                " response: data: {columns: {reference: NAME-IN-THE-FILE}}",
            )
        return (GuardOutcome(guard="gold_differs", passed=True, detail=seen),)
