"""What a preference loss declares, and what losses are made of.

Symbols, here and in the losses' own words: c, r are the log-probabilities of the whole chosen and
rejected response, a and b their log-ratios to the reference, z = beta * (a - b), S the logistic
function, NLL the chosen response's mean negative log-likelihood a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import getdoc, signature
from math import log
from typing import TYPE_CHECKING, Any, Literal

from alignstudy.methods.losses.state import LossState
from alignstudy.methods.model_outputs import PairLogps

if TYPE_CHECKING:
    from torch import Tensor

Divergence = Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"]
F = Callable[["Tensor"], "Tensor"]
"""f of the divergence from the reference, on log-ratios; see `divergence_of`."""

FAR = 10.0
"""A setting that is so many times another one makes another method of a loss."""
MOST = 80.0
"""Beyond e^80 a float32 overflows."""


@dataclass(frozen=True)
class Loss:
    """One preference loss; as a label in a study file its name stands for it.

    Attributes:
        function: (B,) losses of what the model says of B rows, and of the settings that it names.
            Its docstring is what users read: the formula in the first line; then what the loss
            changes, and when its authors say that it helps.
        source: Paper, and equation where it helps.
        method: Whose loss it is: the method that its name as a label stands for.
        needs_reference: Whether it compares the policy with a reference.
        couples_rows: Whether it averages over the pairs of one micro-batch ("mean"), or compares
            them with one another ("order": alone in a micro-batch a pair is plain DPO).
        needs: Settings without which it has no meaning.
        defaults: Settings' values where the study gives none: its authors' own.
        grid: Values between which its authors, or who compared it, found the best one.
        compares_vocabulary: Whether it compares whole distributions of policy and reference.
        weighs_pairs: Whether it weights pairs by how likely they are for the policy.
        unbounded: Whether nothing but the number of steps keeps it from falling for ever.
    """

    function: Callable[..., Tensor]
    source: str
    method: str = "dpo"
    needs_reference: bool = True
    couples_rows: Literal["", "mean", "order"] = ""
    needs: tuple[str, ...] = ()
    defaults: Mapping[str, float] = field(default_factory=dict)
    grid: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    compares_vocabulary: bool = False
    weighs_pairs: bool = False
    unbounded: bool = False

    @property
    def heeds(self) -> frozenset[str]:
        """Names of what it takes beside the rows; "f" stands for the divergence's settings."""
        return frozenset(signature(self.function).parameters) - {"p", "state"}

    @property
    def settings(self) -> frozenset[str]:
        """Names of the settings that it heeds."""
        divergence = ("f_divergence_type", "f_alpha_divergence_coef") if "f" in self.heeds else ()
        return (self.heeds - {"f"}).union(divergence)

    @property
    def keeps_state(self) -> bool:
        """Whether it remembers something from one micro-batch to the next."""
        return "state" in signature(self.function).parameters

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return (getdoc(self.function) or "").split("\n", 1)[0]

    def far_off(self, given: Mapping[str, Any]) -> Iterator[str]:
        """Say which settings are ten times or more away from all values that were found good.

        A setting of 0 switches a term off, and is meant.
        """
        for name, values in self.grid.items():
            value = float(given[name])
            if value == 0:
                continue
            factor = min((max(value / known, known / value) for known in values), default=1.0)
            if factor > FAR - 1e-9:
                best = " to ".join(f"{each:g}" for each in sorted({min(values), max(values)}))
                yield f"{name} is {value:g}; found good was {best} ({self.source})"

    def of(self, said: Any, given: Mapping[str, Any], state: LossState) -> Tensor:  # noqa: ANN401
        """Return the (B,) losses of B rows.

        Args:
            said: What the model says of them.
            given: Settings by name, at least those that are heeded.
            state: Changed by a loss that keeps state.
        """
        heeded = {name: given[name] for name in self.heeds}
        if self.keeps_state:
            heeded["state"] = state
        return self.function(said, **heeded)


def log_s(x: Tensor) -> Tensor:
    """Return log S(x)."""
    from torch.nn.functional import logsigmoid  # settings are read without torch

    return logsigmoid(x)


def smoothed(z: Tensor, flipped: float) -> Tensor:
    """Return -log S(z) where a share of the preferences is taken for flipped."""
    return -log_s(z) * (1 - flipped) - log_s(-z) * flipped


def margin(p: PairLogps, beta: float, f: F) -> Tensor:
    """Return z = beta * (f(a) - f(b)): a - b for reverse KL."""
    return beta * (f(p.a) - f(p.b))


def means(p: PairLogps) -> tuple[Tensor, Tensor]:
    """Return the mean log-probability a token of chosen and of rejected."""
    return p.chosen / p.chosen_tokens.clamp(min=1), p.rejected / p.rejected_tokens.clamp(min=1)


def nll(p: PairLogps) -> Tensor:
    """Return the chosen response's mean negative log-likelihood a token."""
    return p.chosen_nll / p.chosen_tokens.clamp(min=1)


def log_odds(mean: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of p = exp(mean), in float32 at least: a mean is clamped at -1e-6."""
    import torch

    u = mean.to(torch.promote_types(mean.dtype, torch.float32)).clamp(max=-1e-6)
    return u - torch.log(-torch.expm1(u))


def divergence_of(kind: Divergence, alpha: float) -> F:
    """Return f'(policy/reference) as a function of the log-ratio; itself for reverse KL.

    Source: arXiv 2309.16240, table 1. `alpha` is TRL's `f_alpha_divergence_coef`: 1 less the
    paper's alpha.
    """
    if kind == "forward_kl":
        return lambda ratio: 1 - (-ratio).clamp(max=MOST).exp()
    if kind == "js_divergence":
        return lambda ratio: log(2) + log_s(ratio)
    if kind == "alpha_divergence" and abs(alpha - 1) >= 1e-6:
        return lambda ratio: (((alpha - 1) * ratio).clamp(max=MOST).exp() - 1) * (1 / (alpha - 1))
    return lambda ratio: ratio
