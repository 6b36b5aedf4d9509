"""Weights made of several models' weights, tensor by tensor: sums, and points on an arc.

All is computed in float64 from what the files hold, and rounded once, to float32.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.weights.save import copy_tokenizer, probe_tokens
from alignstudy.models.folder import named_faults, read_json
from alignstudy.models.load import load_causal_lm, read_config
from alignstudy.models.weight_files import weight_files
from alignstudy.records import GuardOutcome, Weights

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_ANGLE = 1e-6
"""Radians below which an arc and its chord differ by less than float32 can hold."""


@dataclass(frozen=True)
class WeightedSum:
    """The sum of tensors, each times its weight: an average, an extrapolation.

    Attributes:
        weights: One a model; they sum to 1. ExPO's are 1 + alpha and -alpha (arXiv 2404.16792), a
            uniform soup's are equal (arXiv 2203.05482).
    """

    weights: tuple[float, ...]

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the sum of tensors of one shape."""
        terms = [weight * each for weight, each in zip(self.weights, tensors, strict=True)]
        return sum(terms[1:], start=terms[0])


@dataclass(frozen=True)
class Slerp:
    """The point between two tensors, taken as vectors, on the arc instead of the chord.

    The angle is that between their directions; the coefficients, sin((1-t) angle) / sin(angle) and
    sin(t angle) / sin(angle), multiply the tensors as they are, so that of two of one length the
    result has that length too. Where they are parallel (or opposite, or one is 0), no arc is
    defined, and it is the chord.

    Attributes:
        t: 0 is the first, 1 the second.

    Source: Shoemake 1985, doi:10.1145/325165.325242.
    """

    t: float

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return the point between two tensors of one shape."""
        one, other = tensors
        angle = angle_between(one, other)
        if min(angle, math.pi - angle) < SMALLEST_ANGLE:
            return (1.0 - self.t) * one + self.t * other
        ends = math.sin((1.0 - self.t) * angle) * one + math.sin(self.t * angle) * other
        return ends / math.sin(angle)


def angle_between(one: Tensor, other: Tensor) -> float:
    """Return the angle between two tensors as vectors, in radians; 0 where one of them is 0.

    Exact to rounding where the cosine isn't: nearly parallel ones, as a model's descendants are.

    Source: Kahan 2006, "How futile are mindless assessments of roundoff in floating-point
    computation?", section 12.
    """
    lengths = float(one.norm()), float(other.norm())
    if not all(lengths):
        return 0.0
    first, second = one / lengths[0], other / lengths[1]
    return 2.0 * math.atan2(float((first - second).norm()), float((first + second).norm()))


def mix_weights(
    folders: Sequence[Path], rule: WeightedSum | Slerp, out: Path, *, like: Path
) -> GuardOutcome:
    """Make one model of several and save it, tokenizer included.

    Tensors are read one by one from files that are mapped, so that memory need hold one model's
    weights whatever their number. Tied tensors lie in a file once; buffers, and whatever isn't a
    floating-point number, are not mixed.

    Args:
        folders: Full weights in Hugging Face layout, two or more.
        rule: What is made of a tensor's versions, in the order of `folders`.
        out: Empty existing folder to fill.
        like: The one of the folders whose configuration, tokenizer and buffers are kept.

    Raises:
        GuardError: If tensors have other names or shapes in one of them, or the result isn't
            finite, or can't be loaded.
        DamagedArtefactError: If a file can't be read.
    """
    import torch
    from safetensors.torch import save_file

    number, widest, kept = 0, 0.0, _buffers(like)
    with ExitStack() as stack, torch.no_grad():
        models = [_open(folder, stack) for folder in folders]
        _refuse_unlike(models)
        pattern = models[folders.index(like)]
        for file in weight_files(like):
            made = {}
            for name in (name for name, opened in pattern.items() if opened.file == file):
                own = pattern[name].read(name)
                if name in kept or not own.is_floating_point():
                    made[name] = own
                    continue
                versions = [model[name].read(name).double() for model in models]
                widest = max(widest, *(angle_between(versions[0], each) for each in versions[1:]))
                made[name], number = _finite(rule(versions).float(), name), number + 1
            save_file(made, out / file.name, metadata={"format": "pt"})
            del made
    _copy_rest(like, out)
    finite = _computes(out)
    return GuardOutcome(
        guard="weights_are_mixed",
        passed=True,
        detail=f"{number} tensors in float32 of {len(folders)} models, all finite; directions of a"
        f" tensor lie up to {widest:.2g} rad from the first model's; {finite} logits of the result"
        " are finite",
    )


@dataclass(frozen=True)
class _Opened:
    """A weight file that is open."""

    file: Path
    handle: Any

    def read(self, name: str) -> Tensor:
        tensor: Tensor = self.handle.get_tensor(name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.handle.get_slice(name).get_shape())


def _open(folder: Path, stack: ExitStack) -> dict[str, _Opened]:
    """Open a folder's weight files; return which holds each tensor."""
    from safetensors import safe_open

    found: dict[str, _Opened] = {}
    with named_faults(folder):
        for file in weight_files(folder):
            handle = stack.enter_context(safe_open(file, framework="pt"))
            found |= dict.fromkeys(handle.keys(), _Opened(file, handle))
    return found


def _refuse_unlike(models: Sequence[Mapping[str, _Opened]]) -> None:
    """Refuse models that don't have the same tensors.

    Raises:
        GuardError: Naming the first tensors that differ.
    """
    first = models[0]
    for other in models[1:]:
        alone = sorted(first.keys() ^ other.keys())
        faults = [f"{name} is in one of them only" for name in alone]
        faults += list(_other_shapes(first, other))
        if faults:
            more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise GuardError(
                "models whose weights are to be combined differ in more than values",
                why="; ".join(faults[:3]) + more,
                hint="combine models of one architecture and vocabulary, made from one base",
            )


def _other_shapes(first: Mapping[str, _Opened], other: Mapping[str, _Opened]) -> Iterator[str]:
    for name in sorted(first.keys() & other.keys()):
        shapes = first[name].shape(name), other[name].shape(name)
        if shapes[0] != shapes[1]:
            yield f"{name} has shapes {shapes[0]} and {shapes[1]}"


def _buffers(folder: Path) -> set[str]:
    """Name the buffers of a folder's model, which is built without weights."""
    import torch
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    with quiet_libraries(), torch.device("meta"):
        return {name for name, _ in AutoModelForCausalLM.from_config(config).named_buffers()}


def _finite(tensor: Tensor, name: str) -> Tensor:
    if not bool(tensor.isfinite().all()):
        raise GuardError(
            f"combining weights gives numbers in {name} that aren't finite",
            why="a model's own weights aren't, or the result exceeds float32",
            hint="look at the trainings' last losses; extrapolate less far (`alpha`)",
        )
    return tensor


def _copy_rest(like: Path, out: Path) -> None:
    """Copy what isn't weights; the configuration says what precision they have now."""
    for pattern in ("*.index.json", "generation_config.json"):
        for file in like.glob(pattern):
            shutil.copyfile(file, out / file.name)
    config = {**read_json(like / "config.json"), "dtype": "float32"}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    copy_tokenizer(like, out)


def _computes(folder: Path) -> int:
    """Load what was saved and count the logits that it gives on a probe, all finite.

    Raises:
        GuardError: If it can't be loaded, or one isn't finite.
    """
    import torch

    with quiet_libraries(), torch.no_grad():
        model = load_causal_lm(Weights(folder=folder))
        logits = model(input_ids=probe_tokens(model.config.vocab_size)).logits
    _finite(logits, "the logits of a probe")
    return int(logits.numel())
