"""Kahneman-Tversky optimization and its relatives: each response alone is desirable, or is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.batches.mismatched import with_mismatched
from alignstudy.methods.batches.rated import encode_rated
from alignstudy.methods.losses import LOSSES, Loss
from alignstudy.methods.method import Figures, Objective
from alignstudy.methods.model_outputs import PairLogps, RatedLogps
from alignstudy.methods.preference import ComparesPairs, PreferenceSettings
from alignstudy.models.rendering import Rendering
from alignstudy.records import GuardOutcome
from alignstudy.records.rated import refuse_one_kind

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH_FOR_A_MEAN = 4
"""Rows of a micro-batch from which on KTO's reference point is worth its name (its authors')."""
LEAST_RATIO, LARGEST_RATIO = 1.0, 4 / 3
"""Between them the weight of all desirable responses to that of all others should lie
(arXiv 2402.01306, eq. 9)."""


class KTOSettings(PreferenceSettings):
    """How to optimize single responses against a reference (arXiv 2402.01306).

    Names as in TRL's KTOConfig, but for `method`, `rows`.
    """

    method: Literal["kto"] = Field(default="kto", description="Kahneman-Tversky optimization")
    rows: Literal["pairs", "rated"] = Field(
        default="pairs",
        description="pairs: both responses of each pair, on one prompt; rated: responses one by"
        " one, as rows of prompt, completion and label have them (a pair gives two): no prompt"
        " needs a good and a bad one",
    )
    loss_type: Literal["kto", "apo_zero_unpaired", "bco_unpaired"] = Field(
        default="kto", description="kto, or another loss of single responses"
    )
    desirable_weight: float = Field(default=1.0, gt=0, description="weight of chosen responses")
    undesirable_weight: float = Field(default=1.0, gt=0, description="weight of rejected responses")

    @property
    def loss(self) -> Loss:
        """The loss that is named."""
        return LOSSES[self.loss_type]

    @property
    def needs_mismatched(self) -> bool:
        """Whether the loss measures how far the policy went on responses to other prompts."""
        return self.loss_type == "kto"

    @model_validator(mode="after")
    def _micro_batches_have_rows(self) -> KTOSettings:
        alone = 1 in (self.per_device_train_batch_size, self.effective_batch_size)
        if self.needs_mismatched and alone:
            raise ValueError(
                "kto estimates the distance from the reference inside the micro-batch: give"
                " per_device_train_batch_size 4 or more"
            )
        return self

    @model_validator(mode="after")
    def _rated_rows_are_no_pairs(self) -> KTOSettings:
        """Refuse settings that mean something in pairs alone."""
        if self.rows == "rated" and self.ld_alpha is not None:
            raise ValueError("ld_alpha is ignored with rows: rated: there is no shorter response")
        if self.rows == "rated" and self.prefix_sharing == "off":
            raise ValueError("prefix_sharing is ignored with rows: rated: no prompt is shared")
        return self


class KTO(ComparesPairs[KTOSettings]):
    """Kahneman-Tversky optimization: each response gains or loses against the mean shift."""

    settings_type = KTOSettings

    def __init__(self, settings: KTOSettings) -> None:
        super().__init__(settings)
        self.rows = settings.rows
        texts = ("response",) if settings.rows == "rated" else ("chosen", "rejected")
        self.measured = ("mismatched",) if settings.needs_mismatched else ()
        self.branches = (*texts, *self.measured)

    def encode(self, rows: Sequence[Any], rendering: Rendering) -> Encoded:
        """Encode pairs or rated responses; for KTO, to each prompt a response to another.

        Raises:
            GuardError: If a prompt can't be what generation will ask.
            DataError: If no row is left, or there is no other prompt.
        """
        asked = self.settings
        keep_end = asked.truncation == "keep_end"
        if asked.rows == "pairs":
            encoded = super().encode(rows, rendering)
        else:
            encoded = encode_rated(
                rows,
                rendering,
                max_length=asked.max_length,
                max_prompt_length=asked.max_prompt_length,
                keep_end=keep_end,
                published=asked.encoding == "published",
            )
        if not asked.needs_mismatched:
            return encoded
        return with_mismatched(encoded, max_length=asked.max_length, keep_end=keep_end)

    @property
    def shares_prompts(self) -> bool:
        """As the study says, where a row has two responses."""
        return self.settings.rows == "pairs" and super().shares_prompts

    @property
    def objective(self) -> Objective:
        """The loss of each response, weighted by its kind; of a pair, the mean of both.

        KTO's reference point is estimated in each micro-batch, whose rows stay together.
        """
        return Objective(
            loss=self._loss,
            couples_rows=bool(self.settings.loss.couples_rows),
            needs_reference=True,
            state=self.state,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Which settings are far from all that is known to be good."""
        loss, asked = self.settings.loss, self.settings
        return tuple(f"{asked.loss_type}: {text}" for text in loss.far_off(asked.model_dump()))

    def _loss(self, batch: PairLogps | RatedLogps) -> Tensor:
        asked = self.settings
        if isinstance(batch, PairLogps):
            return self._loss(batch.one_by_one()).view(2, -1).mean(0)
        losses = asked.loss.of(batch, {"beta": asked.beta}, self.state.at_hand())
        good = batch.desirable.to(losses.dtype)
        return losses * (asked.desirable_weight * good + asked.undesirable_weight * (1 - good))

    def figures(self, batch: PairLogps | RatedLogps, losses: Tensor) -> Figures:
        """Return the pairs' figures or those of each kind, the shift, and whether it was none."""
        found: Figures = {}
        if isinstance(batch, PairLogps):
            found, batch = super().figures(batch, losses), batch.one_by_one()
        else:
            for kind, of in (("chosen", batch.desirable), ("rejected", ~batch.desirable)):
                rewards = self.settings.beta * batch.ratio.detach()
                found[f"logps/{kind}"] = (batch.response.detach()[of].sum(), of.sum())
                found[f"rewards/{kind}"] = (rewards[of].sum(), of.sum())
        if batch.shift is not None:
            found["kl"] = (batch.shift.clamp(min=0), 1)
            found["kl/clamped"] = (batch.shift <= 0, 1)
        return found

    def notes_on(self, steps: Sequence[Mapping[str, float]]) -> tuple[str, ...]:
        """Say in how many micro-batches the reference point was none."""
        # In the first update policy and reference are one: what differs is rounding.
        shares = [step["kl/clamped"] for step in steps[1:] if "kl/clamped" in step]
        share = sum(shares) / max(1, len(shares))
        if not share:
            return ()
        said = f"after the first update KTO's reference point was 0 in {100 * share:.0f} %"
        return (
            f"{said} of the micro-batches: the mean log-ratio on responses to other prompts was"
            " not above it",
        )

    def guards(self, counts: Mapping[str, int]) -> tuple[GuardOutcome, ...]:
        """Say whether both kinds weigh alike, and whether micro-batches are large enough.

        Raises:
            DataError: If all rated responses that are used are of one kind.
        """
        return tuple(self._balance(counts))

    def _balance(self, counts: Mapping[str, int]) -> Iterator[GuardOutcome]:
        asked = self.settings
        good, bad = (counts.get(kind, counts["used"]) for kind in ("desirable", "undesirable"))
        refuse_one_kind(good, bad)
        ratio = good * asked.desirable_weight / (bad * asked.undesirable_weight)
        yield GuardOutcome(
            guard="both_kinds_weigh_alike",
            passed=LEAST_RATIO - 1e-9 <= ratio <= LARGEST_RATIO + 1e-9,
            detail=f"{good} desirable responses of weight {asked.desirable_weight:g} against {bad}"
            f" undesirable ones of weight {asked.undesirable_weight:g}: {ratio:.3g} to 1; 1 to 1.33"
            " is advised (desirable_weight, undesirable_weight)",
        )
        rows = asked.per_device_train_batch_size
        rows = asked.effective_batch_size if rows == "auto" else rows
        if asked.needs_mismatched:
            yield GuardOutcome(
                guard="micro_batches_hold_a_mean",
                passed=rows >= ENOUGH_FOR_A_MEAN,
                detail=f"KTO's reference point is a mean over {rows} rows of a micro-batch;"
                f" {ENOUGH_FOR_A_MEAN} or more are advised (per_device_train_batch_size)",
            )
