"""The rows of the report's viewer: every prompt with all models' responses side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alignstudy.records import Axis, ScoredResponse
from alignstudy.report.analysis import Analysis
from alignstudy.report.panels import rating

MAX_PROMPTS = 2_000
"""More would make a file that browsers open slowly; the rest is in the run's responses folder."""

_LABELS = {
    (Axis.HARMLESS, True): "harmless",
    (Axis.HARMLESS, False): "not harmless",
    (Axis.HELPFUL, True): "helpful",
    (Axis.HELPFUL, False): "not helpful",
}
_STOPS = {
    "eos": "ended by itself",
    "stop_string": "stopped at a role tag",
    "cap": "cut at the token limit",
    "too_long": "prompt too long",
}


def viewer_data(
    responses: Sequence[ScoredResponse], analyses: Sequence[Analysis]
) -> dict[str, Any]:
    """Lay out prompts, columns and answers as plain JSON values.

    A column is a model, or a model with a seed where there are several. An answer is
    `{"m": column, "t": text, "s": scores by judge, "l": labels by judge, "e": why it ended}`.
    Prompts come in their first order; at most `MAX_PROMPTS` are given, "left_out" counts the rest.
    """
    seeds = {row.seed for row in responses}
    columns = list(dict.fromkeys((row.model, row.seed) for row in responses))
    prompts: dict[tuple[Axis, str], dict[str, Any]] = {}
    for row in responses:
        prompt = prompts.setdefault(
            (row.axis, row.prompt_id),
            {"id": row.prompt_id, "axis": str(row.axis), "prompt": row.prompt, "answers": []},
        )
        prompt["answers"].append(
            _answer(row, columns.index((row.model, row.seed)), analyses=analyses)
        )
    ordered = []
    for axis in Axis:
        found = [prompt for (at, _), prompt in prompts.items() if at is axis]
        names = (f"{axis.prompts_name.capitalize()} {i}" for i in range(1, len(found) + 1))
        ordered += [{"name": name} | prompt for name, prompt in zip(names, found, strict=True)]
    return {
        "judges": [analysis.judge for analysis in analyses],
        "columns": [
            f"{model}, seed {seed}" if len(seeds) > 1 else model for model, seed in columns
        ],
        "prompts": ordered[:MAX_PROMPTS],
        "left_out": max(0, len(ordered) - MAX_PROMPTS),
    }


def _answer(row: ScoredResponse, column: int, *, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Give one response with its scores and labels, in the order of the judges."""
    scores = [
        rating(row, analysis.judge) if analysis.judge in row.scores else None
        for analysis in analyses
    ]
    return {
        "m": column,
        "t": row.response,
        "s": scores,
        "l": [
            _label(row.axis, score, analysis)
            for score, analysis in zip(scores, analyses, strict=True)
        ],
        "e": _STOPS.get(row.stop_reason or "", row.stop_reason or ""),
        "n": row.num_tokens,
    }


def _label(axis: Axis, score: float | None, analysis: Analysis) -> str:
    """Say what a score counts as; nothing where there is no score or no threshold."""
    counts = None if score is None else analysis.thresholds.passes(axis, score)
    return "" if counts is None else _LABELS[axis, counts]
