"""What methods share that train a language model on chosen against rejected responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import Field

from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.batches.encode import Encoded, encode_preferences
from alignstudy.methods.losses.state import LossState
from alignstudy.methods.method import Figures, Method
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor


class PairSettings(TrainingSettings):
    """Settings of every method that reads pairs on their prompt.

    Names as in TRL's DPOConfig, but for `dropout`, `encoding`, `max_prompt_length`, `truncation`,
    `prefix_sharing`, `probe_pairs`.
    """

    learning_rate: float = Field(default=5e-6, gt=0, le=1, description="peak learning rate")
    dropout: Literal["off", "keep"] = Field(
        default="off",
        description="off: every dropout of the model is 0, so that policy and reference are"
        " compared without noise; keep: its configuration's (the published study)",
    )
    encoding: Literal["joined", "published"] = Field(
        default="joined",
        description="joined: responses follow the very tokens that generation asks; published: as"
        " TRL 0.16 had it, prompt and responses tokenized apart, nothing at the beginning, no row"
        " left out",
    )
    max_prompt_length: int | None = Field(
        default=None, ge=1, description="tokens of a prompt, its end kept; null: as max_length says"
    )
    truncation: Literal["keep_start", "keep_end"] = Field(
        default="keep_start",
        description="what too long a text keeps of itself; keep_end: its end, as TRL 0.16",
    )
    prefix_sharing: Literal["auto", "off"] = Field(
        default="auto",
        description="auto: a prompt is computed once for all of its responses, unless the model's"
        " own dropout is on; off: once for each",
    )
    probe_pairs: int = Field(
        default=32,
        ge=0,
        description="training pairs, and as many held-out ones, whose likelihood is measured"
        " before, while and after training (probe.jsonl); 0: none",
    )


class PenalizedSettings(PairSettings):
    """Settings of every method that compares a pair with a reference, or may.

    Names as in TRL's DPOConfig.
    """

    beta: float = Field(
        default=0.1, gt=0, description="strength of the KL penalty to the reference"
    )
    ld_alpha: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="LD-DPO: weight of tokens beyond the shorter response (arXiv 2409.06411)",
    )


class PreferenceSettings(PenalizedSettings):
    """The same, of those that train once, against a reference of the study's choice."""

    reference: Literal["parent", "start"] = Field(
        default="parent",
        description="whose log-probabilities the policy's are compared with: the model that this"
        " training starts from, or the one that the recipe starts from",
    )


Read = TypeVar("Read", bound=PairSettings)
Asked = TypeVar("Asked", bound=PreferenceSettings)


class ReadsPairs(Method[Read]):
    """Encodes pairs on one prompt, and logs what their log-probabilities come to."""

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode prompt and responses; all continue the same prompt tokens."""
        return self.encode_pairs(rows, rendering, gold="gold" in self.branches)

    def encode_pairs(
        self, rows: Sequence[Pair], rendering: Rendering, *, gold: bool = False
    ) -> Encoded:
        """Encode the two responses that are compared, whatever else the method reads.

        Args:
            rows: Pairs.
            rendering: The model's.
            gold: Whether the third response is wanted, too.

        Raises:
            GuardError: If a prompt can't be what generation will ask.
            DataError: If a row lacks a response, or no row is left.
        """
        asked = self.settings
        return encode_preferences(
            rows,
            rendering,
            max_length=asked.max_length,
            max_prompt_length=asked.max_prompt_length,
            keep_end=asked.truncation == "keep_end",
            published=asked.encoding == "published",
            gold=gold,
        )

    @property
    def shares_prompts(self) -> bool:
        """As the study says."""
        return self.settings.prefix_sharing == "auto"

    def figures(self, batch: PairLogps, losses: Tensor) -> Figures:
        """Return log-probabilities, and how often chosen tokens are the likeliest."""
        pairs = len(losses)
        return {
            "logps/chosen": (batch.chosen.detach().sum(), pairs),
            "logps/rejected": (batch.rejected.detach().sum(), pairs),
            "mean_token_accuracy": (batch.chosen_hits.sum(), batch.chosen_tokens.sum()),
        }


class ComparesPairs(ReadsPairs[Asked]):
    """Compares pairs with a reference, where the loss needs one.

    Attributes:
        state: What the loss remembers between micro-batches.
    """

    def __init__(self, settings: Asked) -> None:
        super().__init__(settings)
        self.state = LossState()

    @property
    def reference(self) -> Literal["none", "parent", "start"]:
        """As the study says, where the loss needs one."""
        return self.settings.reference if self.objective.needs_reference else "none"

    def figures(self, batch: PairLogps, losses: Tensor) -> Figures:
        """Return log-probabilities, and implicit rewards where there is a reference."""
        found, pairs = super().figures(batch, losses), len(losses)
        measured = {
            "pair_weight": batch.likelihoods,
            "kl/chosen": batch.chosen_kl,
            "kl/rejected": batch.rejected_kl,
        }
        found |= {n: (v.detach().sum(), pairs) for n, v in measured.items() if v is not None}
        if batch.ref_chosen is None:
            return found
        chosen, rejected = (self.settings.beta * ratio.detach() for ratio in (batch.a, batch.b))
        return found | {
            "rewards/chosen": (chosen.sum(), pairs),
            "rewards/rejected": (rejected.sum(), pairs),
            "rewards/margins": ((chosen - rejected).sum(), pairs),
            "rewards/accuracies": ((chosen > rejected).sum(), pairs),
        }
