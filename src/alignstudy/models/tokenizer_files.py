"""Tokenizer files of strangers: bounded in size, in what they make of a text, and in time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alignstudy.errors import InputError
from alignstudy.models.folder import MOST_BYTES, check_size, inside, read_json
from alignstudy.models.inspection import pairs_in

MOST_OF_A_TEMPLATE = 1 << 20
"""Bytes of a chat template."""

MOST_ADDED, MOST_GROWTH = 1 << 18, 1 << 10
"""Tokens added to a vocabulary; letters that one letter may become before it is split."""

MOST_OF_A_PATTERN = 1 << 13
"""Letters of an expression by which texts are split."""

_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_UNIT = re.compile(r"\\p\{[^}]*\}|\\.|\[(?:\\.|[^\]\\])+\]|[^\\\[]", re.DOTALL)
_COUNT = re.compile(r"\{\d*,?\d*\}")
_ENDLESS = re.compile(r"[*+]|\{\d*,\}")


def inspect_tokenizer(folder: Path) -> None:
    """Hold a folder's tokenizer against bounds, before a library reads it.

    Raises:
        InputError: If a file is larger than any has need of, or describes steps that may make
            more of a text, or work longer at it, than any text is worth.
        GuardError: If it names a file outside the folder.
        DamagedArtefactError: If a file can't be read.
    """
    for pattern in ("*.json", "*.txt", "*.model", "*.spm"):
        for file in folder.glob(pattern):
            check_size(file, MOST_BYTES)
    for file in (*folder.glob("chat_template*"), *folder.glob("additional_chat_templates/*")):
        check_size(file, MOST_OF_A_TEMPLATE)
    for name in ("tokenizer_config.json", "added_tokens.json", "tokenizer.json"):
        if (folder / name).is_file():
            _check(folder, name, read_json(folder / name))


def _check(folder: Path, name: str, values: dict[str, Any]) -> None:
    most = values.get("model_max_length")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int | float)):
        raise _unusable(folder / name, "reads as many tokens as no number says", "model_max_length")
    for named in values.get("fast_tokenizer_files") or ():
        inside(folder, str(named))
    added = values if name == "added_tokens.json" else None
    for key in ("added_tokens", "added_tokens_decoder", "additional_special_tokens"):
        added = added or values.get(key)
    number = len(added) if isinstance(added, dict | list) else 0
    if number > MOST_ADDED:
        raise _unusable(
            folder / name, f"adds {number:,} tokens", f"no vocabulary has more than {MOST_ADDED:,}"
        )
    if name == "tokenizer.json":
        _check_steps(folder / name, {key: values.get(key) for key in _STEPS})


def _check_steps(file: Path, steps: dict[str, Any]) -> None:
    """Refuse steps that may never end, or that may make a text of any size."""
    growth = 1
    for key, value in pairs_in(steps):
        if not isinstance(value, str):
            continue
        if key == "Regex" and (len(value) > MOST_OF_A_PATTERN or may_not_end(value)):
            why = "a repeat of what repeats or varies itself may take for ever"
            raise _unusable(file, f"splits texts by {value[:100]!r}", why)
        if key == "content":
            growth *= max(1, len(value))
        if growth > MOST_GROWTH:
            why = f"its replacements make {MOST_GROWTH:,} letters and more of one"
            raise _unusable(file, "blows texts up", why)


def may_not_end(pattern: str) -> bool:
    """Return whether an expression may take a time far beyond the length of its text.

    One that repeats a group which repeats or varies itself, `(a+)+` or `(a|aa)+`, may double its
    time with every letter; each further endless repeat in a row multiplies it by their number.
    """
    varies, in_a_row = [False], 0
    signs = list(_signs(pattern))
    for at, sign in enumerate(signs):
        follows = signs[at + 1] if at + 1 < len(signs) else ""
        repeated = bool(_ENDLESS.fullmatch(follows))
        if sign == "(":
            varies.append(False)
        elif sign == ")" and len(varies) > 1:
            if varies.pop() and repeated:
                return True
            varies[-1] = varies[-1] or repeated
        elif sign == "|":
            varies[-1], in_a_row = True, 0
        elif repeated or (_VARYING.fullmatch(follows) and sign != "("):
            varies[-1] = True
            in_a_row += repeated
        if in_a_row > _MOST_IN_A_ROW:
            return True
    return False


_VARYING = re.compile(r"\?|\{\d*,\d*\}")
_MOST_IN_A_ROW = 3


def _signs(pattern: str) -> Iterator[str]:
    """Split an expression into its signs: classes, escapes and counts are one each."""
    at = 0
    while at < len(pattern):
        found = _COUNT.match(pattern, at) or _UNIT.match(pattern, at)
        sign = found.group() if found else pattern[at]
        yield sign
        at += len(sign)


def _unusable(file: Path, what: str, why: str) -> InputError:
    return InputError(
        f"{file} {what}", why=why, hint="use the tokenizer that its model's owner has"
    )
