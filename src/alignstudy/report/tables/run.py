"""Tables of the run: calibration, data, training, guards, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any

from alignstudy.formatting import ABSENT, duration, short
from alignstudy.records import Audit
from alignstudy.records.evidence import Divergence, TrainingRecord
from alignstudy.report.tables.table import (
    Cell,
    Column,
    Table,
    estimated,
    numeric,
    plain,
    rounded,
)

_MAX_ROWS = 60


def records_table(rows: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """Rows of named values, a column a name, whatever they are."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = tuple(
        Column(
            name.replace("_", " ").capitalize(),
            methodcaller("get", name),
            is_number=all(isinstance(row.get(name), (int, float, type(None))) for row in rows),
        )
        for name in names
    )
    return Table(columns=columns, rows=rows, title=title)


def audit_table(audits: Sequence[Audit]) -> Table:
    """Rows read, used, quarantined and left out, by part of the data."""
    return Table.of(
        audits,
        Column("Part", "part"),
        numeric("Read", "read"),
        numeric("Used", "used"),
        numeric("Can't be used", lambda audit: len(audit.quarantined)),
        numeric("Left out on purpose", lambda audit: sum(audit.excluded.values())),
        Column("Also counted", "notes", partial(_named, between=": ")),
        title="What happened to the rows",
    )


def _named(values: Mapping[str, object], between: str = " ") -> str:
    return "; ".join(f"{name}{between}{plain(value)}" for name, value in values.items())


def exclusions_table(audits: Sequence[Audit]) -> Table:
    """Why rows were quarantined or left out, with how many and an example."""
    rows: list[tuple[str, str, str, int, str]] = []
    for audit in audits:
        reasons = Counter(item.reason for item in audit.quarantined)
        where = {item.reason: f"{item.file}:{item.line}" for item in reversed(audit.quarantined)}
        for reason, amount in reasons.most_common():
            rows.append((audit.part, "can't be used", reason, amount, where[reason]))
        for reason, amount in audit.excluded.items():
            rows.append((audit.part, "left out on purpose", reason, amount, ""))
    rest = len(rows) - _MAX_ROWS
    return Table.of(
        rows[:_MAX_ROWS],
        Column("Part", itemgetter(0)),
        Column("What", itemgetter(1)),
        Column("Reason", itemgetter(2)),
        numeric("Rows", itemgetter(3)),
        Column("First of them", itemgetter(4)),
        note=f"{rest} more reasons are in data/audit.json." if rest > 0 else "",
        title="Rows that were not used",
    )


def training_table(training: Sequence[TrainingRecord]) -> Table:
    """What each training took."""
    return Table.of(
        training,
        Column("Training", lambda record: Cell(record.recipe, "; ".join(record.notes))),
        numeric("Seed", "seed", str),
        numeric("Steps", "steps"),
        numeric("Epochs", "epochs", partial(short, digits=2)),
        numeric("Tokens", "num_tokens"),
        numeric("Time", "seconds", duration),
        numeric("Last loss", "final_loss", rounded(4)),
        Column("Rows", "counts", _named),
        title="What each training took",
    )


def divergence_table(divergences: Sequence[Divergence]) -> Table:
    """How far each model is from the base, on its own samples."""
    several = len({item.seed for item in divergences}) > 1
    return Table.of(
        divergences,
        Column(
            "Model",
            lambda d: Cell(f"{d.model}, seed {d.seed}" if several else d.model, d.note),
        ),
        numeric("KL a token", "kl_per_token", estimated(3)),
        numeric("KL a response (k1)", "kl_per_sequence", estimated(2)),
        numeric("KL a response (k3)", "kl_per_sequence_k3", estimated(2)),
        numeric("Entropy a token", "entropy_per_token", estimated(2)),
        numeric("Implicit-reward accuracy", "implicit_accuracy", estimated(1, unit="%")),
        numeric("Samples", "n"),
        note="KL divergence from the base in nats, on the model's own samples at temperature 1. A"
        " higher score bought with a large divergence may be over-optimisation. Implicit-reward"
        " accuracy: share of held-out pairs that the model itself, compared with its reference,"
        " ranks as people do; chance is 50 %.",
        title="How far training moved each model",
    )


def guards_table(training: Sequence[TrainingRecord]) -> Table:
    """Every guard that ran, with what it saw."""
    return Table.of(
        [
            (Cell(record.recipe or record.stage, f"seed {record.seed}"), outcome)
            for record in training
            for outcome in record.guards
        ],
        Column("Training", itemgetter(0)),
        Column("Guard", lambda row: row[1].guard),
        Column(
            "Outcome",
            lambda row: Cell("passed") if row[1].passed else Cell("did not pass", kind="bad"),
        ),
        Column("What it saw", lambda row: row[1].detail),
        title="Guards that ran while training",
    )


def facts_table(facts: Mapping[str, Any], heading: str, *, title: str) -> Table:
    """Names with their values; nested names are joined by dots."""
    columns = (Column(heading, itemgetter(0)), Column("Value", itemgetter(1)))
    return Table(columns=columns, rows=tuple(_flat(facts)), title=title)


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Yield (dotted name, text) of every value in nested mappings and lists of mappings."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value, start=1):
            yield from _flat(item, f"{name}.{place}")
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, ABSENT if value is None else str(value)
