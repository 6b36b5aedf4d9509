"""Scores kept by judge and by what it read: a text that was scored before isn't scored again."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from alignstudy.errors import EnvironmentFault
from alignstudy.judges.base import Judge, JudgeScore
from alignstudy.progress import SILENT, Progress

FORMAT = 1
"""Part of every key: a change of what a row means leaves the old rows unread."""

CHUNK = 256
"""Scores are stored after so many: what was scored before a kill is not scored again."""

_PATIENCE = 60.0
"""Seconds that one process waits for another's write."""

_QUESTION_MARKS = 500
"""Keys of one query."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL,"
    " flags TEXT NOT NULL, proof TEXT NOT NULL) WITHOUT ROWID"
)


class ScoreCache:
    """A file of scores that studies and processes share.

    A row proves itself by a hash: one that was damaged is not there. A file that is no longer a
    database is put aside and begun anew; `notes` says so. It is safe to delete at any time.

    Args:
        path: The file; made when the first score is stored.

    Attributes:
        notes: What happened to the file, in words.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[str] = []

    def get(self, keys: Sequence[str]) -> dict[str, JudgeScore]:
        """Give the scores that are there, by key.

        Raises:
            EnvironmentFault: If the file can't be read.
        """
        if not self._path.is_file():
            return {}
        found: dict[str, JudgeScore] = {}
        for start in range(0, len(keys), _QUESTION_MARKS):
            some = list(keys[start : start + _QUESTION_MARKS])
            marks = ",".join("?" * len(some))
            query = f"SELECT key, score, flags, proof FROM scores WHERE key IN ({marks})"
            for row in self._run(query, [some]):
                found |= _revived(row)
        return found

    def put(self, scores: Mapping[str, JudgeScore]) -> int:
        """Store finite scores, by key; give their number.

        Raises:
            EnvironmentFault: If the file can't be written.
        """
        rows = [
            _row(key, given.score, given.flags)
            for key, given in scores.items()
            if given.score is not None and math.isfinite(given.score)
        ]
        if rows:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._run("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
        return len(rows)

    def _run(self, query: str, arguments: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
        """Run a statement, once for each row of arguments, in one transaction."""
        with self._locked():
            try:
                return self._tried(query, arguments)
            except sqlite3.OperationalError as error:
                raise self._fault(error) from error
            except sqlite3.DatabaseError as error:
                self._put_aside(error)
            try:
                return self._tried(query, arguments)
            except sqlite3.DatabaseError as error:
                raise self._fault(error) from error

    def _tried(self, query: str, arguments: Sequence[Sequence[object]]) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as base, base:
            # A damaged text must not stop the query: its row doesn't prove itself.
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            base.execute("PRAGMA journal_mode=WAL")
            base.execute(_TABLE)
            return [row for each in arguments for row in base.execute(query, each)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file: no process may put it aside while another reads or writes."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{self._path}.lock", timeout=_PATIENCE):
                yield
        except Timeout as error:
            raise EnvironmentFault(
                f"another process holds {self._path} for over {_PATIENCE:.0f} seconds",
                mend="wait for it to end, then run again",
                kept="all scores that were stored",
            ) from error
        except OSError as error:
            raise self._fault(error) from error

    def _put_aside(self, error: sqlite3.Error) -> None:
        """Rename a file that is no database any more; its companions belong to it."""
        aside = self._path.with_name(self._path.name + ".damaged")
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(aside)
        self.notes.append(
            f"the file of scores was damaged ({error}): begun anew, the old one is {aside}"
        )

    def _fault(self, error: Exception) -> EnvironmentFault:
        return EnvironmentFault(
            f"the file of scores {self._path} can't be used",
            why=str(error),
            mend="check permissions and free space; the file may be deleted, its scores are then"
            " computed again",
        )


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
            given = self._judge.score([fresh[key] for key in some], progress=_Inner(progress))
            scores |= dict(zip(some, given, strict=True))
            self._cache.put({key: scores[key] for key in some})
            progress.advance(sum(copies[key] for key in some))
        self._tell_notes(progress)
        progress.finish()
        return [scores[key] for key in keys]

    def rendered(self, prompt: str, response: str) -> str:
        """Give exactly what the judge reads."""
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


class _Inner:
    """Passes a judge's notes on; its progress is counted outside."""

    def __init__(self, outer: Progress) -> None:
        self._outer = outer

    def start(self, what: str, total: int | None = None) -> None:
        """Say nothing: the outer work has begun."""

    def advance(self, done: int, **figures: float) -> None:
        """Say nothing: copies are counted outside."""

    def finish(self) -> None:
        """Say nothing: the outer work goes on."""

    def note(self, text: str) -> None:
        """Pass it on."""
        self._outer.note(text)


def _chunks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split keys, the longest texts first as they came: want of memory shows at once."""
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]


def _row(key: str, score: float, flags: Iterable[str]) -> tuple[str, float, str, str]:
    listed = json.dumps(list(flags))
    score = float(score) + 0.0  # the file knows no negative zero
    return key, score, listed, _proof(key, score, listed)


def _proof(key: str, score: float, flags: str) -> str:
    return hashlib.sha256(json.dumps([key, score.hex(), flags]).encode()).hexdigest()


def _revived(row: tuple[object, ...]) -> dict[str, JudgeScore]:
    """Read a stored row; one that doesn't prove itself is not there."""
    key, score, flags, proof = row
    if not (isinstance(key, str) and isinstance(score, float) and isinstance(flags, str)):
        return {}
    if proof != _proof(key, score, flags):
        return {}
    return {key: JudgeScore(score=score, flags=tuple(json.loads(flags)))}
