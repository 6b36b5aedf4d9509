"""Mixed precision, and the test that a model must pass before it is trained so.

In mixed precision the weights, the optimizer and the sums stay in float32; only the products of
matrices are rounded to bfloat16, as `torch.autocast` does it (Micikevicius et al. 2018, arXiv
1710.03740; Kalamkar et al. 2019, arXiv 1905.12322). Most models bear it. Whether this one does, on
these rows, under this loss, is measured: the first steps are made twice, and undone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alignstudy.errors import GuardError
from alignstudy.methods.guards.probes import PROBE_ROWS, probe_batch
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]

GATE_STEPS = 8
"""Losses that are compared: the first shows what rounding does to a pass, the others how fast the
two curves part."""
CURVE_TOLERANCE = 0.02
"""Largest distance of two loss curves, as a share of the first loss (of 1, where it is smaller).

bfloat16 keeps 8 bits: one rounding is off by up to 1/256 = 0.4 %. Of the many that a loss is made
of most cancel out: sound passes were seen to differ by 0.001 to 0.4 %. Logits or sums kept in 8
bits are off by several percent, overflow by far more. Five roundings, all to one side, lie
between."""
GRADIENT_TOLERANCE = 0.3
"""Largest distance of the first gradients, as a share of float32's: the step is then at most 17
degrees off. Sound models were seen at 0.3 to 4 %, one with hugely spread weights at 12 %; a
gradient that is lost is off by 100 %. At a low learning rate no loss would show it."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A few steps of training, undone.

    Attributes:
        losses: One a step.
        gradient: Of the first loss, one tensor a trained weight, on the CPU.
        rows: How many rows memory held.
    """

    losses: tuple[float, ...]
    gradient: tuple[torch.Tensor, ...]
    rows: int


def pick_precision(asked: Literal["auto", "fp32", "bf16"], device: str) -> Precision:
    """Return the precision to train in, if the model bears it; see `precision_gate`.

    Args:
        asked: "auto" takes bf16 on a GPU that computes it itself. A CPU always trains in fp32
            unless bf16 is asked for: most take longer with it.
        device: "cpu", "cuda" or "cuda:<number>".
    """
    if asked != "auto":
        return asked
    if not device.startswith("cuda"):
        return "fp32"
    import torch

    with torch.cuda.device(device):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def precision_gate(
    trainer: Any,  # noqa: ANN401
    asked: Literal["auto", "fp32", "bf16"],
    *,
    device: str,
    steps: int = GATE_STEPS,
) -> tuple[Precision, GuardOutcome | None]:
    """Decide on the precision of a training that is about to begin.

    For bf16 the first rows are trained on twice from the same weights, in float32 and in mixed
    precision, by AdamW at the job's peak learning rate. Then weights, buffers, gradients, random
    numbers and modes are what they were, to the bit.

    Args:
        trainer: A trainer that was built with float32 weights and no mixed precision of its own,
            before its first step.
        asked: What the study says.
        device: Where the trainer's model lies.
        steps: Losses a curve.

    Returns:
        The precision, and what was measured; None: nothing was, float32 needs no proof.

    Raises:
        GuardError: If bf16 was asked for by name and the curves part.
    """
    picked = pick_precision(asked, device)
    if picked == "fp32":
        return picked, None
    curves: dict[bool, Curve] = {}

    def run(bf16: bool) -> Sequence[float]:
        rows = curves[False].rows if bf16 else PROBE_ROWS
        curves[bf16] = train_and_undo(trainer, rows, bf16=bf16, device=device, steps=steps)
        return curves[bf16].losses

    outcome = curves_agree(
        curve_distance(run),
        gradient_distance(curves[False], curves[True]),
        fp32=curves[False].losses,
        bf16=curves[True].losses,
        asked=asked,
    )
    return ("bf16" if outcome.passed else "fp32"), outcome


def curve_distance(run: Callable[[bool], Sequence[float]]) -> float:
    """Return the largest distance of two loss curves, as a share of float32's first loss, or of 1.

    Args:
        run: Gives the losses of a few steps, in bf16 if told True, else in fp32; always from the
            same weights, on the same rows, as many.

    Returns:
        0 for equal curves; inf where a loss isn't finite.
    """
    pairs = list(zip(run(False), run(True), strict=True))
    if not all(math.isfinite(loss) for pair in pairs for loss in pair):
        return math.inf
    return max(abs(rounded - exact) for exact, rounded in pairs) / max(1.0, abs(pairs[0][0]))


def gradient_distance(exact: Curve, rounded: Curve) -> float:
    """Return the distance of two first gradients as a share of the exact one's length.

    Returns:
        0 for equal ones; inf where one isn't finite, or only the exact one is 0.
    """
    apart = length = 0.0
    for one, other in zip(exact.gradient, rounded.gradient, strict=True):
        apart += float((one - other).double().square().sum())
        length += float(one.double().square().sum())
    if not math.isfinite(apart) or not math.isfinite(length):
        return math.inf
    if length == 0:
        return math.inf if apart else 0.0
    return math.sqrt(apart / length)


def curves_agree(
    distance: float,
    gradients: float,
    *,
    fp32: Sequence[float],
    bf16: Sequence[float],
    asked: str,
) -> GuardOutcome:
    """Refuse mixed precision where losses or gradients leave float32's.

    Args:
        distance: As `curve_distance` gives it.
        gradients: As `gradient_distance` gives it.
        fp32: The losses in float32, for the message.
        bf16: The losses in mixed precision.
        asked: "bf16", or "auto": then the outcome says that float32 is used.

    Raises:
        GuardError: If they do and bf16 was asked for by name.
    """
    seen = (
        f"in {len(fp32)} steps on the first rows losses went from {fp32[0]:.6g} to"
        f" {fp32[-1]:.6g} in fp32, from {bf16[0]:.6g} to {bf16[-1]:.6g} in bf16: at most"
        f" {distance:.2g} apart (allowed: {CURVE_TOLERANCE:g}), the first gradients"
        f" {gradients:.2g} ({GRADIENT_TOLERANCE:g})"
    )
    passed = distance <= CURVE_TOLERANCE and gradients <= GRADIENT_TOLERANCE
    if asked == "bf16" and not passed:
        raise GuardError(
            "training in bf16 leaves what float32 does",
            why=seen,
            hint="set precision: fp32, or auto; a lower learning_rate may help, too",
        )
    advice = "" if passed else "; trained in fp32"
    return GuardOutcome(guard="bf16_follows_fp32", passed=passed, detail=seen + advice)


def train_and_undo(
    trainer: Any,  # noqa: ANN401
    rows: int,
    *,
    bf16: bool,
    device: str,
    steps: int = GATE_STEPS,
) -> Curve:
    """Train for a few steps on the trainer's first rows, tell what was seen, and undo the steps.

    Every dropout is off: its masks aren't the same numbers in both precisions. Where memory runs
    out, half of the rows are tried, down to one.

    Args:
        trainer: As for `precision_gate`.
        rows: How many of them at most.
        bf16: In mixed precision.
        device: Where the model lies.
        steps: Losses; after each the weights move.
    """
    import torch

    rows = min(rows, len(trainer.train_dataset))
    while True:
        try:
            with _undone(trainer, device):
                return _steps(trainer, rows, bf16=bf16, device=device, steps=steps)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        rows //= 2
        torch.cuda.empty_cache()


def _steps(trainer: Any, rows: int, *, bf16: bool, device: str, steps: int) -> Curve:  # noqa: ANN401
    import torch

    model, args = trainer.model, trainer.args
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=args.learning_rate, eps=1e-8, weight_decay=args.weight_decay
    )
    batch, kind = probe_batch(trainer, num_rows=rows), torch.device(device).type
    losses: list[float] = []
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast(kind, dtype=torch.bfloat16) if bf16 else nullcontext():
            loss = trainer.compute_loss(model, batch)
        loss.backward()
        losses.append(float(loss.detach()))
        if step == 0:
            gradient = tuple(_gradient(weight) for weight in trained)
        torch.nn.utils.clip_grad_norm_(trained, args.max_grad_norm)
        optimizer.step()
    return Curve(losses=tuple(losses), gradient=gradient, rows=rows)


def _gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    """Copy a weight's gradient into main memory; zeros where the loss doesn't depend on it."""
    if weight.grad is None:
        return weight.detach().cpu().new_zeros(weight.shape)
    return weight.grad.detach().to("cpu", copy=True)


@contextmanager
def _undone(trainer: Any, device: str) -> Iterator[None]:  # noqa: ANN401
    """Switch dropout off inside; then put back all that a step changes.

    Copies lie in main memory: on a GPU training may need all of the GPU's.
    """
    import torch

    model = trainer.model
    modes = [(module, module.training) for module in model.modules()]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    grads = [weight.grad for weight in weights]
    held = [*weights, *model.buffers()]
    copies = [tensor.detach().to("cpu", copy=True) for tensor in held]
    tokens = trainer._total_train_tokens
    place = torch.device(device)
    model.eval()
    try:
        with torch.random.fork_rng([] if place.type == "cpu" else [place]):
            yield
    finally:
        with torch.no_grad():
            for tensor, copy in zip(held, copies, strict=True):
                tensor.copy_(copy)
        for weight, grad in zip(weights, grads, strict=True):
            weight.grad = grad
        for module, training in modes:
            module.training = training
        trainer._total_train_tokens = tokens
        for figures in trainer._metrics.values():
            figures.clear()
