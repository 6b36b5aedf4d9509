"""Preference pairs as a judge reads them: prompt and response as its own encoder writes them."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.dialogue import drop_oldest_turns
from alignstudy.errors import DataError
from alignstudy.methods.batches.encode import Encoded, EncodedRows
from alignstudy.models.encoders.encoding import (
    PROMPT_TRIMMED,
    RESPONSE_TRIMMED,
    SPECIAL_TOKEN_TEXT,
    Encoder,
)
from alignstudy.models.encoders.encoding import Encoded as Shown


def encode_judgements(
    rows: Sequence[tuple[str, str, str, str]], encoder: Encoder, *, on_one_prompt: bool = False
) -> Encoded:
    """Encode (id, prompt, chosen, rejected) by what will show a judge its texts.

    A row that is too long loses the *beginning* of its prompt; one whose response leaves no room
    for a prompt is left out and counted, and so is one whose two texts are the same tokens.

    Args:
        rows: The pairs.
        encoder: The judge's.
        on_one_prompt: Whether both texts must begin with the same prompt: both then lose whole
            turns until both fit, a row is left out where its last turn doesn't, and all tokens
            before the first that differs are the prompt's. Else each text keeps as much of it as it
            has room for, and is a text as a whole.

    Raises:
        DataError: If a row can't be written down for a judge, or no row is left.
    """
    gathered = EncodedRows(())
    for row_id, prompt, chosen, rejected in rows:
        found, cut = _on_prompt(encoder, prompt, (chosen, rejected), alike=on_one_prompt)
        flags = {flag for each in found for flag in each.flags}
        fault = next((each.fault for each in found if each.fault), "")
        if fault:
            raise DataError(
                f"row {row_id} can't be shown to a judge",
                why=fault,
                hint="leave that row out, or let the judge read `input: pair`",
            )
        if not found or RESPONSE_TRIMMED in flags:
            gathered.counts["too_long"] += 1
            continue
        better, worse = (each.inputs["input_ids"] for each in found)
        if better == worse:
            gathered.counts["same_when_cut"] += 1
            continue
        gathered.counts["special_token_in_text"] += SPECIAL_TOKEN_TEXT in flags
        shared = _alike(better, worse) if on_one_prompt else 0
        prompts = {"prompt_ids": better[:shared]} if on_one_prompt else {}
        texts = {"chosen_ids": better[shared:], "rejected_ids": worse[shared:]}
        gathered.add(row_id, truncated=PROMPT_TRIMMED in flags or cut, **prompts, **texts)
    return gathered.done(len(rows))


def _on_prompt(
    encoder: Encoder, prompt: str, responses: Sequence[str], *, alike: bool
) -> tuple[list[Shown], bool]:
    """Encode responses after a prompt, [] where they must have it alike and can't.

    Also returns whether the prompt was cut for that.
    """
    rest: str | None = prompt
    while rest is not None:
        found = [encoder.encode(rest, response) for response in responses]
        if not alike or not any(PROMPT_TRIMMED in each.flags for each in found):
            return found, rest is not prompt
        rest = drop_oldest_turns(rest)
    return [], True


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the tokens that two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
