"""Whether a model writes rows beside one another as it writes each alone: it is asked.

Models differ in what company does to a row. Most bear it; some take padding for text (states that
run over it, positions that count it), some look across rows, some follow the longest row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from alignstudy.errors import first_line
from alignstudy.generation.choosing import Choice
from alignstudy.generation.padded import generate
from alignstudy.generation.rules import Rules, Text
from alignstudy.models.batching import run_halving

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Beside = Literal["side by side", "padded", "of one length"]
Kind = Literal["side by side", "padded", "of one length", "alone"]

_LONG, _SHORT = 32, 8
"""Most tokens of the two rows that a model is asked about."""

_STEPS: dict[Beside, int] = {"side by side": 2, "padded": 8, "of one length": 8}
"""How many tokens it writes after them: keys and values show at once what company does to them, a
state of another kind perhaps some tokens later."""

_FEW = 3
"""Times shorter are texts whose keys and values are all that is asked about: most models bear it,
and each passes this way once."""

_LIMITS = {4: 2.0**-12, 2: 2.0**-4}
"""By bytes of a weight: how far company may move scores, as a share of the largest. Rounding moves
them by 2**-19 in float32 and by 2**-7 in bfloat16; what takes padding for text, by a tenth."""


@dataclass(frozen=True)
class Way:
    """How rows may be written.

    Attributes:
        kind: Places of one cache that change hands; batches padded at their beginnings; batches of
            rows of one length; each by itself.
        moved: How far company moved the scores of rows, as a share of the largest.
    """

    kind: Kind
    moved: float


class Recorder(Choice):
    """Takes the likeliest tokens, and keeps what it chose them by.

    Attributes:
        seen: Scores of every step, (rows, vocabulary).
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores."""
        self.seen.append(scores.float().clone())
        return scores


ALONE = Way("alone", 0.0)

_FOUND: WeakKeyDictionary[Any, Way] = WeakKeyDictionary()


def way_of(model: PreTrainedModel, texts: Iterable[Text], rules: Rules) -> Way:
    """Return the best way in which a model writes two rows as it writes each alone.

    A model is asked once, at the beginnings of a long and a short text. A user is told where one
    bears no padding, which takes longer.

    Args:
        model: In evaluation mode.
        texts: What it is to write on.
        rules: How to write.

    Raises:
        EnvironmentFault: If one of these rows doesn't fit into memory even alone.
    """
    if model not in _FOUND:
        by_length = sorted(texts, key=lambda text: len(text.tokens))
        most = int(min(_LONG, beside_up_to(model) - max(_STEPS.values())))
        long, short = (by_length[-1].tokens * _SHORT)[: max(1, most)], by_length[0].tokens
        short = short[: max(1, min(_SHORT, len(long) // 4))]
        _FOUND[model] = way = _best(model, [Text(tokens=long), Text(tokens=short)], rules)
        if way.kind in ("of one length", "alone"):
            rules.note(f"{type(model).__name__} bears no padding: responses are written {way.kind}")
    return _FOUND[model]


def beside_up_to(model: PreTrainedModel) -> float:
    """Return how many tokens a row may have at its end that is written beside others.

    Beyond the length that it was pretrained with, the frequencies of a "dynamic" or "longrope"
    rotation are those of the longest row that a model reads at once.
    """
    config: Any = model.config.get_text_config()
    found = getattr(config, "rope_parameters", None) or {}
    lengths = [
        each.get("original_max_position_embeddings") or config.max_position_embeddings
        for each in (found, *found.values())
        if isinstance(each, dict) and each.get("rope_type") in ("dynamic", "longrope")
    ]
    return min(lengths, default=inf)


def forget_lengths(model: PreTrainedModel) -> None:
    """Make a model with a "dynamic" rotation forget the longest row it has read: read one token."""
    import torch

    with torch.inference_mode():
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device))


def _best(model: PreTrainedModel, texts: Sequence[Text], rules: Rules) -> Way:
    """Try the ways in turn."""
    long, short = texts
    # As long as the short one, yet another: what looks across rows must find something else there.
    other = long.tokens[-len(short.tokens) :]
    equal = [short, Text(tokens=other if other != short.tokens else (*other[1:], rules.pad))]
    limit = _LIMITS.get(model.dtype.itemsize, _LIMITS[4])
    few = [Text(tokens=text.tokens[: -(-len(text.tokens) // _FEW)]) for text in texts]
    trials: dict[Beside, Sequence[Text]] = {"side by side": few, "padded": texts}
    trials["of one length"] = equal
    for kind, asked in trials.items():
        moved = _moved(model, kind, asked, rules)
        if moved <= limit:
            return Way(kind, moved)
    return ALONE


def _moved(model: PreTrainedModel, kind: Beside, texts: Sequence[Text], rules: Rules) -> float:
    """Return how far company moves rows' scores; infinity: they can't be written this way."""
    from alignstudy.generation.room import NotSideBySideError
    from alignstudy.generation.slots import Slots

    together, truth = Recorder(), [Recorder() for _ in texts]
    asked = replace(
        rules,
        max_new_tokens=_STEPS[kind],
        eos=frozenset(),
        stops=None,
        choose=lambda _: together,
        rewrite=False,
        rows=len(texts),
        most_tokens=10**9,
        products=None,
    )
    for text, recorder in zip(texts, truth, strict=True):
        write = partial(generate, model, rules=asked, choice=recorder)
        run_halving([text], write, note=rules.note)
    try:
        if kind == "side by side":
            list(Slots(model, texts, asked).run())
        else:
            generate(model, texts, asked, together)
    except NotSideBySideError:
        return inf
    except Exception as error:  # whatever a model does that was never written beside others
        rules.note(f"responses aren't written {kind}: {first_line(error)}")
        return inf
    return max(_apart(together, row, alone) for row, alone in enumerate(truth))


def _apart(together: Recorder, row: int, alone: Recorder) -> float:
    """Return the largest difference of a row's scores, as a share of the largest score.

    They are compared as long as both chose the same tokens, and where the row alone has numbers.
    """
    if len(together.seen) != len(alone.seen):  # memory didn't hold both rows
        return inf
    largest = 0.0
    for beside, by_itself in zip(together.seen, alone.seen, strict=True):
        mine, own = beside[row], by_itself[0]
        numbers = own.isfinite()
        if not numbers.any():  # a model that has diverged
            break
        apart = (mine - own)[numbers].abs().nan_to_num(nan=inf, posinf=inf).max()
        largest = max(largest, float(apart / own[numbers].abs().max()))
        if int(mine.argmax()) != int(own.argmax()):
            break
    return largest
