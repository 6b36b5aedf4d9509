"""Responses rated one by one as rows of token ids, and which response is whose mismatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from alignstudy.errors import DataError
from alignstudy.methods.batches.demands import check_cue
from alignstudy.methods.batches.encode import Encoded, EncodedRows, cut_to
from alignstudy.models.rendering import Rendering
from alignstudy.records import Rated


def encode_rated(
    rows: Sequence[Rated],
    rendering: Rendering,
    *,
    max_length: int,
    max_prompt_length: int | None = None,
    keep_end: bool = False,
    published: bool = False,
) -> Encoded:
    """Encode prompt and response of each row; arguments as of `encode_preferences`.

    Counted beside the others: "desirable" and "undesirable" responses among those used.

    Raises:
        GuardError: If a prompt doesn't end in the cue after which the model will have to write.
        DataError: If no row is left.
    """
    gathered, good = EncodedRows(tuple(rendering.tokenizer.all_special_tokens)), []
    prompts, responses = [row.prompt for row in rows], [[row.response] for row in rows]
    if not published:
        check_cue(rows)
    joined = (rendering.apart if published else rendering.joined)(prompts, responses)
    for row, (prompt, (response,), apart) in zip(rows, joined, strict=True):
        gathered.note_text(row.prompt + row.response)
        asked = prompt[-max_prompt_length:] if max_prompt_length else prompt
        if not keep_end and len(asked) >= max_length:
            gathered.counts["too_long"] += 1
            continue
        gathered.counts["merged_at_border"] += apart
        cut = len(asked) < len(prompt) or len(prompt) + len(response) > max_length
        asked, response = cut_to(max_length, asked, response, keep_end=keep_end)
        gathered.add(row.id, truncated=cut, prompt_ids=asked, response_ids=response)
        good.append(row.desirable)
    encoded = gathered.done(len(rows))
    sides = {"desirable": sum(good), "undesirable": len(good) - sum(good)}
    return replace(encoded, desirable=tuple(good), counts={**encoded.counts, **sides})


def with_mismatched_responses(encoded: Encoded, *, max_length: int) -> Encoded:
    """Add to each prompt a response to another, as `mismatched_ids`.

    It is taken from the rows before, around the first one's beginning. Of rows side by side that
    share a prompt, as both responses of a pair do, the first takes the nearest response to another
    prompt, the second the one before that, and so on: good and bad ones come in turn. Which they
    are depends on the rows alone, so that a reference's values can be kept.

    Raises:
        DataError: If all rows have one prompt.
    """
    prompts, responses = encoded.columns["prompt_ids"], encoded.columns["response_ids"]
    if all(prompt == prompts[0] for prompt in prompts):
        raise DataError(
            "all rows have the same prompt: there is no response to another one",
            hint="train on rows with different prompts, or set loss_type: apo_zero_unpaired",
        )
    mismatched, alike = [], 0
    for number, prompt in enumerate(prompts):
        alike = alike + 1 if number and prompt == prompts[number - 1] else 0
        other = number - 1 - 2 * alike
        while prompts[other % len(prompts)] == prompt:
            other -= 1
        mismatched.append(responses[other % len(prompts)][: max_length - len(prompt)])
    return replace(encoded, columns={**encoded.columns, "mismatched_ids": mismatched})
