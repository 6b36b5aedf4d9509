"""How far a model has moved from another, on its own samples, and what it prefers.

Schulman, "Approximating KL divergence" (2020, joschu.net/blog/kl-approx.html), names the
estimators. With r = q(x)/p(x) and x drawn from the policy p: k1 = -log r is unbiased but may be
negative; k3 = r - 1 - log r is unbiased, never negative, and varies less.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from alignstudy.errors import GuardError, InputError
from alignstudy.generation.implicit import implicit_accuracy
from alignstudy.generation.logprobs import (
    TokenScores,
    default_batch_size,
    load_plain,
    token_scores,
)
from alignstudy.generation.sampling import Ask, Continuation, ask, sample, special_ids
from alignstudy.models.tokenizers import load_tokenizer, text_stays_open
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Estimate, Prompt, Weights
from alignstudy.records.evidence import Divergence
from alignstudy.runtime.device import context_length
from alignstudy.settings import Settings
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DiagnosticSettings", "diverge", "implicit_accuracy"]

NEW_TOKENS = 50
"""Most tokens of a sample where neither the settings nor the caller say."""


class DiagnosticSettings(Settings):
    """How far models moved is measured on samples of the whole distribution (temperature 1).

    Temperature and truncation can't be set: with any other the samples would not be the model's
    own, and the estimates of KL would be of another distribution.
    """

    n: int = Field(50, ge=2, description="Prompts an axis to sample after, the first of the study.")
    max_new_tokens: int | None = Field(
        None, ge=1, description="Most tokens of a sample; left out: that of generation."
    )
    batch_size: int | None = Field(
        None, ge=1, description="Most samples at once; left out: 8 on a CPU, 64 on a GPU."
    )
    draws: int = Field(2000, ge=100, description="Bootstrap resamples of the intervals.")


def diverge(
    policy: Weights,
    base: Weights | None,
    prompts: Sequence[Prompt],
    settings: DiagnosticSettings,
    *,
    model: str,
    seed: int,
    device: str,
    max_new_tokens: int = NEW_TOKENS,
    rng_seed: int = 0,
    progress: Progress = SILENT,
) -> Divergence:
    """Measure KL(policy || base) and the policy's entropy on samples of the policy.

    One sample a prompt, drawn at temperature 1 from the whole distribution until the end of the
    sequence (which counts as a token) or the cap. Per token: the mean over samples of each one's
    mean over tokens. Per sequence: sums over a sample's tokens. Both models are evaluated in
    float32. Intervals are percentile bootstraps over prompts, clusters of near-duplicates whole.

    Args:
        policy: The model that is measured.
        base: What it is measured against; None for the base itself: entropy only.
        prompts: Of all axes; the first `settings.n` of each are asked.
        settings: How much is sampled.
        model: The recipe's name.
        seed: The training seed.
        device: Where to run; see `pick_device`.
        max_new_tokens: Where the settings name none.
        rng_seed: Of the draws; each prompt has its own stream, the same for every model.
        progress: Told after every batch.

    Raises:
        InputError: If no prompt fits the model with `max_new_tokens`.
        GuardError: If the two models don't share one vocabulary, or the tokenizer ends every text.
        EnvironmentFault: If one sample alone doesn't fit into memory.
    """
    chosen = _first_of_each(prompts, settings.n)
    progress.start(f"diagnose {model}", total=len(chosen) * (2 if base is None else 3))
    new = settings.max_new_tokens or max_new_tokens
    kept, rows, ours = _sampled(
        policy, chosen, new, settings, device=device, rng_seed=rng_seed, progress=progress
    )
    theirs = None
    if base is not None:
        _check_one_vocabulary(policy, base)
        theirs = _scored(base, rows, settings.batch_size, device=device, progress=progress)
    progress.finish()
    return _divergence(
        kept, ours, theirs, model=model, seed=seed, settings=settings, rng_seed=rng_seed,
        note=_note(len(chosen) - len(kept)),
    )  # fmt: skip


def _first_of_each(prompts: Sequence[Prompt], number: int) -> list[Prompt]:
    axes = dict.fromkeys(prompt.axis for prompt in prompts)
    found = [[prompt for prompt in prompts if prompt.axis == axis][:number] for axis in axes]
    return [prompt for of_axis in found for prompt in of_axis]


def _sampled(
    policy: Weights, prompts: Sequence[Prompt], new: int, settings: DiagnosticSettings,
    *, device: str, rng_seed: int, progress: Progress,
) -> tuple[list[Prompt], list[Continuation], list[TokenScores]]:  # fmt: skip
    """Sample after the prompts that fit, and score the samples."""
    tokenizer = load_tokenizer(policy.base or policy.folder)
    text_stays_open(tokenizer)
    eos, pad = special_ids(tokenizer)
    network = load_plain(policy, device=device)
    room = context_length(network.config) - new
    asks = [ask(prompt, tokenizer, room=room, rng_seed=rng_seed) for prompt in prompts]
    asked: list[tuple[Prompt, Ask]] = [
        (prompt, item) for prompt, item in zip(prompts, asks, strict=True) if item is not None
    ]
    if not asked:
        raise InputError(
            f"none of {len(prompts)} prompts can be sampled after",
            why=f"the model reads {room + new} tokens, {new} of them are for the sample",
            hint="give shorter prompts, or set fewer diagnostics.max_new_tokens",
        )
    progress.advance(len(prompts) - len(asked))
    batch_size = settings.batch_size or default_batch_size(device)
    rows = sample(
        network, [item for _, item in asked], max_new_tokens=new, eos=eos, pad=pad,
        batch_size=batch_size, progress=progress,
    )  # fmt: skip
    scores = token_scores(network, rows, batch_size=batch_size, progress=progress)
    return [prompt for prompt, _ in asked], rows, scores


def _scored(
    weights: Weights, rows: Sequence[Continuation], batch_size: int | None,
    *, device: str, progress: Progress,
) -> list[TokenScores]:  # fmt: skip
    """Score continuations under a model that is loaded for it."""
    network = load_plain(weights, device=device)
    most = max(len(row.prompt) + len(row.tokens) for row in rows)
    if most > context_length(network.config):
        raise InputError(
            f"a sample of {most} tokens passes the base's context",
            why=f"the base reads {context_length(network.config)} tokens",
            hint="set fewer diagnostics.max_new_tokens",
        )
    size = batch_size or default_batch_size(device)
    return token_scores(network, rows, batch_size=size, progress=progress)


def _check_one_vocabulary(policy: Weights, base: Weights) -> None:
    """Refuse two models that mean different tokens by the same number."""
    ours, theirs = (load_tokenizer(each.base or each.folder).get_vocab() for each in (policy, base))
    if ours != theirs:
        raise GuardError(
            f"{policy.folder} and {base.folder} have different vocabularies",
            why="the divergence of two models is defined on one set of tokens",
            hint="compare a model with the one that it was trained from",
        )


def _divergence(
    prompts: Sequence[Prompt], ours: Sequence[TokenScores], theirs: Sequence[TokenScores] | None,
    *, model: str, seed: int, settings: DiagnosticSettings, rng_seed: int, note: str,
) -> Divergence:  # fmt: skip
    """Return the means over samples, with their intervals."""
    values = [[float(scores.entropies.mean()) for scores in ours]]
    if theirs is not None:
        values += _kl_values(ours, theirs)
    matrix = np.array(values)
    if not np.isfinite(matrix).all():
        raise GuardError(
            f"the divergence of {model} is not finite",
            why="a model gave a logit that is no number, or no probability to a sampled token",
            hint="look at the training curve: the weights have probably diverged",
        )
    entropy, *kl = _estimates(matrix, prompts, settings.draws, np.random.default_rng(rng_seed))
    per_token, k1, k3 = kl or (None, None, None)
    return Divergence(
        model=model, seed=seed, kl_per_token=per_token, kl_per_sequence=k1,
        kl_per_sequence_k3=k3, entropy_per_token=entropy, implicit_accuracy=None,
        n=len(prompts), note=note,
    )  # fmt: skip


def _kl_values(ours: Sequence[TokenScores], theirs: Sequence[TokenScores]) -> list[list[float]]:
    """Give, by sample, the mean of k3, the sum of k1 and the sum of k3."""
    k1 = [own.logps - other.logps for own, other in zip(ours, theirs, strict=True)]
    k3 = [np.expm1(-ratio) + ratio for ratio in k1]
    return [
        [float(each.mean()) for each in k3],
        [float(each.sum()) for each in k1],
        [float(each.sum()) for each in k3],
    ]


def _estimates(
    values: NDArray[np.float64], prompts: Sequence[Prompt], draws: int, rng: np.random.Generator
) -> list[Estimate]:
    """Return the mean of each row of values (quantities, samples) with its bootstrap interval."""
    names = [(prompt.axis, prompt.cluster or prompt.id) for prompt in prompts]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    clusters = np.array([numbers[name] for name in names])
    means = bootstrap_means(values, draws=draws, rng=rng, clusters=clusters)
    return [
        percentile_estimate(float(row.mean()), means[:, at], n=len(prompts))
        for at, row in enumerate(values)
    ]


def _note(too_long: int) -> str:
    return f"{too_long} prompts were too long to sample after" if too_long else ""
