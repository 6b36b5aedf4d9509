"""The rows of the report's viewer: every prompt with all models' responses side by side.

Tables and figures link to them within the page: `#sample=...`, `#samples?...`.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from alignstudy.analysis.hygiene import FLAGS
from alignstudy.analysis.results import Analysis, Comparison
from alignstudy.analysis.score_matrix import rating
from alignstudy.metrics.axes import axis_named
from alignstudy.metrics.metric import Metric
from alignstudy.records import ScoredResponse
from alignstudy.report.exports import counts
from alignstudy.report.untrusted import visible

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

    A column is a model, with its seed and the sample's number where there are several. An answer
    is `{"m": column, "t": judged text, "s": scores by judge, "l": labels by judge, "e": why it
    ended, "n": tokens, "f": numbers of its flags}`, and where there is any: "x" the text generated
    beyond what was judged, "w" the whole text as generated, "j" remarks of the judges.

    Args:
        responses: Of all models and seeds.
        analyses: One a judge, the leading one's first.
        first: Ids of prompts that must be in, as something links to them.

    Returns:
        Prompts in their first order, axis by axis; at most as many as hold `MAX_RESPONSES`
        responses, an equal share of them an axis; "left_out" counts the rest.
    """
    columns = list(dict.fromkeys((row.model, row.seed, row.sample) for row in responses))
    seeds, samples = (len({column[place] for column in columns}) > 1 for place in (1, 2))
    at = {column: place for place, column in enumerate(columns)}
    axes = [axis.name for axis in analyses[0].axes]
    grouped: dict[tuple[str, str], list[ScoredResponse]] = {}
    for row in responses:
        grouped.setdefault((row.axis, row.prompt_id), []).append(row)
    names = prompt_names(grouped)
    kept = _kept(grouped, axes, max(1, MAX_RESPONSES // max(1, len(columns))), first)
    return {
        "axes": [
            {"name": axis.name, "prompts": axis.prompts, "veiled": axis.veiled}
            for axis in analyses[0].axes
        ],
        "judges": [analysis.judge for analysis in analyses],
        "columns": [
            f"{model}{f', seed {seed}' if seeds else ''}{f', sample {sample}' if samples else ''}"
            for model, seed, sample in columns
        ],
        "models": [model for model, _, _ in columns],
        "flags": [{"name": name, "label": _FLAGS.get(name, name)} for name in FLAGS],
        "thresholds": {axis: [a.thresholds.of(axis) for a in analyses] for axis in axes},
        "near": {axis: [_near(responses, axis, a.judge) for a in analyses] for axis in axes},
        "prompts": [
            {
                "name": names[axis, prompt_id],
                "id": prompt_id,
                "axis": axis,
                "prompt": grouped[axis, prompt_id][0].prompt,
                "answers": [
                    _answer(row, at[row.model, row.seed, row.sample], analyses)
                    for row in grouped[axis, prompt_id]
                ],
            }
            for axis, prompt_id in kept
        ],
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
    by_axis = {axis: [key for key in grouped if key[0] == axis] for axis in axes}
    chosen: set[tuple[str, str]] = set()
    for place, axis in enumerate(sorted(axes, key=lambda one: len(by_axis[one]))):
        share = (most - len(chosen)) // (len(axes) - place)
        chosen.update(sorted(by_axis[axis], key=lambda key: key[1] not in first)[:share])
    return [key for axis in axes for key in by_axis[axis] if key in chosen]


def _answer(row: ScoredResponse, column: int, analyses: Sequence[Analysis]) -> dict[str, Any]:
    """Return one response with its scores and labels, in the order of the judges."""
    scores = [
        rating(row, a.judge, a.thresholds.decimals) if a.judge in row.scores else None
        for a in analyses
    ]
    label = axis_named(row.axis).passes
    labels = {None: "", True: label, False: f"not {label}"}
    # What judges did not read as written, and why one gave no score.
    remarks = [
        f"{judge} {_JUDGE_FLAGS.get(flag, flag)}"
        for judge, flags in row.flags.items()
        for flag in flags
    ]
    remarks += [f"{judge} gave no score: {why}" for judge, why in row.failures.items() if why]
    if row.prompt_truncated:
        remarks.append("the model read the prompt without its oldest turns")
    found = {
        "m": column,
        "t": row.response,
        "s": scores,
        "l": [labels[counts(row, s, a.thresholds)] for s, a in zip(scores, analyses, strict=True)],
        "e": _STOPS.get(row.stop_reason or "", row.stop_reason or ""),
        "n": row.num_tokens,
        "f": [place for place, holds in enumerate(FLAGS.values()) if holds(row)],
    }
    beyond = _beyond(row.response, row.raw_response)
    return found | beyond | ({"j": remarks} if remarks else {})


def _beyond(judged: str, raw: str | None) -> dict[str, str]:
    """Return what was generated after the judged text ends; the whole where the two don't match."""
    if raw is None or raw.strip() == judged.strip():
        return {}
    place = raw.find(judged.strip())
    if place < 0:
        return {"w": raw}
    rest = raw[place + len(judged.strip()) :]
    return {"x": rest} if not raw[:place].strip() else {"w": raw}


def _near(responses: Sequence[ScoredResponse], axis: str, judge: str) -> float:
    """Return the distance from the threshold that counts as near, see `NEAR`."""
    found = [
        score
        for row in responses
        if row.axis == axis and judge in row.scores and (score := rating(row, judge)) is not None
    ]
    spread = statistics.pstdev(found) if len(found) > 1 else 0.0
    return round(NEAR * min(1.0, spread) if spread > 0 else NEAR, 4)


def prompt_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Number the prompts of each axis in their order, by the word for them."""
    counts: Counter[str] = Counter()
    found = {}
    for axis, prompt_id in dict.fromkeys(keys):
        counts[axis] += 1
        found[axis, prompt_id] = f"{axis_named(axis).prompts.capitalize()} {counts[axis]}"
    return found


def sample_link(axis: str, prompt_id: str) -> str:
    """Return the fragment that leads to a prompt in the viewer: `#sample=<axis>/<id>`."""
    return f"#sample={axis}/{_quoted(prompt_id)}"


def pair_link(item: Comparison, metric: Metric) -> str:
    """Return the fragment that shows the prompts on which two models differ most.

    For rates, those where they get different labels; for scores, the largest differences first.
    """
    axis = f"axis={metric.axes[0]}&" if len(metric.axes) == 1 else ""
    show, order = ("pair", "given") if metric.is_rate else ("every", "gap")
    names = f"a={_quoted(item.model)}&b={_quoted(item.reference)}"
    return f"#samples?{axis}show={show}&order={order}&{names}"


def _quoted(text: str) -> str:
    """Write text for an address, as the page shows it: `visible` is what its data hold too."""
    return quote(visible(text), safe="")
