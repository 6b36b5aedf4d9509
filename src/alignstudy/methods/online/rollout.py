"""One rollout: what the policy wrote after some prompts, and what judges said of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.methods.online.ports import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from alignstudy.methods.trainer import Batch

TENSORS = "rollout.safetensors"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Samples that updates learn from.

    Attributes:
        number: From 0.
        batch: Rows as collated, all first samples first, with what they are worth: (k P, T) each.
    """

    number: int
    batch: Batch

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder."""
        from safetensors.torch import save_file

        tensors = {name: value.contiguous().cpu() for name, value in self.batch.items()}
        save_file(tensors, folder / TENSORS, metadata={"number": str(self.number)})


def read_rollout(folder: Path) -> Rollout | None:
    """Read a rollout from a checkpoint's folder; None where none was being learnt from."""
    from safetensors import safe_open

    path = folder / TENSORS
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        batch = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return Rollout(number=int(file.metadata()["number"]), batch=batch)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A rollout's samples, with what was measured of them: N of each.

    Attributes:
        number: Of the rollout.
        rows: Ids of the prompts' rows.
        samples: All first samples first.
        scores: As judges gave them; None where one gave none.
        entropies: Minus the mean log-probability of a sample's tokens, in nats.
        kls: Log-ratio of policy and reference, summed over a sample's tokens, in nats; None where
            there is no reference.
    """

    number: int
    rows: Sequence[str]
    samples: Sequence[Sample]
    scores: Sequence[float | None]
    entropies: Sequence[float]
    kls: Sequence[float] | None

    def lines(self) -> Iterator[str]:
        """Yield a line of JSON a sample."""
        for at, (row, sample) in enumerate(zip(self.rows, self.samples, strict=True)):
            line = {
                "rollout": self.number,
                "row": row,
                "score": self.scores[at],
                "kl": None if self.kls is None else self.kls[at],
                "tokens": len(sample.tokens),
                "ended": sample.ended,
                "text": sample.text,
            }
            yield json.dumps(line, ensure_ascii=False) + "\n"

    def figures(self) -> dict[str, float]:
        """Return means over samples, by the names that a step logs; NaN of what isn't there."""
        known = [score for score in self.scores if score is not None]
        mean = _mean(known)
        tokens = [len(sample.tokens) for sample in self.samples]
        weighed = zip(self.entropies, tokens, strict=True)
        return {
            "reward": mean,
            "reward_std": math.sqrt(_mean([(score - mean) ** 2 for score in known])),
            "kl/reference": _mean(self.kls or []),
            "entropy": sum(entropy * number for entropy, number in weighed) / sum(tokens),
            "completions/mean_length": _mean(tokens),
            "completions/ended": _mean([sample.ended for sample in self.samples]),
            "completions/unscored": 1 - len(known) / len(self.scores),
        }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def sums(values: Tensor) -> list[float]:
    """Add (R, T) values of tokens up to numbers of rows."""
    found: Any = values.double().sum(1).tolist()
    return list(found)
