"""Compares two run folders (or folders of `evaluate`), number by number and text by text.

    python benchmarks/same_numbers.py OLD NEW [--scores 1e-5] [--tolerance 1e-9]

Read are statistics, tables, responses, classifications, prompts, data behind figures, training
curves. Every number has a path, such as `statistics.json:comparisons[metric=hmr,model=sft].p_holm`:
records of a list are matched by what they are about, not by position. A field that a release has
renamed is listed in RENAMED. Exit code 1: a number differs or is missing from NEW, or a prompt, a
response or a verdict isn't the same text. Other texts that differ (notes) are only shown.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RENAMED: dict[str, str] = {
    r"(\bmodels\[[^]]*\])\.(hmr|hpr|cas|score_\w+)\b": r"\1.estimates.\2",
    r"\bthresholds\.(harmless|helpful)\b": r"thresholds.values.\1",
    r"^(figures/tradeoff\.csv:.*)\.hpr$": r"\1.x",
    r"^(figures/tradeoff\.csv:.*)\.hmr$": r"\1.y",
    r"^(figures/tradeoff\.csv:.*)\.sd_hpr$": r"\1.sd_x",
    r"^(figures/tradeoff\.csv:.*)\.sd_hmr$": r"\1.sd_y",
    r"^(figures/tradeoff\.csv:.*)\.n_helpful$": r"\1.n_x",
    r"^(figures/tradeoff\.csv:.*)\.n_harmful$": r"\1.n_y",
}
"""Regular expressions of old paths -> what the matched part is called now."""

IGNORED = re.compile(
    "seconds|cpu_seconds|started|ended|.*_memory|joules|costs?|schema|versions?|path|empty_fails"
)
"""Keys of times, memory, cost, versions and paths: what lies under them isn't compared.

