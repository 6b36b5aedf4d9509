"""Clusters of prompts that are nearly the same: they are one observation, not several.

Two prompts are in one cluster if
    - their words are the same,
    - the Jaccard index of their sets of five-character shingles is at least 0.8, or
    - one is the beginning of the other's dialogue (the same conversation at another depth),
and so are prompts that a chain of such pairs joins. Case, punctuation, white space and role tags
don't count. The search is exact: prefix filtering (Bayardo, Ma and Srikant, WWW 2007) passes over
no pair, and what it finds is verified.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from alignstudy.data.contamination.exclusion import DialogueIndex, dialogue_turns
from alignstudy.dialogue import parse_turns
from alignstudy.records import Prompt

SHINGLE = 5
SIMILAR = (4, 5)
"""Jaccard index from which texts are near-duplicates, as a fraction: 0.8."""
NEEDED_SHARE = 8
MIN_SHARED_WORDS = 5
"""A shorter shared beginning ("Hi there") doesn't make two prompts one conversation."""

CLUSTERS = "clusters of near-duplicate prompts"
CLUSTERED = "prompts in those clusters"

_WORD = re.compile(r"\w+")


def cluster_prompts(texts: Mapping[str, str]) -> dict[str, str]:
    """Cluster prompts that are nearly the same.

    Args:
        texts: Prompt id -> its text, with role tags or without.

    Returns:
        Prompt id -> name of its cluster: the id of the cluster's first prompt, so a prompt that
        is alone has its own id.
    """
    names = list(texts)
    words = [tuple(words_of(text)) for text in texts.values()]
    groups = _Groups(len(names))
    alike: dict[tuple[str, ...], int] = {}
    for number, found in enumerate(words):
        groups.join(alike.setdefault(found, number), number)
    firsts = [number for number in range(len(names)) if groups.first(number) == number]
    for one, other in _similar([" ".join(words[number]) for number in firsts], groups, firsts):
        groups.join(one, other)
    index = DialogueIndex()
    for number, text in enumerate(texts.values()):
        index.add(text, str(number))
    for number, text in enumerate(texts.values()):
        # One of the two is the beginning of the other's dialogue.
        for other in map(int, index.sharing(dialogue_turns(text))):
            if min(len(words[number]), len(words[other])) >= MIN_SHARED_WORDS:
                groups.join(number, other)
    return {name: names[groups.first(number)] for number, name in enumerate(names)}


def clustered(prompts: Sequence[Prompt]) -> tuple[tuple[Prompt, ...], dict[str, int]]:
    """Return prompts of one axis with their clusters, and what the audit notes about them."""
    clusters = cluster_prompts({prompt.id: prompt.text for prompt in prompts})
    named = tuple(replace(prompt, cluster=clusters[prompt.id]) for prompt in prompts)
    several = [size for size in Counter(clusters.values()).values() if size > 1]
    return named, {CLUSTERS: len(several), CLUSTERED: sum(several)} if several else {}


def words_of(text: str) -> list[str]:
    """Return the words of a text, role tags left out, in one case and form.

    A text without any word (an emoji) is one word: itself.
    """
    spoken = " ".join(turn.text for turn in parse_turns(text)) or text
    plain = unicodedata.normalize("NFKC", spoken).casefold()
    return _WORD.findall(plain) or plain.split()


class _Groups:
    """Disjoint sets of numbers; each is known by its smallest."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def first(self, number: int) -> int:
        """Return the smallest number of a set."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, one: int, other: int) -> None:
        """Make two sets one."""
        low, high = sorted((self.first(one), self.first(other)))
        self._parents[high] = low


def _similar(
    texts: Sequence[str], groups: _Groups, numbers: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """Return pairs of near-duplicates, shortest first; pairs already in one group are passed over.

    Two sets x and y can only reach a Jaccard index t if the first |x| - ceil(t |x|) + k shingles
    of x, the rarest first, and those of y have k in common, k that of the smaller set.
    """
    part, whole = SIMILAR
    ordered = _by_rarity([_shingles(text) for text in texts])
    # The more in common are asked for, the fewer pairs to verify and the more shingles to look up.
    needed = [max(1, _least_shared(len(ranks)) // NEEDED_SHARE) for ranks in ordered]
    postings: defaultdict[int, deque[int]] = defaultdict(deque)
    for at in sorted(range(len(texts)), key=lambda at: (len(ordered[at]), at)):
        least = _least_shared(len(ordered[at]))
        prefix = ordered[at][: len(ordered[at]) - least + needed[at]].tolist()
        for found in (postings[item] for item in prefix):
            while found and len(ordered[found[0]]) < least:
                found.popleft()  # too short for this one, and so for all that follow
        shared = Counter(near for item in prefix for near in postings[item])
        for other in (other for other, count in shared.items() if count >= needed[other]):
            one, two = numbers[at], numbers[other]
            if groups.first(one) == groups.first(two):
                continue
            common = np.intersect1d(ordered[at], ordered[other], assume_unique=True).size
            if whole * common >= part * (len(ordered[at]) + len(ordered[other]) - common):
                yield one, two
        for item in prefix:
            postings[item].append(at)


def _least_shared(size: int) -> int:
    """Return how many shingles a set must share with a near-duplicate: ceil(t size)."""
    part, whole = SIMILAR
    return -(-part * size // whole)


def _shingles(text: str) -> NDArray[np.uint64]:
    """Hash every run of five characters to 64 bits; a shorter text is filled up with blanks.

    Returns:
        (k,), each hash once.
    """
    characters = np.frombuffer(text.ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(characters, SHINGLE).astype(np.uint64)
    hashed = np.zeros(len(windows), np.uint64)
    for column in windows.T:  # FNV-1a, a character at a time; it wraps at 64 bits
        hashed = (hashed ^ (column + np.uint64(1))) * np.uint64(0x100000001B3)
        hashed ^= hashed >> np.uint64(29)
    return np.unique(hashed)


def _by_rarity(sets: Sequence[NDArray[np.uint64]]) -> list[NDArray[np.int64]]:
    """Name shingles by rank, the rarest 0, and sort every set by it."""
    if not sets:
        return []
    _, inverse, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), np.int64)
    ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ends = np.cumsum([len(one) for one in sets])[:-1]
    return [np.sort(part) for part in np.split(ranks[inverse], ends)]
