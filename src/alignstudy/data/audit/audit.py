"""What happened to the data, as `audit.json` reports it; and how long the rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from alignstudy.records import Audit, TrainingRow

MAX_LISTED = 1000


def audit_json(
    audits: Iterable[Audit], *, facts: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return what happened to the rows of every part.

    Args:
        audits: One a part; `read` is `used` + quarantined + excluded.
        facts: Part -> its `length_facts`.

    Returns:
        part -> counts, reasons, the quarantined rows (at most 1,000 are listed, all are counted),
        what was left out on purpose, notes, and the facts.

    Raises:
        ValueError: If two audits are of the same part.
    """
    parts: dict[str, Any] = {}
    for audit in audits:
        if audit.part in parts:
            raise ValueError(f"two audits of the part '{audit.part}'")
        listed = audit.quarantined[:MAX_LISTED]
        parts[audit.part] = {
            "read": audit.read,
            "used": audit.used,
            "num_quarantined": len(audit.quarantined),
            "quarantined_by_reason": dict(
                Counter(row.fault for row in audit.quarantined).most_common()
            ),
            "quarantined": [
                {"file": row.file, "line": row.line, "reason": row.reason} for row in listed
            ],
            "quarantined_not_listed": len(audit.quarantined) - len(listed),
            "excluded": dict(audit.excluded),
            "notes": dict(audit.notes),
        }
        if facts is not None and audit.part in facts:
            parts[audit.part]["lengths"] = dict(facts[audit.part])
    return parts


def length_facts(rows: Sequence[TrainingRow]) -> dict[str, Any]:
    """Measure rows in words: medians, 95th percentiles, which response is the longer, duplicates.

    Returns:
        `{"rows", "duplicates"}`, per text `{"median", "p95"}` in words, and for pairs
        `chosen_longer`: the share (0..1) of pairs whose chosen response has more words, or None
        without pairs. A row is a duplicate if an earlier one has the same texts.
    """
    names = ("prompt", "chosen", "rejected", "gold", "response", "text")
    texts = [
        {name: text for name in names if (text := getattr(row, name, None)) is not None}
        for row in rows
    ]
    words = {name: [len(row[name].split()) for row in texts if name in row] for name in names}
    spreads = {
        name: {
            "median": float(median(counts)),
            # The smallest count that 95 of 100 rows don't exceed.
            "p95": float(sorted(counts)[-(-95 * len(counts) // 100) - 1]),
        }
        for name, counts in words.items()
        if counts
    }
    longer = [
        len(row["chosen"].split()) > len(row["rejected"].split())
        for row in texts
        if "rejected" in row
    ]
    return {
        "rows": len(texts),
        "duplicates": len(texts) - len({tuple(row.items()) for row in texts}),
        "words": spreads,
        "chosen_longer": sum(longer) / len(longer) if longer else None,
    }


LOUD = 0.05
"""Share of rows that can't be used above which a study says so first."""


def loss_in_words(audit: Audit) -> str:
    """Return that many rows of a part can't be used, and mostly why; "" if they aren't many."""
    lost = len(audit.quarantined)
    if lost <= LOUD * audit.read:
        return ""
    faults = Counter(row.fault for row in audit.quarantined)
    reason, number = faults.most_common(1)[0]
    rest = f", {lost - number} for other reasons" if number < lost else ""
    return (
        f"{lost} of {audit.read} rows of {audit.part} can't be used"
        f" ({100 * lost / audit.read:.0f} %): {number} because {reason}{rest}"
    )
