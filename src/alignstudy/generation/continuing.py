"""Texts in, their continuations out: many rows at once, token for token as if each were alone.

Weights come from memory once a step, whatever the number of rows; a row that has ended gives its
place to a waiting text. In float32, where rounding alone could have chosen another token, the row
is written again, alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import groupby
from math import inf
from typing import TYPE_CHECKING

from alignstudy.generation.padded import generate
from alignstudy.generation.rules import Rules, Text, Written
from alignstudy.generation.ways import ALONE, Way, beside_up_to, forget_lengths, way_of
from alignstudy.models.batching import length_batches, run_halving

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
    most = beside_up_to(model) - rules.max_new_tokens
    order = sorted(range(len(texts)), key=lambda number: (-len(texts[number].tokens), number))
    beside = [number for number in order if len(texts[number].tokens) <= most]
    way = way_of(model, [texts[n] for n in beside], rules) if len(beside) > 1 else ALONE
    if way.kind == "alone":
        beside = []
    alone = order[: len(order) - len(beside)]  # the longest
    for place, written in _together(model, [texts[n] for n in beside], rules, way):
        if written is None:
            alone.append(beside[place])
        else:
            yield beside[place], written
    for number in alone:
        if most < inf:
            forget_lengths(model)
        write = partial(generate, model, rules=rules, choice=rules.choose([texts[number].seed]))
        yield number, run_halving([texts[number]], write, note=rules.note)[0]
    if alone and most < inf:
        forget_lengths(model)


def _together(
    model: PreTrainedModel, texts: Sequence[Text], rules: Rules, way: Way
) -> Iterator[tuple[int, Written | None]]:
    """Yield texts' places and continuations; None where another token was as near.

    Args:
        model: In evaluation mode.
        texts: The longest first.
        rules: How to write.
        way: Which the model bears.
    """
    if not texts:
        return
    if way.kind == "side by side" and len(texts[0].tokens) > 1:
        from alignstudy.generation.slots import Slots

        yield from Slots(model, texts, rules, moved=way.moved).run()
        return
    lengths = [len(text.tokens) for text in texts]
    groups = [list(range(len(texts)))]
    if way.kind == "of one length":
        groups = [list(group) for _, group in groupby(groups[0], key=lengths.__getitem__)]
    write = partial(_batch, model, rules=rules, moved=way.moved)
    for group in groups:
        plan = length_batches(
            [lengths[place] + rules.max_new_tokens for place in group],
            batch_size=rules.rows,
            max_batch_tokens=rules.most_tokens,
        )
        for numbers in plan:
            places = [group[number] for number in numbers]
            rows = run_halving([texts[place] for place in places], write, note=rules.note)
            yield from zip(places, rows, strict=True)


def _batch(
    model: PreTrainedModel, texts: Sequence[Text], *, rules: Rules, moved: float
) -> list[Written | None]:
    """Write one batch; None where another token was as near."""
    choice = rules.choose([text.seed for text in texts])
    choice.bear(moved)
    with rules.products.used() if rules.products else nullcontext():
        rows = generate(model, texts, rules, choice)
    never = rules.max_new_tokens
    near = [choice.near.get(row, never) < len(w.whole(rules.eos)) for row, w in enumerate(rows)]
    return [None if rules.rewrite and n else row for n, row in zip(near, rows, strict=True)]
