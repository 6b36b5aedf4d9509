"""What a file holds, by its first bytes: names lie, and are heeded only where bytes don't tell."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from alignstudy.errors import DataError

HEAD = 2**16
MAX_EXPANSION = 200
FREE_EXPANSION_BYTES = 512 * 2**20
"""Below this size no ratio is asked for: regular text does compress well."""

_GZIP = b"\x1f\x8b"
_REFUSED: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    (
        (b"PK\x03\x04",),
        "a zip archive, or an Excel file",
        "unpack it; save a sheet as CSV in UTF-8",
    ),
    ((b"BZh",), "packed with bzip2", "unpack it, or pack it with gzip"),
    ((b"\xfd7zXZ",), "packed with xz", "unpack it, or pack it with gzip"),
    ((b"\x28\xb5\x2f\xfd",), "packed with zstd", "unpack it, or pack it with gzip"),
    ((b"7z\xbc\xaf",), "a 7z archive", "unpack it"),
    ((b"SQLite format 3",), "an SQLite database", "write its table as JSON lines or CSV"),
    ((b"\x80",), "a pickle, which could run code", "write its rows as JSON lines or Parquet"),
    ((b"version https://git-lfs",), "a pointer of Git LFS, not the rows", "run `git lfs pull`"),
    ((b"<",), "a web page, or XML", "download the raw file; write its rows as JSON lines or CSV"),
    ((b"%PDF",), "a PDF", "write its rows as JSON lines or CSV"),
    ((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "a picture", "name the file that holds the rows"),
)
"""What a file may begin with that holds no rows, what it is, and what to do."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, kw_only=True)
class Content:
    """How a file is to be read.

    Attributes:
        kind: "parquet", "arrow", or "text".
        packed: Whether gzip has to be undone.
        encoding: Of a text.
        head: Its beginning, decoded as far as it goes.
    """

    kind: str
    packed: bool = False
    encoding: str = "utf-8"
    head: str = ""


def content_of(path: Path, *, name: str) -> Content:
    """Look at a file's first bytes.

    Raises:
        DataError: If it is of a kind that holds no rows, with what to do; if it can't be read.
    """
    with named_faults(name):
        with path.open("rb") as file:
            head = file.read(HEAD)
        packed = head.startswith(_GZIP)
        if packed:
            with gzip.GzipFile(path) as file:
                head = _begin(file)
    if head.startswith(b"PAR1") and not packed:
        return Content(kind="parquet")
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")) and not packed:
        return Content(kind="arrow")
    tar = head[257:262] == b"ustar"
    for marks, what, hint in _REFUSED:
        if tar or head.lstrip().startswith(marks):
            what, hint = ("a tar archive", "unpack it") if tar else (what, hint)
            raise DataError(f"{name} is {what}", why="no rows can be read of it", hint=hint)
    encoding = _encoding_of(head)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    return Content(kind="text", packed=packed, encoding=encoding, head=text)


def _begin(file: Any) -> bytes:  # noqa: ANN401 - a gzip file
    """Read the beginning of a packed file, as far as it can be read."""
    found = b""
    try:
        while len(found) < HEAD and (part := file.read1(HEAD)):
            found += part
    except (EOFError, zlib.error):
        if not found:
            raise
    return found


def _encoding_of(head: bytes) -> str:
    """Return a text's encoding: by its mark, by where its zero bytes lie, else UTF-8."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    start = head[:64]
    if len(start) >= 8 and start.count(0) * 3 > len(start):
        return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"
    return "utf-8"


class TextFile:
    """A text, unpacked and decoded to UTF-8 on the way; refused where it expands beyond reason."""

    def __init__(self, path: Path, content: Content, *, name: str) -> None:
        self._name, self._packed = name, content.packed
        self._limit = max(FREE_EXPANSION_BYTES, MAX_EXPANSION * path.stat().st_size)
        self._raw: BinaryIO = path.open("rb")
        stream: Any = gzip.GzipFile(fileobj=self._raw) if content.packed else self._raw
        self._unpacked = io.BufferedReader(stream, 2**18)
        self._text: io.TextIOWrapper | None = None
        if content.encoding == "utf-8-sig":
            self._unpacked.read(len(codecs.BOM_UTF8))
        elif content.encoding != "utf-8":
            self._text = io.TextIOWrapper(self._unpacked, content.encoding, newline="")

    def __enter__(self) -> TextFile:
        """Give the file, open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._unpacked.close()
        self._raw.close()

    def line(self, size: int) -> bytes:
        """Read a line, its first `size` bytes at most; nothing at the end."""
        found = self._unpacked.readline(size) if self._text is None else self._text.readline(size)
        self._check()
        return found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")

    def part(self, size: int) -> bytes:
        """Read at most `size` bytes (characters, where it isn't UTF-8)."""
        found = self._unpacked.read(size) if self._text is None else self._text.read(size)
        self._check()
        return found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")

    def _check(self) -> None:
        if self._packed and self._unpacked.tell() > self._limit:
            raise DataError(
                f"{self._name}: the file expands to more than {self._limit / 2**20:.0f} MiB",
                why=f"more than {MAX_EXPANSION} times its size on disk: no text compresses so well",
                hint="if the content is meant, name the expanded file instead of the .gz",
                kept="nothing was changed",
            )


class named_faults:
    """Turns a file's own faults into errors that name it, and what of it was readable."""

    def __init__(self, name: str) -> None:
        self.name, self.done = name, 0

    def __enter__(self) -> named_faults:
        """Watch what follows; it counts the rows that it read in `done`."""
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Raise what went wrong by the file's name.

        Raises:
            DataError: If the file can't be read to its end.
        """
        faults = (OSError, EOFError, zlib.error, UnicodeDecodeError)
        if not isinstance(error, faults):
            return
        why = getattr(error, "strerror", None) or str(error)
        if isinstance(error, EOFError):
            why = "the gzip file is cut short: its end is missing"
        elif isinstance(error, gzip.BadGzipFile | zlib.error):
            why = f"the gzip file is corrupt ({error})"
        raise DataError(
            f"{self.name}:{self.done + 1}: the file can't be read further",
            why=why,
            hint="fetch or write the file again, or take it out of the source",
            kept=f"nothing was changed; {self.done} rows before it were readable",
        ) from error


Rows = Iterator[tuple[int, dict[str, Any] | str]]
"""(Line or row number from 1, fields); for a row that can't be used (number, reason)."""
