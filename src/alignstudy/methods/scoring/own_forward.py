"""What a model's own forward says of texts, or of hidden states, whatever was put in its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.modeling_outputs import MoeModelOutputWithPast

from alignstudy.errors import GuardError
from alignstudy.methods.scoring.token_scores import Scored, as_scored


@dataclass(frozen=True, kw_only=True)
class States:
    """What a model's layers make of the positions that predict a batch's targets.

    Attributes:
        hidden: (N, H), before the head.
        targets: (N,) token ids.
        put: (N,) their places in the flattened (R, T-1).
        aux_loss: The load-balancing loss of a mixture of experts' router, where asked for.
    """

    hidden: torch.Tensor
    targets: torch.Tensor
    put: torch.Tensor
    aux_loss: torch.Tensor | None = None


def own_scores(
    model: Any,  # noqa: ANN401
    ids: torch.Tensor,
    seen: torch.Tensor,
    labels: torch.Tensor,
    *,
    router: bool = False,
    squares: bool = False,
) -> Scored:
    """Score (R, T) texts by the model's own forward, whatever was put in its place.

    Args:
        model: A causal language model, not its PEFT wrapper.
        ids: (R, T) token ids, padded on the right.
        seen: (R, T), 1 on tokens.
        labels: (R, T) targets at their own places.
        router: Whether the router's loss is wanted.
        squares: Whether sums of squared probabilities are wanted.
    """
    extra = {"output_router_logits": True} if router else {}
    outputs = type(model).forward(
        model, input_ids=ids, attention_mask=seen, use_cache=False, **extra
    )
    put = (labels[:, 1:] != -100).flatten().nonzero()[:, 0]
    logits = outputs.logits[:, :-1].flatten(0, 1)[put].float()
    targets = labels[:, 1:].flatten()[put, None]
    log_p = logits.log_softmax(-1)
    return as_scored(
        log_p.gather(1, targets)[:, 0],
        logits.gather(1, targets)[:, 0] == logits.amax(1),
        put=put,
        labels=labels,
        aux_loss=getattr(outputs, "aux_loss", None),
        log_sum_sq_probs=(2 * log_p.detach()).logsumexp(1) if squares else None,
    )


@dataclass(frozen=True)
class EachAlone:
    """What a model's own forward says of texts, each by itself, however often it is wanted.

    A text is read once: of one model, its adapter on, while it isn't trained.

    Attributes:
        said: By a text's tokens and targets, and whether squares were wanted.
    """

    said: dict[tuple[Any, ...], Scored] = field(default_factory=dict)

    def scores(
        self,
        model: Any,  # noqa: ANN401
        ids: torch.Tensor,
        seen: torch.Tensor,
        labels: torch.Tensor,
        *,
        squares: bool = False,
    ) -> Scored:
        """Score (R, T) texts, see `own_scores`; those that were asked before are not again."""
        found = []
        for row, length in enumerate(seen.sum(1).tolist()):
            text, wanted = (each[row : row + 1, :length] for each in (ids, labels))
            key = (squares, *text[0].tolist(), *wanted[0].tolist())
            if key not in self.said:
                ones = torch.ones_like(text)
                self.said[key] = own_scores(model, text, ones, wanted, squares=squares)
            found.append(self.said[key])

        def values(name: str) -> torch.Tensor:
            return torch.cat([getattr(each, name)[each.label_mask] for each in found])

        return as_scored(
            values("log_probs"),
            values("is_top1"),
            put=(labels[:, 1:] != -100).flatten().nonzero()[:, 0],
            labels=labels,
            log_sum_sq_probs=values("log_sum_sq_probs") if squares else None,
        )


def own_states(
    model: Any,  # noqa: ANN401
    ids: torch.Tensor,
    seen: torch.Tensor,
    labels: torch.Tensor,
    *,
    router: bool = False,
) -> States:
    """Read (R, T) texts as they are padded, each row by itself.

    Args:
        model: A causal language model, not its PEFT wrapper.
        ids: (R, T) token ids, padded on the right.
        seen: (R, T), 1 on tokens.
        labels: (R, T) targets at their own places.
        router: Whether the router's loss is wanted, too.
    """
    given = {"input_ids": ids, "attention_mask": seen, "use_cache": False}
    given |= {"output_router_logits": True} if router else {}
    said = model.base_model(**given)
    states, aux_loss = said.last_hidden_state, None
    if router:  # of the layers' routers, by the model's own forward; its head needn't work for it
        said.last_hidden_state = states[:, :1]
        aux_loss = _behind_its_layers(model, said, **given).aux_loss
    put = (labels[:, 1:] != -100).flatten().nonzero()[:, 0]
    return States(
        hidden=states[:, :-1].flatten(0, 1)[put],
        targets=labels[:, 1:].flatten()[put],
        put=put,
        aux_loss=aux_loss,
    )


def head_logits(model: Any, hidden: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
    """Return the (N, V) logits that a model's own forward makes of (N, H) hidden states.

    In float32 at least.

    Raises:
        GuardError: If its forward doesn't ask the layers that are known to be its own.
    """
    none = torch.zeros(1, len(hidden), dtype=torch.int64, device=hidden.device)
    said = _Said(last_hidden_state=hidden[None])
    logits: torch.Tensor = _behind_its_layers(model, said, input_ids=none, use_cache=False).logits[
        0
    ]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@dataclass
class _Said(MoeModelOutputWithPast):  # type: ignore[misc]
    """What any language model's layers say, all but the hidden states left open."""

    cross_attentions: Any = None


def _behind_its_layers(model: Any, said: Any, **given: Any) -> Any:  # noqa: ANN401
    """Return what a model's own forward makes of what its layers said."""
    asked: list[object] = []

    def say(*_: object, **__: object) -> Any:  # noqa: ANN401
        asked.append(said)
        return said

    base = model.base_model
    layers = [base, *(each for name, each in base.named_children() if name == "decoder")]
    before = [vars(each).get("forward") for each in layers]
    for each in layers:
        each.forward = say
    try:
        found = type(model).forward(model, **given)
    finally:
        for each, own in zip(layers, before, strict=True):
            del each.forward
            if own is not None:
                each.forward = own
    if not asked:
        raise GuardError(
            f"{type(model).__name__} has a head that can't be asked by itself",
            why="its forward asks other layers than its base_model, or that one's decoder",
            hint="use a loss that doesn't compare whole distributions, such as sigmoid",
        )
    return found
