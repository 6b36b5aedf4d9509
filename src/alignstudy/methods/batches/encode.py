"""Rows of text to rows of token ids: what exactly the model reads, and what the loss sees.

Done here, not in the trainer, so that nothing is cut or dropped without being counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alignstudy.dialogue import CUE, drop_oldest_turns
from alignstudy.errors import DataError, GuardError
from alignstudy.records import Document, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that is not a target of the loss."""


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows as the trainer takes them.

    Attributes:
        columns: Equally long lists of token ids (and labels), by column name.
        row_ids: The ids of the rows that are in `columns`, in the same order.
        truncated: Whether a row's end was cut off.
        counts: Rows given ("rows"), in `columns` ("used"), cut ("truncated"), left out because the
            prompt alone fills `max_length` ("too_long"), used with a token that reaches across the
            border of prompt and response ("merged_at_border"), and with a special token spelled
            out in the text ("special_token_in_text").
    """

    columns: dict[str, list[list[int]]]
    row_ids: tuple[str, ...]
    truncated: tuple[bool, ...]
    counts: dict[str, int]


@dataclass
class _Rows:
    """Encoded rows while they are gathered."""

    special_tokens: tuple[str, ...]
    columns: dict[str, list[list[int]]] = field(default_factory=dict)
    row_ids: list[str] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row_id: str, *, truncated: bool, **values: list[int]) -> None:
        for name, ids in values.items():
            self.columns.setdefault(name, []).append(ids)
        self.row_ids.append(row_id)
        self.truncated.append(truncated)
        self.counts["truncated"] += truncated

    def note_text(self, text: str) -> None:
        """Count a text that spells out a special token: it would be read as one."""
        self.counts["special_token_in_text"] += any(token in text for token in self.special_tokens)

    def done(self, num_rows: int) -> Encoded:
        if not self.row_ids:
            raise DataError(
                "no row is left to train on",
                why=f"of {num_rows} rows, {self.counts['too_long']} have a prompt (for a reward"
                " model: a response) that alone fills max_length",
                hint="raise max_length, or train on shorter dialogues",
            )
        names = ("truncated", "too_long", "merged_at_border", "special_token_in_text")
        counts = {name: self.counts[name] for name in names}
        return Encoded(
            columns=self.columns,
            row_ids=tuple(self.row_ids),
            truncated=tuple(self.truncated),
            counts={"rows": num_rows, "used": len(self.row_ids), **counts},
        )


def encode_documents(
    rows: Sequence[Document], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Encode whole texts, end-of-sequence token appended, every token a target.

    Raises:
        DataError: If there is no row.
    """
    return _encode_texts([(row.id, row.text) for row in rows], tokenizer, max_length=max_length)


