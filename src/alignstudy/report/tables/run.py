"""Tables of the run: calibration, data, training, guards, cost, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter, methodcaller
from typing import Any

from alignstudy.formatting import ABSENT, duration, listing, plural, quantity, short
from alignstudy.records import Audit
from alignstudy.records.evidence import Divergence, TrainingRecord
from alignstudy.report.tables.table import Cell, Column, Table, estimated, numeric, plain, rounded

_MAX_ROWS = 60
_WRITTEN: dict[str, tuple[str, Callable[[Any], str]]] = {
    "seconds": ("Time", duration),
    "cpu_seconds": ("Processor time", duration),
    "flops": ("FLOPs", partial(quantity, unit="FLOP")),
    "peak_memory": ("Peak memory", partial(quantity, unit="B")),
    "device_memory": ("GPU memory", partial(quantity, unit="B")),
    "reused": ("Made before", lambda reused: "yes" if reused else ""),
    "tuning": ("For tuning", lambda tuning: "yes" if tuning else ""),
}
_MARKS = ("reused", "tuning")
_LABELS = {
    "too_long": "left out as too long",
    "truncated": "cut at the end",
    "same_when_cut": "left out: chosen and rejected are the same when cut",
    "gold_is_chosen": "the gold answer is the chosen one",
    "gold_is_rejected": "the gold answer is the rejected one",
    "merged_at_border": "prompt and answer share a token",
    "special_token_in_text": "hold a special token in their text",
    "chosen_longer": "share of pairs whose chosen answer is longer",
    "ngram13": "share 13 words in a row",
    "p95": "95th percentile",
    "exact": "the same prompt",
    "dialogue": "the same dialogue",
}
_MISSED = {
    "flops": "FLOPs (counted in training, generation and judging by a model)",
    "peak_memory": "peak memory",
}


def records_table(rows: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """Rows of named values, a column a name, whatever they are."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = tuple(
        Column(
            in_words(name).capitalize(),
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
        Column("Also counted", "notes", _named),
        title="What happened to the rows",
    )


def _named(values: Mapping[str, object]) -> str:
    """Write counts in words; what didn't happen is left out."""
    return "; ".join(f"{in_words(name)}: {plain(value)}" for name, value in values.items() if value)


def in_words(key: str) -> str:
    """Return a record's key as a label that people read."""
    return _LABELS.get(key, key.replace("_", " "))


def exclusions_table(audits: Sequence[Audit]) -> Table:
    """Why rows were quarantined or left out, with how many and an example."""
    rows: list[tuple[str, str, str, int, str]] = []
    for audit in audits:
        reasons = Counter(item.fault for item in audit.quarantined)
        where = {item.fault: f"{item.file}:{item.line}" for item in reversed(audit.quarantined)}
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
        " ranks as they were labelled; chance is 50 %.",
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
    """Names with their values; nested names are joined by colons."""
    columns = (Column(heading, itemgetter(0)), Column("Value", itemgetter(1)))
    return Table(columns=columns, rows=tuple(_flat(facts)), title=title)


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Yield (whole name, text) of every value in nested mappings and lists of mappings."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            key = in_words(str(key))
            yield from _flat(item, f"{name}: {key}" if name else key)
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value, start=1):
            yield from _flat(item, f"{name} {place}")
    elif isinstance(value, (list, tuple)):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, ABSENT if value is None else str(value)


def costs_table(rows: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Table:
    """What each stage took, with units; a column of which nothing is known is left out.

    Args:
        rows: As in `ReportInputs.costs`.
        notes: What else there is to say of them, a sentence each.
    """
    unknown = [
        name
        for name in _WRITTEN
        if rows and name in rows[0] and not any(row.get(name) for row in rows)
    ]
    known = [{name: row[name] for name in row if name not in unknown} for row in rows]
    table = records_table(known, title="What each stage took")
    names = dict.fromkeys(name for row in known for name in row)
    columns = []
    for name, column in zip(names, table.columns, strict=True):
        if name in _WRITTEN:
            title, write = _WRITTEN[name]
            column = replace(column, title=title, format=write, is_number=name not in _MARKS)
        elif name.endswith("_seconds"):
            title = str(column.title).replace("seconds", "time")
            column = replace(column, title=title, format=duration)
        columns.append(column)
    note = " ".join([*_cost_notes(rows, unknown), *notes])
    return replace(table, columns=tuple(columns), note=note)


def _cost_notes(rows: Sequence[Mapping[str, Any]], unknown: Sequence[str]) -> Iterable[str]:
    """Return what the stages took together, and what the numbers are of."""
    before = [row for row in rows if row.get("reused")]
    if len(rows) > 1:
        yield f"All stages: {_total(rows)}."
    if tuned := [row for row in rows if row.get("tuning")]:
        rest = [row for row in rows if not row.get("tuning")]
        yield f"Tuning alone: {_total(tuned)}; all else: {_total(rest)}."
    if before:
        fresh = [row for row in rows if not row.get("reused")]
        yield (
            f"{plural(len(before), 'stage was', 'stages were')} made before the run that wrote this"
            f" report; the cost is that of the making. Made in that run: {_total(fresh)}."
        )
    if any(row.get("resumed") for row in rows):
        yield "Of a stage that went on after an interruption, only the last part is measured."
    if any(row.get("beside") for row in rows):
        yield (
            "Some stages were at work at the same time, in several processes: their times add up to"
            " more than the clock's."
        )
    missing = [_MISSED[name] for name in unknown if name in _MISSED]
    if missing:
        yield f"Not told here: {listing(missing)}."


def _total(rows: Sequence[Mapping[str, Any]]) -> str:
    """Add up times and FLOPs; what some stages don't report is at least so much."""
    total = duration(sum(row.get("seconds") or 0.0 for row in rows))
    flops = [row["flops"] for row in rows if row.get("flops")]
    return f"{total}, {quantity(sum(flops), 'FLOP')}" if flops else total
