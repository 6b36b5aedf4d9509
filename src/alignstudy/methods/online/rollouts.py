"""The rollouts of one training: made when one is due, kept while it is learnt from."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alignstudy.errors import GuardError
from alignstudy.methods.base import TrainJob, WorkDone
from alignstudy.methods.batches.collate import padded_rows
from alignstudy.methods.batches.pieces import rows_of
from alignstudy.methods.model_outputs import Experience
from alignstudy.methods.online.limit import EndedEarly, Limit
from alignstudy.methods.online.ports import Ports
from alignstudy.methods.online.reading import critic_values, log_probs, reference_log_probs
from alignstudy.methods.online.rollout import Drawn, Rollout, read_rollout, sums
from alignstudy.methods.online.schedule import schedule_of
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.scoring.reading import unwrapped
from alignstudy.methods.trainer import Batch, Trainer

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES_FILE = "samples.jsonl"
"""One JSON line a sample, next to the trained weights."""
STATE = "online.json"
SOUND = "sound.safetensors"
_COUNTED = ("samples", "asked_tokens", "written_tokens", "judge_flops")


def seed_of(seed: int, rollout: int, row: str, sample: int) -> int:
    """Return the seed of one sample's draws: each has its own stream, whatever the batch."""
    text = f"{seed}\0{rollout}\0{row}\0{sample}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class Rollouts:
    """Makes rollouts, and ends a training whose policy has gone too far.

    Args:
        trainer: Before its first step.
        job: The training.
        pad_token_id: What rows are padded with.

    Attributes:
        history: What was measured of each rollout, by name; the number of steps before it is
            "step".
        samples: That were drawn, in earlier runs of the job too; likewise what else is counted, see
            `WorkDone`.
        limit: Ends it where all that may be spent is.
        pad_token_id: What rows are padded with.
    """

    def __init__(self, trainer: Trainer, job: TrainJob, pad_token_id: int) -> None:
        settings = job.settings
        assert job.ports is not None
        assert isinstance(settings, OnlineSettings)
        self.schedule = schedule_of(settings, len(trainer.row_ids), job.seed)
        self.history: list[dict[str, float]] = []
        self.samples = self.asked_tokens = self.written_tokens = 0
        self.judge_flops = 0.0
        self._trainer, self._job, self.pad_token_id = trainer, job, pad_token_id
        self._ports: Ports = job.ports
        self.limit = Limit(most=settings.max_flops, spent=self._spent)
        self._texts = {row.id: row.prompt for row in job.rows}  # type: ignore[union-attr]
        self._log = job.work / SAMPLES_FILE
        self._now: Rollout | None = None
        self._found: Drawn | None = None
        self._sound: dict[str, Tensor] = {}

    def first(self, rows: int) -> Batch:
        """Return some rows of the first rollout, made if it wasn't: what guards measure.

        They are written by a policy that is a little less sure of them than the real one, each
        sample by another amount: ratios of 1 alone would show little of a loss.
        """
        if self._now is None:
            self._now, self._found = self._made(0)
        found = self._rows(range(min(rows, self.schedule.batch_size)))
        less = torch.linspace(0, 0.05, len(found["old"]), device=found["old"].device)
        return {**found, "old": found["old"] - less[:, None] * found["completion_mask"]}

    def batch(self, step: int) -> tuple[Batch, Mapping[str, float]]:
        """Return what the update after so many learns from, and of a new rollout its figures.

        Raises:
            EndedEarly: If all that may be spent is, or the policy has gone too far from the
                reference: it is then again the one of the rollout before.
        """
        if self.limit.reached(due=self.schedule.due(step)):
            self.finish(step)
            raise EndedEarly(f"max_flops was reached after {step} updates", steps=step)
        number = self.schedule.rollout(step)
        if self._now is None or self._now.number != number:
            self._now, self._found = self._made(number)
        figures: Mapping[str, float] = {}
        if self._found is not None:
            figures = self._told(self._found, step)
            self._found = None
            self._end_too_far(figures["kl/reference"], step)
        self.limit.begins()
        return self._rows(self.schedule.part(step)), figures

    def _spent(self) -> float:
        found = self._ports.flops(WorkDone(**self._trainer.work, **self.work))
        if found is None:
            raise GuardError(
                "how much arithmetic this training takes is not known, and max_flops ends it",
                why="the config.json of its model, or of a judge, doesn't state its sizes",
                hint="leave max_flops out, and set max_steps; match tokens or pairs in `budget`",
            )
        return found

    def finish(self, steps: int) -> None:
        """Sample once more after the last step; nothing is learnt from it.

        Raises:
            EndedEarly: If the policy has gone too far: it is again the one of the rollout before.
        """
        number = self.schedule.rollout(steps) + (not self.schedule.due(steps))
        _, found = self._made(number, learnt=False)
        self._end_too_far(self._told(found, steps)["kl/reference"], steps)

    def _rows(self, places: Sequence[int]) -> Batch:
        assert self._now is not None
        return rows_of(self._now.batch, places, len(self._trainer.method.branches))

    def _told(self, found: Drawn, step: int) -> dict[str, float]:
        figures = found.figures()
        with self._log.open("a", encoding="utf-8") as file:
            file.writelines(found.lines())
        self.history.append({"step": step, **figures})
        return figures

    def _end_too_far(self, kl: float, step: int) -> None:
        most, model = self._job.settings.max_kl, self._trainer.model  # type: ignore[attr-defined]
        if most is None:
            return
        learns = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if not kl > most:
            self._sound = {n: v.detach().to("cpu", copy=True) for n, v in learns.items()}
            return
        with torch.no_grad():
            for name, value in learns.items():
                value.copy_(self._sound[name])
        before = int(self.history[-2]["step"])
        raise EndedEarly(
            f"after {step} updates the KL to the reference was {kl:.3g} nats, above max_kl"
            f" {most:g}: the model is the one after {before}, at"
            f" {self.history[-2]['kl/reference']:.3g}",
            steps=before,
        )

    def _made(self, number: int, *, learnt: bool = True) -> tuple[Rollout, Drawn]:
        """Sample, score and measure; leave the policy and random numbers as they were."""
        trainer, settings = self._trainer, self._trainer.method.settings
        each = settings.num_generations
        places = self.schedule.prompts(number)
        ids = [trainer.row_ids[place] for place in places] * each
        prompts = [trainer.train_dataset[place]["prompt_ids"] for place in places] * each
        seeds = [
            seed_of(self._job.seed, number, row, at // len(places)) for at, row in enumerate(ids)
        ]
        model, was_training = trainer.model, trainer.model.training
        before = 0.0 if self.limit.most is None else self._spent()
        model.eval()
        with torch.random.fork_rng(), trainer.autocast():
            drawn = self._ports.sample(unwrapped(model), list(zip(prompts, seeds, strict=True)))
        said = self._ports.reward(
            [(self._texts[row], one.text) for row, one in zip(ids, drawn, strict=True)]
        )
        self.samples += len(drawn)
        self.asked_tokens += sum(map(len, prompts))
        self.written_tokens += sum(len(one.tokens) for one in drawn)
        self.judge_flops += math.nan if said.flops is None else said.flops
        texts = [(prompt, one.tokens) for prompt, one in zip(prompts, drawn, strict=True)]
        batch = trainer.prepare(padded_rows(texts, self.pad_token_id))
        old = log_probs(trainer, model, batch, note=self._job.progress.note)
        ref = reference_log_probs(trainer, batch, note=self._job.progress.note)
        found = Drawn(
            number=number,
            rows=ids,
            samples=drawn,
            scores=said.scores,
            entropies=[
                -total / len(one.tokens) for total, one in zip(sums(old), drawn, strict=True)
            ],
            kls=None if ref is None else sums(old - ref),
        )
        if learnt:
            batch |= self._worth(found, old, ref, batch)
        model.train(was_training)
        if self.limit.most is not None:
            self.limit.rolled_out(before)
        return Rollout(number=number, batch=batch), found

    def _worth(self, found: Drawn, old: Tensor, ref: Tensor | None, batch: Batch) -> Batch:
        """Return what samples are worth, with all that it is compared with.

        Raises:
            GuardError: If no sample has a score.
        """
        method: Any = self._trainer.method
        lost = method.settings.missing_eos_penalty or 0.0
        scores = torch.tensor(
            [
                math.nan if score is None else score - lost * (not one.ended)
                for score, one in zip(found.scores, found.samples, strict=True)
            ],
            dtype=old.dtype,
            device=old.device,
        )
        if bool(scores.isnan().all()):
            raise GuardError(
                f"the judge gave none of {len(scores)} samples a score",
                why="nothing can be learnt from them",
                hint="look at samples.jsonl and at the judge's own settings",
            )
        by_prompt = method.rescaled(scores.view(method.settings.num_generations, -1).T)
        if self._trainer.critic is not None:
            self._trainer.critic.begin_at(float(by_prompt.nanmean()))
        mask = batch["completion_mask"].bool()
        values = critic_values(self._trainer, batch, note=self._job.progress.note)
        experience = Experience(scores=by_prompt, old=old, ref=ref, mask=mask, values=values)
        credit: Batch = method.credit(experience)
        compared = {"old": old} | ({} if ref is None else {"ref": ref})
        return compared | credit

    def save(self, folder: Path, *, step: int) -> None:
        """Write all that a resumed training needs into a checkpoint's folder."""
        if self._now is not None and not self.schedule.due(step):
            self._now.save(folder)
        if self._sound:
            from safetensors.torch import save_file

            save_file(self._sound, folder / SOUND)
        with self._log.open("rb") as file:
            os.fsync(file.fileno())  # a checkpoint counts on it
            told = file.read()
        state = {
            "history": self.history,
            "samples": [len(told), hashlib.sha256(told).hexdigest()],
            "work": [self._trainer.work, self.work],
            "limit": self.limit.to_json(),
        }
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def begin(self, checkpoint: Path | None) -> None:
        """Begin with no samples, or go on from a checkpoint's folder, whose samples are whole."""
        if checkpoint is None:
            self._log.write_bytes(b"")
            return
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        os.truncate(self._log, state["samples"][0])
        self.history, self._found = state["history"], None
        updates, own = state["work"]
        self._trainer.go_on_from(updates)
        vars(self).update({name: own[name] for name in _COUNTED})
        if self._trainer.critic is not None:
            self._trainer.critic.go_on_from(own)
        vars(self.limit).update(state["limit"])
        self._now = read_rollout(checkpoint)
        if self._now is not None:
            batch = self._trainer.prepare(dict(self._now.batch))
            self._now = Rollout(number=self._now.number, batch=batch)
        if (checkpoint / SOUND).is_file():
            from safetensors.torch import load_file

            self._sound = load_file(checkpoint / SOUND)

    @property
    def work(self) -> dict[str, Any]:
        """Return what was drawn and judged, by the names of `WorkDone`."""
        critic = self._trainer.critic
        found = {name: getattr(self, name) for name in _COUNTED}
        return found if critic is None else found | critic.work

    def write(self, out: Path) -> None:
        """Put the samples beside the trained weights."""
        shutil.copyfile(self._log, out / SAMPLES_FILE)


def samples_are_whole(checkpoint: Path, work: Path) -> bool:
    """Return whether the samples that were drawn before a checkpoint lie there as they were."""
    state, log = checkpoint / STATE, work / SAMPLES_FILE
    if not state.is_file():
        return True  # of a method that samples nothing
    length, digest = json.loads(state.read_text(encoding="utf-8"))["samples"]
    told = log.read_bytes()[:length] if log.is_file() else b""
    return bool(hashlib.sha256(told).hexdigest() == digest)
