"""Rows as the trainer sees them, token by token, with what the loss looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from alignstudy.methods import method_of
from alignstudy.methods.base import PreviewExample, TrainJob
from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.loop.renderings import rendering_for, rendering_guards
from alignstudy.models.quantized import import_before_others

NUM_EXAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What a training sees of its rows.

    Attributes:
        counts: Of all its rows: "rows", "used", and why others are left out.
    """

    examples: tuple[PreviewExample, ...]
    counts: Mapping[str, int]


def preview(job: TrainJob) -> Shown:
    """Return a job's first rows exactly as the data set and the collator make them.

    Pairs give two examples each: chosen and rejected. Packed rows are shown before packing, and
    prompts that are sampled after without samples: there are none yet.
    No weights are read, so this works on a folder with tokenizer and config.json alone.

    Raises:
        GuardError: If a prompt lacks the cue, or the tokenizer can't mark an end, or does unasked.
        DataError: If no row is left.
    """
    import_before_others()
    from alignstudy.methods.loop import trl_adapter as _trl

    rendering = rendering_for(job.parent, job.settings, job.template)
    tokenizer = rendering.tokenizer
    rendering_guards(job, rendering)
    settings = job.settings
    if getattr(settings, "packing", False):
        settings = settings.model_copy(update={"packing": False})
    method = method_of(settings)
    encoded = method.encode(job.rows, rendering)
    rows = _trl.rows_as_dataset(method, encoded).select(
        range(min(NUM_EXAMPLES, len(encoded.row_ids)))
    )
    batch = _trl.collator(method, tokenizer)(list(rows))
    if "labels" in batch:
        seen = batch["labels"] != IGNORED
        seen[:, 0] = False  # a label at the first place is never a target: nothing comes before it
    else:
        seen = batch["completion_mask"].bool()
    examples = []
    parts = ("prompt",) if method.samples else method.branches
    for row, (number, part) in product(range(len(rows)), enumerate(parts)):
        at = number * len(rows) + row
        length = int(batch["attention_mask"][at].sum())
        if method.samples:
            length -= int(batch["completion_mask"][at].sum())
        ids = batch["input_ids"][at, :length].tolist()
        example = PreviewExample(
            row_id=encoded.row_ids[row],
            tokens=tuple(tokenizer.decode([token]) for token in ids),
            in_loss=tuple(seen[at, :length].tolist()),
            part=part,
        )
        examples.append(example)
    return Shown(examples=tuple(examples), counts=encoded.counts)
