"""Whether a stage fits a card, how, and what would make it fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from alignstudy.errors import InputError
from alignstudy.methods import LoRASettings, TrainingSettings
from alignstudy.study.cost.memory import MOMENTS, Footprint, training_footprint

CONTEXT, USABLE = 2.0**29, 0.95
"""Bytes of a card that its driver and kernels take, and the share of the rest that tensors fill."""
GIB = 2.0**30
SHORTEST = 64
"""Tokens of a row below which nobody is advised to cut it."""
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(GiB|GB|G)", re.IGNORECASE)


@dataclass(frozen=True)
class Fit:
    """How a stage fits a card.

    Attributes:
        footprint: As it would run there; of what doesn't fit, the least that it can take.
        memory: Bytes of that.
        fits: Whether it does.
    """

    footprint: Footprint
    memory: float
    fits: bool

    @property
    def words(self) -> str:
        """Say it: fits, fits with gradient checkpointing, ..., doesn't fit."""
        if not self.fits:
            return "doesn't fit"
        ways = ["gradient checkpointing"] if self.footprint.recomputed else []
        ways += ["moments in the processor's memory"] if self.footprint.offloaded else []
        return " with ".join(["fits", *([" and ".join(ways)] if ways else [])])


def card_size(said: str) -> float:
    """Read a card's memory: `24GiB`, `80 GB`.

    Raises:
        InputError: If it is none.
    """
    found = _SIZE.fullmatch(said.strip())
    if found is None or not float(found[1]):
        raise InputError(
            f"'{said}' is no size of a card's memory", hint="write it as 24GiB, or 24GB"
        )
    return float(found[1]) * (1e9 if found[2].lower() == "gb" else 2.0**30)


def usable(card: float) -> float:
    """Return the bytes of a card's memory that tensors may fill."""
    return USABLE * (card - CONTEXT)


def fit(footprint: Footprint, card: float) -> Fit:
    """Find how a stage fits a card: as it is, in smaller pieces, with layers computed again, ...

    That is what training does where memory runs out; generation and judges cut their batches.

    Args:
        footprint: Of the stage.
        card: Bytes of the card's memory.
    """
    tried = footprint
    for tried in _smaller(footprint):
        if (memory := tried.memory(on_gpu=True)) <= usable(card):
            return Fit(tried, memory, fits=True)
    return Fit(tried, tried.memory(on_gpu=True), fits=False)


def _smaller(footprint: Footprint) -> Iterator[Footprint]:
    """Yield a footprint, and what it becomes where memory runs out, one after another."""
    yield footprint
    while footprint.rows > footprint.texts and not footprint.whole:
        rows = footprint.rows // footprint.texts // 2 * footprint.texts
        footprint = replace(footprint, rows=rows)
        yield footprint
    if footprint.trained and not footprint.whole:
        footprint = replace(footprint, recomputed=True)
        yield footprint
    if footprint.trained and footprint.moments == MOMENTS:  # those in 8 bits stay
        yield replace(footprint, offloaded=True)


def nearest_that_fits(settings: TrainingSettings, footprint: Footprint, card: float) -> str:
    """Return the settings that would make a training fit, as they are written; "": none would.

    Fewest changes of what is computed first: moments in 8 bits, an adapter, its base in 4 bits, and
    last of all shorter rows.

    Args:
        settings: Of the training, which doesn't fit.
        footprint: What it takes.
        card: Bytes of the card's memory.
    """
    for words, changes in _changes(settings):
        changed = settings.model_copy(update=changes)
        assert footprint.shape is not None
        beside = footprint.trained - training_footprint(settings, footprint.shape).trained
        held = footprint.held - beside
        tried = training_footprint(changed, footprint.shape, held=held, critic=beside)
        if fit(tried, card).fits:
            return words
    return ""


def _changes(settings: TrainingSettings) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield changes of settings, the least first, in words."""
    adaptable = type(settings).model_fields["lora"].annotation is not type(None)
    lora = settings.lora or LoRASettings()
    fewer: list[tuple[str, dict[str, object]]] = []
    if settings.lora is None and settings.optim != "adamw_8bit":
        fewer.append(("optim: adamw_8bit", {"optim": "adamw_8bit"}))
    if adaptable and settings.lora is None:
        fewer.append(("lora: {}", {"lora": lora}))
    if adaptable and not settings.in_4bit:
        packed = lora.model_copy(update={"load_in_4bit": True})
        fewer.append(("lora: {load_in_4bit: true}", {"lora": packed}))
    yield from fewer
    length = settings.max_length // 2
    while length >= SHORTEST:
        for words, changes in [("", {}), *fewer[-1:]]:
            said = ", ".join(filter(None, [words, f"max_length: {length}"]))
            yield said, {**changes, "max_length": length}
        length //= 2
