"""The account of one split in the audit of a source: how many rows of what kind, how long."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from alignstudy.data.audit.rows import SplitFacts
from alignstudy.data.audit.suspicion import Kind
from alignstudy.records import Document, Pair
from alignstudy.stats.intervals import wilson


@dataclass
class PartAccount:
    """Counts the rows of one split of one subset, and measures the responses.

    Attributes:
        num_rows: Rows read.
        reasons: Reason -> rows that can't be used.
        counts: Kind of suspicion (in small letters) -> rows.
        kinds: "pairs", "demonstrations", "texts" -> usable rows.
    """

    num_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    chosen_words: list[int] = field(default_factory=list)
    rejected_words: list[int] = field(default_factory=list)

    def measure(self, record: Pair | Document) -> None:
        """Count one usable row, and the words of its responses if it has two."""
        if isinstance(record, Document):
            self.kinds["texts"] += 1
        elif record.rejected is None:
            self.kinds["demonstrations"] += 1
        else:
            self.kinds["pairs"] += 1
            self.chosen_words.append(len(record.chosen.split()))
            self.rejected_words.append(len(record.rejected.split()))

    def facts(self, *, subset: str, split: str) -> SplitFacts:
        """Close the account."""
        words = zip(self.chosen_words, self.rejected_words, strict=True)
        longer = [chosen > rejected for chosen, rejected in words if chosen != rejected]
        return SplitFacts(
            subset=subset,
            split=split,
            rows=self.num_rows,
            used=dict(self.kinds),
            quarantined=sum(self.reasons.values()),
            reasons=dict(self.reasons.most_common()),
            counts={kind.name.lower(): self.counts[kind.name.lower()] for kind in Kind},
            longer_chosen=wilson(sum(longer), len(longer)) if longer else None,
            median_chosen=float(median(self.chosen_words)) if self.chosen_words else None,
            median_rejected=float(median(self.rejected_words)) if self.rejected_words else None,
        )
