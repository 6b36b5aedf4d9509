"""Which evaluation prompts a model may have seen in training.

Three relations, from narrow to wide: a row has the prompt's very turns; a row shares its dialogue
at any depth (exclusion.py); a row holds 13 words of it in a row (Brown et al., arXiv:2005.14165,
appendix C). Words are compared in one case, without punctuation and role tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from alignstudy.data.contamination.exclusion import DialogueIndex, record_turns
from alignstudy.data.contamination.near_duplicates import words_of
from alignstudy.records import Document, Prompt, TrainingRow

NGRAM = 13
BATCH_ROWS = 2000


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Evaluation prompts found in other rows, by id, in the prompts' order.

    Attributes:
        exact: A row asks exactly the same, white space aside.
        dialogue: A row shares the prompt's dialogue, at the same or another depth.
        ngram13: A row's prompt or responses hold 13 words of the prompt in a row. A prompt of
            fewer words is only found as a row's whole prompt.
        checked: Rows that were looked at.
        prompts: Prompts that were looked for.
    """

    exact: tuple[str, ...]
    dialogue: tuple[str, ...]
    ngram13: tuple[str, ...]
    checked: int
    prompts: int

    @property
    def prompt_ids(self) -> frozenset[str]:
        """Ids found in any way: what figures without the overlap leave out."""
        return frozenset((*self.exact, *self.dialogue, *self.ngram13))

    @property
    def notes(self) -> dict[str, int]:
        """Counts for the audit; kinds without any are left out."""
        counts = {
            "evaluation prompts asked in these rows": len(self.exact),
            "evaluation prompts whose dialogue is in these rows": len(self.dialogue),
            "evaluation prompts with 13 words in a row in these rows": len(self.ngram13),
        }
        return {kind: count for kind, count in counts.items() if count}


def overlap(prompts: Sequence[Prompt], rows: Iterable[TrainingRow]) -> Overlap:
    """Look for evaluation prompts in rows, in one pass.

    Args:
        prompts: The evaluation prompts.
        rows: Training rows; only `BATCH_ROWS` at a time are held.
    """
    return overlap_of_texts({prompt.id: prompt.text for prompt in prompts}, rows)


def overlap_of_texts(texts: Mapping[str, str], rows: Iterable[TrainingRow]) -> Overlap:
    """Look in the same way for prompts given as id -> text."""
    dialogues, grams = _Dialogues(texts), _Grams(texts)
    checked, remaining = 0, iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        checked += len(batch)
        dialogues.look_at(batch)
        grams.look_at(batch)
    ids = list(texts)
    return Overlap(
        exact=tuple(name for name in ids if name in dialogues.asked),
        dialogue=tuple(name for name in ids if name in dialogues.shared),
        ngram13=tuple(name for name in ids if name in grams.found),
        checked=checked,
        prompts=len(ids),
    )


class _Dialogues:
    """Prompts whose turns, or whose dialogue, rows hold."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.asked: set[str] = set()
        self.shared: set[str] = set()
        self._index = DialogueIndex()
        for name, text in texts.items():
            self._index.add(text, name)

    def look_at(self, rows: Sequence[TrainingRow]) -> None:
        """Look for the prompts in more rows; a document may hold one at any depth."""
        for row in rows:
            turns = record_turns(row)
            first = 1 if isinstance(row, Document) else len(turns)
            for depth in range(first, len(turns) + 1):
                self.asked.update(self._index.equal(turns[:depth]))
            self.shared.update(self._index.sharing(turns))


class _Grams:
    """Prompts of which rows hold 13 words in a row: found by a hash, verified word by word."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.found: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._short: dict[tuple[str, ...], list[str]] = {}
        self._long: dict[tuple[int, ...], dict[str, None]] = {}
        for name, text in texts.items():
            words = words_of(text)
            if len(words) < NGRAM:
                self._short.setdefault(tuple(words), []).append(name)
                continue
            numbers = [self._numbers.setdefault(word, len(self._numbers) + 1) for word in words]
            for start in range(len(numbers) - NGRAM + 1):
                self._long.setdefault(tuple(numbers[start : start + NGRAM]), {})[name] = None
        grams = np.array(list(self._long), np.uint64).reshape(-1, NGRAM)
        self._hashes = np.sort(_hashes(grams))

    def look_at(self, rows: Sequence[TrainingRow]) -> None:
        """Look for the prompts in more rows."""
        numbers = [0] * NGRAM  # 0 stands for words that are in no prompt, and between texts
        for row in rows:
            whole, *texts = _word_runs(row)
            self.found.update(self._short.get(tuple(whole), ()))
            for words in texts:
                numbers += [self._numbers.get(word, 0) for word in words]
                numbers.append(0)
        if self._long:
            coded = np.array(numbers, np.uint64)
            windows = np.lib.stride_tricks.sliding_window_view(coded, NGRAM)
            hashes = _hashes(windows)
            nearest = np.searchsorted(self._hashes[:-1], hashes)
            for start in np.flatnonzero(self._hashes[nearest] == hashes):
                self.found.update(self._long.get(tuple(windows[start].tolist()), ()))


def _hashes(windows: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash runs of numbers (m, 13) to (m,); products and sums wrap at 64 bits."""
    hashed = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + column
    return hashed


def _word_runs(row: TrainingRow) -> tuple[list[str], ...]:
    """Return the words of what a row asks, then each run of words to look through."""
    if isinstance(row, Document):
        asked = " ".join(words for _, words in record_turns(row))
        return words_of(asked), words_of(row.text)
    prompt, (first, *others) = words_of(row.prompt), row.responses
    runs = (prompt[-NGRAM + 1 :] + words_of(other) for other in others)
    return prompt, prompt + words_of(first), *runs
