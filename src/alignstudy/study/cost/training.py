"""A training's counts as forward passes: of what it did, of what it will do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.methods import LOSSES, TrainingSettings, method_of
from alignstudy.methods.base import WorkDone
from alignstudy.records import TrainingRow
from alignstudy.study.cost.model_shape import ModelShape
from alignstudy.study.cost.work import BACKWARD, BACKWARD_FROZEN, Passes, total_flops

if TYPE_CHECKING:
    from alignstudy.methods.loop.ahead import WorkAhead

_CHANGES_NO_COUNT = {"learning_rate", *(name for loss in LOSSES.values() for name in loss.grid)}
_COUNTED: dict[str, WorkAhead] = {}

SAMPLE = 400
"""Rows whose tokens are counted, about: evenly spread over more."""


def training_passes(
    work: WorkDone,
    settings: TrainingSettings,
    shape: ModelShape | None,
    *,
    rows: float,
    critic: ModelShape | None = None,
) -> list[Passes]:
    """Count forward and backward: 3 forward passes' work, 2 where the weights are frozen.

    The reference's passes, and the probe's, are counted at a mean row's positions. An adapter's own
    products (below 1 %) and recomputed activations are left out.

    Args:
        work: What was computed.
        settings: Of the training.
        shape: Of the model.
        rows: That updates were made of, one that was read again counted again.
        critic: Shape of the critic, where there is one; None: not known.

    Returns:
        What is learnt from, and, where there is any: what is measured beside it, the reference's,
        the probe's.
    """
    method = method_of(settings)
    ahead = Passes(
        shape=shape,
        tokens=work.processed_tokens,
        scored=work.scored_tokens,
        passes=work.micro_batches,
        context=work.real_tokens / rows / len(method.branches),
        of=rows,
    )
    times = BACKWARD if settings.lora is None else BACKWARD_FROZEN
    done = [replace(ahead, times=times, of=1.0)]
    if work.measured_tokens:
        measured = replace(ahead, tokens=work.measured_tokens, scored=work.measured_targets, of=1.0)
        done.append(measured)
    whole = replace(
        ahead,
        tokens=work.processed_tokens + work.measured_tokens,
        scored=work.scored_tokens + work.measured_targets,
    )
    if work.reference_pairs:
        done.append(replace(whole, times=work.reference_pairs))
    if work.samples:
        asked, new = work.asked_tokens / work.samples, work.written_tokens / work.samples
        drawn = replace(ahead, passes=0.0, of=1.0, tokens=work.asked_tokens, scored=work.samples)
        done.append(replace(drawn, context=asked))
        written = replace(drawn, tokens=work.written_tokens, scored=work.written_tokens)
        done.append(replace(written, context=asked + new / 2))
    if work.critic_tokens:
        learnt = replace(done[0], shape=critic, times=BACKWARD, tokens=work.critic_tokens, scored=0)
        done += [learnt, replace(learnt, times=1.0, tokens=work.critic_read_tokens)]
    if work.probed_pairs:
        done.append(replace(ahead, times=work.probed_pairs * 2 / len(method.learnt)))
    return done


def training_flops(
    work: WorkDone,
    settings: TrainingSettings,
    shape: ModelShape | None,
    *,
    rows: float | None = None,
    critic: ModelShape | None = None,
) -> float | None:
    """Return the arithmetic of a training, judges that rewarded it included; None: not known."""
    rows = rows or max(1, work.rows)
    done = total_flops(training_passes(work, settings, shape, rows=rows, critic=critic))
    return None if done is None or math.isnan(work.judge_flops) else done + work.judge_flops


def once_for_all_trials(
    count: Callable[[], WorkAhead], settings: TrainingSettings, *rest: object
) -> WorkAhead:
    """Return what was counted of settings that differ in what changes no count; else count.

    Args:
        count: Counts.
        settings: Of the training.
        rest: All else that decides it.
    """
    told = settings.model_dump(mode="json", exclude=set(_CHANGES_NO_COUNT))
    key = repr((told, rest))
    if key not in _COUNTED:
        _COUNTED[key] = count()
    return replace(_COUNTED[key], settings=settings)


def training_ahead(
    settings: TrainingSettings,
    rows: Sequence[TrainingRow],
    folder: Path,
    template: str,
    *,
    sampled: bool = False,
    **job: Any,  # noqa: ANN401 - of `work_ahead`
) -> WorkAhead:
    """Return what a training on rows will compute.

    Args:
        settings: Of the training.
        rows: All of them.
        folder: Of the model: configuration and tokenizer.
        template: How prompts are written.
        sampled: Whether some rows, evenly spread, stand for all where there are many.
        job: What else decides it: seed, own_reference, held_out.

    Raises:
        AlignstudyError: If no row is left, or the tokenizer can't be read.
    """
    from alignstudy.methods.loop.ahead import work_ahead
    from alignstudy.methods.loop.renderings import rendering_for

    some = rows[:: max(1, len(rows) // SAMPLE)] if sampled else rows
    rendering = rendering_for(folder, settings, template)
    found = work_ahead(settings, some, rendering, folder, **job)
    number = round(len(found.rows) * len(rows) / len(some))
    return found if len(some) == len(rows) else replace(found, rows=found.rows.spread(number))
