"""Mixed precision, and the test that a model must pass before it is trained so.

In mixed precision the weights, the optimizer and the sums stay in float32; only the products of
matrices are rounded to bfloat16 or float16, as `torch.autocast` does it (Micikevicius et al. 2018,
arXiv 1710.03740; Kalamkar et al. 2019, arXiv 1905.12322). Most models bear it. Whether this one
does, on these rows, under this loss, is measured: the first steps are made twice.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

from alignstudy.errors import GuardError, InputError
from alignstudy.methods.guards.probes import PROBE_ROWS, probe_batch
from alignstudy.methods.trainer import Trainer
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16"]
Asked = Literal["auto", "fp32", "bf16", "fp16"]
Curve = tuple[list[float], list["torch.Tensor"]]
"""Losses, one a step; gradients of the first, one a trained weight, in main memory."""

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


NO_FP16_ON_CPUS = "there is none here, and on a CPU float16 is slower and scales no loss"
LARGEST_SCALE = 2.0**16
"""What a loss is multiplied by in float16, so that small gradients don't vanish; halved where the
large ones overflow: where PyTorch's scaler begins."""


def pick_precision(asked: Asked, device: str) -> Precision:
    """Return the precision to train in, if the model bears it; see `precision_gate`.

    Args:
        asked: "auto" takes bf16 on a GPU that computes it itself. A CPU always trains in fp32
            unless bf16 is asked for: most take longer with it.
        device: "cpu", "cuda" or "cuda:<number>".

    Raises:
        InputError: If fp16 is asked for on a CPU.
    """
    if asked == "fp16" and device == "cpu":
        raise InputError(
            "precision: fp16 needs a GPU", why=NO_FP16_ON_CPUS, hint="set precision: fp32, or auto"
        )
    if asked != "auto":
        return asked
    if not device.startswith("cuda"):
        return "fp32"
    import torch

    with torch.cuda.device(device):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def precision_gate(trainer: Trainer, asked: Asked, *, steps: int = GATE_STEPS) -> GuardOutcome:
    """Train on the first rows in float32 and in what is asked, by AdamW at the peak learning rate.

    Where memory runs out, half of the rows are tried, down to one.

    Args:
        trainer: A trainer with float32 weights and no mixed precision of its own. Its weights are
            moved: it is good for nothing afterwards.
        asked: What the study says; auto stands for bf16 here.
        steps: Losses a curve.

    Returns:
        Whether losses and gradients agree; if not, its detail says that float32 is used.

    Raises:
        GuardError: If they don't and the precision was asked for by name.
    """
    import torch

    model = trainer.model  # whose frozen weights don't move, and in 4 bits couldn't be loaded back
    learns = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    start = {
        name: held.detach().to("cpu", copy=True) for name, held in (*learns, *model.named_buffers())
    }
    rows = min(PROBE_ROWS, len(trainer.train_dataset))
    while True:
        try:
            mixed: Precision = "fp16" if asked == "fp16" else "bf16"
            both: tuple[Precision, Precision] = ("fp32", mixed)
            exact, rounded = (
                _train(trainer, start, rows, precision=each, steps=steps) for each in both
            )
            device = next(trainer.model.parameters()).device
            return curves_agree(exact, rounded, asked=asked, device=device)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        rows //= 2
        torch.cuda.empty_cache()


def _train(
    trainer: Trainer, start: dict[str, torch.Tensor], rows: int, *, precision: Precision, steps: int
) -> Curve:
    """Train from the starting weights; dropout is off: its masks differ between precisions."""
    import torch

    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    scale = LARGEST_SCALE if precision == "fp16" else 1.0

    model, args = trainer.model, trainer.args
    model.load_state_dict(start, strict=False)
    model.eval()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=args.learning_rate, eps=1e-8, weight_decay=args.weight_decay
    )
    samples = trainer.method.samples
    batch = trainer.rollouts.first(rows) if samples else probe_batch(trainer, num_rows=rows)
    device = batch["input_ids"].device
    losses: list[float] = []
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        for step in range(steps):
            while True:
                optimizer.zero_grad()
                with torch.autocast(device.type, dtype=dtype) if dtype else nullcontext():
                    loss = trainer.compute_loss(model, batch)
                (loss * scale).backward()  # type: ignore[no-untyped-call]
                gradients = [weight.grad for weight in trained if weight.grad is not None]
                if scale == 1 or all(bool(each.isfinite().all()) for each in gradients):
                    break
                scale /= 2
            for each in gradients:
                each.div_(scale)
            losses.append(float(loss.detach()))
            if step == 0:  # zeros where the loss doesn't depend on a weight
                gradient = [
                    torch.zeros(weight.shape)
                    if weight.grad is None
                    else weight.grad.to("cpu", copy=True)
                    for weight in trained
                ]
            torch.nn.utils.clip_grad_norm_(trained, args.max_grad_norm)
            optimizer.step()
    return losses, gradient


def curves_agree(
    exact: Curve, rounded: Curve, *, asked: str, device: torch.device | str = "cpu"
) -> GuardOutcome:
    """Refuse mixed precision where losses or gradients leave float32's.

    Args:
        exact: In float32.
        rounded: In mixed precision.
        asked: "bf16" or "fp16"; or "auto": bf16, and the outcome says if float32 is used.
        device: Where gradients are compared, one after another.

    Raises:
        GuardError: If they do and the precision was asked for by name.
    """
    mixed = "bf16" if asked == "auto" else asked
    (fp32, _), (other, _) = exact, rounded
    distance = math.inf
    if all(map(math.isfinite, fp32 + other)):
        apart = max(abs(one - other) for one, other in zip(fp32, other, strict=True))
        distance = apart / max(1.0, abs(fp32[0]))
    squares = [
        _squares(one.to(device), other.to(device))
        for one, other in zip(exact[1], rounded[1], strict=True)
    ]
    moved, length = (math.sqrt(sum(each)) for each in zip(*squares, strict=True))
    gradients = moved / length if length else 0.0  # as a share of float32's length
    if not math.isfinite(moved + length) or (moved and not length):
        gradients = math.inf
    seen = (
        f"in {len(fp32)} steps on the first rows losses went from {fp32[0]:.6g} to"
        f" {fp32[-1]:.6g} in fp32, from {other[0]:.6g} to {other[-1]:.6g} in {mixed}: at most"
        f" {distance:.2g} apart (allowed: {CURVE_TOLERANCE:g}), the first gradients"
        f" {gradients:.2g} ({GRADIENT_TOLERANCE:g})"
    )
    passed = distance <= CURVE_TOLERANCE and gradients <= GRADIENT_TOLERANCE
    if asked != "auto" and not passed:
        raise GuardError(
            f"training in {mixed} leaves what float32 does",
            why=seen,
            hint="set precision: fp32, or auto; a lower learning_rate may help, too",
        )
    advice = "" if passed else "; trained in fp32"
    return GuardOutcome(guard=f"{mixed}_follows_fp32", passed=passed, detail=seen + advice)


def _squares(one: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    """Return the squared length of a difference, and of the first of two gradients."""
    moved, length = (part.double().square().sum() for part in (one - other, one))
    return float(moved), float(length)
