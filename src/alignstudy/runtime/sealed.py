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
"""The key that holds the hash of all others."""


def sealed(content: Mapping[str, Any]) -> str:
    """Write an object as JSON that holds its own hash.

    The text is the only one of this content: whatever byte of it changes, `unsealed` sees it.
    """
    body = json.dumps(content, indent=1)
    return json.dumps({**content, SEAL: hashlib.sha256(body.encode()).hexdigest()}, indent=1) + "\n"


def unsealed(raw: bytes) -> dict[str, Any]:
    """Return what `sealed` wrote, without its hash.

    Raises:
        ValueError: If a byte of it was changed, or it never was sealed.
    """
    try:
        content = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(content, dict) or SEAL not in content:
        raise ValueError("no hash over its content stands in it")
    del content[SEAL]
    if sealed(content).encode() != raw:
        raise ValueError("its content isn't what its hash was taken of")
    return content


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
