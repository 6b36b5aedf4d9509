"""What methods share that learn from scores of the policy's own samples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

from alignstudy.methods.batches.demands import check_cue
from alignstudy.methods.batches.encode import Encoded, EncodedRows
from alignstudy.methods.method import Figures, Method
from alignstudy.methods.model_outputs import Experience, SampleLogps
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

if TYPE_CHECKING:
    from torch import Tensor

CHOSEN = "chosen_ids"
"""Column of the rows' own responses, where they are learnt beside samples."""

Online = TypeVar("Online", bound=OnlineSettings)


class OnlineMethod(Method[Online]):
    """A row is a prompt with its samples, which lie on it like the two responses of a pair.

    Before a rollout the row's chosen response stands for all of them: what is measured of the model
    before the first step, and counted before the run, is measured and counted of that.
    """

    rows = "demonstrations"
    samples = True

    def __init__(self, settings: Online) -> None:
        super().__init__(settings)
        self.branches = tuple(f"sample_{at + 1}" for at in range(settings.num_generations))

    def encode(self, rows: Sequence[Pair], rendering: Rendering) -> Encoded:
        """Encode prompts that leave room for a sample."""
        check_cue(rows)
        most, new = self.settings.max_length, self.settings.sampling.max_new_tokens
        gathered = EncodedRows(tuple(rendering.tokenizer.all_special_tokens))
        joined = rendering.joined([row.prompt for row in rows], [[row.chosen] for row in rows])
        for row, (prompt, (response,), _) in zip(rows, joined, strict=True):
            gathered.note_text(row.prompt)
            if len(prompt) + new > most:
                gathered.counts["too_long"] += 1
                continue
            columns = dict.fromkeys((f"{name}_ids" for name in self.branches), response[:new])
            if self.imitates:
                columns[CHOSEN] = response[: most - len(prompt)]
            gathered.add(row.id, truncated=False, prompt_ids=prompt, **columns)
        return gathered.done(len(rows))

    @property
    def imitates(self) -> float:
        """Weight of the rows' chosen responses beside the samples; 0: they aren't learnt."""
        return 0.0

    @property
    def reference(self) -> Literal["none", "parent", "start"]:
        """As the study says, where the KL counts or is watched."""
        asked = self.settings
        return "none" if asked.beta == 0 and asked.max_kl is None else asked.reference

    @property
    def shares_prompts(self) -> bool:
        """As the study says."""
        return self.settings.prefix_sharing == "auto"

    @property
    def notes(self) -> tuple[str, ...]:
        """Say where samples aren't drawn from the policy that learns."""
        drawn = self.settings.sampling
        if drawn.temperature == 1 and drawn.top_p == 1:
            return ()
        return (
            f"samples are drawn at temperature {drawn.temperature:g} and top_p {drawn.top_p:g}, and"
            " learnt from as if the policy itself had drawn them",
        )

    def rescaled(self, scores: Tensor) -> Tensor:
        """Return a rollout's (P, k) scores as they are learnt: as the judge gave them."""
        return scores

    @abstractmethod
    def credit(self, found: Experience) -> dict[str, Tensor]:
        """Return what a rollout's samples are worth, token by token.

        Returns:
            (k P, T) each: "advantages", and what else the objective asks for.
        """


def tokens_outside(batch: SampleLogps, low: float, high: float) -> Figures:
    """Return how often a token's ratio of new and old probability leaves 1 - low to 1 + high."""
    ratio = (batch.log_probs.detach() - batch.old).exp()
    outside = ((ratio < 1 - low) | (ratio > 1 + high)) & batch.mask
    return {"clip_ratio": (outside.sum(), int(batch.mask.sum()))}
