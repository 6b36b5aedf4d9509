"""What the audit of a source found: for scripts as JSON, for people as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alignstudy.data.audit.suspicion import Kind, Suspicion
from alignstudy.records import Axis, Estimate


@dataclass(frozen=True, kw_only=True)
class SplitFacts:
    """One split of one subset.

    Attributes:
        rows: Rows read; `used` and `quarantined` add up to it.
        used: Usable rows by what they are: "pairs", "demonstrations", "texts".
        reasons: Reason -> rows quarantined for it, the commonest first.
        counts: Kind of suspicion (in small letters) -> rows; quarantined ones included.
        longer_chosen: Of the pairs whose responses differ in words, the percentage in which
            people chose the longer one; None without such pairs.
        median_chosen: Words of the chosen responses; None without pairs.
        median_rejected: The same of the rejected ones.
    """

    subset: str
    split: str
    rows: int
    used: dict[str, int]
    quarantined: int
    reasons: dict[str, int]
    counts: dict[str, int]
    longer_chosen: Estimate | None
    median_chosen: float | None
    median_rejected: float | None

    @property
    def name(self) -> str:
        """Return where it lies: `harmless-base/test`."""
        return f"{self.subset}/{self.split}".lstrip("/")


@dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Different prompts that say nearly the same, over all splits.

    Attributes:
        looked_at: Different prompts that were compared.
        prompts: Different prompts that there are.
        clusters: Clusters of two or more.
        clustered: Prompts in them.
        across_splits: Clusters with prompts of two or more splits.
        examples: Rows of the largest clusters.
    """

    looked_at: int
    prompts: int
    clusters: int
    clustered: int
    across_splits: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class SplitOverlap:
    """Prompts of a held-out split that are in the training split, in three ways.

    Attributes:
        prompts: Rows of the held-out split that ask something.
        looked_for: How many of them were looked for.
        rows: Rows of the training split that were searched.
        exact: Prompts asked there too.
        dialogue: Prompts whose dialogue is there, at the same or another depth.
        ngram13: Prompts of which 13 words in a row are there.
        examples: Rows of the held-out split.
    """

    held_out: str
    against: str
    prompts: int
    looked_for: int
    rows: int
    exact: int
    dialogue: int
    ngram13: int
    examples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PromptFacts:
    """What a study would ask on one axis.

    Attributes:
        drawn: Prompts it gets.
        fault: Why it gets none; "" if it does.
    """

    axis: Axis
    drawn: int
    notes: dict[str, int]
    excluded: dict[str, int]
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class DataAudit:
    """All that was found.

    Attributes:
        overlaps: Empty without a split `train` and another one.
        prompts: Empty if nobody asked.
        review: Rows to look at, the worst first.
        num_suspicious: All suspicious rows, listed or not.
    """

    source: str
    format: str
    splits: tuple[SplitFacts, ...]
    near_duplicates: NearDuplicates
    overlaps: tuple[SplitOverlap, ...]
    prompts: tuple[PromptFacts, ...]
    review: tuple[Suspicion, ...]
    num_suspicious: int

    @property
    def rows(self) -> int:
        """Rows read."""
        return sum(split.rows for split in self.splits)

    @property
    def quarantined(self) -> int:
        """Rows that can't be used."""
        return sum(split.quarantined for split in self.splits)

    @property
    def num_used(self) -> int:
        """Rows that something comes of."""
        return sum(split.rows - split.quarantined for split in self.splits)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        values = asdict(self)
        values["review"] = [
            {
                "file": row.file,
                "line": row.line,
                "kind": row.kind.name.lower(),
                "reason": row.reason,
            }
            for row in self.review
        ]
        return {"rows": self.rows, "quarantined": self.quarantined, **values}

    def to_markdown(self) -> str:
        """Return everything in Markdown; names and reasons from the data are escaped."""
        reasons = [
            [split.name, str(count), reason]
            for split in self.splits
            for reason, count in split.reasons.items()
        ]
        found = {kind: [split.counts[kind.name.lower()] for split in self.splits] for kind in Kind}
        kinds = [[kind.value, *map(str, each)] for kind, each in found.items() if any(each)]
        review = [[f"{row.file}:{row.line}", row.reason] for row in self.review]
        left = self.num_suspicious - len(review)
        rows = []
        for split in self.splits:
            pairs, longer, words, share = split.used.get("pairs", 0), split.longer_chosen, "", ""
            if longer is not None:
                words = f"{split.median_chosen:g} / {split.median_rejected:g}"
                share = f"{longer.value:.1f} % ({longer.low:.1f} to {longer.high:.1f})"
            counts = (split.rows, pairs, sum(split.used.values()) - pairs, split.quarantined)
            rows.append([split.name, *map(str, counts), words, share])
        blocks = [
            f"# Audit of {escaped(self.source)}",
            f"{self.rows:,} rows read, {self.quarantined:,} can't be used;"
            f" {self.num_suspicious:,} rows are worth a look.",
            "## Rows",
            _table(_ROW_HEADS, rows),
            "## Why rows can't be used",
            _table(("split", "rows", "reason"), reasons) or "Every row can be used.",
            "## Suspicious rows",
            _table(("kind", *(split.name for split in self.splits)), kinds) or "None.",
            "## Near-duplicate prompts",
            _near_duplicate_words(self.near_duplicates),
            "## Overlap of splits",
            "\n".join(map(_overlap_words, self.overlaps))
            or "Not looked for: it takes a split `train` and another one.",
        ]
        if self.prompts:
            blocks += ["## Prompts of a study", "\n".join(map(_prompt_words, self.prompts))]
        blocks += ["## Rows to look at", _table(("row", "why"), review) or "None."]
        if review and left:
            blocks.append(f"{left:,} more are not listed.")
        return "\n\n".join(blocks) + "\n"


