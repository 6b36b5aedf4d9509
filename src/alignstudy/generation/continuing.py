"""Texts in, their continuations out: many rows at once, token for token as if each were alone.

On a CPU each text is first read for itself (or with others of near-equal length); then all write
together, a token a step: weights come from memory once a step, whatever the number of rows. In
float32, where rounding alone could have chosen another token, the row is written again, alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alignstudy.generation.choosing import Choice
from alignstudy.generation.decoding import EndOrPause, StopAtStrings
from alignstudy.generation.few_rows import LaidOutProducts
from alignstudy.generation.kv_cache import RowLayers, can_continue, keep, rows_of, together
from alignstudy.runtime.kernels import narrow_products

if TYPE_CHECKING:
    import torch
    from transformers import Cache, GenerationConfig, PreTrainedModel

_ENDED_SHARE = 4
"""The batch goes on without its ended rows when one in so many has ended."""


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


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How rows are written.

    Attributes:
        max_new_tokens: The cap.
        eos: Tokens that end a row.
        pad: The token that fills a batch up.
        stops: Makes what ends rows at strings, given where they begin; None: no strings do.
        choose: Makes what chooses tokens, given the rows' seeds.
        prefill: Cuts the lengths of texts into batches to be read; None: with what they are
            written, in one go.
        rewrite: Whether a row that was a near thing is written again, alone.
        products: The model's, laid out for few rows; None: they are computed as they lie.
    """

    max_new_tokens: int
    eos: frozenset[int]
    pad: int
    stops: Callable[[int], StopAtStrings] | None
    choose: Callable[[Sequence[int]], Choice]
    prefill: Callable[[Sequence[int]], list[list[int]]] | None
    rewrite: bool
    products: LaidOutProducts | None = None


def write_on(model: PreTrainedModel, texts: Sequence[Text], rules: Rules) -> list[Written]:
    """Let a model continue texts, in one batch.

    Args:
        model: In evaluation mode.
        texts: The batch.
        rules: How.

    Returns:
        One continuation a text, in their order.
    """
    import torch

    several = len(texts) > 1
    laid_out = rules.products.used() if several and rules.products else nullcontext()
    with torch.inference_mode():
        with laid_out:
            rows = _write(model, texts, rules)
        if rules.rewrite and several:
            for place in [place for place, row in enumerate(rows) if row.near]:
                rows[place] = _write(model, [texts[place]], rules)[0]
    return [Written(tokens=tuple(row.tokens), stopped_at=row.stopped_at) for row in rows]


