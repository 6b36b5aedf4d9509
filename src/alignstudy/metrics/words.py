"""Texts as the words that hygiene counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_WORDS = re.compile(r"\w+|[^\w\s]")


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[str, ...]:
    """Return the words and punctuation marks of a text, in order, as written.

    Several figures ask for the words of the same responses, one prompt set after the other.
    """
    return tuple(_WORDS.findall(text))


def ngrams(found: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Return the runs of `size` neighbouring words; none where there are fewer words."""
    return list(zip(*(found[start:] for start in range(size)), strict=False))
