"""How a trainer has its model read a batch: mixed into TRL's trainers by `trl_adapter`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn.functional import pad

from alignstudy.methods.method import Method, Objective
from alignstudy.methods.model_outputs import PairScores, SampleLogps
from alignstudy.methods.scoring.buckets import LAYOUT, MEASURED_LAYOUT
from alignstudy.methods.scoring.layout_check import labels_of
from alignstudy.methods.scoring.positions import pair_scores
from alignstudy.methods.scoring.reading import (
    adapter_off,
    pair_likelihoods,
    pair_logps,
    rated_logps,
    response_sums,
    text_logps,
    unwrapped,
)
from alignstudy.methods.scoring.shared_forward import ScoringRoute, laid_out
from alignstudy.methods.scoring.vocabulary import compare
from alignstudy.methods.trainer import Batch

_READ = ("input_ids", "attention_mask", LAYOUT)


class ReadsTexts:
    """Has a language model say what it makes of texts, on the trainer's route.

    Attributes:
        model: What is trained: a PEFT model where an adapter is.
        method: What is trained by.
        objective: Its loss.
        route: How the model scores texts; None: as TRL does.
        has_references: Whether the reference's sums are in the rows.
        reference: The model that is asked in every step; None: the model without its adapter.
        autocast: Computes in the precision of training.
    """

    model: Any
    method: Method[Any]
    objective: Objective
    route: ScoringRoute | None
    has_references: bool
    reference: Any = None
    autocast: Callable[[], AbstractContextManager[None]]

    def read(self, model: Any, batch: Batch) -> tuple[Any, Any]:  # noqa: ANN401
        """Return what the model says of a batch, and the router's part of the loss, if any."""
        if self.method.branches == ("text",):
            outputs = self._scored(model, batch)
            return text_logps(outputs, batch), self._router(outputs)
        compared, mismatched = _learnt(batch, self.method)
        by = self._side_by_side if self.objective.compares_vocabulary else self._scored
        outputs = by(model, compared, squares=self.objective.weighs_pairs)
        beside = getattr(outputs, "ref_log_probs", None)
        references = self._references(model, compared, mismatched, beside)
        sums = response_sums(outputs.log_probs, compared, self.ld_alpha)
        others = None
        if mismatched is not None:
            with torch.no_grad(), self.by_route(sharing=1):
                others = self._scored(model, mismatched).log_probs.sum(1)
        if self.method.rows == "rated":
            return rated_logps(compared, sums, others, references), self._router(outputs)
        learnt = len(self.method.learnt)
        said = pair_logps(outputs, compared, sums, others, references, branches=learnt)
        if self.objective.weighs_pairs:
            said = replace(said, likelihoods=pair_likelihoods(outputs, compared))
        if self.objective.compares_vocabulary:
            chosen_kl, rejected_kl = outputs.kl.sum(1).chunk(2)
            said = replace(said, chosen_kl=chosen_kl, rejected_kl=rejected_kl)
        return said, self._router(outputs)

    def laid_out(self, batch: Batch, *, as_wide: bool = False) -> Batch:
        """Add to a batch how its texts are laid out, those apart that are only measured.

        Args:
            batch: Of padded texts.
            as_wide: Whether those that are measured stay as wide as all.
        """
        route = self.route
        if route is None or route.own:
            return batch
        lay = partial(laid_out, unwrapped(self.model))
        width = batch["input_ids"].shape[1] if as_wide else None
        compared, mismatched = _learnt(batch, self.method, width=width)
        found = {**batch, LAYOUT: lay(route, *_texts(compared))}
        if mismatched is not None:
            alone = replace(route, sharing=min(route.sharing, 1))
            found[MEASURED_LAYOUT] = lay(alone, *_texts(mismatched))
        return found

    @property
    def ld_alpha(self) -> float | None:
        """Weight of a longer response's tail, where the method has one."""
        alpha: float | None = getattr(self.method.settings, "ld_alpha", None)
        return alpha

    def _references(
        self,
        model: Any,  # noqa: ANN401
        compared: Batch,
        mismatched: Batch | None,
        beside: torch.Tensor | None,
    ) -> dict[str, torch.Tensor]:
        """Return the reference's sums: from the rows, or asked now, with the noise of training.

        Token by token `beside` says them, if the batch was read by both models.
        """
        if self.method.reference == "none":
            return {}
        if self.has_references:
            kept = {**compared, **(mismatched or {})}
            return {name: value for name, value in kept.items() if name.startswith("ref_")}
        with torch.no_grad(), adapter_off(self.model):
            log_probs = self._scored(model, compared).log_probs if beside is None else beside
            sums = response_sums(log_probs, compared, self.ld_alpha)
            learnt = self.method.learnt
            parts = zip(learnt, sums.chunk(len(learnt)), strict=True)
            found = {f"ref_{branch}_logps": part for branch, part in parts}
            if mismatched is not None:
                with self.by_route(sharing=1):
                    log_probs = self._scored(model, mismatched).log_probs
                found["ref_mismatched_logps"] = log_probs.sum(1)
        return found

    def log_probs(self, model: Any, batch: Batch) -> torch.Tensor:  # noqa: ANN401
        """Return the (R, T-1) log-probabilities of a batch's targets, 0 elsewhere, in nats."""
        compared, mismatched = _learnt(batch, self.method)
        by = self._side_by_side if self.objective.compares_vocabulary else self._scored
        found: torch.Tensor = by(model, compared).log_probs
        if mismatched is None:
            return found
        with self.by_route(sharing=1):
            others = self._scored(model, mismatched).log_probs
        width = batch["input_ids"].shape[1] - 1
        return torch.cat([pad(part, (0, width - part.shape[1])) for part in (found, others)])

    def pair_log_probs(self, model: Any, pairs: Batch) -> torch.Tensor:  # noqa: ANN401
        """Return the (2B, T-1) log-probabilities of chosen and rejected responses, 0 elsewhere.

        Args:
            model: That is asked.
            pairs: Of (2B, T) texts, all chosen first, whatever else a row of the method holds.
        """
        with self.by_route(sharing=2):
            found: torch.Tensor = self._scored(model, pairs).log_probs
        return found

    def _side_by_side(self, model: Any, batch: Batch, *, squares: bool = False) -> Any:  # noqa: ANN401
        """Score a batch under policy and reference, with how far apart they are."""
        reference = model if self.reference is None else self.reference
        assert reference is not model or hasattr(model, "peft_config")
        as_reference = partial(adapter_off, reference)
        with self.autocast():  # a step's precision is told to the trained model's forward alone
            with torch.no_grad(), as_reference():
                other = self._scored(reference, batch, states=True)
            return compare(
                unwrapped(model),
                unwrapped(reference),
                self._scored(model, batch, states=True),
                other,
                labels=labels_of(batch),
                squares=squares,
                as_reference=as_reference,
            )

    def _scored(self, model: Any, batch: Batch, **asked: bool) -> Any:  # noqa: ANN401
        if "attention_mask" not in batch:  # packed rows: how they lie is the collator's to say
            return model(**batch, use_cache=False, fused_lm_head=True)
        inputs = {name: batch[name] for name in _READ if name in batch}
        return model(
            **inputs, labels=labels_of(batch), use_cache=False, fused_lm_head=True, **asked
        )

    def _router(self, outputs: Any) -> Any:  # noqa: ANN401
        weight = self.method.settings.router_aux_loss_coef
        return weight * outputs.aux_loss if weight else None

    @contextmanager
    def by_route(self, *, sharing: int | None = None, flat: bool = True) -> Iterator[None]:
        """Score batches more simply than the route says.

        Args:
            sharing: Most texts that share a prompt; None: as on the route.
            flat: Whether texts may be joined to one row.
        """
        route = self.route
        assert route is not None
        usual = dict(vars(route))
        route.sharing = min(route.sharing, sharing or route.sharing)
        route.flat = route.flat and flat
        try:
            yield
        finally:
            vars(route).update(usual)


