"""Preference pairs as a judge reads them: (prompt, response), each pair of texts one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alignstudy.dialogue import drop_oldest_turns
from alignstudy.methods.batches.encode import Encoded, EncodedRows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_judgements(
    rows: Sequence[tuple[str, str, str, str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
) -> Encoded:
    """Encode (id, prompt, chosen, rejected) for a classifier that reads (prompt, response) pairs.

    A row that is too long loses the *beginning* of its prompt; one whose response leaves
    no room for a prompt is left out and counted.

    Raises:
        DataError: If no row is left.
    """
    gathered = EncodedRows(tuple(tokenizer.all_special_tokens))
    for row_id, prompt, chosen, rejected in rows:
        gathered.note_text(prompt + chosen + rejected)
        better = _judge_ids(tokenizer, prompt, chosen, max_length)
        worse = _judge_ids(tokenizer, prompt, rejected, max_length)
        if better is None or worse is None:
            gathered.counts["too_long"] += 1
            continue
        cut = better[1] or worse[1]
        gathered.add(row_id, truncated=cut, chosen_ids=better[0], rejected_ids=worse[0])
    return gathered.done(len(rows))


def _judge_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, max_length: int
) -> tuple[list[int], bool] | None:
    """Encode one (prompt, response) pair, and whether it was cut; None if no prompt fits.

    Too long a prompt loses its oldest turns, then its first tokens, as it does when judged.
    """
    rest: str | None = prompt
    while rest is not None:
        encoding = tokenizer(rest, response, verbose=False)
        ids: list[int] = encoding["input_ids"]
        if len(ids) <= max_length:
            return ids, rest is not prompt
        rest = drop_oldest_turns(rest)
    of_prompt = [at for at, part in enumerate(encoding.sequence_ids()) if part == 0]
    surplus = len(ids) - max_length
    if surplus >= len(of_prompt):
        return None
    start = of_prompt[0]
    return ids[:start] + ids[start + surplus :], True
