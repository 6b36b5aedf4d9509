"""Which kernels a GPU trains with: measured on the training's own first rows, never assumed.

The plain route (SDPA with a dense mask) always works. FlexAttention skips the blocks that a mask
leaves empty, and compilation joins small kernels, both at a price that only a measurement can
weigh. A route that fails, or computes something else, is told and not taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.guards.probes import probe_batch

TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}
"""Largest relative difference of a summed log-probability from the plain route's."""

GAIN = 0.95
"""A route must take at most this share of the plain one's time: less is noise."""

WORTH_COMPILING = 5_000
"""Updates from which on a minute of compilation is paid back many times."""

_REPEATS = 5


@dataclass(frozen=True)
class Route:
    """How a model's passes are computed.

    Attributes:
        attention: An implementation of attention; see `shared_forward.ATTENTION`.
        compiled: Whether the model's body is compiled.
    """

    attention: str
    compiled: bool = False

    def __str__(self) -> str:
        return f"{self.attention}, compiled" if self.compiled else self.attention


PLAIN = Route("sdpa")


def routes_to_try(*, updates: int, dropout: bool) -> list[Route]:
    """List the routes that may beat the plain one in a training of so many updates.

    Args:
        updates: Steps of the optimizer.
        dropout: Whether the model drops units, which FlexAttention doesn't.
    """
    attention = ["sdpa"] if dropout else ["sdpa", "flex_attention"]
    routes = [Route(kind) for kind in attention]
    if updates >= WORTH_COMPILING:
        routes += [Route(kind, compiled=True) for kind in attention]
    return [route for route in routes if route != PLAIN]


@dataclass(frozen=True)
class Trial:
    """What a route gave on the first rows.

    Attributes:
        seconds: Of one pass forward and backward, the median of a few; inf if it failed.
        sums: (R,) summed log-probabilities, for comparison.
        fault: Why it failed; "" if it didn't.
    """

    seconds: float
    sums: torch.Tensor
    fault: str = ""


def settle_route(
    trainer: Any,  # noqa: ANN401 - a TRL trainer that `lean` has seen
    routes: Sequence[Route],
    *,
    precision: str,
    measure: Callable[[Any], Trial] | None = None,
) -> tuple[Route, tuple[str, ...]]:
    """Try routes on the first rows and leave the fastest that computes the same in place.

    Args:
        trainer: Before its first step; gradients are cleared afterwards.
        routes: Beside the plain one, which everything is compared with.
        precision: "fp32" or "bf16": how far results may differ.
        measure: Makes one trial; for tests.

    Returns:
        The route that was taken, and a note on every other.
    """
    measure = measure or timed_pass
    _take(trainer, PLAIN)
    plain = measure(trainer)
    best, least, notes = PLAIN, plain.seconds * GAIN, []
    for route in routes:
        trial = _tried(trainer, route, measure)
        apart = _distance(trial.sums, plain.sums)
        if trial.fault:
            notes.append(f"kernels: {route} not taken: {trial.fault}")
        elif not apart <= TOLERANCE[precision]:
            notes.append(f"kernels: {route} not taken: log-probabilities differ by {apart:.2g}")
        elif trial.seconds < least:
            best, least = route, trial.seconds
    _take(trainer, best)
    if routes:
        notes.append(f"kernels: {best}, {least / plain.seconds:.2f} of the plain route's time")
    return best, tuple(notes) if best != PLAIN else tuple(notes[:-1])


def _tried(trainer: Any, route: Route, measure: Callable[[Any], Trial]) -> Trial:  # noqa: ANN401
    """Try a route; whatever compilers and kernels raise is why it isn't taken."""
    try:
        _take(trainer, route)
        return measure(trainer)
    except Exception as error:
        trainer.model.zero_grad()
        return Trial(float("inf"), torch.zeros(0), f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    return float(((ours - theirs).abs() / theirs.abs().clamp_min(1)).max())


def _take(trainer: Any, route: Route) -> None:  # noqa: ANN401
    model = _plain_model(trainer)
    model.set_attn_implementation(route.attention)
    body = model.base_model
    body._compiled_call_impl = None
    if route.compiled:
        body.compile(dynamic=True)


def _plain_model(trainer: Any) -> Any:  # noqa: ANN401
    has_adapter = hasattr(trainer.model, "peft_config")
    return trainer.model.get_base_model() if has_adapter else trainer.model


def timed_pass(trainer: Any) -> Trial:  # noqa: ANN401
    """Score the first rows a few times, forward and backward, as a training step does."""
    batch = probe_batch(trainer)
    seen = batch.get("completion_mask", batch["attention_mask"])
    labels = batch.get("labels", batch["input_ids"].masked_fill(seen == 0, IGNORED))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    seconds, sums = [], torch.zeros(0)
    with torch.random.fork_rng():
        for _ in range(_REPEATS + 1):
            started = time.perf_counter()
            with trainer.accelerator.autocast():
                outputs = trainer.model(
                    **inputs, labels=labels, use_cache=False, fused_lm_head=True
                )
            sums = outputs.log_probs.float().sum(1)
            sums.mean().backward()
            if sums.is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    trainer.model.zero_grad()
    return Trial(sorted(seconds[1:])[_REPEATS // 2], sums.detach().cpu())
