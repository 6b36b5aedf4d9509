"""Token sequences drawn from a model's whole distribution: no temperature, no truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.decoding import prompt_seed
from alignstudy.generation.packed import pack
from alignstudy.generation.rules import Rules, Text
from alignstudy.models.rendering import Rendering
from alignstudy.models.tokenizers import padding_id
from alignstudy.progress import Progress
from alignstudy.records import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """Tokens after other tokens.

    Attributes:
        prompt: What the model reads first, at least one token.
        tokens: What follows, at least one token; its end-of-sequence token included.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


def ask(prompt: Prompt, rendering: Rendering, *, room: int, rng_seed: int) -> Text | None:
    """Tokenize a prompt, without its oldest turns where it is too long; None if it can't fit.

    Args:
        prompt: The prompt.
        rendering: The model's.
        room: Most tokens.
        rng_seed: Of the study's draws; each prompt has its own stream.
    """
    tokens, _ = rendering.fitting(prompt.text, room=room)
    if tokens is None:
        return None
    return Text(tokens=tokens, seed=prompt_seed(rng_seed, f"{prompt.axis}/{prompt.id}"))


def sample(
    model: PreTrainedModel,
    asks: Sequence[Text],
    rendering: Rendering,
    *,
    max_new_tokens: int,
    batch_size: int,
    progress: Progress,
) -> list[Continuation]:
    """Draw one continuation a prompt at temperature 1, until the end of the sequence or the cap.

    Args:
        model: In evaluation mode.
        asks: The prompts; each draws from its own seed, so batches change nothing.
        rendering: Names the tokens that end a sequence.
        max_new_tokens: The cap.
        batch_size: Most prompts at once.
        progress: Advanced with every continuation.

    Returns:
        Continuations in the prompts' order.
    """
    drawn: dict[int, Continuation] = {}
    rules = Rules(
        max_new_tokens=max_new_tokens,
        eos=rendering.ends,
        pad=padding_id(rendering.tokenizer),
        stops=None,
        choose=Choice,
        rewrite=True,
        rows=batch_size,
        most_tokens=32768,
        note=progress.note,
        products=pack(model),
    )
    for number, row in write_on(model, asks, rules):
        tokens = row.whole(rules.eos)
        drawn[number] = Continuation(prompt=asks[number].tokens, tokens=tokens)
        progress.advance(1)
    return [drawn[number] for number in range(len(asks))]
