"""What the command line prints of a run: its answer, its tables, whether it is as it was made."""

from __future__ import annotations

from typing import Any

from alignstudy.cli import console
from alignstudy.errors import DamagedArtefactError
from alignstudy.formatting import plural
from alignstudy.study.results import Run


def show_run(run: Run, *, as_json: bool) -> None:
    """Print a run's answer, its claims and metrics, and where the rest is."""
    from alignstudy.metrics import METRICS

    standing, rows = run.standing, run.rows("metrics")
    if as_json:
        statistics = run.statistics if run.has_statistics else {}
        console.say_json(
            {
                "folder": str(run.folder),
                "report": str(run.report) if run.report.is_file() else None,
                "executed": list(run.executed),
                "stages": run.stages,
                "notes": list(run.notes),
                "standing": standing,
                "answer": statistics.get("answer"),
                "verdicts": statistics.get("verdicts", []),
                "comparisons": statistics.get("comparisons", []),
                "metrics": [{name: _number(cell) for name, cell in row.items()} for row in rows],
            }
        )
        return
    if standing:
        console.say(f"[bold red]{console.safe(standing)}[/]")
    if run.stages:
        cached = run.stages - len(run.executed)
        console.say(f"{len(run.executed)} stages executed, {cached} cached or not asked for")
    if run.has_statistics:
        _say_answer(run.statistics)
    titles = {metric.kind: metric.title for metric in map(METRICS.load, METRICS)}
    rates = [name for name in rows[0] if f"{name}_low" in rows[0]] if rows else []
    unit, digits = " %", 1
    if not any(row[name] for row in rows for name in rates):
        rows, unit, digits = run.rows("scores"), ": mean score", 2
        rates = [name for name in rows[0] if f"{name}_low" in rows[0]] if rows else []
    if rows:
        columns = ["model", *(f"{titles.get(name, name)}{unit}" for name in rates)]
        console.say_table(
            columns, [[row["model"], *(_cell(row, name, digits) for name in rates)] for row in rows]
        )
    if run.report.is_file():
        console.say(f"report: {console.safe(run.report)}")
    console.say(f"run folder: {console.safe(run.folder)}")


def _say_answer(statistics: dict[str, Any]) -> None:
    """Print alarms, the answer in words, and the verdict on each claim."""
    found = statistics.get("answer", {})
    for alarm in found.get("alarms", []):
        console.say(f"[bold red]{console.safe(alarm)}[/]")
    parts = [found.get(name, []) for name in ("sentences", "rests_on", "would_change")]
    for sentence in filter(
        None, [found.get("headline"), *(text for part in parts for text in part)]
    ):
        console.say(console.safe(sentence))
    verdicts = statistics.get("verdicts", [])
    if verdicts:
        console.say_table(
            ["claim", "verdict", "evidence (whole in the report)"],
            [(row["claim"], row["verdict"], row["evidence"].split("; ")[0]) for row in verdicts],
        )


def _number(cell: str) -> float | str | None:
    try:
        return float(cell)
    except ValueError:
        return cell or None


def _cell(row: dict[str, str], name: str, digits: int) -> str:
    """Write a figure with its interval: `42.0 [29.4, 55.8]`."""
    value, low, high = (row.get(key) for key in (name, f"{name}_low", f"{name}_high"))
    if not value:
        return "not measured"
    interval = f" [{float(low):.{digits}f}, {float(high):.{digits}f}]" if low and high else ""
    return f"{float(value):.{digits}f}{interval}"


def show_verified(found: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Verified, imported late
    """Print what `verify` found.

    Raises:
        DamagedArtefactError: If anything isn't as it was made, once all of it was printed.
    """
    if as_json:
        console.say_json(found.to_json())
    else:
        console.say(f"verified: {console.safe(found.in_a_line)}")
        if found.findings:
            rows = [(each.what, each.where, each.why) for each in found.findings]
            console.say_table(["what", "where", "why"], rows)
    if found.findings:
        raise DamagedArtefactError(
            f"{plural(len(found.findings), 'thing')} not as made",
            hint="run the study again: what is stored is placed anew, what is damaged made anew",
            kept="everything: nothing was changed",
        )
