"""How numbers are written for people: tables, sentences, the report."""

from __future__ import annotations

import math

from alignstudy.records import Estimate

MINUS, DASH, NO_BREAK = "\u2212", "\u2013", "\u00a0"
ABSENT = DASH
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Write a number with a true minus sign; an absent one as a dash; never "-0.0"."""
    if value is None:
        return ABSENT
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def short(value: float, digits: int, *, signed: bool = False) -> str:
    """Write a number without trailing zeros: 55, 46.5."""
    text = number(value, digits, signed=signed)
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval(estimate: Estimate, digits: int) -> str:
    """Write the interval: `[45.0, 64.0]`; values that are all alike tell of none."""
    if estimate.low == estimate.high:
        return "[no interval]"
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def p_value(p: float | None) -> str:
    """Write a p-value for a table: `.005`, `<.001`, `1`."""
    if p is None:
        return ABSENT
    if p < 0.001:
        return "<.001"
    text = f"{p:.3f}" if p < 0.1 else f"{p:.2f}"
    return "1" if text == "1.00" else text.removeprefix("0")


def p_in_words(p: float) -> str:
    """Write a p-value for a sentence: `p = .005`, `p < .001`."""
    text = p_value(p)
    sign = "<" if text.startswith("<") else "="
    return f"p{NO_BREAK}{sign}{NO_BREAK}{text.removeprefix('<')}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share that is already in percent."""
    return ABSENT if value is None else f"{number(value, digits)}{NO_BREAK}%"


def count(value: float | None) -> str:
    """Write a whole number with thousands apart."""
    return ABSENT if value is None else number(value, 0)


def duration(seconds: float) -> str:
    """Write a time: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole if seconds >= 10 else short(seconds, 1)}{NO_BREAK}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest}{NO_BREAK}s"
    return f"{minutes // 60}{NO_BREAK}h {minutes % 60}{NO_BREAK}min"


def quantity(value: float, unit: str) -> str:
    """Write an amount with a prefix that keeps it short: `1.83 GB`, `302 TFLOP`, `0 J`."""
    power = min(max(0, int(math.log10(value)) // 3), len(PREFIXES) - 1) if value >= 1 else 0
    scaled = value / 1000**power
    digits = 0 if scaled >= 100 or not power else 1 if scaled >= 10 else 2
    return f"{number(scaled, digits)}{NO_BREAK}{PREFIXES[power]}{unit}"


def listing(names: list[str] | tuple[str, ...], *, word: str = "and") -> str:
    """Join names as a sentence does: `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {word} {names[-1]}"


def plural(amount: int, one: str, many: str = "") -> str:
    """Write an amount with its noun: `1 row`, `2 rows`."""
    return f"{count(amount)}{NO_BREAK}{one if amount == 1 else many or one + 's'}"