class _Row:
    """A text that is being continued."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.tokens: list[int] = []
        self.stopped_at: int | None = None
        self.near = False

    def __len__(self) -> int:
        return len(self.text.tokens) + len(self.tokens)


def _write(model: PreTrainedModel, texts: Sequence[Text], rules: Rules) -> list[_Row]:
    """Write one batch: rows that ended leave it from time to time."""
    rows = [_Row(text) for text in texts]
    held = _read(model, texts, rules)
    choice = rules.choose([text.seed for text in texts])
    if rules.rewrite and held is not None and len(texts) > 1:
        longest = max(range(len(texts)), key=lambda place: len(texts[place].tokens))
        choice.compare(longest, _alone(model, texts[longest], keep(held, [longest], trim=0)))
    live, done = rows, 0
    while live and done < rules.max_new_tokens:
        # A product with one row has a route of its own; more rows have the process's.
        with narrow_products() if len(live) == 1 else nullcontext():
            ended = _round(model, live, held, choice, rules=rules, done=done)
        places = [place for place in range(len(live)) if place not in ended]
        longest, done = max(map(len, live)), choice.steps
        live = [live[place] for place in places]
        choice.keep(places)
        if held is not None and live and len(ended):
            held = keep(held, places, trim=longest - max(map(len, live)))
    return rows


def _alone(model: PreTrainedModel, text: Text, held: Cache) -> torch.Tensor:
    """Return the logits after a text, its last token read for itself; (vocabulary,)."""
    import torch

    count = len(text.tokens)
    with narrow_products():
        read = model(
            input_ids=torch.tensor([text.tokens[-1:]]), past_key_values=held, use_cache=True,
            attention_mask=torch.ones(1, count, dtype=torch.long),
            position_ids=torch.tensor([[count - 1]]),
        )  # fmt: skip
    logits: torch.Tensor = read.logits[0, -1].float()
    return logits


def _round(
    model: PreTrainedModel,
    live: Sequence[_Row],
    held: Cache | None,
    choice: Choice,
    *,
    rules: Rules,
    done: int,
) -> set[int]:
    """Write until all rows or enough of them have ended; return those that have."""
    ids, mask = _padded([[*row.text.tokens, *row.tokens] for row in live], rules.pad)
    start = ids.shape[1]
    stops = rules.stops(start - done) if rules.stops is not None else None
    pause_at = None if held is None else -(-len(live) // _ENDED_SHARE)
    watch = EndOrPause(stops, eos=rules.eos, pause_at=pause_at)
    tokens = model.generate(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device),
        generation_config=_configured(model, rules, rules.max_new_tokens - done),
        stopping_criteria=[watch], logits_processor=[choice],
        **({} if held is None else {"past_key_values": held}),
    )  # fmt: skip
    for place, (row, new) in enumerate(zip(live, tokens[:, start:].tolist(), strict=True)):
        row.tokens += new
        row.stopped_at = stops.ended_at.get(place) if stops is not None else None
        near_at = choice.near.get(place, choice.steps) - done
        row.near |= near_at < _own(new, row.stopped_at, rules.eos, done)
    return watch.ended


def _own(new: Sequence[int], stopped_at: int | None, eos: frozenset[int], done: int) -> int:
    """Count the tokens of a round that were chosen before the row's end."""
    ends = [place + 1 for place, token in enumerate(new) if token in eos]
    return min([len(new), *ends[:1], *([] if stopped_at is None else [stopped_at - done])])


def _read(model: PreTrainedModel, texts: Sequence[Text], rules: Rules) -> Cache | None:
    """Read all texts but for their last tokens; None: they are read when they are continued."""
    lengths = [len(text.tokens) - 1 for text in texts]
    if rules.prefill is None or min(lengths) < 1 or not can_continue(model):
        return None
    rows: dict[int, RowLayers] = {}
    for batch in rules.prefill(lengths):
        ids, mask = _padded([texts[place].tokens[:-1] for place in batch], rules.pad)
        # Rotary models count padding too, unless they are told where a text begins.
        places = (mask.cumsum(dim=1) - 1).clamp_min(0)
        read = model(
            input_ids=ids, attention_mask=mask, position_ids=places, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        held = getattr(read, "past_key_values", None)
        parts = rows_of(held, [lengths[place] for place in batch])
        if parts is None:
            return None
        rows |= dict(zip(batch, parts, strict=True))
    return together([rows[place] for place in range(len(texts))], room=rules.max_new_tokens + 1)


def _padded(
    rows: Sequence[Sequence[int]], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Fill rows up on the left; give tokens and mask, (rows, longest) both."""
    import torch

    longest = max(map(len, rows))
    blank = [longest - len(row) for row in rows]
    ids = [[pad] * empty + list(row) for empty, row in zip(blank, rows, strict=True)]
    mask = [[0] * empty + [1] * (longest - empty) for empty in blank]
    return torch.tensor(ids), torch.tensor(mask)


def _configured(model: PreTrainedModel, rules: Rules, most: int) -> GenerationConfig:
    """Return all that generation depends on; nothing comes from the checkpoint's own file."""
    from transformers import GenerationConfig

    # `generate` fills what is left open from the model's: leave it nothing to fill in.
    model.generation_config = GenerationConfig()
    return GenerationConfig(
        max_new_tokens=most, do_sample=False, num_beams=1, eos_token_id=sorted(rules.eos),
        pad_token_id=rules.pad, use_cache=True, return_dict_in_generate=False,
    )  # fmt: skip
