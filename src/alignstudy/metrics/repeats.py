"""Texts as words, and what repeats in them: n-grams, loops, variety."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations, pairwise

from alignstudy.errors import MetricError
from alignstudy.metrics.metric import Metric

REPETITIVE = 0.3
"""Over this share of repeated 4-grams, a response is called repetitive."""

LOOPING = 0.5
"""Over this share of repeated 4-grams, a response is called a loop."""

LONGEST_PERIOD = 128
"""What is said over and over is sought up to so many words."""

_LONG = 300
"""Over so many words all periods are tried at once; under, only those that can be."""

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


@lru_cache(maxsize=50_000)
def repeated_ngrams(response: str) -> float:
    """Share of a response's 4-grams that repeat an earlier one, 0 to 1."""
    return repeated_words(words(response))


def repeated_words(found: Sequence[str], *, size: int = 4) -> float:
    """Share of the n-grams of a response's words that repeat an earlier one, 0 to 1.

    N-grams are made of words and punctuation marks. A response too short for one repeats none.

    Source: seq-rep-n of Welleck et al. 2020 (arXiv:1908.04319).
    """
    grams = ngrams(found, size)
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def share(flags: Sequence[bool]) -> float:
    """Return the share of true flags, in percent.

    Raises:
        MetricError: If there is no response.
    """
    if not flags:
        raise MetricError("a share is not defined without responses")
    return 100.0 * sum(flags) / len(flags)


def repetitive_share(repeated: Sequence[float]) -> float:
    """Share of responses of which over 30 % of the 4-grams are repeats, in percent.

    Args:
        repeated: `repeated_words` of each response.
    """
    return share([part > REPETITIVE for part in repeated])


def looping_share(repeated: Sequence[float]) -> float:
    """Share of responses of which over 50 % of the 4-grams are repeats, in percent."""
    return share([part > LOOPING for part in repeated])


def longest_stretch(found: Sequence[str]) -> int:
    """Words in the longest stretch that is one run of words said at least twice in a row.

    "so it goes so it goes so" is a loop of 7 words: a last, unfinished turn counts. The run said
    over has at most `LONGEST_PERIOD` words.

    Args:
        found: The words and punctuation marks of a response.

    Returns:
        0 where nothing is said twice in a row, else 2 or more.
    """
    if len(found) > _LONG:
        return _longest_of_long(found)
    longest = 0
    for period in _periods(found):
        run = 0  # of words that each come again a period later
        for first, second in zip(found, found[period:], strict=False):
            run = run + 1 if first == second else 0
            longest = max(longest, run + period if run >= period else 0)
    return longest


def _longest_of_long(found: Sequence[str]) -> int:
    """Return what `longest_stretch` does, in a time that is linear in the number of words."""
    import numpy as np

    numbers: dict[str, int] = {}
    said = np.array([numbers.setdefault(word, len(numbers)) for word in found])
    longest = 0
    for period in range(1, LONGEST_PERIOD + 1):
        breaks = np.flatnonzero(said[period:] != said[:-period])
        ends = np.concatenate([[-1], breaks, [len(said) - period]])
        run = int(np.diff(ends).max()) - 1
        longest = max(longest, run + period if run >= period else 0)
    return longest


def mean_longest_loop(said: Sequence[Sequence[str]]) -> float:
    """Mean of `longest_stretch` over the words of all responses, in words.

    Raises:
        MetricError: If there is no response.
    """
    if not said:
        raise MetricError("a mean longest loop is not defined without responses")
    return sum(map(longest_stretch, said)) / len(said)


def _periods(found: Sequence[str]) -> set[int]:
    """Return the periods that a loop can have: distances at which a pair of words comes again."""
    places = defaultdict(list)
    for place, pair in enumerate(pairwise(found)):
        places[pair].append(place)
    most = min(LONGEST_PERIOD, len(found) // 2)
    again = (group for group in places.values() if len(group) > 1)
    distances = {late - early for group in again for early, late in combinations(group, 2)}
    doubled = {1} if any(first == second for first, second in places) else set()
    return doubled | {distance for distance in distances if distance <= most}


def distinct(
    said: Iterable[Sequence[str]], *, size: int, budget: int | None = None
) -> float | None:
    """Distinct n-grams over n-grams of the first `budget` words of all responses, 0 to 1.

    The more is written, the more of it is repeats, so two models compare only at one budget. No
    n-gram reaches across two responses; upper and lower case are one.

    Args:
        said: The words of each response, in the order in which the budget is spent on them.
        size: Words in an n-gram, at least 1.
        budget: Words and punctuation marks to read; None reads all.

    Returns:
        None where there is no n-gram.

    Raises:
        MetricError: If `size` is below 1 or `budget` below 0.

    Source: distinct-n of Li et al. 2016 (arXiv:1510.03055), over a corpus.
    """
    if size < 1 or (budget is not None and budget < 0):
        raise MetricError(f"distinct is not defined for size {size} and budget {budget}")
    total, seen, left = 0, set(), budget
    for found in said:
        grams = ngrams([word.lower() for word in found[:left]], size)
        total += len(grams)
        seen.update(grams)
        if left is not None:
            left -= min(left, len(found))
    return len(seen) / total if total else None


REPETITION = Metric(kind="repetition", title="repetitive responses", of=repetitive_share)
LOOP = Metric(kind="loop", title="loops", of=looping_share)
LONGEST_LOOP = Metric(
    kind="longest_loop", title="mean longest loop", unit="words", of=mean_longest_loop
)
DISTINCT = Metric(kind="distinct", title="distinct n-grams", unit="ratio", digits=2, of=distinct)
