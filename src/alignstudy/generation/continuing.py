"""Texts in, their continuations out: many rows at once, token for token as if each were alone.

On a CPU each text is first read for itself; then all write together, a token a step: weights come
from memory once a step, whatever the number of rows. In float32, where rounding alone could have
chosen another token, the row is written again, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alignstudy.generation.choosing import Choice
from alignstudy.generation.decoding import StopAtStrings
from alignstudy.generation.packed import PackedProducts

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a model reads before it writes.

    Attributes:
        tokens: At least one.
        seed: Of this row's draws.
    """

    tokens: tuple[int, ...]
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a model wrote.

    Attributes:
        tokens: After the text, with whatever followed the end.
        stopped_at: Number of tokens when a stop string was complete; None: none was.
    """

    tokens: tuple[int, ...]
    stopped_at: int | None

    def whole(self, eos: frozenset[int]) -> tuple[int, ...]:
        """Return the tokens up to the end, the one that ends the row included."""
        ends = [place + 1 for place, token in enumerate(self.tokens) if token in eos][:1]
        return self.tokens[: min([*ends, self.stopped_at or len(self.tokens)])]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How rows are written.

    Attributes:
        max_new_tokens: The cap.
        eos: Tokens that end a row.
        pad: The token that fills a batch up.
        stops: Makes what ends rows at strings, given where they begin; None: no strings do.
        choose: Makes what chooses tokens, given the rows' seeds.
        rewrite: Whether a row with a near tie is written again, alone.
        products: The model's, packed for few rows; None: they are computed as they lie.
    """

    max_new_tokens: int
    eos: frozenset[int]
    pad: int
    stops: Callable[[int], StopAtStrings] | None
    choose: Callable[[Sequence[int]], Choice]
    rewrite: bool
    products: PackedProducts | None = None


def write_on(model: PreTrainedModel, texts: Sequence[Text], rules: Rules) -> list[Written]:
    """Return the continuations of texts, in their order, by a model in evaluation mode."""
    import torch

    with torch.inference_mode():
        if len(texts) == 1:
            return _write(model, texts, rules, rules.choose([texts[0].seed]), held=None)
        choice = rules.choose([text.seed for text in texts])
        held = _read(model, texts, rules, choice) if model.device.type == "cpu" else None
        with rules.products.used() if rules.products else nullcontext():
            rows = _write(model, texts, rules, choice, held)
        for place in range(len(texts)) if rules.rewrite else ():
            num_chosen = len(rows[place].whole(rules.eos))
            if choice.near.get(place, rules.max_new_tokens) < num_chosen:
                rows[place] = write_on(model, [texts[place]], rules)[0]
    return rows


def _write(
    model: PreTrainedModel,
    texts: Sequence[Text],
    rules: Rules,
    choice: Choice,
    held: Cache | None,
) -> list[Written]:
    """Write one batch until all rows have ended; nothing comes from the checkpoint's own file."""
    import torch
    from transformers import GenerationConfig

    start = max(len(text.tokens) for text in texts)
    padding = [start - len(text.tokens) for text in texts]
    ids = [[rules.pad] * n + list(text.tokens) for n, text in zip(padding, texts, strict=True)]
    mask = [[0] * n + [1] * (start - n) for n in padding]
    stops = rules.stops(start) if rules.stops is not None else None
    # `generate` fills what is left open from the model's: leave it nothing to fill in.
    model.generation_config = GenerationConfig()
    config = GenerationConfig(
        max_new_tokens=rules.max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(rules.eos),
        pad_token_id=rules.pad,
        use_cache=True,
        return_dict_in_generate=False,
    )
    tokens: Any = model.generate(
        input_ids=torch.tensor(ids, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=config,
        stopping_criteria=[] if stops is None else [stops],
        logits_processor=[choice],
        **({} if held is None else {"past_key_values": held}),
    )
    return [
        Written(tokens=tuple(row), stopped_at=stops.ended_at.get(place) if stops else None)
        for place, row in enumerate(tokens[:, start:].tolist())
    ]


def _read(
    model: PreTrainedModel, texts: Sequence[Text], rules: Rules, choice: Choice
) -> Cache | None:
    """Read all texts but for their last tokens, each alone, and put them side by side.

    What is kept of them lies in memory that has room for the tokens to come: transformers' usual
    cache is copied whole at every token. No padding is read.

    Returns:
        None if rows can't be put side by side: the model keeps anything but all keys and values,
        takes no positions, or a text is but one token.
    """
    import inspect

    import torch
    from transformers import DynamicCache, StaticCache
    from transformers.cache_utils import DynamicLayer

    lengths = [len(text.tokens) - 1 for text in texts]
    longest = max(lengths)
    if min(lengths) < 1 or "position_ids" not in inspect.signature(model.forward).parameters:
        return None
    rows: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
    firsts: dict[tuple[int, ...], int] = {}  # several samples of one prompt read it once
    for place, text in enumerate(texts):
        first = firsts.setdefault(text.tokens, place)
        if first < place:
            rows.append(rows[first])
            continue
        ids = torch.tensor([text.tokens])
        answer = model(input_ids=ids[:, :-1], use_cache=True, logits_to_keep=1)
        read = getattr(answer, "past_key_values", None)
        if not isinstance(read, DynamicCache) or {*map(type, read.layers)} != {DynamicLayer}:
            return None
        rows.append([(layer.keys, layer.values) for layer in read.layers])
        if rules.rewrite and place == lengths.index(longest):
            alone = model(input_ids=ids[:, -1:], past_key_values=read, use_cache=True).logits
            choice.compare(place, alone[0, -1].float())
    held, pad = StaticCache(model.config, longest + rules.max_new_tokens), torch.nn.functional.pad
    for at, layer in enumerate(zip(*rows, strict=True)):
        # Masked places are multiplied by zero: what lies there must be a number.
        keys, values = (
            torch.cat([pad(row, (0, 0, longest - row.shape[2], 0)) for row in side])
            for side in zip(*layer, strict=True)
        )
        held.update(keys, values, at)
    return held
