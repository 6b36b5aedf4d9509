"""What a policy prefers: the implicit reward of preference optimization.

Source: Rafailov et al. 2023 (arXiv:2305.18290), equation 5: the implicit reward of a response is
beta times the log-ratio of policy and reference; whatever beta, its sign on a pair is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alignstudy.dialogue import CUE
from alignstudy.errors import DataError, GuardError
from alignstudy.generation.logprobs import default_batch_size, load_plain, token_scores
from alignstudy.generation.sampling import Continuation
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Estimate, Pair, Weights
from alignstudy.runtime.device import context_length
from alignstudy.stats.resampling.clustered_share import effective_wilson

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase


def implicit_accuracy(
    policy: Weights,
    reference: Weights,
    pairs: Sequence[Pair],
    *,
    max_length: int | None,
    device: str,
    progress: Progress = SILENT,
) -> Estimate:
    """Share of pairs whose chosen response has the higher implicit reward, in percent.

    A response's implicit reward is the log-ratio of policy to reference, summed over the tokens
    after the prompt, end-of-sequence token included, tokenized as preference training does. A tie
    counts one half. Pairs whose prompt alone fills `max_length` are left out and noted.

    Args:
        policy: The trained model.
        reference: What it was trained against.
        pairs: Held out from training; each prompt ends in the cue.
        max_length: Most tokens of prompt and response, as in training; None: the models' context,
            which holds in any case.
        device: Where to run; see `pick_device`.
        progress: Told after every batch.

    Returns:
        With Wilson's interval; `n` counts the pairs that were measured.

    Raises:
        DataError: If there is no pair with two responses, or none is left.
        GuardError: If a prompt lacks the cue, or a log-ratio is not finite.
        EnvironmentFault: If one response alone doesn't fit into memory.
    """
    progress.start("implicit reward", total=4 * len(pairs))
    tokenizer = load_tokenizer(policy.base or policy.folder)
    rows: list[Continuation] = []
    ratios = np.zeros(0)
    for place, weights in enumerate((policy, reference)):
        network = load_plain(weights, device=device)
        if place == 0:
            most = context_length(network.config)
            rows = encode_pairs(pairs, tokenizer, max_length=min(max_length or most, most))
            ratios = np.zeros(len(rows))
        size = default_batch_size(device)
        scores = token_scores(network, rows, batch_size=size, progress=progress)
        ratios += (1 - 2 * place) * np.array([float(row.logps.sum()) for row in scores])
    progress.finish()
    if left_out := len(pairs) - len(rows) // 2:
        progress.note(f"implicit reward: {left_out} of {len(pairs)} pairs have too long a prompt")
    return _share_of_wins(ratios[0::2] - ratios[1::2])


def encode_pairs(
    pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> list[Continuation]:
    """Tokenize pairs as preference training does; chosen and rejected take turns.

    Prompt and response are tokenized as one text with the end-of-sequence token; both responses
    begin at the first token in which either text leaves the prompt's, and end at `max_length`.

    Raises:
        DataError: If a pair has no rejected response, or none is left.
        GuardError: If a prompt doesn't end in the cue.
    """
    rows: list[Continuation] = []
    for pair in pairs:
        _check(pair)
        prompt, chosen, rejected = (
            list(tokenizer(text, verbose=False)["input_ids"])
            for text in (
                pair.prompt,
                f"{pair.prompt}{pair.chosen}{tokenizer.eos_token}",
                f"{pair.prompt}{pair.rejected}{tokenizer.eos_token}",
            )
        )
        border = min(_common_prefix(prompt, text) for text in (chosen, rejected))
        if border < max_length:
            rows += [
                Continuation(prompt=tuple(text[:border]), tokens=tuple(text[border:max_length]))
                for text in (chosen, rejected)
            ]
    if not rows:
        raise DataError(
            "no pair is left to measure the implicit reward on",
            why=f"of {len(pairs)} pairs, all have a prompt that alone fills {max_length} tokens",
            hint="hold out pairs with shorter prompts",
        )
    return rows


def _check(pair: Pair) -> None:
    """Refuse what preference training would refuse."""
    if pair.rejected is None:
        raise DataError(
            f"row {pair.id} has no rejected response",
            hint="the implicit reward is measured on pairs; hold out pairs",
        )
    if not pair.prompt.endswith(CUE):
        raise GuardError(
            f"the prompt of row {pair.id} doesn't end in {CUE!r}",
            why="the models were trained to write after the cue",
            hint="split the dialogues at the last cue; the data readers of alignstudy do",
        )


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the leading ids that two texts share."""
    for position, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return position
    return min(len(first), len(second))


def _share_of_wins(margins: NDArray[np.float64]) -> Estimate:
    """Return the share of positive margins in percent, ties as halves."""
    if not np.isfinite(margins).all():
        raise GuardError(
            "a log-ratio of policy and reference is not finite",
            why="a model gave a logit that is no number, or no probability to a token",
            hint="look at the training curve: the weights have probably diverged",
        )
    n = len(margins)
    share = float((1.0 + np.sign(margins)).mean() / 2.0)
    low, high = effective_wilson(share, n)
    return Estimate(value=100.0 * share, low=low, high=high, n=n, method="wilson")
