"""The rows of the report's viewer: every prompt with all models' responses side by side."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from alignstudy.analysis.hygiene import FLAGS, fails_as_empty
from alignstudy.analysis.results import Analysis
from alignstudy.analysis.score_matrix import rating
from alignstudy.metrics.axes import axis_named
from alignstudy.records import ScoredResponse
from alignstudy.report.html.links import prompt_names

MAX_RESPONSES = 12_000
"""More would make a file that browsers open slowly; the rest is in the run's responses folder."""
NEAR = 0.25
"""A score is near its threshold within 0.25 of the judge's unit, or 0.25 standard deviations of
its scores on the axis where that is less: a judge with a narrow scale isn't always near."""

_STOPS = {
    "eos": "ended by itself",
    "stop_string": "stopped at a role tag",
    "cap": "cut at the token limit",
    "too_long": "prompt too long",
}
_FLAGS = {
    "empty": "empty",
    "cap": "cut at the limit",
    "role_tag": "runs on into a further turn",
    "loop": "loops",
    "echo": "echoes the prompt",
    "refusal": "refuses",
    "evasive": "evades",
    "incoherent": "incoherent",
}
_JUDGE_FLAGS = {"prompt_trimmed": "read a shortened prompt", "response_trimmed": "read a part only"}


def viewer_data(
    responses: Sequence[ScoredResponse],
    analyses: Sequence[Analysis],
    *,
    first: Collection[str] = (),
) -> dict[str, Any]:
    """Lay out prompts, columns and answers as plain JSON values.

    A column is a model, or a model with a seed where there are several. An answer is `{"m": column,
    "t": judged text, "s": scores by judge, "l": labels by judge, "e": why it ended, "n": tokens,
    "f": numbers of its flags}`, and where there is any: "x" the text generated beyond what was
    judged, "w" the whole text as generated, "j" remarks of the judges.

    Args:
        responses: Of all models and seeds.
        analyses: One a judge, the leading one's first.
        first: Ids of prompts that must be in, as something links to them.

    Returns:
        Prompts in their first order, axis by axis; at most as many as hold `MAX_RESPONSES`
        responses, an equal share of them an axis; "left_out" counts the rest.
    """
    seeds = {row.seed for row in responses}
    columns = list(dict.fromkeys((row.model, row.seed) for row in responses))
    at = {column: place for place, column in enumerate(columns)}
    axes = [axis.name for axis in analyses[0].axes]
    grouped: dict[tuple[str, str], list[ScoredResponse]] = {}
    for row in responses:
        grouped.setdefault((row.axis, row.prompt_id), []).append(row)
    names = prompt_names(grouped)
    kept = _kept(grouped, axes, max(1, MAX_RESPONSES // max(1, len(columns))), first)
    several = len(seeds) > 1
    return {
        "axes": [
            {"name": axis.name, "prompts": axis.prompts, "veiled": axis.veiled}
            for axis in analyses[0].axes
        ],
        "judges": [analysis.judge for analysis in analyses],
        "columns": [f"{model}, seed {seed}" if several else model for model, seed in columns],
        "models": [model for model, _ in columns],
        "flags": [{"name": name, "label": _FLAGS.get(name, name)} for name in FLAGS],
        "thresholds": {axis: [a.thresholds.of(axis) for a in analyses] for axis in axes},
        "near": {axis: [_near(responses, axis, a.judge) for a in analyses] for axis in axes},
        "prompts": [_prompt(names[key], grouped[key], at, analyses) for key in kept],
        "left_out": len(grouped) - len(kept),
    }


def _kept(
    grouped: Mapping[tuple[str, str], object],
    axes: Sequence[str],
    most: int,
    first: Collection[str],
) -> list[tuple[str, str]]:
    """Choose the prompts to show, in order: those that are linked to, then the first of each axis.

    An axis with fewer than its share leaves room to the others.
    """
    wanted = set(first)
    by_axis = {axis: [key for key in grouped if key[0] == axis] for axis in axes}
    room = most
    chosen: set[tuple[str, str]] = set()
    for place, axis in enumerate(sorted(axes, key=lambda one: len(by_axis[one]))):
        share = room // (len(axes) - place)
        ranked = sorted(by_axis[axis], key=lambda key: key[1] not in wanted)[:share]
        chosen.update(ranked)
        room -= len(ranked)
    return [key for axis in axes for key in by_axis[axis] if key in chosen]


def _prompt(
    name: str,
    rows: Sequence[ScoredResponse],
    at: Mapping[tuple[str, int], int],
    analyses: Sequence[Analysis],
) -> dict[str, Any]:
    """Return one prompt with its answers."""
    row = rows[0]
    answers = [_answer(each, at[each.model, each.seed], analyses) for each in rows]
    return {
        "name": name,
        "id": row.prompt_id,
        "axis": row.axis,
        "prompt": row.prompt,
        "answers": answers,
    }


def _answer(row: ScoredResponse, column: int, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Return one response with its scores and labels, in the order of the judges."""
    scores = [
        rating(row, analysis.judge) if analysis.judge in row.scores else None
        for analysis in analyses
    ]
    labels = [
        _label(row, score, analysis) for score, analysis in zip(scores, analyses, strict=True)
    ]
    found = {
        "m": column,
        "t": row.response,
        "s": scores,
        "l": labels,
        "e": _STOPS.get(row.stop_reason or "", row.stop_reason or ""),
        "n": row.num_tokens,
        "f": [place for place, holds in enumerate(FLAGS.values()) if holds(row)],
    }
    return found | _beyond(row.response, row.raw_response) | _remarks(row)


def _beyond(judged: str, raw: str | None) -> dict[str, str]:
    """Return what was generated after the judged text ends; the whole where the two don't match."""
    if raw is None or raw.strip() == judged.strip():
        return {}
    place = raw.find(judged.strip())
    if place < 0:
        return {"w": raw}
    rest = raw[place + len(judged.strip()) :]
    return {"x": rest} if not raw[:place].strip() else {"w": raw}


def _remarks(row: ScoredResponse) -> dict[str, list[str]]:
    """Return what judges did not read as written, and why one gave no score."""
    said = [
        f"{judge} {_JUDGE_FLAGS.get(flag, flag)}"
        for judge, flags in row.flags.items()
        for flag in flags
    ]
    said += [f"{judge} gave no score: {why}" for judge, why in row.failures.items() if why]
    if row.prompt_truncated:
        said.append("the model read the prompt without its oldest turns")
    return {"j": said} if said else {}


def _label(row: ScoredResponse, score: float | None, analysis: Analysis) -> str:
    """Return what a response counts as; nothing where there is no score or no threshold."""
    limits = analysis.thresholds
    counts = None if score is None else limits.passes(row.axis, score)
    if counts is None:
        return ""
    label = axis_named(row.axis).passes
    return label if counts and not fails_as_empty(row, limits) else f"not {label}"


def _near(responses: Sequence[ScoredResponse], axis: str, judge: str) -> float:
    """Return the distance from the threshold that counts as near, see `NEAR`."""
    found = [
        score
        for row in responses
        if row.axis == axis and judge in row.scores and (score := rating(row, judge)) is not None
    ]
    spread = statistics.pstdev(found) if len(found) > 1 else 0.0
    return round(NEAR * min(1.0, spread) if spread > 0 else NEAR, 4)
