"""Scores kept by judge and by what it read: a text that was scored before isn't scored again."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from alignstudy.judges.base import Judge, JudgeScore
from alignstudy.progress import SILENT, NotesTo, Progress
from alignstudy.runtime.keyed_file import KeyedFile

FORMAT = 2
"""Part of every key: a change of what a row means leaves the old rows unread."""

CHUNK = 256
"""Scores are stored after so many: what was scored before a kill is not scored again."""


class ScoreCache:
    """A file of scores that studies and processes share; see `KeyedFile` for what it survives.

    Args:
        path: The file; made when the first score is stored.

    Attributes:
        notes: What happened to the file, in words.
    """

    def __init__(self, path: Path) -> None:
        self._file = KeyedFile(path, what="scores")
        self.notes = self._file.notes

    def get(self, keys: Sequence[str]) -> dict[str, JudgeScore]:
        """Return the scores that are there, by key.

        Raises:
            EnvironmentFault: If the file can't be read.
        """
        return {key: _read(value) for key, value in self._file.get(keys).items()}

    def put(self, scores: Mapping[str, JudgeScore]) -> int:
        """Store finite scores, by key; give their number. A score that is there stays.

        Raises:
            EnvironmentFault: If the file can't be written.
        """
        values = {
            key: _written(given.score, given.flags)
            for key, given in scores.items()
            if given.score is not None and math.isfinite(given.score)
        }
        return len(self._file.put(values))


class CachedJudge:
    """A judge that is asked only what it hasn't been asked before; see `cached`.

    Attributes:
        name: The judge's.
        reused: How many scores came from the file so far.
    """

    def __init__(self, judge: Judge, cache: ScoreCache, identity: str) -> None:
        self.name = judge.name
        self.reused = 0
        self._judge, self._cache, self._identity = judge, cache, identity

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs; stored scores first, the rest by the judge."""
        progress.start("judge", total=len(items))
        keys = [self._key(self.rendered(*item)) for item in items]
        copies = Counter(keys)
        scores = self._cache.get(list(copies))
        known = sum(copies[key] for key in scores)
        self._tell(known, len(items), progress)
        progress.advance(known)
        fresh = {key: item for key, item in zip(keys, items, strict=True) if key not in scores}
        for some in _chunks(sorted(fresh, key=lambda key: -sum(map(len, fresh[key])))):
            given = self._judge.score([fresh[key] for key in some], progress=NotesTo(progress.note))
            scores |= dict(zip(some, given, strict=True))
            self._cache.put({key: scores[key] for key in some})
            progress.advance(sum(copies[key] for key in some))
        self._tell_notes(progress)
        progress.finish()
        return [scores[key] for key in keys]

    @property
    def asked(self) -> Judge:
        """The judge behind it."""
        return self._judge

    def rendered(self, prompt: str, response: str) -> str:
        """Return exactly what the judge reads."""
        return self._judge.rendered(prompt, response)

    def _key(self, rendered: str) -> str:
        parts = [FORMAT, self.name, self._identity, rendered]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _tell(self, known: int, num_items: int, progress: Progress) -> None:
        self.reused += known
        if known:
            progress.note(f"{known} of {num_items} scores reused: the judge had read them before")
        self._tell_notes(progress)

    def _tell_notes(self, progress: Progress) -> None:
        while self._cache.notes:
            progress.note(self._cache.notes.pop(0))


def cached(judge: Judge, cache: ScoreCache, identity: str) -> CachedJudge:
    """Let a judge reuse the scores that it has given before.

    Args:
        judge: Any.
        cache: Where scores are kept. Only finite ones are, with their flags.
        identity: All that a score hangs on beside what the judge reads: its weights, settings,
            precision, device class, library versions, code. Two judges of one identity are one.
    """
    return CachedJudge(judge, cache, identity)


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split keys, the longest texts first as they came: want of memory shows at once."""
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def _written(score: float, flags: Iterable[str]) -> bytes:
    return json.dumps([float(score).hex(), *flags]).encode()


def _read(value: bytes) -> JudgeScore:
    score, *flags = json.loads(value)
    return JudgeScore(score=float.fromhex(score), flags=tuple(flags))
