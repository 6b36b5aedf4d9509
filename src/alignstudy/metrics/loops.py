"""Hygiene: responses that say one thing over and over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, pairwise

from alignstudy.errors import MetricError
from alignstudy.metrics.repetition import LOOPING, repetition_share
from alignstudy.metrics.words import words

LONGEST_PERIOD = 128
"""What is said over and over is sought up to so many words."""


def loop_share(responses: Sequence[str]) -> float:
    """Share of responses of which more than half of the 4-grams are repeats, in percent.

    Raises:
        MetricError: If there is no response.
    """
    return repetition_share(responses, limit=LOOPING)


def longest_loop(response: str) -> int:
    """Words in the longest stretch that is one run of words said at least twice in a row.

    "so it goes so it goes so" is a loop of 7 words: a last, unfinished turn counts. Words and
    punctuation marks as in `repeated_ngrams`; the run said over has at most `LONGEST_PERIOD`.

    Returns:
        0 where nothing is said twice in a row, else 2 or more.
    """
    return longest_stretch(words(response))


def longest_stretch(found: Sequence[str]) -> int:
    """Return `longest_loop` of a response that is already split into words."""
    longest = 0
    for period in _periods(found):
        run = _longest_run(found, period)
        longest = max(longest, run + period if run >= period else 0)
    return longest


def mean_longest_loop(responses: Sequence[str]) -> float:
    """Mean of `longest_loop`, in words.

    Raises:
        MetricError: If there is no response.
    """
    if not responses:
        raise MetricError("mean_longest_loop is not defined without responses")
    return sum(map(longest_loop, responses)) / len(responses)


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


def _longest_run(found: Sequence[str], period: int) -> int:
    """Return the longest run of words that each come again a period later."""
    longest = run = 0
    for first, second in zip(found, found[period:], strict=False):
        run = run + 1 if first == second else 0
        longest = max(longest, run)
    return longest
