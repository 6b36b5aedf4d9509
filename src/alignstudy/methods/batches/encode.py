"""Rows of text to rows of token ids: what exactly the model reads, and what the loss sees.

Done here, not in the trainer, so that nothing is cut or dropped without being counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from alignstudy.dialogue import without_system
from alignstudy.errors import DataError
from alignstudy.methods.batches.demands import check_cue, responses_of
from alignstudy.models.rendering import Rendering
from alignstudy.records import Pair

BRANCHES = ("chosen", "rejected", "gold")
"""The responses to a prompt, in the order of a row's columns."""

IGNORED = -100
"""The label of a token that is not a target of the loss."""

_COMPARED = ("chosen", "rejected")


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Rows as the trainer takes them.

    Attributes:
        columns: Equally long lists of token ids (and labels), by column name.
        row_ids: The ids of the rows that are in `columns`, in the same order.
        truncated: Whether a row's end was cut off.
        counts: Rows given ("rows"), in `columns` ("used"), cut ("truncated"), left out because the
            prompt alone fills `max_length` ("too_long") or because chosen and rejected are the
            same tokens once cut ("same_when_cut"), used with prompt and response tokenized apart
            ("merged_at_border"), and with a special token spelled out in the text
            ("special_token_in_text"); where a third response is read, whose tokens are the chosen
            or the rejected one's once cut ("gold_is_chosen", "gold_is_rejected").
        said: What rows say beside their texts, a number each, by column: "desirable", whether the
            one response was found good; "chosen_win", "rejected_win", how often a response wins.
    """

    columns: dict[str, list[list[int]]]
    row_ids: tuple[str, ...]
    truncated: tuple[bool, ...]
    counts: dict[str, int]
    said: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row, all its texts together."""
        columns = [values for name, values in self.columns.items() if name != "labels"]
        return [sum(map(len, row)) for row in zip(*columns, strict=True)]

    def rows(self, numbers: Sequence[int]) -> Encoded:
        """Return some of the rows; what was counted was counted of all."""
        return Encoded(
            columns={name: [all_[n] for n in numbers] for name, all_ in self.columns.items()},
            row_ids=tuple(self.row_ids[n] for n in numbers),
            truncated=tuple(self.truncated[n] for n in numbers),
            counts=self.counts,
            said={name: tuple(all_[n] for n in numbers) for name, all_ in self.said.items()},
        )


@dataclass
class EncodedRows:
    """Encoded rows while they are gathered."""

    special_tokens: tuple[str, ...]
    columns: dict[str, list[list[int]]] = field(default_factory=dict)
    row_ids: list[str] = field(default_factory=list)
    truncated: list[bool] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    said: dict[str, list[float]] = field(default_factory=dict)

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
                " model: a response) that alone fills max_length, and in"
                f" {self.counts['same_when_cut']} chosen and rejected are the same tokens once cut",
                hint="raise max_length, or use shorter dialogues",
            )
        names = ("truncated", "too_long", "same_when_cut", "merged_at_border")
        counts = {name: self.counts[name] for name in (*names, "special_token_in_text")}
        if "gold_ids" in self.columns:
            counts |= {f"gold_is_{each}": self.counts[f"gold_is_{each}"] for each in _COMPARED}
        return Encoded(
            columns=self.columns,
            row_ids=tuple(self.row_ids),
            truncated=tuple(self.truncated),
            counts={"rows": num_rows, "used": len(self.row_ids), **counts},
            said={name: tuple(values) for name, values in self.said.items()},
        )


def encode_texts(
    texts: Sequence[tuple[str, str]], rendering: Rendering, *, max_length: int
) -> Encoded:
    """Encode whole (id, text), end-of-sequence token appended, every token a target.

    Raises:
        DataError: If there is no row.
    """
    gathered = EncodedRows(tuple(rendering.tokenizer.all_special_tokens))
    encoded = rendering.text_ids([text for _, text in texts])
    for (row_id, text), ids in zip(texts, encoded, strict=True):
        gathered.note_text(text)
        kept = ids[:max_length]
        gathered.add(row_id, truncated=len(ids) > max_length, input_ids=kept, labels=kept)
    return gathered.done(len(texts))


