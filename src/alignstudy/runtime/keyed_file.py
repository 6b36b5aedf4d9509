"""A file of values by key that studies and processes share, and that proves what it returns."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from alignstudy.errors import EnvironmentFault

_PATIENCE = 60.0
"""Seconds that one process waits for another's write."""

_QUESTION_MARKS = 500
"""Keys of one query."""

_TABLE = (
    "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value BLOB NOT NULL,"
    " proof BLOB NOT NULL)"
)

Answer = TypeVar("Answer")


class KeyedFile:
    """Values by key in one SQLite file.

    A row proves itself by a hash over key and value: one that was damaged is not there. A file
    that is no longer a database is quarantined and started afresh; `notes` says so. What is stored
    is stored in one transaction a call: a process that is killed leaves whole rows only. It is
    safe to delete the file at any time.

    Args:
        path: The file; made when the first value is stored.
        what: What the values are, in the plural, for messages.

    Attributes:
        notes: What happened to the file, in words.
    """

    def __init__(self, path: Path, *, what: str) -> None:
        self._path, self._what = path, what
        self.notes: list[str] = []

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the values that are there, by key.

        Raises:
            EnvironmentFault: If the file can't be read.
        """
        if not keys or not self._path.is_file():
            return {}
        return self._run(lambda base: _found(base, keys))

    def put(self, values: Mapping[str, bytes]) -> dict[str, bytes]:
        """Store values by key; what is there already stays, a damaged row is replaced.

        Returns:
            What the file now holds for these keys: all who store at once go on with the same.

        Raises:
            EnvironmentFault: If the file can't be written.
        """

        def settle(base: sqlite3.Connection) -> dict[str, bytes]:
            there = _found(base, list(values))
            missing = [(key, value) for key, value in values.items() if key not in there]
            rows = [(key, value, _proof(key, value)) for key, value in missing]
            base.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", rows)
            return dict(values) | there

        return self._run(settle) if values else {}

    def fault(self) -> str:
        """Say what is wrong with the file; "" if every row proves itself, or there is none.

        Raises:
            EnvironmentFault: If the file can't be read.
        """
        if not self._path.is_file():
            return ""
        with self._locked():
            try:
                return self._tried(_fault)
            except sqlite3.DatabaseError as error:
                return str(error)

    def _run(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do something with the open file, in one transaction."""
        with self._locked():
            try:
                return self._tried(action)
            except sqlite3.DatabaseError as error:
                # The statements are fixed: SQLite finds one wrong (SQLITE_ERROR) only if the file's
                # own account of its table is. Other operational errors: it can't be reached now.
                code = getattr(error, "sqlite_errorcode", None)
                if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                    raise
                self._quarantine(error)
            return self._tried(action)

    def _tried(self, action: Callable[[sqlite3.Connection], Answer]) -> Answer:
        if not self._path.exists():  # SQLite itself doesn't heed a umask that lets a group write
            self._path.touch()
        with closing(sqlite3.connect(self._path, timeout=_PATIENCE)) as base, base:
            # A damaged text must not stop the query: its row doesn't prove itself.
            base.text_factory = lambda raw: raw.decode("utf-8", "replace")
            base.execute("PRAGMA journal_mode=WAL")
            base.execute(_TABLE)
            return action(base)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the file: no process may quarantine it while another reads or writes."""
        from filelock import FileLock, Timeout

        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock", timeout=_PATIENCE):
                yield
        except Timeout as error:
            raise EnvironmentFault(
                f"another process holds {self._path} for over {_PATIENCE:.0f} seconds",
                hint="wait for it to end, then run again",
                kept=f"all {self._what} that were stored",
            ) from error
        except (OSError, sqlite3.DatabaseError) as error:
            raise EnvironmentFault(
                f"the file of {self._what} {self._path} can't be used",
                why=str(error),
                hint="check permissions and free space; the file may be deleted, its"
                f" {self._what} are then recomputed",
            ) from error

    def _quarantine(self, error: sqlite3.Error) -> None:
        """Rename a file that is no database any more; its companions belong to it."""
        aside = self._path.with_name(self._path.name + ".damaged")
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path.replace(aside)
        self.notes.append(
            f"the file of {self._what} was damaged ({error}): started afresh, the old one is"
            f" {aside}"
        )


def _fault(base: sqlite3.Connection) -> str:
    (told,) = base.execute("PRAGMA quick_check(1)").fetchone()
    rows = base.execute("SELECT key, value, proof FROM kept")
    odd = sum(not _proves_itself(*row) for row in rows)
    return "" if told == "ok" and not odd else f"{odd} rows don't prove themselves; {told}"


def _proves_itself(key: object, value: object, proof: object) -> bool:
    return isinstance(key, str) and isinstance(value, bytes) and proof == _proof(key, value)


def _found(base: sqlite3.Connection, keys: Sequence[str]) -> dict[str, bytes]:
    """Read rows; one that doesn't prove itself is not there."""
    found: dict[str, bytes] = {}
    for start in range(0, len(keys), _QUESTION_MARKS):
        some = keys[start : start + _QUESTION_MARKS]
        marks = ",".join("?" * len(some))
        query = f"SELECT key, value, proof FROM kept WHERE key IN ({marks})"
        rows = base.execute(query, some)
        found |= {key: value for key, value, proof in rows if _proves_itself(key, value, proof)}
    return found


def _proof(key: str, value: bytes) -> bytes:
    name = key.encode("utf-8", "replace")
    return hashlib.sha256(b"%d:%s" % (len(name), name) + value).digest()
