"""The tables of the report, as rows of text that the template only has to lay out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alignstudy.records import Audit, Axis, Estimate
from alignstudy.report.analysis import Analysis, Comparison
from alignstudy.report.answer import ALPHA
from alignstudy.report.inputs import TrainingRecord
from alignstudy.report.numbers import (
    ABSENT,
    NAMES,
    RATES,
    count,
    digits_of,
    duration,
    interval,
    number,
    p_value,
    percent,
    short,
)

_MAX_ROWS = 60


@dataclass(frozen=True)
class Cell:
    """What a table's cell says: the text, and something smaller under it."""

    text: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to lay out.

    Attributes:
        columns: Headings; one that ends in "#" is a column of numbers, aligned right.
        rows: A cell for each column; the first names the row.
        note: A line under the table.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def merits_table(analysis: Analysis) -> Table:
    """HmR, HpR and CAS in percent with their intervals and n."""
    return _estimates(analysis, RATES, "In percent, higher is better.")


def scores_table(analysis: Analysis) -> Table:
    """Mean scores by axis with their intervals."""
    note = "In the judge's own unit, higher is better; no threshold enters."
    return _estimates(analysis, ("score_harmless", "score_helpful"), note)


def _estimates(analysis: Analysis, metrics: Sequence[str], note: str) -> Table:
    rows = []
    for model in analysis.models:
        found = [(metric, getattr(model, metric)) for metric in metrics]
        sizes = "/".join(str(estimate.n) for _, estimate in found if estimate) or ABSENT
        cells = [_estimate(estimate, digits_of(metric)) for metric, estimate in found]
        rows.append((Cell(model.model), *cells, Cell(sizes)))
    names = [f"{NAMES[metric][0].upper()}{NAMES[metric][1:]}#" for metric in metrics]
    methods = _methods(analysis, metrics)
    return Table(columns=("Model", *names, "n#"), rows=tuple(rows), note=f"{note}{methods}")


def _methods(analysis: Analysis, metrics: Sequence[str]) -> str:
    """Say by which method each column's intervals were made."""
    made = []
    for metric in metrics:
        found = {e.method: e.level for m in analysis.models if (e := getattr(m, metric))}
        made += [f"{NAMES[metric]} {level:.0%} {method}" for method, level in found.items()]
    return f" Intervals: {', '.join(made)}." if made else ""


def _estimate(estimate: Estimate | None, digits: int) -> Cell:
    if estimate is None:
        return Cell(ABSENT, "not measured")
    return Cell(number(estimate.value, digits), interval(estimate, digits))


def improvement_table(analysis: Analysis) -> Table:
    """Improvement over the base model, in points and relative to it."""
    by_model: dict[str, dict[str, Cell]] = {}
    for item in analysis.improvements:
        relative = item.relative_percent
        detail = f"{number(relative, 2, signed=True)} %" if relative is not None else "base is 0"
        cell = Cell(number(item.points, 1, signed=True), detail)
        by_model.setdefault(item.model, {})[item.metric] = cell
    rows = tuple(
        (Cell(model), *(cells.get(metric, Cell(ABSENT)) for metric in RATES))
        for model, cells in by_model.items()
    )
    note = (
        "Percentage points; below, relative to the base model's rate, as the published study"
        " reports it. A relative gain is large where the base's rate is small: read the points."
    )
    return Table(columns=("Model", *(f"{NAMES[m]}#" for m in RATES)), rows=rows, note=note)


def comparisons_table(comparisons: Iterable[Comparison]) -> Table:
    """Every paired comparison with its test."""
    rows = tuple(_comparison(item) for item in comparisons)
    return Table(
        columns=(
            "Figure of merit", "Model", "Against", "Difference#", "p#", "p (Holm)#",
            "Better / worse / same#", "Verdict", "Test",
        ),
        rows=rows,
        note=(
            "Model minus the one it is held against, prompt by prompt: percentage points for rates,"
            f" the judge's unit for scores. Real difference: Holm-corrected p below {ALPHA}."
        ),
    )  # fmt: skip


