"""Rules that make training rows of rows and samples: pure functions, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from alignstudy.methods.rounds.drafts import with_drafts
from alignstudy.records import Pair

TRUNCATED = "the sample doesn't end"
EMPTY = "the sample is empty"
TOO_LONG = "the prompt leaves no room for a sample"
EQUAL = "the sample is the chosen response"
TOO_FEW = "fewer than two different samples end"
TIED = "the judge prefers no sample"
UNSCORED = "the judge gave no score"

REASONS = (TRUNCATED, EMPTY, TOO_LONG, EQUAL, TOO_FEW, TIED, UNSCORED)
"""Why a row has no sample to learn from."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One sample after a row's prompt.

    Attributes:
        text: As the protocol cuts it: stripped.
        ended: Whether the model ended it.
        fits: Whether the prompt left room for it.
        score: Where a judge gave one.
    """

    text: str
    ended: bool = True
    fits: bool = True
    score: float | None = None

    @property
    def fault(self) -> str:
        """Why nothing can be learnt from it; "" if it can."""
        if not self.fits:
            return TOO_LONG
        if not self.ended:
            return TRUNCATED
        return "" if self.text else EMPTY


Rule = Callable[[Pair, Sequence[Draw]], Pair | str]
"""A row and its samples -> the row to train on, or why there is none."""


def demo_v_sample(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Prefer the row's chosen response to what the model wrote (SPIN, IRFT)."""
    (draw,) = draws
    if draw.fault:
        return draw.fault
    if draw.text == row.chosen.strip():
        return EQUAL
    return replace(row, rejected=_follows(draw.text), gold=None)


def best_v_worst(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Prefer the sample that the judge scores highest to the one that it scores lowest."""
    ranked = _ranked(draws)
    if isinstance(ranked, str):
        return ranked
    if len(ranked) < 2:
        return TOO_FEW
    worst, best = ranked[0], ranked[-1]
    if worst.score == best.score:
        return TIED
    return replace(row, chosen=_follows(best.text), rejected=_follows(worst.text), gold=None)


def best_v_worst_with_wins(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Do the same, and say how likely each is to be preferred to a sample (SPPO).

    A sample's win is its mean over all samples, itself included, of S(its score - theirs): the
    Bradley-Terry probability where the judge is a reward model (arXiv 2405.00675, eq. 4.6, as its
    authors' code has it).
    """
    built, ranked = best_v_worst(row, draws), _ranked(draws)
    if isinstance(built, str) or isinstance(ranked, str):
        return built
    of = [draw.score for draw in draws if not draw.fault and draw.score is not None]
    chances = [sum(_preferred(one.score, each) for each in of) / len(of) for one in ranked]
    return replace(built, wins=(chances[-1], chances[0]))


def best_of_n(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Learn the sample that the judge scores highest."""
    ranked = _ranked(draws)
    if isinstance(ranked, str):
        return ranked
    return replace(row, chosen=_follows(ranked[-1].text), rejected=None, gold=None)


def gold_of_n(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Take the best sample as the pair's gold response (TPO)."""
    best = best_of_n(row, draws)
    return best if isinstance(best, str) else replace(row, gold=best.chosen)


def chosen_of_drafts(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Learn the row's chosen response, shown the drafts (AFT)."""
    return _after_drafts(row, draws, row.chosen)


def best_of_drafts(row: Pair, draws: Sequence[Draw]) -> Pair | str:
    """Learn the draft that the judge scores highest, shown all of them (AFT without a teacher)."""
    best = best_of_n(row, draws)
    return best if isinstance(best, str) else _after_drafts(row, draws, best.chosen)


RANKING = frozenset(
    {"best_v_worst", "best_v_worst_with_wins", "best_of_n", "gold_of_n", "best_of_drafts"}
)
"""Rules that heed a judge's scores."""

RULES: Mapping[str, Rule] = {
    "demo_v_sample": demo_v_sample,
    "best_v_worst": best_v_worst,
    "best_v_worst_with_wins": best_v_worst_with_wins,
    "best_of_n": best_of_n,
    "gold_of_n": gold_of_n,
    "chosen_of_drafts": chosen_of_drafts,
    "best_of_drafts": best_of_drafts,
}


def _follows(text: str) -> str:
    """Write a response as it follows the cue."""
    return f" {text}"


def _after_drafts(row: Pair, draws: Sequence[Draw], answer: str) -> Pair | str:
    """Show all drafts, as asking does: nothing is learnt from them, so that they need not end."""
    if not all(draw.fits for draw in draws):
        return TOO_LONG
    prompt = with_drafts(row.prompt, [draw.text for draw in draws])
    return replace(row, prompt=prompt, chosen=answer, rejected=None, gold=None)


def _ranked(draws: Sequence[Draw]) -> list[Draw] | str:
    """Return the different samples that can be learnt from, the best last; or why there is none.

    Of equal scores the earlier sample counts as the better one.
    """
    sound = {draw.text: draw for draw in reversed(draws) if not draw.fault}
    if not sound:
        return draws[0].fault
    scored = [draw for draw in sound.values() if draw.score is not None]
    if not scored:
        return UNSCORED
    return sorted(scored, key=lambda draw: draw.score or 0.0)


def _preferred(score: float | None, other: float) -> float:
    gap = max(-700.0, min(700.0, (score or 0.0) - other))
    return 1 / (1 + math.exp(-gap))
