"""Rows of text to rows of token ids: what exactly the model reads, and what the loss sees.

Done here, not in the trainer, so that nothing is cut or dropped without being counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, count
from operator import ne
from typing import TYPE_CHECKING, Any

from alignstudy.dialogue import CUE
from alignstudy.errors import DataError, GuardError
from alignstudy.records import Pair

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

    def rows(self, numbers: Sequence[int]) -> Encoded:
        """Return some of the rows; what was counted was counted of all."""
        return Encoded(
            columns={name: [all_[n] for n in numbers] for name, all_ in self.columns.items()},
            row_ids=tuple(self.row_ids[n] for n in numbers),
            truncated=tuple(self.truncated[n] for n in numbers),
            counts=self.counts,
        )


@dataclass
class EncodedRows:
    """Encoded rows while they are gathered."""

    special_tokens: tuple[str, ...]
    columns: dict[str, list[list[int]]] = field(default_factory=dict)
    row_ids: list[str] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, row_id: str, *, truncated: bool, **values: list[int]) -> None:
        """Take a row in, its token ids by column."""
        for name, ids in values.items():
            self.columns.setdefault(name, []).append(ids)
        self.row_ids.append(row_id)
        self.truncated.append(truncated)
        self.counts["truncated"] += truncated

    def note_text(self, text: str) -> None:
        """Count a text that spells out a special token: it would be read as one."""
        self.counts["special_token_in_text"] += any(token in text for token in self.special_tokens)

    def done(self, num_rows: int) -> Encoded:
        """Return what was gathered.

        Raises:
            DataError: If that is no row.
        """
        if not self.row_ids:
            raise DataError(
                "no row is left",
                why=f"of {num_rows} rows, {self.counts['too_long']} have a prompt (for a reward"
                " model: a response) that alone fills max_length",
                hint="raise max_length, or use shorter dialogues",
            )
        names = ("truncated", "too_long", "merged_at_border", "special_token_in_text")
        counts = {name: self.counts[name] for name in names}
        return Encoded(
            columns=self.columns,
            row_ids=tuple(self.row_ids),
            truncated=tuple(self.truncated),
            counts={"rows": num_rows, "used": len(self.row_ids), **counts},
        )


def encode_texts(
    texts: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Encode whole (id, text), end-of-sequence token appended, every token a target.

    Raises:
        DataError: If there is no row.
    """
    gathered = EncodedRows(tuple(tokenizer.all_special_tokens))
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
    gathered = EncodedRows(tuple(tokenizer.all_special_tokens))
    responses = [[row.chosen for row in rows]]
    for row, border, (ids,) in _bordered(rows, responses, tokenizer, max_length, gathered):
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
    gathered = EncodedRows(tuple(tokenizer.all_special_tokens))
    responses = [[row.chosen for row in rows], [rejected_of(row) for row in rows]]
    for row, border, texts in _bordered(rows, responses, tokenizer, max_length, gathered):
        chosen, rejected = texts
        gathered.add(
            row.id,
            truncated=max(len(chosen), len(rejected)) > max_length,
            prompt_ids=chosen[:border],
            chosen_ids=chosen[border:max_length],
            rejected_ids=rejected[border:max_length],
        )
    return gathered.done(len(rows))


def with_mismatched(encoded: Encoded, *, max_length: int) -> Encoded:
    """Add to each prompt the response to another, as `mismatched_ids`.

    It is the response of the row before: of rows with an even number the chosen one, else the
    rejected one. Which they are depends on the rows alone, so that a reference's values can be
    kept.

    Raises:
        DataError: If there is one row only.
    """
    prompts, responses = encoded.columns["prompt_ids"], []
    if len(prompts) < 2:
        raise DataError("one row has no other row's response", hint="train on 2 rows or more")
    for number, prompt in enumerate(prompts):
        other = encoded.columns["rejected_ids" if number % 2 else "chosen_ids"][number - 1]
        responses.append(other[: max_length - len(prompt)])
    return replace(encoded, columns={**encoded.columns, "mismatched_ids": responses})


def preference_ids(
    rows: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield the ids of prompt, chosen and rejected that `encode_preferences` trains on."""
    columns = encode_preferences(rows, tokenizer, max_length=max_length).columns
    return zip(*(columns[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")), strict=True)


def _bordered(
    rows: Sequence[Pair],
    responses: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    gathered: EncodedRows,
) -> Iterator[tuple[Pair, int, list[list[int]]]]:
    """Yield rows with their prompt's tokens and their whole texts; count those left out."""
    check_cue(rows)
    end = _eos(tokenizer)
    prompts = [row.prompt for row in rows]
    encoded = [_token_ids(prompts, tokenizer)]
    for answers in responses:
        texts = [prompt + text + end for prompt, text in zip(prompts, answers, strict=True)]
        encoded.append(_token_ids(texts, tokenizer))
    for row, answers, (prompt, *whole) in zip(
        rows, zip(*responses, strict=True), zip(*encoded, strict=True), strict=True
    ):
        # The first place at which a text leaves its prompt's tokens.
        border = min(
            next(compress(count(), map(ne, prompt, ids)), min(len(prompt), len(ids)))
            for ids in whole
        )
        gathered.note_text(row.prompt + "".join(answers))
        if border >= max_length:
            gathered.counts["too_long"] += 1
            continue
        gathered.counts["merged_at_border"] += border < len(prompt)
        yield row, border, whole


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
            f"{len(without)} of {len(rows)} prompts don't end in {CUE!r}",
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


def _token_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    if not texts:
        return []
    encoded: Any = tokenizer(list(texts), verbose=False)["input_ids"]  # lengths are ours to judge
    return [list(ids) for ids in encoded]
