"""Hygiene: how far a text can be compressed; loops shrink to nearly nothing."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

LEVEL = 9


def compression_ratio(response: str) -> float | None:
    """Compressed over plain bytes of a text in UTF-8, by zlib.

    Returns:
        Above 0; above 1 for very short texts, about 0.6 for 50 words of English, below 0.3 for a
        loop; None for an empty text.
    """
    plain = response.encode("utf-8", "surrogatepass")
    return len(zlib.compress(plain, LEVEL)) / len(plain) if plain else None


def mean_compression(responses: Sequence[str]) -> float | None:
    """Mean ratio of the responses with text; None where none has any."""
    ratios = [ratio for text in responses if (ratio := compression_ratio(text.strip())) is not None]
    return sum(ratios) / len(ratios) if ratios else None
