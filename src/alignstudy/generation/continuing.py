"""Texts in, their continuations out: many rows at once, token for token as if each were alone.

Weights come from memory once a step, whatever the number of rows; a row that has ended gives its
place to a waiting text. In float32, where rounding alone could have chosen another token, the row
is written again, alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from alignstudy.generation.choosing import Choice
from alignstudy.generation.decoding import StopAtStrings
from alignstudy.generation.rules import Rules, Text, Written
from alignstudy.models.batching import halved, length_batches, release_memory, run_halving

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def write_on(
    model: PreTrainedModel, texts: Sequence[Text], rules: Rules
) -> Iterator[tuple[int, Written]]:
    """Yield every text's number and its continuation, once it is written.

    Args:
        model: In evaluation mode.
        texts: In any order; the longest are begun first, so that a lack of memory shows at once.
        rules: How to write. Where memory runs out, fewer rows go at once.

    Raises:
        EnvironmentFault: If even one row doesn't fit into memory.
    """
    left = sorted(range(len(texts)), key=lambda number: (-len(texts[number].tokens), number))
    alone: list[int] = []
    while len(left) > 1:
        rows = min(len(left), rules.rows_of(len(texts[left[0]].tokens)))
        try:
            for number, written in _together(model, texts, [*left], rules):
                left.remove(number)
                if written is None:
                    alone.append(number)
                else:
                    yield number, written
        except (RuntimeError, MemoryError) as error:
            rules = replace(rules, rows=halved(rows, error, note=rules.note))
            release_memory()
    for number in [*left, *alone]:
        choice = rules.choose([texts[number].seed])
        write = partial(_generate, model, rules=rules, choice=choice)
        yield number, run_halving([texts[number]], write, note=rules.note)[0]


def _together(
    model: PreTrainedModel, texts: Sequence[Text], numbers: Sequence[int], rules: Rules
) -> Iterator[tuple[int, Written | None]]:
    """Yield texts' numbers and continuations; None where another token was as near.

    Args:
        model: In evaluation mode.
        texts: All.
        numbers: Of those to be written on, the longest first.
        rules: How to write.
    """
    from alignstudy.generation.slots import Slots

    ordered = [texts[number] for number in numbers]
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    if takes_positions and len(ordered[0].tokens) > 1:
        slots = Slots(model, ordered, rules)
        if slots.begin():
            yield from ((numbers[place], written) for place, written in slots.run())
            return
    plan = length_batches(
        [len(text.tokens) + rules.max_new_tokens for text in ordered],
        batch_size=rules.rows,
        max_batch_tokens=rules.most_tokens,
    )
    for places in plan:
        batch = [ordered[place] for place in places]
        choice = rules.choose([text.seed for text in batch])
        with rules.products.used() if rules.products else nullcontext():
            rows = _generate(model, batch, rules, choice)
        for row, (place, written) in enumerate(zip(places, rows, strict=True)):
            near = choice.near.get(row, rules.max_new_tokens) < len(written.whole(rules.eos))
            yield numbers[place], None if rules.rewrite and near else written


def _generate(
    model: PreTrainedModel, texts: Sequence[Text], rules: Rules, choice: Choice
) -> list[Written]:
    """Write one batch until all rows have ended; nothing comes from the checkpoint's own file."""
    import torch
    from transformers import GenerationConfig

    start = max(len(text.tokens) for text in texts)
    padding = [start - len(text.tokens) for text in texts]
    ids = [[rules.pad] * n + list(text.tokens) for n, text in zip(padding, texts, strict=True)]
    mask = [[0] * n + [1] * (start - n) for n in padding]
    stops = None if rules.stops is None else StopAtStrings(rules.stops, start)
    # `generate` fills what is left open from the model's: leave it nothing to fill in.
    kept, model.generation_config = model.generation_config, GenerationConfig()
    config = GenerationConfig(
        max_new_tokens=rules.max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(rules.eos),
        pad_token_id=rules.pad,
        use_cache=True,
        return_dict_in_generate=False,
    )
    try:
        with torch.inference_mode():
            tokens: Any = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
                stopping_criteria=[] if stops is None else [stops],
                logits_processor=[choice],
            )
    finally:
        model.generation_config = kept
    return [
        Written(tokens=tuple(row), stopped_at=stops.ended_at.get(place) if stops else None)
        for place, row in enumerate(tokens[:, start:].tolist())
    ]
