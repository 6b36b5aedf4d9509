"""What happened to the data, as `audit.json` tells it; and how long the rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from alignstudy.records import Audit, Document, Pair

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
    told: dict[str, Any] = {}
    for audit in audits:
        if audit.part in told:
            raise ValueError(f"two audits of the part '{audit.part}'")
        told[audit.part] = _part(audit, (facts or {}).get(audit.part))
    return told


def _part(audit: Audit, facts: Mapping[str, Any] | None) -> dict[str, Any]:
    reasons = Counter(row.reason for row in audit.quarantined)
    listed = [
        {"file": row.file, "line": row.line, "reason": row.reason}
        for row in audit.quarantined[:MAX_LISTED]
    ]
    told: dict[str, Any] = {
        "read": audit.read,
        "used": audit.used,
        "num_quarantined": len(audit.quarantined),
        "quarantined_by_reason": dict(reasons.most_common()),
        "quarantined": listed,
        "quarantined_not_listed": len(audit.quarantined) - len(listed),
        "excluded": dict(audit.excluded),
        "notes": dict(audit.notes),
    }
    return told if facts is None else {**told, "lengths": dict(facts)}


def length_facts(rows: Sequence[Pair] | Sequence[Document]) -> dict[str, Any]:
    """Measure rows in words: medians, 95th percentiles, which response is the longer, duplicates.

    Returns:
        `{"rows", "duplicates"}`, per text `{"median", "p95"}` in words, and for pairs
        `chosen_longer`: the share (0..1) of pairs whose chosen response has more words, or None
        without pairs. A row is a duplicate if an earlier one has the same texts.
    """
    texts = [_texts(row) for row in rows]
    words = {
        name: [len(row[name].split()) for row in texts if name in row]
        for name in ("prompt", "chosen", "rejected", "text")
    }
    both = [(len(row["chosen"].split()), len(row["rejected"].split())) for row in texts
            if "rejected" in row]  # fmt: skip
    return {
        "rows": len(texts),
        "duplicates": len(texts) - len({tuple(row.items()) for row in texts}),
        "words": {name: _spread(counts) for name, counts in words.items() if counts},
        "chosen_longer": sum(a > b for a, b in both) / len(both) if both else None,
    }


def _texts(row: Pair | Document) -> dict[str, str]:
    if isinstance(row, Document):
        return {"text": row.text}
    texts = {"prompt": row.prompt, "chosen": row.chosen}
    return texts if row.rejected is None else {**texts, "rejected": row.rejected}


def _spread(counts: Sequence[int]) -> dict[str, float]:
    """Return the median, and the smallest count that 95 of 100 rows don't exceed."""
    ordered = sorted(counts)
    return {
        "median": float(median(ordered)),
        "p95": float(ordered[-(-95 * len(ordered) // 100) - 1]),
    }