def encode_dialogues(
    rows: Sequence[Pair], rendering: Rendering, *, max_length: int, loss_on: str
) -> Encoded:
    """Encode prompt and chosen response.

    Args:
        rows: Pairs, or demonstrations.
        rendering: The model's.
        max_length: Most tokens a row; the end is truncated.
        loss_on: "response": its tokens alone are targets, and a row is left out where the prompt
            fills `max_length`; "dialogue": every token is one.

    Raises:
        GuardError: If a prompt doesn't end in the cue after which the model will have to write.
        DataError: If no row is left.
    """
    if loss_on == "dialogue" and rendering.template.kind == "hh":  # a text, and learnt as one
        texts = [(row.id, without_system(row.prompt) + row.chosen) for row in rows]
        return encode_texts(texts, rendering, max_length=max_length)
    check_cue(rows)
    gathered = EncodedRows(tuple(rendering.tokenizer.all_special_tokens))
    joined = rendering.joined([row.prompt for row in rows], [[row.chosen] for row in rows])
    for row, (prompt, (response,), apart) in zip(rows, joined, strict=True):
        gathered.note_text(row.prompt + row.chosen)
        if loss_on == "response" and len(prompt) >= max_length:
            gathered.counts["too_long"] += 1
            continue
        gathered.counts["merged_at_border"] += apart
        ids = prompt + response
        labels = [IGNORED] * len(prompt) + response if loss_on == "response" else ids
        gathered.add(
            row.id,
            truncated=len(ids) > max_length,
            input_ids=ids[:max_length],
            labels=labels[:max_length],
        )
    return gathered.done(len(rows))


def encode_preferences(
    rows: Sequence[Pair],
    rendering: Rendering,
    *,
    max_length: int,
    max_prompt_length: int | None = None,
    keep_end: bool = False,
    published: bool = False,
    gold: bool = False,
) -> Encoded:
    """Encode prompt, chosen, rejected and perhaps gold; all continue the same prompt tokens.

    Args:
        rows: Pairs.
        rendering: The model's.
        max_length: Most tokens of prompt and response.
        max_prompt_length: Most tokens of a prompt, whose beginning is cut.
        keep_end: Whether a text that is too long loses its beginning; else its end, and a row is
            left out whose prompt leaves no room. A prompt that is cut for one response alone
            stands in `<branch>_prompt_ids`.
        published: Whether prompt and responses are tokenized apart, without a beginning, and rows
            stay whose responses are the same once cut.
        gold: Whether the rows' gold responses are encoded too.

    Raises:
        GuardError: If a prompt doesn't end in the cue after which the model will have to write.
        DataError: If a row lacks a response that is to be encoded, or no row is left.
    """
    gathered = EncodedRows(tuple(rendering.tokenizer.all_special_tokens))
    names, responses = BRANCHES[: 2 + gold], responses_of(rows, gold=gold)
    if not published:
        check_cue(rows)
    join = rendering.apart if published else rendering.joined
    joined = join([row.prompt for row in rows], responses)
    for row, (prompt, texts, apart) in zip(rows, joined, strict=True):
        gathered.note_text(row.prompt + row.chosen + str(row.rejected) + (row.gold or "") * gold)
        asked = prompt[-max_prompt_length:] if max_prompt_length else prompt
        if not keep_end and len(asked) >= max_length:
            gathered.counts["too_long"] += 1
            continue
        cut = [cut_to(max_length, asked, text, keep_end=keep_end) for text in texts]
        if cut[0][1] == cut[1][1] and not published:
            gathered.counts["same_when_cut"] += 1
            continue
        gathered.counts["merged_at_border"] += apart
        for at, side in enumerate(_COMPARED):
            gathered.counts[f"gold_is_{side}"] += gold and cut[2][1] == cut[at][1]
        whole = len(prompt) + max(map(len, texts))
        gathered.add(
            row.id,
            truncated=len(asked) < len(prompt) or whole > max_length,
            prompt_ids=asked,
            **{f"{name}_ids": ids for name, (_, ids) in zip(names, cut, strict=True)},
            **{f"{name}_prompt_ids": ids for name, (ids, _) in zip(names, cut, strict=True)},
        )
        for side, win in zip(_COMPARED, row.wins or (), strict=False):
            gathered.said.setdefault(f"{side}_win", []).append(win)
    _drop_shared_prompts(gathered.columns)
    return gathered.done(len(rows))


def _drop_shared_prompts(columns: dict[str, list[list[int]]]) -> None:
    """Drop a branch's own prompts where none was cut for it alone."""
    for name in [name for name in columns if name.endswith("_prompt_ids")]:
        if columns[name] == columns["prompt_ids"]:
            del columns[name]


def cut_to(
    most: int, prompt: list[int], response: list[int], *, keep_end: bool
) -> tuple[list[int], list[int]]:
    """Cut prompt and response to so many tokens together."""
    if not keep_end:
        return prompt, response[: most - len(prompt)]
    surplus = max(0, len(prompt) + len(response) - most)
    return prompt[surplus:], response[max(0, surplus - len(prompt)) :]


def preference_ids(
    rows: Sequence[Pair], rendering: Rendering, max_length: int
) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield the ids of prompt, chosen and rejected that `encode_preferences` trains on."""
    columns = encode_preferences(rows, rendering, max_length=max_length).columns
    return zip(*(columns[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")), strict=True)
