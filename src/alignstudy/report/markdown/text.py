"""Text that others wrote, made inert in Markdown: no tag, link, picture, mention or heading."""

from __future__ import annotations

import re

from alignstudy.formatting import NO_BREAK
from alignstudy.report.html.untrusted import visible

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*{}\[\]|~#$!]|(?<![^\W_])_|_(?![^\W_])")
_NUMBERS = re.compile(r"(\[[-\u2212+]?[\d.,]+, [-\u2212+]?[\d.,]+\])(?![(:\[])")
# Renderers make links of bare addresses, and mentions of "@name", after they took escapes away;
# a code span around the mark that gives them away is what they leave alone.
_TRIGGERS = re.compile(r"(://|(?<![\w.])www\.|@|(?<=:)/(?=/)|(?i:(?<=mailto)|(?<=xmpp)):)")
_AT_START = re.compile(r"^(?:[-+=](?=[-+=\s]|$)|\d+(?=[.)](?:\s|$)))")


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
