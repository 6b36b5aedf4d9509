"""What training did to the likelihood of preferred responses, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from alignstudy.formatting import listing, number, percent
from alignstudy.records.evidence import COLLAPSED, TrainingRecord
from alignstudy.stats.resampling.clustered_share import effective_wilson

HALF = 50.0
"""Percent of pairs: if training moved chosen responses at random, half of them would fall. It is
said to lower (raise) them where their mean falls (rises) and the 95 % Wilson interval of the share
that fell lies above (below) it: a few long responses, or many tiny changes, make no finding."""

_PAIRS = {"held_out": "held-out pairs", "train": "training pairs"}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What became of the chosen responses of a recipe's last training, means over its seeds.

    Attributes:
        gain: Mean change of their summed log-probability, in nats.
        gain_per_token: Likewise of the mean a token.
        margin: What chosen responses gained over rejected ones, in nats.
        fell: Percent of pairs whose chosen response became less likely.
        pairs: How many pairs these are.
    """

    recipe: str
    gain: float
    gain_per_token: float
    margin: float
    fell: float
    pairs: int

    @property
    def direction(self) -> int:
        """-1 if chosen responses became less likely, 1 if likelier, 0 if that isn't settled."""
        low, high = effective_wilson(self.fell / 100, self.pairs)
        if self.gain < 0 and low > HALF:
            return -1
        return 1 if self.gain > 0 and high < HALF else 0


def moved(training: Sequence[TrainingRecord], part: str) -> list[Moved]:
    """Return what became of the probe's pairs of one part, by recipe."""
    found: dict[str, list[TrainingRecord]] = {}
    for record in training:
        if part in record.probed:
            found.setdefault(record.recipe, []).append(record)
    made = []
    for recipe, records in found.items():
        ends = [record.probed[part] for record in records]
        made.append(
            Moved(
                recipe=recipe,
                gain=fmean(end["chosen_change"] for _, end in ends),
                gain_per_token=fmean(
                    end["chosen_per_token"] - start["chosen_per_token"] for start, end in ends
                ),
                margin=fmean(end["margin_change"] for _, end in ends),
                fell=100 * fmean(end["chosen_fell"] for _, end in ends),
                pairs=min(end["pairs"] for _, end in ends),
            )
        )
    return made


def likelihoods_in_words(training: Sequence[TrainingRecord]) -> tuple[str, ...]:
    """Return in which recipes chosen responses became less likely; () where nothing was probed."""
    parts = [record.probed for record in training if record.probed]
    part = "held_out" if parts and all("held_out" in each for each in parts) else "train"
    return tuple(_sentences(moved(training, part), _PAIRS[part]))


def _sentences(found: Sequence[Moved], pairs: str) -> Iterator[str]:
    fell, rose, open_ = ([m for m in found if m.direction == way] for way in (-1, 1, 0))
    for apart, tail in (
        (True, ", rejected ones even less: likelihood displacement"),
        (False, ", rejected ones no less"),
    ):
        said = [
            f"{m.recipe} ({number(m.gain, 1)} nats; {percent(m.fell, 0)} of {m.pairs} {pairs})"
            for m in fell
            if (m.margin > 0) == apart
        ]
        if said:
            yield f"Chosen responses became less likely in {listing(said)}{tail}."
    if rose:
        yield f"Chosen responses became likelier in {listing([m.recipe for m in rose])}."
    if open_:
        names, most = listing([m.recipe for m in open_]), max(m.pairs for m in open_)
        yield f"Whether chosen responses became likelier in {names} is open by {most} {pairs}."


def collapses(training: Sequence[TrainingRecord]) -> Iterator[str]:
    """Warn of trainings after which chosen responses are beyond what the model would write."""
    least: dict[str, float] = {}
    for part in _PAIRS:
        for item in moved(training, part):
            least[item.recipe] = min(least.get(item.recipe, 0.0), item.gain_per_token)
    for recipe, gain in least.items():
        if gain < COLLAPSED:
            yield (
                f"{recipe} made chosen responses less likely by {number(-gain, 1)} nats a token:"
                " the model no longer writes what it learnt before. Look at its responses; a lower"
                " learning_rate or a higher beta keeps it nearer."
            )
