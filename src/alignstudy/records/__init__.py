"""Frozen rows that cross the borders between layers."""

from alignstudy.records.rows import (
    DECIMALS,
    Audit,
    Axis,
    Document,
    Estimate,
    GuardOutcome,
    Pair,
    Prompt,
    Quarantined,
    Response,
    Score,
    ScoredResponse,
    StopReason,
    Weights,
    read_rows,
    write_rows,
)

__all__ = [
    "DECIMALS",
    "Audit",
    "Axis",
    "Document",
    "Estimate",
    "GuardOutcome",
    "Pair",
    "Prompt",
    "Quarantined",
    "Response",
    "Score",
    "ScoredResponse",
    "StopReason",
    "Weights",
    "read_rows",
    "write_rows",
]
