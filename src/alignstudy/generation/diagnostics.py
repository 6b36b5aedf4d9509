"""How far a model has moved from another, on its own samples, and what it prefers.

Schulman, "Approximating KL divergence" (2020, joschu.net/blog/kl-approx.html), names the
estimators. With r = q(x)/p(x) and x drawn from the policy p: k1 = -log r is unbiased but may be
negative; k3 = r - 1 - log r is unbiased, never negative, and varies less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from alignstudy.errors import GuardError, InputError
from alignstudy.generation.logprobs import TokenScores, default_batch_size, token_scores
from alignstudy.generation.sampling import Continuation, ask, sample
from alignstudy.models.load import load_plain_lm, read_config
from alignstudy.models.rendering import load_rendering
from alignstudy.models.templates import AUTO
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Estimate, Prompt, Weights
from alignstudy.records.evidence import Divergence
from alignstudy.runtime.device import context_length
from alignstudy.settings import Settings
from alignstudy.stats.resampling.bootstrap import bootstrap_means, percentile_estimate

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
    template: str = AUTO,
) -> Divergence:
    """Measure KL(policy || base) and the policy's entropy on samples of the policy.

    One sample a prompt at temperature 1, until its end (a token too) or the cap. Means over samples
    of their means over tokens, or of their sums; percentile bootstraps over clusters of prompts.

    Args:
        policy: The model that is measured.
        base: Against what; None for the base itself: entropy only.
        prompts: Of all axes; the first `settings.n` of each are asked.
        settings: How much is sampled.
        model: The recipe's name.
        seed: The training seed.
        device: Where to run; see `pick_device`.
        max_new_tokens: Where the settings name none.
        rng_seed: Of the draws; each prompt has its own stream.
        progress: Advanced after every batch.
        template: How prompts are written; see `template_of`.

    Raises:
        InputError: If no prompt fits the model.
        GuardError: If the models don't share one vocabulary.
    """
    axes = dict.fromkeys(prompt.axis for prompt in prompts)
    chosen = [p for axis in axes for p in [p for p in prompts if p.axis == axis][: settings.n]]
    progress.start(f"diagnose {model}", total=len(chosen) * (2 if base is None else 3))
    new = settings.max_new_tokens or max_new_tokens
    batch_size = settings.batch_size or default_batch_size(device)
    how = (new, batch_size, device, rng_seed, progress, template)
    asked, rows, ours = _sampled(policy, base, chosen, *how)
    values = [[float(scores.entropies.mean()) for scores in ours]]
    values += _kl_values(policy, base, rows, ours, batch_size, device=device, progress=progress)
    progress.finish()
    entropy, *kl = _estimates(np.array(values), asked, settings.draws, rng_seed, model)
    per_token, k1, k3 = kl or (None, None, None)
    too_long = len(chosen) - len(asked)
    return Divergence(
        model=model,
        seed=seed,
        kl_per_token=per_token,
        kl_per_sequence=k1,
        kl_per_sequence_k3=k3,
        entropy_per_token=entropy,
        implicit_accuracy=None,
        n=len(asked),
        note=f"{too_long} prompts were too long to sample after" if too_long else "",
    )


def share_tokens(policy: Weights, base: Weights) -> bool:
    """Return whether two models give probabilities to the same tokens."""
    found = (load_rendering(each.base or each.folder) for each in (policy, base))
    ours, theirs = ((each.tokenizer.get_vocab(), each.num_rows) for each in found)
    return ours == theirs


def _sampled(
    policy: Weights,
    base: Weights | None,
    prompts: Sequence[Prompt],
    new: int,
    batch_size: int,
    device: str,
    rng_seed: int,
    progress: Progress,
    template: str,
) -> tuple[list[Prompt], list[Continuation], list[TokenScores]]:
    """Sample after the prompts that fit both models, and score the samples."""
    rendering = load_rendering(policy.base or policy.folder, template)
    rendering.outcome()
    network = load_plain_lm(policy, device=device)
    configs = [read_config(each.base or each.folder) for each in (policy, base) if each is not None]
    room = min(map(context_length, configs)) - new
    texts = [ask(prompt, rendering, room=room, rng_seed=rng_seed) for prompt in prompts]
    fitting = [text for text in texts if text is not None]
    if not fitting:
        raise InputError(
            f"none of {len(prompts)} prompts can be sampled after",
            why=f"{room + new} tokens can be read, {new} of them are for the sample",
            hint="give shorter prompts, or set fewer diagnostics.max_new_tokens",
        )
    progress.advance(len(prompts) - len(fitting))
    rows = sample(
        network, fitting, rendering, max_new_tokens=new, batch_size=batch_size, progress=progress
    )
    scores = token_scores(network, rows, batch_size=batch_size, progress=progress)
    asked = [prompt for prompt, text in zip(prompts, texts, strict=True) if text is not None]
    return asked, rows, scores


def _kl_values(
    policy: Weights,
    base: Weights | None,
    rows: Sequence[Continuation],
    ours: Sequence[TokenScores],
    batch_size: int,
    *,
    device: str,
    progress: Progress,
) -> list[list[float]]:
    """Score the policy's samples under its base; by sample: mean k3, sum of k1, sum of k3."""
    if base is None:
        return []
    if not share_tokens(policy, base):
        raise GuardError(
            f"{policy.folder} and {base.folder} have different vocabularies",
            why="the divergence of two models is defined on one set of tokens",
            hint="compare a model with the one that it was trained from",
        )
    network = load_plain_lm(base, device=device)
    theirs = token_scores(network, rows, batch_size=batch_size, progress=progress)
    k1 = [own.logps - other.logps for own, other in zip(ours, theirs, strict=True)]
    k3 = [np.expm1(-ratio) + ratio for ratio in k1]
    means = [float(each.mean()) for each in k3]
    return [means, *([float(each.sum()) for each in one] for one in (k1, k3))]


def _estimates(
    values: NDArray[np.float64], prompts: Sequence[Prompt], draws: int, rng_seed: int, model: str
) -> list[Estimate]:
    """Return the mean of each row of values (quantities, samples) with its bootstrap interval."""
    if not np.isfinite(values).all():
        raise GuardError(
            f"the divergence of {model} is not finite",
            why="a model gave a logit that is no number, or no probability to a sampled token",
            hint="look at the training curve: the weights have probably diverged",
        )
    names = [(prompt.axis, prompt.cluster or prompt.id) for prompt in prompts]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    clusters = np.array([numbers[name] for name in names])
    rng = np.random.default_rng(rng_seed)
    means = bootstrap_means(values, draws=draws, rng=rng, clusters=clusters)
    return [
        percentile_estimate(float(row.mean()), means[:, at], n=len(prompts))
        for at, row in enumerate(values)
    ]