def _comparison(item: Comparison) -> tuple[Cell, ...]:
    digits, gap = digits_of(item.metric), item.difference
    is_real = item.p_holm is not None and item.p_holm < ALPHA
    verdict = "not tested" if item.p_holm is None else "real" if is_real else "not shown"
    name = NAMES[item.metric]
    return (
        Cell(name[0].upper() + name[1:]),
        Cell(item.model),
        Cell(item.reference),
        Cell(number(gap.value, digits, signed=True), interval(gap, digits)),
        Cell(p_value(item.p_value)),
        Cell(p_value(item.p_holm)),
        Cell(f"{item.wins} / {item.losses} / {item.ties}", f"n = {item.n}"),
        Cell(verdict),
        Cell(item.note or item.test),
    )


def hygiene_table(analysis: Analysis) -> Table:
    """How well-formed the responses are."""
    rows = []
    for axis in Axis:
        for model in analysis.models:
            row = model.hygiene.get(axis)
            if row is not None:
                shares = (row.empty, row.cap, row.role_tag, row.repetition)
                rows.append(
                    (
                        Cell(model.model),
                        Cell(axis.prompts_name),
                        *(Cell(percent(share)) for share in shares),
                        Cell(number(row.mean_words, 1)),
                        Cell(count(row.n)),
                    )
                )
    return Table(
        columns=(
            "Model", "Prompts", "Empty#", "Cut at the limit#", "Further turn#", "Repetition#",
            "Mean words#", "n#",
        ),
        rows=tuple(rows),
        note=(
            "Further turn: the text goes on with a role tag. Repetition: over 30 % of the 4-grams"
            f" are repeats. {ABSENT}: not known."
        ),
    )  # fmt: skip


def thresholds_table(analyses: Sequence[Analysis]) -> Table:
    """The threshold of each axis, where it comes from, how many scores pass it."""
    rows = []
    for analysis in analyses:
        for axis in Axis:
            value = analysis.thresholds.of(axis)
            rows.append(
                (
                    Cell(analysis.judge),
                    Cell(str(axis)),
                    Cell(ABSENT if value is None else short(value, 4)),
                    Cell("counts" if analysis.thresholds.inclusive else "does not count"),
                    Cell(analysis.thresholds.origin.get(str(axis), "not stated")),
                )
            )
    columns = ("Judge", "Axis", "Threshold#", "A score equal to it", "Origin")
    return Table(columns=columns, rows=tuple(rows))


def calibrations_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What calibration measured, whatever it names."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    is_number = {
        name: all(isinstance(row.get(name), (int, float, type(None))) for row in rows)
        for name in names
    }
    heads = tuple(
        name.replace("_", " ").capitalize() + ("#" if is_number[name] else "") for name in names
    )
    cells = tuple(tuple(Cell(_plain(row.get(name))) for name in names) for row in rows)
    return Table(columns=heads, rows=cells)


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
    return Table(columns=columns, rows=rows)


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
    return Table(columns=columns, rows=rows)


def guards_table(training: Sequence[TrainingRecord]) -> Table:
    """Every guard that ran, with what it saw."""
    rows = tuple(
        (
            Cell(record.recipe if record.recipe else record.stage, f"seed {record.seed}"),
            Cell(guard.guard),
            Cell("passed" if guard.passed else "did not pass"),
            Cell(guard.detail),
        )
        for record in training
        for guard in record.guards
    )
    return Table(columns=("Training", "Guard", "Outcome", "What it saw"), rows=rows)


def facts_table(facts: Mapping[str, Any], heading: str) -> Table:
    """Names with their values; nested names are joined by dots."""
    rows = tuple((Cell(name), Cell(value)) for name, value in _flat(facts))
    return Table(columns=(heading, "Value"), rows=rows)


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401 - JSON
    """Give (dotted name, text) of every value in nested mappings and lists of mappings."""
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
