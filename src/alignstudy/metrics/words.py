"""Texts as the words that hygiene counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Give the words and punctuation marks of a text, in order, as written."""
    return _WORDS.findall(text)


def ngrams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Give the runs of `size` neighbouring words; none where there are fewer words."""
    return list(zip(*(found[start:] for start in range(size)), strict=False))
