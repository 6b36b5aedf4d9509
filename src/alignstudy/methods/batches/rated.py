"""Responses rated one by one as rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    return replace(encoded, said={"desirable": tuple(good)}, counts={**encoded.counts, **sides})
