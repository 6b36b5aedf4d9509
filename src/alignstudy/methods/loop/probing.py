"""The probe: fixed pairs, measured before, while and after a preference method trains.

It only looks: no gradient, no dropout, no random number. A training with a probe has the weights of
one without, to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from alignstudy.errors import DataError, GuardError
from alignstudy.methods.base import TrainJob
from alignstudy.methods.batches.encode import Encoded
from alignstudy.methods.guards.checks import chosen_are_still_likely
from alignstudy.methods.loop.arguments import probe_steps
from alignstudy.methods.loop.checkpoints import newest_step
from alignstudy.methods.model_outputs import PairLogps
from alignstudy.methods.preference import ReadsPairs
from alignstudy.methods.reference.values import TokenRow, padded_batch, spans, token_rows
from alignstudy.methods.scoring.likelihoods import (
    Likelihoods,
    Values,
    changes,
    likelihoods,
    log_gradient_ratio,
    saturation,
)
from alignstudy.methods.trainer import Trainer
from alignstudy.models.batching import run_halving
from alignstudy.models.rendering import Rendering
from alignstudy.models.tokenizers import padding_id

COMPARED = ("chosen", "rejected")
PROBED = "probe"
"""What a measurement goes by in the trainer's history, which checkpoints hold."""

Row = TypeVar("Row")
Line = dict[str, Any]
Part = Literal["train", "held_out"]


@dataclass(frozen=True, kw_only=True)
class ProbePart:
    """Pairs that are measured together.

    Attributes:
        pairs: Their tokens.
        row_ids: Their names.
        pieces: Which of them go through the model together.
    """

    pairs: Sequence[TokenRow]
    row_ids: Sequence[str]
    pieces: Sequence[Sequence[int]]


@dataclass(kw_only=True)
class Probe:
    """What a training is measured on.

    Attributes:
        job: The training's.
        trainer: The training's.
        pad_token_id: What rows are padded with: no value depends on it.
        parts: By name; empty: nothing is measured.
        start: What the model that training starts from makes of them.
        notes: What there is to say of them.
        measured: Pairs that went through the model so far.
    """

    job: TrainJob
    trainer: Trainer
    pad_token_id: int
    parts: dict[Part, ProbePart] = field(default_factory=dict)
    start: dict[Part, Likelihoods] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    measured: int = 0

    @classmethod
    def of(cls, job: TrainJob, trainer: Trainer, encoded: Encoded, rendering: Rendering) -> Probe:
        """Draw a training's probe, and measure it at the start.

        Args:
            job: The training's.
            trainer: As built: its model must be the one that training starts from.
            encoded: The training's rows.
            rendering: The model's.

        Returns:
            With no parts where the method compares no pairs, or the study wants no probe.

        Raises:
            GuardError: If a log-probability is not finite.
        """
        from alignstudy.methods.loop.trl_adapter import rows_seen

        probe = cls(job=job, trainer=trainer, pad_token_id=padding_id(rendering.tokenizer))
        method = trainer.method
        if not isinstance(method, ReadsPairs) or not method.settings.probe_pairs:
            return probe
        most = method.settings.probe_pairs
        if {f"{name}_ids" for name in ("prompt", *COMPARED)} <= set(encoded.columns):
            seen = rows_seen(trainer)
            numbers = range(len(encoded.row_ids)) if seen is None else sorted(set(seen))
            probe.take("train", encoded.rows(evenly(numbers, most)))
        if not job.held_out:
            probe.notes += ("the probe has no held-out pairs: the study has none",)
            return probe
        try:
            held_out = method.encode_pairs(evenly(job.held_out, most), rendering)
        except DataError as error:
            probe.notes += (f"the probe has no held-out pairs: {error.in_a_line}",)
        else:
            probe.take("held_out", held_out)
        return probe

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps after which it is measured."""
        pairs = sum(len(part.pairs) for part in self.parts.values())
        settings, num_steps = self.job.settings, int(self.trainer.args.max_steps)
        return probe_steps(settings, num_steps, pairs) if pairs else ()

    def take(self, name: Part, encoded: Encoded) -> None:
        """Take pairs in; the model must be the one that training starts from."""
        rule, pairs = self.trainer.rule, token_rows(encoded, COMPARED)
        lengths = [max(len(prompt) + len(ids) for prompt, ids in pair) for pair in pairs]
        assert rule is not None
        part = ProbePart(pairs=pairs, row_ids=encoded.row_ids, pieces=rule.cut(lengths))
        self.parts[name], self.start[name] = part, self._measure(part)

    def lines(self, step: int) -> list[Line]:
        """Return what the model makes of each part now; at step 0 what it made at the start."""
        found = []
        for name, part in self.parts.items():
            start = self.start[name]
            now = self._measure(part) if step else start
            named = {"step": step, "part": name, "pairs": len(part.pairs)}
            found.append(named | changes(now, start) | self._pull(now, start))
        return found

    def _measure(self, part: ProbePart) -> Likelihoods:
        """Ask the model for every pair, in the precision of training.

        Raises:
            GuardError: If a log-probability is not finite.
        """
        trainer, model = self.trainer, self.trainer.model
        found: dict[int, tuple[Values, Values]] = {}
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), trainer.autocast():
                for piece in part.pieces:
                    asked = [part.pairs[number] for number in piece]
                    said = run_halving(asked, self._ask, note=self.job.progress.note)
                    found |= zip(piece, said, strict=True)
        finally:
            model.train(was_training)
        self.measured += len(part.pairs)
        for number, sides in found.items():
            if not all(np.isfinite(values).all() for values in sides):
                raise GuardError(
                    f"a log-probability of pair {part.row_ids[number]} is not finite",
                    why="the probe's pairs are measured while training: weights have diverged",
                    hint="lower learning_rate, or set precision: fp32",
                    kept=kept_by(self.job),
                )
        return likelihoods([found[number] for number in range(len(part.pairs))], part.pairs)

    def _ask(self, pairs: Sequence[TokenRow]) -> list[tuple[Values, Values]]:
        batch = self.trainer.prepare(padded_batch(pairs, self.pad_token_id))
        found = self.trainer.pair_log_probs(self.trainer.model, batch)
        rows = found.double().cpu().numpy()
        return [
            (rows[at, chosen], rows[len(pairs) + at, rejected])
            for at, (chosen, rejected) in enumerate(map(spans, pairs))
        ]

    def _pull(self, now: Likelihoods, start: Likelihoods) -> Line:
        """Return how hard the loss pulls, where that can be said of a pair by itself.

        Nothing can where the reference isn't the model that training starts from; what is left of
        DPO's gradient, of losses alone whose gradient it is.
        """
        method, objective = self.trainer.method, self.trainer.objective
        found: Line = {"saturation": None, "log_gradient_ratio": None}
        if objective.needs_reference and self.job.reference is not None:
            return found
        alone = method.branches == COMPARED and not (
            objective.couples_rows or objective.compares_vocabulary or objective.weighs_pairs
        )
        if alone and getattr(method.settings, "ld_alpha", None) is None:
            against = start if objective.needs_reference else None
            by_chosen, by_rejected = gradients(objective.loss, now, against)
            found["log_gradient_ratio"] = log_gradient_ratio(now, by_chosen, by_rejected)
            if objective.needs_reference:
                beta = method.settings.beta
                left = saturation(now, start, beta=beta)
                if np.allclose(-by_chosen, beta * left, rtol=1e-6):  # the slope is DPO's
                    found["saturation"] = float(left.mean())
        return found

    def write(self, history: Iterable[Mapping[str, Any]], path: Path) -> None:
        """Write the start's lines, and those that were measured since; no file without parts."""
        lines = [*self.lines(0), *(entry[PROBED] for entry in history if PROBED in entry)]
        if self.parts:
            order = list(lines[0])  # a checkpoint sorts names
            told = [json.dumps({name: line[name] for name in order}) + "\n" for line in lines]
            path.write_text("".join(told), encoding="utf-8")


