"""Text that models and data sets wrote, made safe to look at.

Escaping for HTML is the template's work; here characters are dealt with that a page can't hold or
that hide what is really there (controls, lone surrogates, marks that turn the writing direction),
and what Markdown would find: tags, links, pictures, mentions, headings.
"""

from __future__ import annotations

import re
from typing import Any

from alignstudy.formatting import NO_BREAK

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (all but tab and line feed), DEL, C1
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, bidi
    "\ud800-\udfff\ufffe\uffff]"  # lone surrogates, characters that are none
    "|[\U000e0000-\U000e007f]"  # tags
)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*{}\[\]|~#$!]|(?<![^\W_])_|_(?![^\W_])")
_NUMBERS = re.compile(r"(\[[-\u2212+]?[\d.,]+, [-\u2212+]?[\d.,]+\])(?![(:\[])")
# Renderers make links of bare addresses, and mentions of "@name", after they took escapes away;
# a code span around the mark that gives them away is what they leave alone.
_TRIGGERS = re.compile(r"(://|(?<![\w.])www\.|@|(?<=:)/(?=/)|(?i:(?<=mailto)|(?<=xmpp)):)")
_AT_START = re.compile(r"^(?:[-+=](?=[-+=\s]|$)|\d+(?=[.)](?:\s|$)))")


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


def inert(text: str) -> str:
    """Write text on one line so that no Markdown renderer finds anything in it but text.

    Intervals as this package writes them, `[1.0, 2.0]`, keep their brackets.
    """
    line = " ".join(visible(text).replace(NO_BREAK, " ").split())
    pieces = enumerate(_NUMBERS.split(line))  # what the expression found is in odd places
    text = "".join(piece if place % 2 else _escaped(piece) for place, piece in pieces)
    # The start of a line must not make a list, a heading or a rule.
    start = _AT_START.match(text)
    if start is None:
        return text
    mark = start[0]
    return f"{mark}\\{text[len(mark) :]}" if mark.isdigit() else f"\\{text}"


def _escaped(text: str) -> str:
    """Escape what means something inside a line."""
    pieces = enumerate(_TRIGGERS.split(text))
    return "".join(f"`{piece}`" if place % 2 else _marks(piece) for place, piece in pieces)


def _marks(text: str) -> str:
    """Escape marks by a backslash, and what HTML would read by its name."""
    plain = _MARKS.sub(lambda found: f"\\{found[0]}", text)
    return re.sub("[&<>]", lambda found: _ENTITIES[found[0]], plain)
