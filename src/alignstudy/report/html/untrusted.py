"""Text that models and data sets wrote, made safe to look at.

Escaping for HTML is the template's work; here characters are dealt with that a page can't hold or
that hide what is really there: controls, lone surrogates, marks that turn the writing direction.
"""

from __future__ import annotations

import re
from typing import Any

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (all but tab and line feed), DEL, C1
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi
    "\ud800-\udfff\ufffe\uffff]"  # lone surrogates, characters that are none
    "|[\U000e0000-\U000e007f]"  # tags
)


def visible(text: str) -> str:
    """Write characters that can't or mustn't be shown as their code: `[U+202E]`.

    What comes out can be encoded as UTF-8 and holds no control but tab and line feed.
    """
    text = text.replace("\r\n", "\n")
    return _HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)


def visible_values(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Apply `visible` to every text inside a JSON value, keys included."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): visible_values(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible_values(item) for item in value]
    return value
