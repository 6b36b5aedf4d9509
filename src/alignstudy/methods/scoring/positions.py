"""What a classifier on a decoder says of unfinished texts: its score at every position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from alignstudy.errors import GuardError
from alignstudy.methods.model_outputs import PairScores

if TYPE_CHECKING:
    from torch import Tensor


def scores_by_position(model: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Return a one-logit classifier's scores of R texts: as a judge reads them, and as they go.

    Decoders put their head on all positions, and keep the last one's. What they throw away is
    caught where the head leaves it, so that whatever lies between body and head has its say.

    Args:
        model: A classifier of transformers'.
        inputs: `input_ids` and `attention_mask`, (R, T).

    Returns:
        (R,) and (R, T), in float32.

    Raises:
        GuardError: If the head doesn't read position by position.
    """
    from torch import Tensor

    found, shape = list[Tensor](), (*inputs["input_ids"].shape, 1)

    def note(_module: Any, _inputs: Any, output: Any) -> None:  # noqa: ANN401
        if isinstance(output, Tensor) and output.shape == shape:
            found.append(output)

    heads = [child for child in model.children() if child is not model.base_model]
    handles = [head.register_forward_hook(note) for head in heads]
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise GuardError(
            f"{type(model).__name__} gives no score at every position",
            why="its head reads a text as a whole",
            hint="say loss_on: end, or take a classifier on a decoder (OPT, Llama, GPT-2, ...)",
        )
    return logits.squeeze(-1).float(), found[-1].squeeze(-1).float()


def last_positions(model: Any, inputs: Mapping[str, Tensor]) -> Tensor:  # noqa: ANN401
    """Return where decoders read a text's score, (R,): at the last token that isn't padding's.

    By token, as transformers does it: of a text that ends in the padding token, before its end.
    """
    import torch

    ids, padding = inputs["input_ids"], model.config.get_text_config().pad_token_id
    if padding is None:  # then there is one text
        return inputs["attention_mask"].sum(1) - 1
    at = torch.arange(ids.shape[1], device=ids.device)
    last: Tensor = ((ids != padding) * at).argmax(1)
    return last


def pair_margins(scores: Tensor, ids: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the scores of B pairs from the first token that differs to the longer text's end.

    A text that has ended keeps its last score, the one that a judge gives it. (The authors' code
    compares what the model says of padding instead: of the token that ends a text at first, then of
    more such tokens, on which no judge ever reads a score.)

    Args:
        scores: (2B, T), all chosen first.
        ids: (2B, T) tokens.
        last: (2B,) where each text ends.

    Returns:
        (B, T) the chosen text's score less the rejected one's, and whether it counts there.

    Source:
        RFT, arXiv 2405.17888: `reward_model_RLHF.py` of its authors.
    """
    import torch

    at = torch.arange(ids.shape[1], device=ids.device)
    held = scores.gather(1, torch.minimum(at, last[:, None]))
    chosen_ids, rejected_ids = torch.where(at <= last[:, None], ids, -1).chunk(2)
    apart = (chosen_ids != rejected_ids).cumsum(1) > 0
    longer = torch.maximum(*last.chunk(2))
    chosen, rejected = held.chunk(2)
    return chosen - rejected, apart & (at <= longer[:, None])


def pair_scores(model: Any, inputs: Mapping[str, Tensor], *, by_position: bool) -> PairScores:  # noqa: ANN401
    """Return what a classifier says of B pairs.

    Args:
        model: A classifier of transformers'.
        inputs: `input_ids` and `attention_mask`, (2B, T), all chosen first.
        by_position: Whether the objective compares unfinished texts, too.

    Raises:
        GuardError: See `scores_by_position`.
    """
    if not by_position:
        chosen, rejected = model(**inputs, use_cache=False).logits.squeeze(-1).chunk(2)
        return PairScores(chosen=chosen, rejected=rejected)
    ends, scores = scores_by_position(model, inputs)
    chosen, rejected = ends.chunk(2)
    last = last_positions(model, inputs)
    margins, compared = pair_margins(scores, inputs["input_ids"], last)
    return PairScores(chosen=chosen, rejected=rejected, margins=margins, compared=compared)
