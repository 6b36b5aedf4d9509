"""The report's tables of the run: calibration, data, training, guards, provenance, settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alignstudy.formatting import ABSENT, count, duration, interval, number, percent, short
from alignstudy.records import Audit, Estimate
from alignstudy.records.evidence import Divergence, TrainingRecord
from alignstudy.report.tables.layout import Cell, Table

_MAX_ROWS = 60


def records_table(rows: Sequence[Mapping[str, Any]], *, title: str, note: str = "") -> Table:
    """Rows of named values, a column a name, whatever they are."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    is_number = {
        name: all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        for name in names
    }
    heads = tuple(
        name.replace("_", " ").capitalize() + ("#" if is_number[name] else "") for name in names
    )
    cells = tuple(tuple(Cell(_plain(row.get(name))) for name in names) for row in rows)
    return Table(columns=heads, rows=cells, title=title, note=note)


def _plain(value: object) -> str:
    """Write any value for a table."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value, 4)
    return count(value) if isinstance(value, int) else str(value)


def audit_table(audits: Sequence[Audit]) -> Table:
    """Rows read, used, quarantined and left out, by part of the data."""
    rows = tuple(
        (
            Cell(audit.part),
            Cell(count(audit.read)),
            Cell(count(audit.used)),
            Cell(count(len(audit.quarantined))),
            Cell(count(sum(audit.excluded.values()))),
            Cell("; ".join(f"{name}: {_plain(value)}" for name, value in audit.notes.items())),
        )
        for audit in audits
    )
    columns = ("Part", "Read#", "Used#", "Can't be used#", "Left out on purpose#", "Also counted")
    return Table(columns=columns, rows=rows, title="What happened to the rows")


def exclusions_table(audits: Sequence[Audit]) -> Table:
    """Why rows were quarantined or left out, with how many and an example."""
    rows = []
    for audit in audits:
        reasons = Counter(item.reason for item in audit.quarantined)
        where = {item.reason: f"{item.file}:{item.line}" for item in reversed(audit.quarantined)}
        for reason, amount in reasons.most_common():
            rows.append((audit.part, "can't be used", reason, amount, where[reason]))
        for reason, amount in audit.excluded.items():
            rows.append((audit.part, "left out on purpose", reason, amount, ""))
    shown = tuple(
        (Cell(part), Cell(kind), Cell(reason), Cell(count(amount)), Cell(place))
        for part, kind, reason, amount, place in rows[:_MAX_ROWS]
    )
    rest = len(rows) - len(shown)
    return Table(
        columns=("Part", "What", "Reason", "Rows#", "First of them"),
        rows=shown,
        note=f"{rest} more reasons are in data/audit.json." if rest else "",
        title="Rows that were not used",
    )


def training_table(training: Sequence[TrainingRecord]) -> Table:
    """What each training took."""
    rows = tuple(
        (
            Cell(record.recipe, "; ".join(record.notes)),
            Cell(str(record.seed)),
            Cell(count(record.steps)),
            Cell(short(record.epochs, 2)),
            Cell(count(record.num_tokens)),
            Cell(duration(record.seconds)),
            Cell(number(record.final_loss, 4)),
            Cell("; ".join(f"{name} {_plain(n)}" for name, n in record.counts.items())),
        )
        for record in training
    )
    columns = ("Training", "Seed#", "Steps#", "Epochs#", "Tokens#", "Time#", "Last loss#", "Rows")
    return Table(columns=columns, rows=rows, title="What each training took")


def divergence_table(divergences: Sequence[Divergence]) -> Table:
    """How far each model is from the base, on its own samples."""
    several = len({item.seed for item in divergences}) > 1
    rows = tuple(
        (
            Cell(f"{item.model}, seed {item.seed}" if several else item.model, item.note),
            _nats(item.kl_per_token, 3),
            _nats(item.kl_per_sequence, 2),
            _nats(item.kl_per_sequence_k3, 2),
            _nats(item.entropy_per_token, 2),
            Cell(percent(item.implicit_accuracy.value), interval(item.implicit_accuracy, 1))
            if item.implicit_accuracy
            else Cell(ABSENT),
            Cell(count(item.n)),
        )
        for item in divergences
    )
    return Table(
        columns=(
            "Model", "KL a token#", "KL a response (k1)#", "KL a response (k3)#",
            "Entropy a token#", "Implicit-reward accuracy#", "Samples#",
        ),
        rows=rows,
        note=(
            "KL divergence from the base in nats, on the model's own samples at temperature 1. A"
            " higher score bought with a large divergence may be over-optimisation. Implicit-reward"
            " accuracy: share of held-out pairs that the model itself, compared with its reference,"
            " ranks as people do; chance is 50 %."
        ),
        title="How far training moved each model",
    )  # fmt: skip


def _nats(estimate: Estimate | None, digits: int) -> Cell:
    if estimate is None:
        return Cell(ABSENT)
    return Cell(number(estimate.value, digits), interval(estimate, digits))


def guards_table(training: Sequence[TrainingRecord]) -> Table:
    """Every guard that ran, with what it saw."""
    rows = tuple(
        (
            Cell(record.recipe if record.recipe else record.stage, f"seed {record.seed}"),
            Cell(guard.guard),
            Cell("passed") if guard.passed else Cell("did not pass", kind="bad"),
            Cell(guard.detail),
        )
        for record in training
        for guard in record.guards
    )
    return Table(
        columns=("Training", "Guard", "Outcome", "What it saw"),
        rows=rows,
        title="Guards that ran while training",
    )


def facts_table(facts: Mapping[str, Any], heading: str, *, title: str) -> Table:
    """Names with their values; nested names are joined by dots."""
    rows = tuple((Cell(name), Cell(value)) for name, value in _flat(facts))
    return Table(columns=(heading, "Value"), rows=rows, title=title)


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Return (dotted name, text) of every value in nested mappings and lists of mappings."""
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


def settings_text(value: Any, indent: int = 0) -> str:  # noqa: ANN401 - JSON
    """Write settings in the manner of YAML, for reading."""
    pad = "  " * indent
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            lines += [f"{pad}{key}:", settings_text(item, indent + 1)]
        elif isinstance(item, (list, tuple)):
            lines.append(f"{pad}{key}: [{', '.join(_scalar(part) for part in item)}]")
        else:
            lines.append(f"{pad}{key}: {_scalar(item)}")
    return "\n".join(lines)


def _scalar(value: object) -> str:
    """Write one value: null, true, false, {} and lists in YAML's way."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    return str(value)
