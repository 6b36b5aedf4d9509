"""What happens between steps: progress is reported, checkpoints are sealed, a stop is heard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from alignstudy.methods.base import TrainJob
from alignstudy.methods.loop import checkpoints

SAVE_SECONDS = 20.0
"""Least seconds between checkpoints whose number of steps the settings leave to us: so much is lost
by a kill, and a training of seconds doesn't spend a tenth of them on files that nobody reads."""

LAST_SECONDS = 600.0
"""Least seconds between such a checkpoint and one after the last step, which is of use only to a
run that is killed while its weights are written: a checkpoint holds three times as much."""


class ProgressAndCheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Between steps: reports progress, seals checkpoints, stops when asked to."""

    def __init__(self, job: TrainJob, trainer: Any, *, seconds_before: float) -> None:  # noqa: ANN401
        self._job, self._trainer, self.stopped = job, trainer, False
        self._seconds_before, self._started = seconds_before, time.monotonic()
        self._saved = self._started
        self._tokens_before = trainer.tokens_read

    @property
    def seconds(self) -> float:
        """Time spent in training, earlier runs of the same job included."""
        return self._seconds_before + time.monotonic() - self._started

    def on_log(self, *given: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ANN401
        """Report the progress of one step."""
        if "loss" in logs:
            tokens = self._trainer.tokens_read - self._tokens_before
            rate = tokens / max(time.monotonic() - self._started, 1e-9)
            self._job.progress.advance(1, loss=logs["loss"], tokens_per_second=rate)

    def on_step_end(
        self,
        args: Any,  # noqa: ANN401
        state: TrainerState,
        control: TrainerControl,
        **_: Any,  # noqa: ANN401
    ) -> None:
        """Stop in good order when asked to; leave out a checkpoint that comes too soon."""
        if self._job.should_stop():
            self.stopped = True
            control.should_save = control.should_training_stop = True
        elif self._job.settings.save_steps is None:
            least = LAST_SECONDS if state.global_step == args.max_steps else SAVE_SECONDS
            soon = time.monotonic() - self._saved < least
            control.should_save = control.should_save and not soon

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Seal the checkpoint that was just written, and drop the oldest; none beyond the end."""
        if state.global_step > args.max_steps:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._trainer.save_beside(folder)
        checkpoints.seal(
            folder,
            digest=self._job.digest,
            step=state.global_step,
            num_tokens=self._trainer.tokens_read,
            seconds=self.seconds,
        )
        checkpoints.rotate(Path(args.output_dir))
        self._saved = time.monotonic()