_ROW_HEADS = (
    "split",
    "rows",
    "pairs",
    "other",
    "can't be used",
    "words chosen / rejected",
    "longer one chosen",
)


def _near_duplicate_words(found: NearDuplicates) -> str:
    words = (
        f"{found.clusters:,} clusters hold {found.clustered:,} of the {found.looked_at:,} different"
        f" prompts compared (of {found.prompts:,}); {found.across_splits:,} clusters reach over"
        " splits."
    )
    return "\n".join([words, *(f"- {escaped(', '.join(rows))}" for rows in found.examples)])


def _overlap_words(found: SplitOverlap) -> str:
    examples = f": {escaped(', '.join(found.examples))}" if found.examples else ""
    return (
        f"- {escaped(found.held_out)} in {escaped(found.against)} ({found.looked_for:,} of"
        f" {found.prompts:,} prompts looked for in {found.rows:,} rows): {found.exact:,} asked"
        f" there too, {found.dialogue:,} share a dialogue, {found.ngram13:,} share 13 words in a"
        f" row{examples}"
    )


def _prompt_words(facts: PromptFacts) -> str:
    if facts.fault:
        return f"- {facts.axis.name}: none ({escaped(facts.fault)})"
    notes = {**facts.notes, **facts.excluded}
    counts = "; ".join(f"{count:,} {what}" for what, count in notes.items())
    return f"- {facts.axis.name}: {facts.drawn:,} prompts ({escaped(counts)})"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table; "" without rows."""
    lines = [[escaped(cell) for cell in line] for line in (heads, *rows)]
    lines.insert(1, ["---"] * len(heads))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


_MARKS = re.compile(r"[\\`*_{}\[\]|#!~]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "://": "&#58;//", "www.": "www&#46;"}


def escaped(text: str) -> str:
    """Write text so that Markdown shows it as it is; what can't be seen is shown by its code."""
    shown = "".join(char if char.isprintable() else f"[U+{ord(char):04X}]" for char in text)
    shown = _MARKS.sub(lambda mark: f"\\{mark[0]}", shown)
    for mark, entity in _ENTITIES.items():
        shown = shown.replace(mark, entity)
    return shown
