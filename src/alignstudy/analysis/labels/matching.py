"""Which response a label is of: no label is left over, none falls on another text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from alignstudy.errors import DataError, InputError
from alignstudy.metrics.axes import axis_named
from alignstudy.records import ScoredResponse
from alignstudy.records.labels import Label


def checked_labels(
    labels: Sequence[Label], responses: Sequence[ScoredResponse]
) -> tuple[Label, ...]:
    """Return labels with the axis and seed of their response; refuse those that have none.

    Raises:
        DataError: Naming file and row, if there is no such response, its text is another than was
            labelled, the seed has to be named, or a response is labelled twice.
        InputError: If a model answered a prompt several times.
    """
    if labels:
        refuse_samples(responses)
    rows: dict[tuple[str, str], dict[int, ScoredResponse]] = {}
    for each in responses:
        rows.setdefault((each.model, each.prompt_id), {})[each.seed] = each
    seen: set[tuple[str, str, int]] = set()
    found = []
    for label in labels:
        theirs = rows.get((label.model, label.prompt_id), {})
        row = theirs.get(next(iter(theirs), -1) if label.seed is None else label.seed)
        why = ""
        if row is None or (label.axis is not None and axis_named(label.axis).name != row.axis):
            why = "there is no such response in this study"
        elif label.seed is None and len(theirs) > 1:
            why = f"the study has the seeds {', '.join(map(str, theirs))}: name one"
        elif label.response is not None and label.response != text_digest(row):
            why = "the response is another than the one that was labelled"
        elif (key := (row.model, row.prompt_id, row.seed)) in seen:
            why = "the response is labelled twice"
        else:
            seen.add(key)
            found.append(replace(label, axis=row.axis, seed=row.seed))
            continue
        raise DataError(
            f"{label.where}: model '{label.model}', prompt {label.prompt_id}"
            + ("" if label.seed is None else f", seed {label.seed}"),
            why=why,
            hint="take the labels of this study's own responses: `alignstudy label RUN` draws a"
            " sheet",
            kept="every finished stage",
            keys=("labels",),
        )
    return tuple(found)


def refuse_samples(responses: Sequence[ScoredResponse]) -> None:
    """Stop where a model answered a prompt several times: a label is of one response.

    Raises:
        InputError: If one did.
    """
    if any(row.sample for row in responses):
        raise InputError(
            "labels can't be used where a model answered a prompt several times",
            why="a label is of one response, and a rate here of the share of several that passes",
            hint="leave `labels` out, or run the study with `generation.num_samples: 1`",
            kept="every finished stage",
        )


def text_digest(row: ScoredResponse) -> str:
    """Return what names the text that is labelled: prompt and response."""
    text = f"{row.prompt}\0{row.response}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