def encode_dialogues(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Encode prompt and chosen response as one text, every token a target (loss_on: dialogue).

    Raises:
        DataError: If there is no row.
    """
    texts = [(row.id, row.prompt + row.chosen) for row in rows]
    return _encode_texts(texts, tokenizer, max_length=max_length)


def _encode_texts(
    texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    gathered = _Rows(tuple(tokenizer.all_special_tokens))
    encoded = _token_ids([text + _eos(tokenizer) for _, text in texts], tokenizer)
    for (row_id, text), ids in zip(texts, encoded, strict=True):
        gathered.note_text(text)
        kept = ids[:max_length]
        gathered.add(row_id, truncated=len(ids) > max_length, input_ids=kept, labels=kept)
    return gathered.done(len(texts))


def encode_responses(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Encode prompt and chosen response, only the response's tokens targets (loss_on: response).

    Raises:
        GuardError: If a prompt doesn't end in the cue after which the model will have to write.
        DataError: If no row is left.
    """
    check_cue(rows)
    gathered = _Rows(tuple(tokenizer.all_special_tokens))
    prompts, full = _prompts_and_texts(rows, tokenizer, [row.chosen for row in rows])
    for row, prompt, ids in zip(rows, prompts, full, strict=True):
        border = _common_prefix(prompt, ids)
        gathered.note_text(row.prompt + row.chosen)
        if border >= max_length:
            gathered.counts["too_long"] += 1
            continue
        gathered.counts["merged_at_border"] += border < len(prompt)
        labels = [IGNORED] * border + ids[border:]
        gathered.add(
            row.id,
            truncated=len(ids) > max_length,
            input_ids=ids[:max_length],
            labels=labels[:max_length],
        )
    return gathered.done(len(rows))


def encode_preferences(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Encode prompt, chosen and rejected for DPO; both responses continue the same prompt tokens.

    Raises:
        GuardError: If a prompt doesn't end in the cue after which the model will have to write.
        DataError: If a pair has no rejected response, or no row is left.
    """
    check_cue(rows)
    gathered = _Rows(tuple(tokenizer.all_special_tokens))
    rejected_texts = [rejected_of(row) for row in rows]
    prompts, chosens = _prompts_and_texts(rows, tokenizer, [row.chosen for row in rows])
    rejecteds = _whole_texts(rows, tokenizer, rejected_texts)
    for row, prompt, chosen, rejected in zip(rows, prompts, chosens, rejecteds, strict=True):
        border = min(_common_prefix(prompt, chosen), _common_prefix(prompt, rejected))
        gathered.note_text(f"{row.prompt}{row.chosen}{row.rejected}")
        if border >= max_length:
            gathered.counts["too_long"] += 1
            continue
        gathered.counts["merged_at_border"] += border < len(prompt)
        gathered.add(
            row.id,
            truncated=max(len(chosen), len(rejected)) > max_length,
            prompt_ids=prompt[:border],
            chosen_ids=chosen[border:max_length],
            rejected_ids=rejected[border:max_length],
        )
    return gathered.done(len(rows))


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
    gathered = _Rows(tuple(tokenizer.all_special_tokens))
    for row_id, prompt, chosen, rejected in rows:
        gathered.note_text(prompt + chosen + rejected)
        pair = [_judge_ids(tokenizer, prompt, text, max_length) for text in (chosen, rejected)]
        if any(ids is None for ids, _ in pair):
            gathered.counts["too_long"] += 1
            continue
        (chosen_ids, chosen_cut), (rejected_ids, rejected_cut) = pair
        gathered.add(
            row_id,
            truncated=chosen_cut or rejected_cut,
            chosen_ids=chosen_ids or [],
            rejected_ids=rejected_ids or [],
        )
    return gathered.done(len(rows))


def _judge_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, max_length: int
) -> tuple[list[int] | None, bool]:
    """Encode one (prompt, response) pair; None if the response leaves no room for a prompt.

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
        return None, True
    start = of_prompt[0]
    return ids[:start] + ids[start + surplus :], True


def rejected_of(row: Pair) -> str:
    """Return a pair's rejected response.

    Raises:
        DataError: If it has none.
    """
    if row.rejected is None:
        raise DataError(
            f"row {row.id} has no rejected response",
            hint="preference methods need pairs; use `sft` for demonstrations",
        )
    return row.rejected


def check_cue(rows: Sequence[Pair]) -> None:
    """Refuse prompts that don't end in the cue that generation uses.

    Raises:
        GuardError: Naming the rows.
    """
    without = [row.id for row in rows if not row.prompt.endswith(CUE)]
    if without:
        raise GuardError(
            f"{len(without)} of {len(rows)} training prompts don't end in {CUE!r}",
            why=f"at generation the model is asked after that cue; rows {', '.join(without[:3])}",
            hint="split the dialogues at the last cue; the data readers of alignstudy do",
        )


def _eos(tokenizer: PreTrainedTokenizerBase) -> str:
    if tokenizer.eos_token is None:
        raise GuardError(
            "the tokenizer has no end-of-sequence token",
            why="a model that never sees one doesn't learn to stop",
            hint="set eos_token in the model folder's tokenizer_config.json",
        )
    return str(tokenizer.eos_token)


def _prompts_and_texts(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """Encode prompts alone, and prompts with responses and the end-of-sequence token."""
    prompts = _token_ids([row.prompt for row in rows], tokenizer)
    return prompts, _whole_texts(rows, tokenizer, responses)


def _whole_texts(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, responses: Sequence[str]
) -> list[list[int]]:
    """Encode prompts with responses and the end-of-sequence token."""
    end = _eos(tokenizer)
    return _token_ids(
        [row.prompt + text + end for row, text in zip(rows, responses, strict=True)], tokenizer
    )


def _token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    encoded: Any = tokenizer(list(texts), verbose=False)["input_ids"]  # lengths are ours to judge
    return [list(ids) for ids in encoded]


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the leading ids that two rows share."""
    for position, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return position
    return min(len(first), len(second))
