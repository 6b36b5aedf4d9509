"""A whole study so small that it runs in seconds, and what tests need to run and read it."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alignstudy.study.api import Study
from alignstudy.study.results import Run
from alignstudy.study.run.plan import PlanLine
from alignstudy.study.run.store import Store

LORA = {"r": 4, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
TRAINING = {"max_steps": 6, "learning_rate": 3e-3, "max_length": 96,
            "per_device_train_batch_size": 4}  # fmt: skip

STUDY: dict[str, Any] = {
    "study": "tiny",
    "base": {
        "scratch": {
            "architecture": {
                "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "ffn_dim": 64, "max_position_embeddings": 192, "dropout": 0.0,
            },
            "tokenizer": {"vocab_size": 400},
            "rows": {"subsets": ["pretrain"], "split": "train"},
            "pretrain": {
                "max_steps": 80, "learning_rate": 5e-3, "max_length": 96,
                "per_device_train_batch_size": 8,
            },
        }
    },
    "data": {
        "source": "world",
        "world": {
            "num_topics": 16, "num_train": 50, "num_judge": 60, "num_test": 12,
            "num_pretrain": 400,
        },
        "train": {"subsets": ["harmless-base", "helpful-base"], "split": "train", "max_rows": 48},
    },
    "prompts": {"protocol": "rigorous", "harmful": {"n": 10}, "helpful": {"n": 10}},
    "calibration": {"split": "judge", "share": [0.5, 0.75], "n": 20},
    "validation": {"split": "judge", "share": [0.75, 1.0], "n": 20},
    "assess": {"probes": 4, "batch_check": 4, "draws": 100},
    "diagnostics": {"n": 3, "draws": 100},
    "methods": {
        "sft": TRAINING,
        "dpo": {**TRAINING, "learning_rate": 3e-2, "beta": 0.1, "lora": LORA},
    },
    "recipes": {"base": [], "sft": ["sft"], "dpo": ["dpo"], "sft_dpo": ["sft", "dpo"]},
    "seeds": [0],
    "generation": {"max_new_tokens": 12},
    "judges": [
        {
            "name": "tiny-judge",
            "max_length": 96,
            "train": {
                "architecture": {
                    "model_type": "deberta-v2", "hidden_size": 32, "num_hidden_layers": 1,
                    "num_attention_heads": 2, "ffn_dim": 64, "max_position_embeddings": 128,
                },
                "tokenizer": {"vocab_size": 400},
                "rows": {
                    "subsets": ["harmless-base", "helpful-base"], "split": "judge",
                    "share": [0.0, 0.5],
                },
                "reward_model": {"max_steps": 12, "learning_rate": 1e-2, "max_length": 96},
            },
        }
    ],
    "thresholds": "calibrated",
    "threads": 1,
}  # fmt: skip

NUM_STAGES = 29
"""How many stages the tiny study has."""


def study(changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the tiny study with some keys changed: `{"methods.dpo.beta": 0.2}`; None drops one."""
    changed = copy.deepcopy(STUDY)
    for name, value in (changes or {}).items():
        *sections, last = name.split(".")
        section = changed
        for part in sections:
            section = section[part]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return changed


def write_study(path: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the tiny study; JSON is YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(study(changes), indent=1), encoding="utf-8")
    return path


def command(*arguments: object) -> list[str]:
    """Return the command line `alignstudy ARGUMENTS` of this interpreter."""
    return [sys.executable, "-m", "alignstudy.cli.app", *map(str, arguments)]


def environment(home: Path | None = None, **changes: str) -> dict[str, str]:
    """Return this process' environment with another home."""
    given = {"ALIGNSTUDY_HOME": str(home)} if home is not None else {}
    return {**os.environ, **given, **changes}


def cli(
    *arguments: object, home: Path | None = None, timeout: float = 240, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        command(*arguments), env=environment(home, **changes), capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


def run_here(
    study: object, *, out: Path, home: Path, overrides: Sequence[str] = (), only: str | None = None
) -> Run:
    """Run a study in this process, which has torch imported already."""
    loaded = Study.load(str(study), overrides=overrides, out=out)
    return replace(loaded, store=Store(home)).run(only=only)


def run_apart(*arguments: object, home: Path) -> dict[str, Any]:
    """Run `alignstudy run ... --json` in a process of its own and give what it said."""
    done = cli("run", *arguments, "--json", home=home)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@dataclass(frozen=True)
class Stopped:
    """How a run ended that a signal was sent to.

    Attributes:
        step: Steps that were safe at that time.
    """

    code: int
    errors: str
    step: int


def run_and_signal(
    arguments: Sequence[object], *, home: Path, key: str, number: int, timeout: float = 180
) -> Stopped:
    """Run the study until a checkpoint of one stage is sealed; then send a signal to it.

    Args:
        key: The stage's key, as `plan --json` names it.
        number: The signal.
    """
    child = subprocess.Popen(
        command("run", *arguments), env=environment(home), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        step = _await_checkpoint(child, home / "work" / key, time.monotonic() + timeout)
        os.kill(child.pid, number)
        _, errors = child.communicate(timeout=timeout)
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.wait()
    return Stopped(child.returncode, errors, step)


def _await_checkpoint(child: subprocess.Popen[str], work: Path, deadline: float) -> int:
    while time.monotonic() < deadline:
        sealed = [path.parent.name for path in work.glob("checkpoint-*/COMPLETE.json")]
        if sealed:
            return max(int(name.rpartition("-")[2]) for name in sealed)
        assert child.poll() is None, f"ended before a checkpoint: {child.communicate()[1]}"
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint in {work}")


def plan(
    study: object, *, home: Path, out: Path | None = None, overrides: Sequence[str] = ()
) -> dict[str, PlanLine]:
    """Return a study's plan by stage."""
    loaded = Study.load(str(study), overrides=overrides, out=out)
    lines, _ = replace(loaded, store=Store(home)).plan()
    return {line.stage.name: line for line in lines}
