"""A response to another prompt beside each row's own: what KTO's reference point is measured on."""

from __future__ import annotations

from dataclasses import replace

from alignstudy.errors import DataError
from alignstudy.methods.batches.encode import Encoded, cut_to


def with_mismatched(encoded: Encoded, *, max_length: int, keep_end: bool = False) -> Encoded:
    """Add to each prompt a response to another, as `mismatched_ids`.

    It is taken from the rows before, around the first one's beginning; of pairs by turns the chosen
    and the rejected one. Of rows side by side that share a prompt, as both responses of a pair do,
    the first takes the nearest response to another prompt, the second the one before that, and so
    on. Which they are depends on the rows alone, so that a reference's values can be kept.

    Args:
        encoded: Pairs, or rated responses.
        max_length: Most tokens of prompt and response.
        keep_end: Whether a text that is too long loses its beginning; else its end. A prompt that
            is cut for this text alone stands in `mismatched_prompt_ids`.

    Raises:
        DataError: If all rows have one prompt.
    """
    columns, prompts = encoded.columns, encoded.columns["prompt_ids"]
    names = ("response_ids",) if "response_ids" in columns else ("chosen_ids", "rejected_ids")
    if all(prompt == prompts[0] for prompt in prompts):
        raise DataError(
            "all rows have the same prompt: there is no response to another one",
            hint="train on rows with different prompts, or set loss_type: apo_zero_unpaired",
        )
    texts, alike = [], 0
    for number, prompt in enumerate(prompts):
        alike = alike + 1 if number and prompt == prompts[number - 1] else 0
        other = number - 1 - (2 * alike if len(names) == 1 else alike)
        while prompts[other % len(prompts)] == prompt:
            other -= 1
        response = columns[names[number % len(names)]][other % len(prompts)]
        texts.append(cut_to(max_length, prompt, response, keep_end=keep_end))
    added = {"mismatched_ids": [response for _, response in texts]}
    if any(asked != prompt for (asked, _), prompt in zip(texts, prompts, strict=True)):
        added["mismatched_prompt_ids"] = [asked for asked, _ in texts]
    return replace(encoded, columns={**columns, **added})
