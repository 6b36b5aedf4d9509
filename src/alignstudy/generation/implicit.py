"""What a policy prefers: the implicit reward of preference optimization.

Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 5: the implicit reward of a response is
beta times the log-ratio of policy and reference; whatever beta, its sign on a pair is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from alignstudy.errors import GuardError
from alignstudy.generation.logprobs import default_batch_size, token_scores
from alignstudy.generation.sampling import Continuation
from alignstudy.models.load import load_plain_lm
from alignstudy.models.rendering import Rendering, load_rendering
from alignstudy.models.templates import AUTO
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Estimate, Pair, Weights
from alignstudy.runtime.device import context_length
from alignstudy.stats.resampling.clustered_share import effective_wilson

Ids = Sequence[int]
EncodePairs = Callable[[Sequence[Pair], Rendering, int], Iterable[tuple[Ids, Ids, Ids]]]
"""(pairs, rendering, most tokens) -> ids of prompt, chosen and rejected, as training has them."""


def implicit_accuracy(
    policy: Weights,
    reference: Weights,
    pairs: Sequence[Pair],
    *,
    encode: EncodePairs,
    max_length: int | None,
    device: str,
    progress: Progress = SILENT,
    template: str = AUTO,
    in_4bit: bool = False,
) -> Estimate:
    """Return the share of pairs whose chosen response has the higher implicit reward, in percent.

    A response's implicit reward is the log-ratio of policy to reference, summed over its tokens and
    its end, as preference training encodes them. A tie counts one half.
    Pairs whose prompt fills `max_length` are left out and noted. The interval is Wilson's.

    Args:
        policy: The trained model.
        reference: What it was trained against.
        pairs: Held out from training; each prompt ends in the cue.
        encode: Tokenizes them as preference training does, pairs with too long a prompt left out.
        max_length: Most tokens of prompt and response, as in training; None: the models' context,
            which holds in any case.
        device: Where to run; see `pick_device`.
        progress: Advanced after every batch.
        template: How prompts are written; see `template_of`.
        in_4bit: Whether the reference was held in 4 bits while the policy was trained.

    Raises:
        DataError: If a pair has no rejected response, or no pair is left.
        GuardError: If a prompt lacks the cue, or a log-ratio is not finite.
    """
    progress.start("implicit reward", total=4 * len(pairs))
    rendering = load_rendering(policy.base or policy.folder, template)
    rows, sums, size = list[Continuation](), [], default_batch_size(device)
    for weights, packed in ((policy, False), (reference, in_4bit)):
        network = load_plain_lm(weights, device=device, in_4bit=packed)
        if not rows:
            most = context_length(network.config)
            rows = [
                Continuation(prompt=tuple(prompt), tokens=tuple(response))
                for prompt, *both in encode(pairs, rendering, min(max_length or most, most))
                for response in both
            ]
        scores = token_scores(network, rows, batch_size=size, progress=progress)
        sums.append(np.array([float(row.logps.sum()) for row in scores]))
    ratios = sums[0] - sums[1]
    progress.finish()
    if left_out := len(pairs) - len(rows) // 2:
        progress.note(f"implicit reward: {left_out} of {len(pairs)} pairs have too long a prompt")
    return _share_preferred(ratios)


def _share_preferred(ratios: NDArray[np.float64]) -> Estimate:
    """Return the share of pairs with the larger first ratio, in percent.

    Args:
        ratios: (2 pairs,): chosen and rejected in turns.

    Raises:
        GuardError: If one is not finite.
    """
    if not np.isfinite(ratios).all():
        raise GuardError(
            "a log-ratio of policy and reference is not finite",
            why="a model gave a logit that is no number, or no probability to a token",
            hint="look at the training curve: the weights have probably diverged",
        )
    n = len(ratios) // 2
    share = float((1.0 + np.sign(ratios[0::2] - ratios[1::2])).mean() / 2.0)
    low, high = effective_wilson(share, n)
    return Estimate(value=100.0 * share, low=low, high=high, n=n, method="wilson")
