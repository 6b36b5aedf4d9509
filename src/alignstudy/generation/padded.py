"""One batch of rows that begin and end together, by transformers' `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alignstudy.generation.choosing import Choice
from alignstudy.generation.decoding import StopAtStrings
from alignstudy.generation.rules import Rules, Text, Written

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def generate(
    model: PreTrainedModel, texts: Sequence[Text], rules: Rules, choice: Choice
) -> list[Written]:
    """Write until all rows have ended; nothing comes from the checkpoint's own file."""
    import torch
    from transformers import GenerationConfig

    start = max(len(text.tokens) for text in texts)
    padding = [start - len(text.tokens) for text in texts]
    ids = [[rules.pad] * n + list(text.tokens) for n, text in zip(padding, texts, strict=True)]
    mask = [[0] * n + [1] * (start - n) for n in padding]
    stops = None if rules.stops is None else StopAtStrings(rules.stops, start)
    # `generate` fills what is left open from the model's: leave it nothing to fill in.
    kept, model.generation_config = model.generation_config, GenerationConfig()
    config = GenerationConfig(
        max_new_tokens=rules.max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(rules.eos) or None,
        pad_token_id=rules.pad,
        use_cache=True,
        return_dict_in_generate=False,
    )
    try:
        with torch.inference_mode():
            tokens: Any = model.generate(
                input_ids=torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
                stopping_criteria=[] if stops is None else [stops],
                logits_processor=[choice],
            )
    finally:
        model.generation_config = kept
    return [
        Written(tokens=tuple(row), stopped_at=stops.ended_at.get(place) if stops else None)
        for place, row in enumerate(tokens[:, start:].tolist())
    ]
