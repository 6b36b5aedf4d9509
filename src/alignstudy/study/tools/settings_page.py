"""Every setting as a page: `python -m alignstudy.study.tools.settings_page > docs/settings.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from alignstudy.study.tools.explain import explained, outermost
from alignstudy.study.tools.setting_keys import Setting

HEAD = """\
# Settings of a study file
`alignstudy explain KEY` says the same. Made by `make docs` from the classes that read a study;
don't edit it here.

A key is written with dots, as for `--set`. NAME stands for a name of your own, `[]` for any item of
a list (`--set judges.0.max_length=256` changes the first), and `[use=length]` for the items of that
kind. Under `methods`, a label that is the name of a method or loss means it; any other gives
`method`. Where a source is a class of a library, the setting has its name and meaning.
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    first = list(outermost())
    parts = [HEAD, _table(each for each, _ in first)]
    for section, inside in first:
        if inside:
            parts.append(f"## {section.key}\n{_escaped(section.meaning)}\n")
            parts.append(_table(explained(section.key)[1:]))
    return "\n".join(parts)


def _table(rows: Iterable[Setting]) -> str:
    lines = ["| key | type | default | meaning | source |", "|---|---|---|---|---|"]
    for each in rows:
        cells = [f"`{each.key}`", each.type, each.default, each.meaning, each.source]
        lines.append(f"| {' | '.join(map(_escaped, cells))} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Keep Markdown from reading a cell's end, or HTML, into a text."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(settings_page())