class ReadsSamples(ReadsTexts):
    """Has a language model say what it makes of a rollout's samples, token by token."""

    def read(self, model: Any, batch: Batch) -> tuple[SampleLogps, Any]:  # noqa: ANN401
        """Return what the policy says now, beside what was said when they were scored."""
        outputs = self._scored(model, batch)
        rest = {name: batch[name][:, 1:] for name in batch if name not in _TEXTS}
        said = SampleLogps(
            log_probs=outputs.log_probs,
            mask=batch["completion_mask"][:, 1:].bool(),
            old=rest.pop("old"),
            ref=rest.pop("ref", None),
            advantages=rest.pop("advantages"),
            samples=len(self.method.branches),
            more=rest,
        )
        return said, self._router(outputs)


_TEXTS = frozenset({"input_ids", "attention_mask", "completion_mask", LAYOUT})


class ReadsScores:
    """Has a classifier score pairs.

    Attributes:
        objective: The trainer's.
    """

    objective: Objective

    def read(self, model: Any, batch: Batch) -> tuple[PairScores, None]:  # noqa: ANN401
        """Return the scores of a batch's pairs."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        by_position = self.objective.compares_positions
        return pair_scores(unwrapped(model), inputs, by_position=by_position), None


def _texts(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return batch["input_ids"], batch["attention_mask"], labels_of(batch)


def _learnt(
    batch: Batch, method: Method[Any], *, width: int | None = None
) -> tuple[Batch, Batch | None]:
    """Split a batch into the rows that are learnt from, and those that are only measured.

    Args:
        batch: Of padded texts, laid out or not.
        method: Its.
        width: Of both parts; None: as wide as they are laid out, or have to be.
    """
    if not method.measured:
        return batch, None
    border = len(batch["input_ids"]) * len(method.learnt) // len(method.branches)
    numbers = {name: v for name, v in batch.items() if isinstance(v, torch.Tensor)}
    parts: list[Batch] = []
    for rows, name in ((slice(border), LAYOUT), (slice(border, None), MEASURED_LAYOUT)):
        layout = batch.get(name)
        part = {name: value[rows] for name, value in numbers.items() if value.dim() == 2}
        length = width if layout is None else layout.width
        length = length or int(part["attention_mask"].sum(1).max())
        parts.append({name: value[:, :length] for name, value in part.items()})
        if layout is not None:
            parts[-1][LAYOUT] = layout
    parts[0] |= {name: value for name, value in numbers.items() if value.dim() == 1}
    return parts[0], parts[1]
