"""One update of the optimizer, done in pieces: mixed into TRL's trainers by `trl_adapter`.

A batch stays where the collator made it, on the processor, until its pieces are cut and laid out:
whoever counts tokens on a GPU waits for all that it is doing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from alignstudy.errors import EnvironmentFault
from alignstudy.methods.batches.pieces import (
    MicroBatchRule,
    num_targets,
    rows_of,
)
from alignstudy.methods.loop.graphed import RECORDERS, Graphs, GraphsRefusedError, why_without
from alignstudy.methods.method import Figures, Method, Objective
from alignstudy.methods.scoring.shared_forward import (
    ScoringRoute,
    Tally,
)
from alignstudy.methods.trainer import Batch
from alignstudy.models.batching import is_out_of_memory

if TYPE_CHECKING:
    from torch import Tensor


class MicroBatching:
    """Makes a step of the trainer's batch in pieces; the trainer sees one batch an update.

    Attributes:
        method: What is trained by.
        objective: Its loss.
        rule: How to cut; None: the batch as it comes (packed rows).
        route: How the model scores texts; None: as TRL does.
        tally: What training passes computed.
        graphs: Of the training's passes; None: there are none on such a device.
        model: What is trained.
        rows_read: Rows (pairs) that updates were made of.
        pieces_done: Passes forward and backward.
        halvings: How often memory ran out.
        checkpoints_layers: Whether layers are computed again for their gradients.
        real_tokens: Tokens of all rows that were read.
        padded_tokens: Positions of all pieces as collated.
        measured_tokens: Tokens of texts that no gradient came from.
        measured_targets: Those of them at which the vocabulary was computed.
    """

    method: Method[Any]
    objective: Objective
    rule: MicroBatchRule | None = None
    route: ScoringRoute | None = None
    tally: Tally
    graphs: Graphs | None = None
    model: Any
    rows_read: int = 0
    pieces_done: int = 0
    halvings: int = 0
    checkpoints_layers: bool = False
    real_tokens: int = 0
    padded_tokens: int = 0
    measured_tokens: int = 0
    measured_targets: int = 0
    tokens_read: int
    _found: Figures | None = None

    def prepare(self, batch: Batch) -> Batch:
        """Move a collated batch to the trainer's device."""
        raise NotImplementedError

    def read(self, model: Any, batch: Batch) -> tuple[Any, Any]:  # noqa: ANN401
        """Return what the model says of a batch, and the router's part of the loss, if any."""
        raise NotImplementedError

    def laid_out(self, batch: Batch, *, as_wide: bool = False) -> Batch:
        """Add to a batch how its texts are laid out, where a language model reads them."""
        del as_wide
        return batch

    def training_step(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, Any],
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> Tensor:
        """Add an update's gradients up; begin again in smaller pieces where memory runs out."""
        mask = inputs.get("attention_mask")
        tokens = int(inputs["input_ids"].numel() if mask is None else mask.sum())
        self.real_tokens, self.tokens_read = self.real_tokens + tokens, self.tokens_read + tokens
        if self._found is None:
            self._found = {}
        if self.rule is not None:
            return self._in_pieces(model, inputs)
        self.tally.scored_tokens += int(num_targets(inputs).sum())
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)  # type: ignore[misc]
        return loss

    def figures_found(self) -> Figures:
        """Return the figures of the update that was made, and begin another's."""
        found, self._found = self._found or {}, None
        return found

    def _in_pieces(self, model: Any, inputs: Batch) -> Tensor:  # noqa: ANN401
        model.train()
        state = torch.get_rng_state()
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        tally_before = replace(self.tally)
        while True:
            try:
                with self.objective.state.recording():
                    return self._all_pieces(model, inputs)
            except GraphsRefusedError as error:
                assert self.graphs is not None
                self.graphs.refuse(str(error))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._smaller(model, error)
            # Only here, with the failed pass forgotten, is there memory to give back.
            model.zero_grad()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.set_rng_state_all(on_gpu)
            torch.set_rng_state(state)
            self._found = {}
            vars(self.tally).update(vars(tally_before))  # the model's forward holds this object

    def _all_pieces(self, model: Any, inputs: Batch) -> Tensor:  # noqa: ANN401
        assert self.rule is not None
        branches, by_rows = len(self.method.branches), self.objective.mean_over == "rows"
        lengths = inputs["attention_mask"].sum(1).view(branches, -1).amax(0)
        pieces = [rows_of(inputs, rows, branches) for rows in self.rule.cut(lengths.tolist())]
        rows = len(lengths)
        number = rows if by_rows else sum(int(num_targets(batch).sum()) for batch in pieces)
        total = torch.zeros((), device=self.args.device)  # type: ignore[attr-defined]
        graphs = self._graphs()
        if graphs is not None:
            graphs.begin()
        for batch in pieces:
            found = None if graphs is None else graphs.run(batch, number)
            if found is None:
                found = self._passes(model, self.prepare(self.laid_out(batch)), number)
            loss, figures = found
            total = total + loss
            self._add(figures)
        self.padded_tokens += sum(batch["input_ids"].numel() for batch in pieces)
        learnt = rows * len(self.method.learnt)
        rest = {name: value[learnt:] for name, value in inputs.items() if value.dim() == 2}
        self.measured_tokens += int(rest["attention_mask"].sum())
        self.measured_targets += int(num_targets(rest).sum())
        self.rows_read, self.pieces_done = self.rows_read + rows, self.pieces_done + len(pieces)
        return total

    def _passes(self, model: Any, batch: Batch, number: Any) -> tuple[Tensor, Figures]:  # noqa: ANN401
        """Add a batch's gradients; return its part of the loss, and its figures."""
        with self.compute_loss_context_manager():  # type: ignore[attr-defined]
            loss, figures = self.loss_of(model, batch, number)
        self.accelerator.backward(loss)  # type: ignore[attr-defined]
        return loss.detach(), figures

    def _graphs(self) -> Graphs | None:
        """Return the training's graphs, where its passes may be recorded."""
        if self.args.device.type not in RECORDERS:  # type: ignore[attr-defined]
            return None
        if self.graphs is None:
            self.graphs = Graphs(self, partial(self._passes, self.model))
            self.graphs.refused = why_without(self)
        return None if self.graphs.refused else self.graphs

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,  # noqa: ANN401
    ) -> Tensor:
        """Return the objective on a batch, and note its figures.

        Args:
            model: That is trained.
            inputs: The batch, on its device.
            return_outputs: Ignored: nobody asks.
            num_items_in_batch: What the update's loss is a mean over, the objective's rows or
                targets; None: those of the batch.
        """
        del return_outputs
        loss, figures = self.loss_of(model, inputs, num_items_in_batch)
        self._add(figures)
        return loss

    def loss_of(self, model: Any, inputs: Batch, number: Any) -> tuple[Tensor, Figures]:  # noqa: ANN401
        """Return a batch's part of the loss, and its figures; see `compute_loss`."""
        said, router = self.read(model, inputs)
        losses = self.objective.loss(said)
        by_rows = self.objective.mean_over == "rows"
        own = len(losses) if by_rows else said.targets.sum()
        number = own if number is None else number
        loss = losses.sum() / number
        loss = loss if router is None else loss + own / number * router
        return loss, self.method.figures(said, losses.detach())

    def _add(self, figures: Figures) -> None:
        """Add a piece's figures to those of its update."""
        if self._found is None:
            return
        for name, (part, count) in figures.items():
            so_far, counted = self._found.get(name, (0, 0))
            self._found[name] = (so_far + part, counted + count)

    def _smaller(self, model: Any, error: BaseException) -> None:  # noqa: ANN401
        """Halve the pieces; where that can't be, compute layers again instead of keeping them.

        Raises:
            EnvironmentFault: If nothing is left to save.
        """
        assert self.rule is not None
        smaller = self.rule.halved()
        self.halvings += 1
        if self.graphs is not None:
            self.graphs.forget()
        if smaller is not None:
            self.rule = smaller
        elif not self.checkpoints_layers:
            model.activation_checkpointing_enable({"use_reentrant": False})
            self.checkpoints_layers = True
            if self.graphs is not None:
                self.graphs.refuse(why_without(self))
        else:
            raise EnvironmentFault(
                f"training ran out of memory with micro-batches of {self.rule.most_rows} rows",
                why=str(error).split("\n")[0],
                hint="shorten max_length, train an adapter (lora), or use a machine with more",
            ) from error

    @property
    def work(self) -> dict[str, int]:
        """What updates computed so far, by the names of `WorkDone`."""
        tally = self.tally
        return {
            "rows": self.rows_read,
            "real_tokens": self.real_tokens,
            # Packed rows have no padding.
            "processed_tokens": tally.processed_tokens or self.padded_tokens or self.real_tokens,
            "scored_tokens": tally.scored_tokens,
            "measured_tokens": self.measured_tokens,
            "measured_targets": self.measured_targets,
            "micro_batches": self.pieces_done,
            "out_of_memory": self.halvings,
        }

    def go_on_from(self, work: Mapping[str, int]) -> None:
        """Count on from what earlier runs of the training computed."""
        self.rows_read, self.real_tokens = work["rows"], work["real_tokens"]
        self.tally.processed_tokens = work["processed_tokens"]
        self.tally.scored_tokens = work["scored_tokens"]
        self.measured_tokens = work["measured_tokens"]
        self.measured_targets = work["measured_targets"]
        self.pieces_done, self.halvings = work["micro_batches"], work["out_of_memory"]

    @property
    def memory_notes(self) -> tuple[str, ...]:
        """What lack of memory changed, in words; nothing where it never ran out."""
        without = self.graphs.refused if self.graphs is not None else ""
        notes = (f"updates are made without CUDA graphs: {without}",) if without else ()
        if not self.halvings or self.rule is None:
            return notes
        once = "once" if self.halvings == 1 else f"{self.halvings} times"
        rows = self.rule.most_rows
        said = f"memory ran out {once}: micro-batches have at most {rows} row{'s'[: rows > 1]}"
        if self.checkpoints_layers:
            said += ", and layers are computed again instead of kept (gradient checkpointing)"
        return (*notes, f"{said}; the effective batch size stayed the same")
