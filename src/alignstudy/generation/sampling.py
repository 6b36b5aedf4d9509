"""Token sequences drawn from a model's whole distribution: no temperature, no truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignstudy import dialogue
from alignstudy.errors import GuardError
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import Rules, Text, write_on
from alignstudy.generation.decoding import prompt_seed
from alignstudy.generation.packed import pack
from alignstudy.models.batching import length_batches, run_halving
from alignstudy.models.tokenizers import well_formed
from alignstudy.progress import Progress
from alignstudy.records import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """Tokens after other tokens.

    Attributes:
        prompt: What the model reads first, at least one token.
        tokens: What follows, at least one token; its end-of-sequence token included.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A prompt to sample after.

    Attributes:
        tokens: The prompt as the model reads it.
        seed: Of this prompt's draws.
    """

    tokens: tuple[int, ...]
    seed: int


def ask(
    prompt: Prompt, tokenizer: PreTrainedTokenizerBase, *, room: int, rng_seed: int
) -> Ask | None:
    """Tokenize a prompt, without its oldest turns where it is too long; None if it can't fit.

    Args:
        prompt: The prompt.
        tokenizer: The model's.
        room: Most tokens.
        rng_seed: Of the study's draws; each prompt has its own stream.
    """
    text: str | None = prompt.text
    while text is not None:
        tokens = tuple(tokenizer(well_formed(text), verbose=False)["input_ids"])
        if len(tokens) <= room:
            return Ask(tokens=tokens, seed=prompt_seed(rng_seed, f"{prompt.axis}/{prompt.id}"))
        rest = dialogue.drop_oldest_turns(text)
        text = rest if rest is None or text.startswith("\n") else rest.lstrip("\n")
    return None


def sample(
    model: PreTrainedModel,
    asks: Sequence[Ask],
    *,
    max_new_tokens: int,
    eos: int,
    pad: int,
    batch_size: int,
    progress: Progress,
) -> list[Continuation]:
    """Draw one continuation a prompt at temperature 1, until the end of the sequence or the cap.

    Args:
        model: In evaluation mode.
        asks: The prompts; each draws from its own seed, so batches change nothing.
        max_new_tokens: The cap.
        eos: The token that ends a sequence.
        pad: The token that fills a batch up.
        batch_size: Most prompts at once.
        progress: Told after every batch.

    Returns:
        Continuations in the prompts' order.
    """
    batches = length_batches(
        [len(item.tokens) + max_new_tokens for item in asks],
        batch_size=batch_size,
        max_batch_tokens=32768,
    )
    drawn: dict[int, Continuation] = {}
    rules = Rules(
        max_new_tokens=max_new_tokens,
        eos=frozenset({eos}),
        pad=pad,
        stops=None,
        choose=Choice,
        rewrite=True,
        products=pack(model),
    )

    def draw(numbers: Sequence[int]) -> list[Continuation]:
        batch = [asks[number] for number in numbers]
        return _draw(model, batch, rules)

    for numbers in batches:
        found = run_halving(numbers, draw, note=progress.note)
        drawn |= dict(zip(numbers, found, strict=True))
        progress.advance(len(numbers))
    return [drawn[number] for number in range(len(asks))]


def _draw(model: PreTrainedModel, batch: Sequence[Ask], rules: Rules) -> list[Continuation]:
    """Draw one batch."""
    texts = [Text(tokens=item.tokens, seed=item.seed) for item in batch]
    return [
        Continuation(prompt=item.tokens, tokens=_until_end(row.tokens, rules.eos))
        for item, row in zip(batch, write_on(model, texts, rules), strict=True)
    ]


def _until_end(row: Sequence[int], eos: frozenset[int]) -> tuple[int, ...]:
    """Cut after the first end-of-sequence token."""
    ends = (place + 1 for place, token in enumerate(row) if token in eos)
    return tuple(row[: next(ends, len(row))])


def special_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Return the ids that end a sequence and fill a batch up.

    Raises:
        GuardError: If the tokenizer has none.
    """
    for name in ("eos_token", "pad_token"):
        if getattr(tokenizer, f"{name}_id") is None:
            raise GuardError(
                f"the tokenizer has no {name}",
                why="samples end at the one and are filled up with the other",
                hint=f"name its {name} in special_tokens_map.json",
            )
    return int(tokenizer.eos_token_id), int(tokenizer.pad_token_id)
