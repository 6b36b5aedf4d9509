"""What a training logged of its steps, as the file that people and the report read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
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
