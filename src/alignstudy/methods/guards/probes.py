"""Measurements on a model for the guards; they leave weights and random numbers as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alignstudy.methods.batches.encode import IGNORED
from alignstudy.methods.scoring.positions import last_positions, scores_by_position
from alignstudy.methods.scoring.reading import adapter_off
from alignstudy.methods.trainer import Batch, Trainer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from alignstudy.methods.scoring.own_forward import EachAlone

PROBE_ROWS = 8
"""Rows that the guards measure on."""

NOISE_TOKENS = 32
"""Tokens of a row in which dropout is looked for: it spares no place, and no layer."""


def probe_batch(trainer: Trainer, *, num_rows: int = PROBE_ROWS) -> Batch:
    """Collate the trainer's first rows, so many at most, as it would itself, on its device."""
    return rows_batch(trainer, range(min(num_rows, len(trainer.train_dataset))))


def rows_batch(trainer: Trainer, numbers: Sequence[int]) -> Batch:
    """Collate some of the trainer's rows as it would itself, on its device."""
    rows = trainer.train_dataset
    batch = trainer.prepare(trainer.data_collator([rows[number] for number in numbers]))
    batch.pop("row")
    return batch


def last_targets(batch: Batch, *, compared: int, branches: int) -> list[int]:
    """Return the last token of every row of a collated batch that the loss sees.

    Args:
        batch: Whose rows come one branch after the other.
        compared: Of how many branches; the first ones.
        branches: How many there are.
    """
    ids = batch["input_ids"][: len(batch["input_ids"]) * compared // branches]
    seen = batch["labels"] != IGNORED if "labels" in batch else batch["completion_mask"] == 1
    last = [int(row.nonzero().max()) for row in seen[: len(ids)]]
    return [int(row[position]) for row, position in zip(ids, last, strict=True)]


def first_preferences(
    trainer: Trainer, rows: Sequence[int] = range(PROBE_ROWS), *, training: bool
) -> tuple[float, Any]:
    """Measure a preference trainer's own loss, less a router's, and what it is of.

    Args:
        trainer: Before its first step; its reference is the model that it starts from.
        rows: On which.
        training: Whether the model is put into training mode, as in a step.
    """
    import torch

    batch, ahead = rows_batch(trainer, rows), trainer.has_references
    trainer.model.train(training)
    trainer.has_references = False  # asked now
    with torch.no_grad(), torch.random.fork_rng(), trainer.autocast():
        loss, said, router = _loss_and_cause(trainer, batch)
    trainer.has_references = ahead
    return loss - (0.0 if router is None else float(router)), said


def _loss_and_cause(trainer: Trainer, batch: Batch) -> tuple[float, Any, Any]:
    """Return a trainer's own loss, and what its reading of the batch said, the router's part too.

    Of one reading, which is noted on its way into the loss.
    """
    read, found = trainer.read, list[tuple[Any, Any]]()

    def noted(model: Any, batch: Batch) -> tuple[Any, Any]:  # noqa: ANN401
        found.append(read(model, batch))
        return found[-1]

    trainer.read = noted  # type: ignore[method-assign]
    try:
        loss = float(trainer.compute_loss(trainer.model, batch))
    finally:
        del trainer.read
    ((said, router),) = found
    return loss, said, router


def references_apart(trainer: Trainer, rows: Sequence[int], said: Any) -> float:  # noqa: ANN401
    """Return the largest relative difference (to at least 1) of kept references from asked ones.

    Args:
        trainer: Whose data set holds the kept ones.
        rows: Which of its rows.
        said: What `first_preferences` found on them.
    """
    import torch

    batch, branches = rows_batch(trainer, rows), trainer.method.branches
    asked = torch.cat([getattr(said, f"ref_{branch}") for branch in branches])
    kept = torch.cat([batch[f"ref_{branch}_logps"] for branch in branches])
    return float(((asked - kept).abs() / kept.abs().clamp_min(1)).max())


def first_loss(
    trainer: Trainer, rows: Sequence[int], *, by_own_forward: bool, alone: EachAlone | None
) -> tuple[float, float]:
    """Measure a trainer's loss on some rows, and what its formula gives in float64.

    Args:
        trainer: Before its first step.
        rows: Numbers of the rows; where the method samples, the first samples are taken.
        by_own_forward: Whether the formula is given the log-probabilities of the model's own
            forward, whatever route training takes; else those of training's route.
        alone: What that forward said of these rows before.
    """
    import torch

    model, route = trainer.model, trainer.route
    assert route is not None
    samples = trainer.method.samples
    batch = trainer.rollouts.first(PROBE_ROWS) if samples else rows_batch(trainer, rows)
    was_training, usual = model.training, dict(vars(route))
    # What is known is the policy's: where a reference is asked too, nothing is.
    asks = trainer.method.reference != "none" and not trainer.has_references
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(), trainer.autocast():
            measured, said, router = _loss_and_cause(trainer, batch)
            if by_own_forward:
                route.sharing, route.flat, route.own = 1, False, True
                route.alone = None if asks or samples or route.router else alone
                said, router = trainer.read(model, batch)
    finally:
        vars(route).update(usual)
        model.train(was_training)
    exact = replace(
        said,
        **{
            name: value.double()
            for name, value in vars(said).items()
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        },
    )
    losses = trainer.objective.loss(exact)
    by_rows = trainer.objective.mean_over == "rows"
    expected = losses.mean() if by_rows else losses.sum() / exact.targets.sum()
    return measured, float(expected) + (0.0 if router is None else float(router))


def dropout_difference(model: Any, batch: Batch, *, adapter: bool = False) -> float:  # noqa: ANN401
    """Return the largest difference of logits between two passes in training mode.

    Args:
        model: On the batch's device.
        batch: `input_ids` (B, T), and `attention_mask` (B, T) unless it is one packed row; of two
            rows the beginnings are read.
        adapter: Whether the adapter, made to have an effect, takes part; else it is off.
    """
    import torch

    names = [key for key in ("input_ids", "attention_mask") if key in batch]
    inputs = {key: batch[key][:2, :NOISE_TOKENS] for key in names}
    was_training = model.training
    model.train()
    without = nullcontext() if adapter else adapter_off(model)
    with torch.no_grad(), torch.random.fork_rng(), without, _adapter_felt(model):
        first, second = (model(**inputs).logits for _ in range(2))
    model.train(was_training)
    return float((first - second).abs().max())


def forward_difference(trainer: Trainer, batch: Batch) -> float:
    """Return how much a classifier's scores of unfinished texts depend on what follows.

    Args:
        trainer: Of a classifier.
        batch: `input_ids` and `attention_mask`, (R, T).

    Returns:
        The largest change of a score at the first half of the positions when the rest is cut off,
        or of a whole text's score from the one at its last position; in standard deviations.

    Raises:
        GuardError: If the classifier has no score at every position.
    """
    import torch

    model, inputs = trainer.model, {key: batch[key] for key in ("input_ids", "attention_mask")}
    half = max(1, inputs["input_ids"].shape[1] // 2)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole, scores = scores_by_position(model, inputs)
            _, begun = scores_by_position(model, {n: part[:, :half] for n, part in inputs.items()})
    finally:
        model.train(was_training)
    read = inputs["attention_mask"][:, :half].bool()
    ends = scores.gather(1, last_positions(model, inputs)[:, None]).squeeze(1)
    apart = max((scores[:, :half] - begun)[read].abs().max(), (ends - whole).abs().max())
    return float(apart / scores[inputs["attention_mask"].bool()].std())


@contextmanager
def _adapter_felt(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Fill the half of a fresh adapter that is zero, so that what it is fed changes something."""
    zeros = [p for n, p in model.named_parameters() if "lora_B" in n and not bool(p.any())]
    for parameter in zeros:
        parameter.fill_(0.01)
    try:
        yield
    finally:
        for parameter in zeros:
            parameter.zero_()


def packing_difference(
    model: PreTrainedModel,
    documents: Sequence[Sequence[int]],
    *,
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
) -> float:
    """Return the largest change of a logit when documents share a row, in standard deviations.

    Args:
        model: The model that would be trained.
        documents: Token ids of each.
        collate: The collator of packed training: it says how the model learns of the borders.
    """
    import torch

    ids = [token for document in documents for token in document]
    row = {"input_ids": ids, "labels": ids, "row": [0] * len(ids)}
    batch = collate([{**row, "seq_lengths": [len(document) for document in documents]}])
    inputs = {
        name: value.to(model.device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
        if name not in {"labels", "row"}
    }
    was_training = model.training
    model.eval()
    with torch.no_grad():
        packed = model(**inputs, use_cache=False).logits[0]
        alone = [
            model(input_ids=torch.tensor([list(document)], device=model.device)).logits[0]
            for document in documents
        ]
    model.train(was_training)
    return logits_difference(packed, torch.cat(alone))


def logits_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference of two logits, in standard deviations of all of `theirs`."""
    return float((ours - theirs).abs().max() / theirs.std())
