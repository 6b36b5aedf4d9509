"""What a machine lacks, told apart from our own bugs: disk, memory, permissions, threads."""

from __future__ import annotations

import errno
import os

_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.EFBIG,
    errno.EAGAIN,
    errno.ENOMEM,
}
_WORDS = (
    *(os.strerror(number).lower() for number in sorted(_ERRNOS - {errno.EAGAIN})),
    "out of memory",
    "can't allocate memory",
    "can't start new thread",
)


def machine_fault(error: BaseException) -> str | None:
    """Return in words what the machine lacked; None if the fault isn't the machine's.

    Libraries that write by other languages' means tell an error of the system by its words only.
    """
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return f"{error.strerror} ({error.filename or 'no file named'})"
    text = str(error)
    if "inline_container" in text or "basic_ios::clear" in text or "iostream" in text:
        return "a file can't be written: the disk is full, or failing"  # PyTorch's words
    lowered = text.lower()
    if any(words in lowered for words in _WORDS):
        return text.splitlines()[0]
    return None