class ProbeCallback(TrainerCallback):  # type: ignore[misc]
    """Measures the probe between steps; what it finds stands in the trainer's history."""

    def __init__(self, probe: Probe) -> None:
        self._probe, self._steps = probe, set(probe.steps)
        self._start = {line["part"]: line["chosen_per_token"] for line in probe.lines(0)}

    def on_step_end(self, _: Any, state: TrainerState, __: TrainerControl, **___: Any) -> None:  # noqa: ANN401
        """Measure, where it is time; a checkpoint of the same step is written later.

        Raises:
            GuardError: If a loss without a lower bound has lost the chosen responses.
        """
        step, probe = state.global_step, self._probe
        if step not in self._steps:
            return
        probe.trainer.read_updates()  # a loss that is none is told as such, not as the probe's
        for line in probe.lines(step):
            state.log_history.append({"step": step, PROBED: line})
            if probe.trainer.objective.unbounded:
                part = line["part"]
                chosen_are_still_likely(
                    line["chosen_per_token"] - self._start[part],
                    step=step,
                    pairs=f"{line['pairs']} {part.replace('_', '-')} pairs",
                    kept=kept_by(probe.job),
                )


def kept_by(job: TrainJob) -> str:
    """Say what a training that is refused leaves."""
    newest = newest_step(job.work)
    return "no checkpoint yet" if newest is None else f"the checkpoint of step {newest}"


def evenly(rows: Sequence[Row], most: int) -> list[Row]:
    """Return so many rows at most, evenly spread over all."""
    number = min(most, len(rows))
    return [rows[at * len(rows) // number] for at in range(number)]


def gradients(
    loss: Callable[[Any], torch.Tensor], now: Likelihoods, reference: Likelihoods | None
) -> tuple[Values, Values]:
    """Return the (P,) derivatives of each pair's loss by its two summed log-probabilities.

    Args:
        loss: From `PairLogps` to (P,) losses, each of its own pair.
        now: What the policy makes of the pairs.
        reference: What the reference does; None where the loss needs none.
    """
    chosen, rejected = (
        torch.tensor(values, requires_grad=True) for values in (now.chosen, now.rejected)
    )
    tokens = [torch.tensor(values) for values in (now.chosen_tokens, now.rejected_tokens)]
    said = PairLogps(
        chosen=chosen,
        rejected=rejected,
        chosen_tokens=tokens[0],
        rejected_tokens=tokens[1],
        chosen_nll=-chosen,
        chosen_hits=torch.zeros_like(tokens[0]),
        ref_chosen=None if reference is None else torch.tensor(reference.chosen),
        ref_rejected=None if reference is None else torch.tensor(reference.rejected),
    )
    with torch.enable_grad():
        sides = torch.autograd.grad(loss(said).sum(), (chosen, rejected), materialize_grads=True)
    by_chosen, by_rejected = (side.numpy() for side in sides)
    return by_chosen, by_rejected
