"""CUDA graphs around an update's passes: recorded once a shape, then launched as one.

An update of a small model is some thousand kernels, each over before Python has asked for the next.
A CUDA graph holds them all; what is computed is the same. It can be replayed only on tensors that
lie where they lay, of the same shapes. So a piece's texts, joined to one row, are padded to one of
few lengths, and its targets to one of few numbers; padding is nobody's context and nobody's target.

A shape is recorded when it is first met, and held against the passes as they are without a graph:
loss and gradients must agree. Where recording fails, or they don't, the training goes on without
graphs from that update on, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from alignstudy.errors import first_line
from alignstudy.methods.method import Figures
from alignstudy.methods.scoring.buckets import (
    LAYOUT,
    Shape,
    fill,
    padded,
    rounded,
    shape_of,
    widened,
)
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.trainer import Batch
from alignstudy.models.batching import is_out_of_memory

Found = tuple[torch.Tensor, Figures]
"""Of a piece: its part of the loss, and its figures."""
Passes = Callable[[Batch, Any], Found]
"""Forward and backward over a batch, on its device, as a share of so many rows or targets."""

MOST_GRAPHS = 32
"""Shapes that are recorded; the rest are padded to one of them, or go without."""
WARM_UP = 3
"""Passes before a recording: kernels are chosen and loaded in them."""
SAME = 1e-4
"""Largest difference of a graph's loss and gradients from those without one, relative."""


class GraphsRefusedError(Exception):
    """This training's passes can't be recorded; the update is to be made again without."""


