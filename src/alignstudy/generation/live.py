"""Samples of a policy that is being trained: it is asked where it lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.decoding import StopStrings, cut, decode, ending
from alignstudy.generation.hf import rows_at_once
from alignstudy.generation.packed import pack
from alignstudy.generation.rules import Rules, Text, Written
from alignstudy.generation.settings import GenerationSettings
from alignstudy.models.rendering import Rendering, load_rendering
from alignstudy.models.tokenizers import padding_id
from alignstudy.records import StopReason

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class LiveSample:
    """What a policy wrote.

    Attributes:
        tokens: With the end, where it ended.
        text: As the rigorous protocol cuts it.
        ended: Whether it ended; else it was cut at the most tokens.
    """

    tokens: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True, kw_only=True)
class LiveSampler:
    """Draws one sample after each prompt.

    Attributes:
        rendering: Of the model that the policy began as.
        settings: How to sample.
        note: Told where memory runs out.
    """

    rendering: Rendering
    settings: GenerationSettings
    note: Callable[[str], None]

    def __call__(
        self, policy: PreTrainedModel, asked: Sequence[tuple[Sequence[int], int]]
    ) -> list[LiveSample]:
        """Sample after prompts: tokens, and the seed of each sample's own stream of draws.

        Args:
            policy: In evaluation mode, without a wrapper; it is left as it was.
            asked: The prompts.
        """
        texts = [Text(tokens=tuple(tokens), seed=seed) for tokens, seed in asked]
        rules = self._rules(policy, len(texts))
        found = {number: self._cut(row, rules) for number, row in write_on(policy, texts, rules)}
        return [found[number] for number in range(len(texts))]

    def _rules(self, policy: PreTrainedModel, number: int) -> Rules:
        """Return how to write so many texts; weights are packed anew, since they have changed."""
        tokenizer, drawn = self.rendering.tokenizer, self.settings
        strings = self.rendering.template.stop_strings
        rows, most_tokens = rows_at_once(policy.device.type, number, drawn)
        return Rules(
            max_new_tokens=drawn.max_new_tokens,
            eos=self.rendering.ends,
            pad=padding_id(tokenizer),
            stops=StopStrings(tokenizer, strings) if strings else None,
            choose=partial(Choice, temperature=drawn.temperature, top_p=drawn.top_p),
            rewrite=policy.dtype.itemsize == 4,  # what is rounded more is never the same alone
            rows=rows,
            most_tokens=most_tokens,
            note=self.note,
            products=pack(policy),
        )

    def _cut(self, row: Written, rules: Rules) -> LiveSample:
        template = self.rendering.template
        end = ending(row.tokens, eos=rules.eos, stopped_at=row.stopped_at)
        text = cut(decode(self.rendering.tokenizer, end.tokens), stop_strings=template.stop_strings)
        return LiveSample(
            tokens=row.whole(rules.eos),
            text=template.cut(text).strip(),
            ended=end.reason != StopReason.CAP,
        )


def live_sampler(
    folder: Path, template: str, settings: GenerationSettings, *, note: Callable[[str], None]
) -> LiveSampler:
    """Return what samples from a policy that began as the model in a folder; see `template_of`."""
    return LiveSampler(rendering=load_rendering(folder, template), settings=settings, note=note)