`empty_fails` was a truth value in release 0.3 and lists axes since.
"""

FILES = (
    "statistics.json",
    "tables/*.csv",
    "figures/*.csv",
    "responses/*.json",
    "classification/*.json",
    "data/audit.json",
    "data/prompts/*.json",
    "*/*/metrics.jsonl",
    "*/*/result.json",
)
EXACT_TEXTS = re.compile(
    r"^(responses|classification|data/prompts)/|\.(verdict|leaders|prompts|clusters|below_floor)\b"
)
"""Texts that must be equal: what was asked, answered and labelled, and what was concluded."""

WHO = ("judge", "axis", "metric", "without", "model", "reference", "first", "second", "seed")
WHAT = ("subset", "probe", "claim", "part", "prompt_id", "prompt", "training", "quantity", "step")
IDENTITY = (*WHO, *WHAT, "flag", "prompts", "guard")
"""What a record can be about, in the order of its path; those that it has name it."""

SCORES = re.compile(r"^(responses|classification|figures)/.*\.([a-z_]*score|rating|scores\..+)$")
ROUNDED = 1e-4
"""A rating has four decimals: scores that differ by less may be rounded to two neighbours."""

Leaf = float | str | None


def leaves(value: Any, path: str) -> Iterator[tuple[str, Leaf]]:
    """Yield path and value of every number and text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not IGNORED.fullmatch(name):
                yield from leaves(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for name, inner in zip(_names(value), value, strict=True):
            yield from leaves(inner, f"{path}[{name}]")
    else:
        yield path, value


def _names(items: Sequence[Any]) -> list[str]:
    """Name the items of a list by what they are about; those that are alike are numbered."""
    names, seen = [], Counter[str]()
    for number, item in enumerate(items):
        name = _identity(item) or str(number)
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _identity(item: Any) -> str:
    if isinstance(item, Mapping):
        known = [name for name in IDENTITY if isinstance(item.get(name), str | int | float)]
        if "prompt_id" in known:
            known = [name for name in known if name != "prompt"]
        return ",".join(f"{name}={str(item[name])[:60]}" for name in known)
    if isinstance(item, list) and any(isinstance(part, Mapping) for part in item):
        return ",".join(part for part in item if isinstance(part, str))
    return ""


def read(folder: Path) -> dict[str, Leaf]:
    """Read all that is compared of a folder: path -> number or text."""
    found: dict[str, Leaf] = {}
    for pattern in FILES:
        for path in sorted(folder.glob(pattern)):
            name = path.relative_to(folder).as_posix()
            for inner, value in leaves(_content(path), ""):
                found[f"{name}:{inner.removeprefix('.')}"] = value
    return found


def _content(path: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        rows = csv.DictReader(io.StringIO(text))
        return [{name: _cell(cell) for name, cell in row.items()} for row in rows]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


def _cell(text: str) -> Leaf:
    try:
        return float(text)
    except ValueError:
        return {"True": True, "False": False, "": None}.get(text, text)


def renamed(path: str) -> str:
    """Return what an old path is called now."""
    for pattern, now in RENAMED.items():
        path = re.sub(pattern, now, path)
    return path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a comparison came to: lines to be shown, and counts of (kind, state).

    Kinds are "numbers" and "texts"; states "same", "differ", "only old" and "only new".
    """

    lines: list[str]
    counts: Counter[tuple[str, str]]
    failed: bool


def compare(
    old: Mapping[str, Leaf], new: Mapping[str, Leaf], *, tolerance: float = 1e-9, scores: float = 0
) -> Outcome:
    """Compare two folders as `read` gives them.

    Args:
        old: Of the former release; its paths are renamed.
        new: Of the present one.
        tolerance: Largest relative difference of equal numbers.
        scores: Largest difference of equal scores of responses; 0: as other numbers.
    """
    former = {renamed(path): value for path, value in old.items()}
    if len(former) < len(old):
        raise ValueError("RENAMED gives several old paths one name")
    lines, counts, failed = [], Counter[tuple[str, str]](), False
    for path in dict.fromkeys([*former, *new]):
        values = [side[path] for side in (former, new) if path in side]
        numeric = any(isinstance(value, int | float) for value in values)
        if len(values) == 1:
            state = "only old" if path in former else "only new"
        else:
            same = _same(former[path], new[path], *_limits(path, tolerance, scores))
            state = "same" if same else "differ"
        counts["numbers" if numeric else "texts", state] += 1
        if state != "same":
            fails = state != "only new" and (numeric or EXACT_TEXTS.search(path) is not None)
            failed |= fails
            shown = " -> ".join(map(repr, values))
            lines.append(f"{state}{'' if fails else ' (allowed)'}: {path}: {shown}")
    return Outcome(lines=lines, counts=counts, failed=failed)


def _limits(path: str, tolerance: float, scores: float) -> tuple[float, float]:
    """Return how far two numbers may lie apart: relatively, absolutely."""
    if not (scores and SCORES.match(path)):
        return tolerance, 1e-3 * tolerance
    return 0.0, scores + (0.0 if ".scores." in path else ROUNDED)


def _same(old: Leaf, new: Leaf, relative: float, absolute: float) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        near = math.isclose(old, new, rel_tol=relative, abs_tol=absolute)
        return near or (math.isnan(old) and math.isnan(new))
    return old == new


def main() -> int:
    """Print every difference and a summary; return 1 where the folders don't agree."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("old", type=Path, help="run folder of the former release")
    made.add_argument("new", type=Path, help="run folder of the present one")
    made.add_argument("--scores", type=float, default=0.0, help="how far a score may move")
    made.add_argument("--tolerance", type=float, default=1e-9, help="of other numbers, relative")
    asked = made.parse_args()
    old, new = read(asked.old), read(asked.new)
    if not (old and new):
        sys.exit(f"nothing to compare in {asked.new if old else asked.old}")
    outcome = compare(old, new, tolerance=asked.tolerance, scores=asked.scores)
    for line in outcome.lines:
        print(line)
    for kind in ("numbers", "texts"):
        same, differ, gone, fresh = (
            outcome.counts[kind, state] for state in ("same", "differ", "only old", "only new")
        )
        shown = f"{differ} differ, {gone} only old, {fresh} only new"
        print(f"{same + differ} {kind} compared, {shown}")
    return int(outcome.failed)


if __name__ == "__main__":
    sys.exit(main())
