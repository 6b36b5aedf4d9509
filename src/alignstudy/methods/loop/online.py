"""How a trainer has its policy write what it learns from: mixed in by `trl_adapter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alignstudy.methods.batches.collate import padded_rows
from alignstudy.methods.batches.pieces import MicroBatchRule, rows_of
from alignstudy.methods.method import Method
from alignstudy.methods.online.critic import Critic, explained
from alignstudy.methods.online.method import CHOSEN
from alignstudy.methods.online.rollouts import Rollouts
from alignstudy.methods.online.schedule import ScheduledRows
from alignstudy.methods.trainer import Batch
from alignstudy.models.batching import is_out_of_memory


class SamplesOnline:
    """Puts a rollout's samples in the place of each update's rows.

    Attributes:
        rollouts: Of this training.
        critic: What foretells the samples' rewards, where the method has one.
    """

    rollouts: Rollouts
    critic: Critic | None = None
    method: Method[Any]
    rule: MicroBatchRule | None
    state: Any
    args: Any
    lr_scheduler: Any
    train_dataset: Any

    def _get_train_sampler(self, *_: Any) -> ScheduledRows:  # noqa: ANN401
        return ScheduledRows(self.rollouts.schedule)

    def training_step(self, model: Any, inputs: Batch, *args: Any) -> Any:  # noqa: ANN401
        """Learn from samples after the rows' prompts; draw them first where that is due.

        Raises:
            EndedEarly: If the policy has gone too far from the reference.
        """
        batch, figures = self.rollouts.batch(self.state.global_step)
        self.log_step({n: v for n, v in figures.items() if v == v})  # type: ignore[attr-defined]
        loss = super().training_step(model, {**batch, "row": inputs["row"]}, *args)  # type: ignore[misc]
        if self.method.imitates:  # type: ignore[attr-defined]
            self._imitate(model, inputs["row"].tolist())
        if self.critic is not None:
            self._teach(self.critic, batch)
        return loss

    def _imitate(self, model: Any, rows: list[int]) -> None:  # noqa: ANN401
        """Add the gradient of the rows' chosen responses' mean negative log-likelihood."""
        texts = [self.train_dataset[row] for row in rows]
        asked = [(text["prompt_ids"], text[CHOSEN]) for text in texts]
        batch = self.prepare(padded_rows(asked, self.rollouts.pad_token_id))  # type: ignore[attr-defined]
        targets, total = int(batch["completion_mask"][:, 1:].sum()), 0.0
        assert self.rule is not None
        for places in self.rule.cut(batch["attention_mask"].sum(1).tolist()):
            with self.by_route(sharing=1), self.autocast():  # type: ignore[attr-defined]
                said = self._scored(model, rows_of(batch, places, 1))  # type: ignore[attr-defined]
            loss = -said.log_probs.sum() / targets
            self.accelerator.backward(self.method.imitates * loss)  # type: ignore[attr-defined]
            total += float(loss.detach())
        self._refuse_non_finite("chosen responses' loss", total)  # type: ignore[attr-defined]
        self.log_step({"nll/chosen": total})  # type: ignore[attr-defined]

    def _teach(self, critic: Critic, batch: Batch) -> None:
        """Update the critic on the same rows, in pieces that fit into memory."""
        asked = self.method.settings
        share = self.lr_scheduler.get_last_lr()[0] / self.args.learning_rate
        while True:
            try:
                loss = critic.differentiate(
                    batch,
                    self._pieces(batch),
                    cliprange=asked.cliprange_value,
                    autocast=self.autocast,  # type: ignore[attr-defined]
                )
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._smaller(critic.model, error)  # type: ignore[attr-defined]
        self._refuse_non_finite("critic's loss", loss)  # type: ignore[attr-defined]
        norm = critic.step(share * asked.critic.learning_rate, max_grad_norm=asked.max_grad_norm)
        self._refuse_non_finite("norm of the critic's gradient", norm)  # type: ignore[attr-defined]
        self.log_step({"critic/loss": loss, "critic/explained": explained(batch)})  # type: ignore[attr-defined]

    def _pieces(self, batch: Batch) -> list[list[int]]:
        """Return which rows of an update go through a model together."""
        assert self.rule is not None
        each = len(self.method.branches)
        lengths = batch["attention_mask"].sum(1).view(each, -1).amax(0)
        return self.rule.cut(lengths.tolist())

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ANN401
        """Make the learning rate fall with what was spent, where that ends the training."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]
        limit, args = self.rollouts.limit, self.args
        if limit.most is None:
            return scheduler
        own, rising = scheduler.lr_lambdas[0], args.get_warmup_steps(num_training_steps)
        by_steps = rising if args.warmup_steps >= 1 else 0  # a number of steps is meant as such

        def factor(step: int) -> float:
            if step < by_steps:
                return float(own(step))
            return float(own(max(by_steps, limit.share * num_training_steps)))

        scheduler.lr_lambdas = [factor] * len(scheduler.lr_lambdas)
        return scheduler

    def save_beside(self, folder: Path) -> None:
        """Write the rollout that is learnt from, too."""
        super().save_beside(folder)  # type: ignore[misc]
        self.rollouts.save(folder, step=self.state.global_step)
        if self.critic is not None:
            self.critic.save(folder)

    def load_beside(self, checkpoint: Path | None) -> None:
        """Read it; None: training begins."""
        super().load_beside(checkpoint)  # type: ignore[misc]
        self.rollouts.begin(checkpoint)
        if self.critic is not None and checkpoint is not None:
            self.critic.load(checkpoint)

    def finish(self) -> None:
        """Measure the policy as it is after the last step.

        Raises:
            EndedEarly: If it has gone too far from the reference.
        """
        self.rollouts.finish(self.state.global_step)
