"""JSON files that prove themselves: a hash over their own content stands in them."""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignstudy.errors import DamagedArtefactError

SEAL = "sha256"
"""The key that holds the hash of what stands before it."""

_MARK, _END = f'\n "{SEAL}": "', '"\n}\n'


def sealed(content: Mapping[str, Any]) -> str:
    """Write an object as JSON whose last line holds the hash of all lines before it."""
    body = json.dumps(content, indent=1).removesuffix("}").removesuffix("\n")
    body += "," if content else ""
    return f"{body}{_MARK}{_hash(body.encode())}{_END}"


def unsealed(raw: bytes) -> dict[str, Any]:
    """Return what `sealed` wrote, without its hash.

    Raises:
        ValueError: If a byte of it was changed, or it never was sealed.
    """
    body, mark, end = raw.rpartition(_MARK.encode())
    if not mark:
        raise ValueError("no hash of its content stands in it")
    if end != (_hash(body) + _END).encode():
        raise ValueError("its content isn't what its hash was taken of")
    content: dict[str, Any] = json.loads(raw)
    del content[SEAL]
    return content


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def read_sealed(path: Path, *, what: str, hint: str) -> dict[str, Any]:
    """Read a file that `sealed` wrote.

    Args:
        path: Of the file.
        what: What it should be, for the message.
        hint: How to mend it.

    Raises:
        DamagedArtefactError: If it isn't what was written, or the disk can't read it.
        OSError: If there is none, or it can't be read now.
    """
    try:
        return unsealed(path.read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            raise
        raise DamagedArtefactError(f"{path} is not {what}", why=str(error), hint=hint) from error


def is_damage(error: BaseException | None) -> bool:
    """Whether a fault is the file's own, now and later: not one of permissions or the moment."""
    own = {errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.EINVAL}
    return isinstance(error, OSError) and error.errno in own
