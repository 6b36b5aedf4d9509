"""Secrets in texts: what looks like a token is neither kept nor told."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

_PREFIXED = (
    r"hf_[A-Za-z0-9]{8,}",  # Hugging Face
    r"sk-(?=[A-Za-z0-9_-]*\d)[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic and the like
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}",  # Amazon
    r"gh[opsur]_[A-Za-z0-9]{16,}",
    r"github_pat_[A-Za-z0-9_]{16,}",
    r"glpat-[A-Za-z0-9_-]{16,}",
    r"xox[abeprs]-[A-Za-z0-9-]{8,}",  # Slack
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"(?i:bearer) [A-Za-z0-9._~+/=-]{8,}",
)
_NAMED = (
    r"(?<![A-Za-z])(?:(?:[A-Za-z]+[_-])?(?:api|access|secret|private)[_-]?key|(?:client[_-])?secret"
    r"|passw(?:or)?d|(?:(?:hf|hub|api|auth|access|github|gitlab|wandb|huggingface)[_-])?token)"
    r"[\"']?\s*[=:]\s*[\"']?"
)
_SECRET = re.compile(
    rf"(?<![A-Za-z0-9_-])(?:{'|'.join(_PREFIXED)})"
    r"|(?<=://)[^\s/@\"'\\]+(?=@)"  # of a URL: who logs in, with what
    rf"|(?P<name>(?i:{_NAMED}))(?![\[$<])[^\s\"'\\,;&#)\]}}]{{8,}}"
)


def redacted(text: str) -> str:
    """Return a text with what looks like a token, a key or a login of a URL taken out."""
    return _SECRET.sub(lambda found: f"{found['name'] or ''}{REDACTED}", text)


def redacted_in(value: Any) -> Any:  # noqa: ANN401 - plain data
    """Return plain data with every text in it redacted, names of keys as they are."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {name: redacted_in(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted_in(item) for item in value]
    return value


def told_apart(text: str) -> str:
    """Return a text redacted so that two that differ still do: a hash stands for each secret."""
    return _SECRET.sub(
        lambda found: f"{REDACTED}{hashlib.sha256(found[0].encode()).hexdigest()[:16]}", text
    )
