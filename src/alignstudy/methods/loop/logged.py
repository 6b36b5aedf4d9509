"""What a training logged of its steps, as the file that people and the report read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

_METRIC_NAMES = {
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "logps/chosen": "logps_chosen",
    "logps/rejected": "logps_rejected",
    "rewards/margins": "implicit_reward_margin",
    "rewards/accuracies": "implicit_reward_accuracy",
    "accuracy": "pair_accuracy",
    "margin": "score_margin",
    "mean_reward": "mean_score",
    "mean_token_accuracy": "token_accuracy",
    "kl": "kl_estimate",
    "kl/chosen": "kl_chosen",
    "kl/rejected": "kl_rejected",
    "nll/gold": "gold_nll",
    "kl/clamped": "kl_clamped",
    "pair_weight": "pair_weight",
    "reward": "sample_score",
    "reward_std": "sample_score_sd",
    "kl/reference": "kl_to_reference",
    "entropy": "entropy",
    "completions/mean_length": "sample_tokens",
    "completions/ended": "samples_ended",
    "completions/unscored": "samples_unscored",
    "clip_ratio": "clipped_ratio",
    "nll/chosen": "chosen_nll",
    "critic/loss": "critic_loss",
    "critic/explained": "critic_explained",
}
"""The trainer's names -> ours. In both accuracies a tie counts as wrong, so DPO starts at 0."""
WINDOW, LEAST, FAR = 100, 20, 8.0
"""Steps whose losses one is held against; how few do; robust standard deviations that are far."""
JUMP = "jumped"
"""In a step's entry: in words, that its loss jumped."""
TOLD = 5
"""Jumps that are told one by one."""
_AT_THE_STEP = {"learning_rate", "grad_norm"}
"""Values that hold at a step; the others are averaged over the logged steps."""


def write_metrics(history: Sequence[Mapping[str, Any]], path: Path, *, every: int) -> None:
    """Write one line per `every` steps: means over them, learning rate and norm at the last."""
    steps = [entry for entry in history if "loss" in entry]
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, len(steps), every):
            entries = steps[start : start + every]
            last = entries[-1]
            line = {"step": last["step"], "epoch": last["epoch"], "tokens": last["num_tokens"]}
            for theirs, ours in _METRIC_NAMES.items():
                values = [entry[theirs] for entry in entries if theirs in entry]
                if values:
                    mean = sum(values) / len(values)
                    line[ours] = values[-1] if theirs in _AT_THE_STEP else mean
            file.write(json.dumps(line) + "\n")


def jump(before: Sequence[float], loss: float) -> str:
    """Say so if a loss is far above those before it; "" if it isn't, or too few are known.

    Far is 8 robust standard deviations (1.4826 times the median absolute deviation) above the
    median of the last 100 steps; what hardly varies is taken to vary by a twentieth of itself.
    """
    last = before[-WINDOW:]
    if len(last) < LEAST:
        return ""
    middle = median(last)
    spread = 1.4826 * median(abs(value - middle) for value in last)
    spread = max(spread, 0.05 * abs(middle), 1e-3)
    if loss - middle <= FAR * spread:
        return ""
    return f"its loss is {loss:.4g}, where the {len(last)} steps before have {middle:.4g}"


def jumps_in_words(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a sentence for each of the first jumps of a loss, and one for the rest."""
    jumps = [entry for entry in history if JUMP in entry]
    for entry in jumps[:TOLD]:
        yield f"the loss jumped in step {entry['step']}: {entry[JUMP]}"
    if len(jumps) > TOLD:
        yield f"the loss jumped in {len(jumps) - TOLD} more steps"