def cuda_graph(run: Callable[[], Found], pool: Any) -> Callable[[], Found]:  # noqa: ANN401
    """Record what a function asks of a GPU; return what launches it and has its results.

    Args:
        run: Warmed up; what it returns lies where the next launch puts it, too.
        pool: Of memory that all graphs share: they never run at once.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        found = run()

    def launch() -> Found:
        graph.replay()
        return found

    return launch


RECORDERS: dict[str, Callable[[Callable[[], Found], Any], Callable[[], Found]]] = {
    "cuda": cuda_graph
}
"""How passes are recorded, by kind of device; on the others they are made as they come."""


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """A shape's graph, and the tensors that it reads.

    Attributes:
        batch: What it reads.
        number: () what its losses are a share of.
        launch: Makes the passes.
    """

    batch: Batch
    number: torch.Tensor
    launch: Callable[[], Found]


class Graphs:
    """The graphs of a training.

    Attributes:
        refused: Why there are none any more; "": there may be.
    """

    def __init__(self, trainer: Any, passes: Passes) -> None:  # noqa: ANN401
        """Begin without any.

        Args:
            trainer: Whose pieces are given.
            passes: That are recorded.
        """
        self.refused = ""
        self._trainer, self._passes = trainer, passes
        self._recorded: dict[Shape, _Recorded] = {}
        self._gradients: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        self._pool: Any = None

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self._recorded)

    def begin(self) -> None:
        """Begin an update: gradients are zeros, and lie where the graphs add to them."""
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        if self._gradients:
            torch._foreach_zero_([gradient for _, gradient in self._gradients])

    def run(self, piece: Batch, number: int) -> Found | None:
        """Add a piece's gradients; None where no graph fits it, and nothing was done.

        Args:
            piece: On the processor, not laid out.
            number: What the update's loss is a mean over.

        Returns:
            Tensors that hold until the next call.

        Raises:
            GraphsRefusedError: If passes can't be recorded, or a graph's aren't the same.
        """
        wide = widened(piece, rounded(piece["input_ids"].shape[1]))
        laid = self._trainer.laid_out(wide, as_wide=True)
        shape = shape_of(laid)
        if shape not in self._recorded and self.number >= MOST_GRAPHS:
            holding = [each for each in self._recorded if each.holds(shape)]
            if not holding:
                return None
            shape = min(holding, key=lambda each: (each.length, each.targets))
        ready, tally = padded(laid, shape), replace(self._trainer.tally)
        if recorded := self._recorded.get(shape):
            fill(recorded.batch, ready)
            recorded.number.fill_(number)
            found = recorded.launch()
        else:
            found = self._first(shape, ready, number)
        tally.processed_tokens += shape.length
        tally.scored_tokens += len(laid[LAYOUT].targets)
        tally.passes += 1
        vars(self._trainer.tally).update(vars(tally))  # Python counts where it records
        return found

    def forget(self) -> None:
        """Give back all memory: pieces change their sizes."""
        self._recorded, self._gradients, self._pool = {}, [], None

    def refuse(self, why: str) -> None:
        """Do without, from now on."""
        self.forget()
        self.refused = why

    def _first(self, shape: Shape, ready: Batch, number: int) -> Found:
        """Record a shape, and make its first passes by the graph.

        Raises:
            GraphsRefusedError: If that can't be, or they aren't the same as without.
        """
        trainer = self._trainer
        batch = trainer.prepare(ready)
        total = torch.tensor(number, device=batch["input_ids"].device)
        remembered = dict(trainer.objective.state.values)
        try:
            recorded, expected = self._record(batch, total)
            if trainer.objective.state.values != remembered:
                raise GraphsRefusedError("its loss remembers figures of earlier micro-batches")
            found = recorded.launch()
            self._compare(found, *expected)
        except GraphsRefusedError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = f"{type(error).__name__}: {first_line(error)[:200]}"
            raise GraphsRefusedError(said) from error
        self._recorded[shape] = recorded
        return found

    def _record(
        self, batch: Batch, number: torch.Tensor
    ) -> tuple[_Recorded, tuple[float, list[torch.Tensor]]]:
        """Warm up and record passes over a batch.

        Returns:
            The recording, not launched yet, and loss and gradients of the passes without it; no
            gradients where the update had others before.
        """
        parameters = [p for p in self._trainer.model.parameters() if p.requires_grad]
        device = batch["input_ids"].device
        before = [p.grad for p in parameters]

        def run() -> Found:
            return self._passes(batch, number)

        with _as_drawn(device), _beside(device):
            for _ in range(WARM_UP):
                _set(parameters, [None] * len(parameters))
                with _as_drawn(device):
                    loss, _ = run()
            expected = float(loss)
        alone = [p.grad for p in parameters]
        learnt = [p for p, gradient in zip(parameters, alone, strict=True) if gradient is not None]
        if not self._gradients:
            self._gradients = [(p, torch.zeros_like(p)) for p in learnt]
        elif [id(p) for p, _ in self._gradients] != [id(p) for p in learnt]:
            raise GraphsRefusedError("which weights have gradients depends on the rows")
        is_first = all(gradient is None or not bool(gradient.any()) for gradient in before)
        _set(parameters, before)
        for parameter, gradient in self._gradients:
            if parameter.grad is not None and parameter.grad is not gradient:
                gradient.copy_(parameter.grad)
            parameter.grad = gradient
        if self._pool is None and device.type == "cuda":
            self._pool = torch.cuda.graph_pool_handle()
        with _as_drawn(device):
            launch = RECORDERS[device.type](run, self._pool)
        compared = [gradient for gradient in alone if gradient is not None] if is_first else []
        return _Recorded(batch=batch, number=number, launch=launch), (expected, compared)

    def _compare(self, found: Found, loss: float, gradients: list[torch.Tensor]) -> None:
        """Refuse a graph whose passes aren't those without it.

        Raises:
            GraphsRefusedError: Saying by how much they differ.
        """
        apart = abs(float(found[0]) - loss) / max(abs(loss), 1e-6)
        if gradients:
            ours = [gradient for _, gradient in self._gradients]
            norm = torch.nn.utils.get_total_norm(gradients)
            off = torch.nn.utils.get_total_norm(torch._foreach_sub(ours, gradients))
            apart = max(apart, float(off / norm.clamp_min(1e-30)))
        if not apart <= SAME:
            raise GraphsRefusedError(f"loss or gradients of a graph differed by {apart:.2g}")


def _set(parameters: list[torch.nn.Parameter], gradients: Sequence[torch.Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


@contextmanager
def _as_drawn(device: torch.device) -> Iterator[None]:
    """Leave random numbers as they were: what is tried out draws none."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _beside(device: torch.device) -> AbstractContextManager[None]:
    """Work on a stream of its own, as recording wants what comes before it to be."""
    if device.type != "cuda":
        return nullcontext()
    return _on_a_stream(device)


@contextmanager
def _on_a_stream(device: torch.device) -> Iterator[None]:
    stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


def why_without(trainer: Any) -> str:  # noqa: ANN401
    """Return why a trainer's updates can't be recorded; "" if they may be."""
    config, method = unwrapped(trainer.model).config.get_text_config(), trainer.method
    reasons = {
        "packed rows are read as they come": trainer.rule is None,
        "a classifier's rows are padded": trainer.route is None,
        "its samples are drawn in between": method.samples,
        "the model's own head is used": bool(trainer.route and trainer.route.own),
        "rows are not joined": bool(trainer.route and not trainer.route.flat),
        "whole distributions are compared in parts": trainer.objective.compares_vocabulary,
        "layers are left out at random": (getattr(config, "layerdrop", 0) or 0) > 0,
        "layers are computed again for their gradients": trainer.checkpoints_layers,
    }
    return next((why for why, holds in reasons.items() if holds), "")
