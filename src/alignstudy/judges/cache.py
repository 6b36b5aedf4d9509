"""Scores kept by judge and by what it read: a text that was scored before isn't scored again."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
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
        found = {}
        for key, value in self._file.get(keys).items():
            score, *flags = json.loads(value)
            found[key] = JudgeScore(score=float.fromhex(score), flags=tuple(flags))
        return found

    def put(self, scores: Mapping[str, JudgeScore]) -> int:
        """Store finite scores, by key; return their number. A score that is there stays.

        Raises:
            EnvironmentFault: If the file can't be written.
        """
        values = {
            key: json.dumps([float(given.score).hex(), *given.flags]).encode()
            for key, given in scores.items()
            if given.score is not None and math.isfinite(given.score)
        }
        return len(self._file.put(values))


class CachedJudge:
    """A judge that is asked only what it hasn't been asked before.

    Args:
        judge: Any.
        cache: Where scores are kept. Only finite ones are, with their flags.
        identity: All that a score depends on besides what the judge reads: weights, settings,
            precision, device class, library versions, code. Two judges of one identity are one.
        tells: Whether it says how many scores it had.

    Attributes:
        name: The judge's.
        reused: How many scores came from the file so far.
    """

    def __init__(
        self, judge: Judge, cache: ScoreCache, identity: str, *, tells: bool = True
    ) -> None:
        self.name = judge.name
        self.reused = 0
        self._tells = tells
        self._judge, self._cache, self._identity = judge, cache, identity

    def score(
        self, items: Sequence[tuple[str, str]], *, progress: Progress = SILENT
    ) -> list[JudgeScore]:
        """Score (prompt, response) pairs; stored scores first, the rest by the judge."""
        progress.start("judge", total=len(items))
        keys = []
        for item in items:
            parts = [FORMAT, self.name, self._identity, self.rendered(*item)]
            keys.append(hashlib.sha256(json.dumps(parts).encode()).hexdigest())
        copies = Counter(keys)
        scores = self._cache.get(list(copies))
        known = sum(copies[key] for key in scores)
        self.reused += known
        if known and self._tells:
            progress.note(f"{known} of {len(items)} scores reused: the judge had read them before")
        self._pass_notes_on(progress)
        progress.advance(known)
        fresh = {key: item for key, item in zip(keys, items, strict=True) if key not in scores}
        # The longest texts first: if memory is too small for them, it shows at once.
        longest_first = sorted(fresh, key=lambda key: -sum(map(len, fresh[key])))
        for start in range(0, len(longest_first), CHUNK):
            some = longest_first[start : start + CHUNK]
            given = self._judge.score([fresh[key] for key in some], progress=NotesTo(progress.note))
            scores |= dict(zip(some, given, strict=True))
            self._cache.put({key: scores[key] for key in some})
            progress.advance(sum(copies[key] for key in some))
        self._pass_notes_on(progress)
        progress.finish()
        return [scores[key] for key in keys]

    @property
    def asked(self) -> Judge:
        """The judge behind it."""
        return self._judge

    def rendered(self, prompt: str, response: str) -> str:
        """Return exactly what the judge reads."""
        return self._judge.rendered(prompt, response)

    def _pass_notes_on(self, progress: Progress) -> None:
        while self._cache.notes:
            progress.note(self._cache.notes.pop(0))
