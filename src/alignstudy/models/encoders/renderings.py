r"""How a pair classifier is shown a dialogue of several turns.

A sentence-pair judge has learnt from pairs that its makers cut in their own way; pairs cut in
another way are out of its distribution. Three ways are offered; which one a judge reads best is
measured on calibration pairs, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from alignstudy import dialogue
from alignstudy.dialogue import CUE, Turn
from alignstudy.errors import MetricError

Rendering = Literal["paper", "oa_trained", "last_turn"]

RENDERINGS: tuple[Rendering, ...] = ("paper", "oa_trained", "last_turn")
"""paper: prompt and response as they are, role tags and all (the published study).
oa_trained: as OpenAssistant's training code cut this data. last_turn: the last human turn and the
response, without tags."""

SEPARATOR = " . "
"""Stands between the parts of an `oa_trained` answer; the code's own where a tokenizer has none."""

_TAG = CUE.strip()


def render(prompt: str, response: str, how: Rendering) -> tuple[str, str]:
    """Write a dialogue as the two texts that a pair classifier reads.

    Args:
        prompt: A dialogue with role tags, its cue there or not.
        response: What follows it.
        how: One of `RENDERINGS`. oa_trained keeps the last two human turns: the first of the two
            is the first text; the second text joins the reply to it, the last human turn and the
            response. With one human turn it is last_turn.

    Source: LAION Open-Assistant, model/reward/instructor/rank_datasets.py, class AnthropicRLHF.
    """
    if how == "paper":
        return dialogue.without_system(prompt), response
    turns, words = prompt_turns(prompt), response_words(response)
    starts = [at for at, turn in enumerate(turns) if turn.role == "human"]
    first = starts[-1:] if how == "last_turn" else starts[-2:]
    later = turns[first[0] + 1 :]
    return turns[first[0]].text, SEPARATOR.join([*(turn.text for turn in later), words])


def prompt_turns(prompt: str) -> tuple[Turn, ...]:
    """Parse a prompt into turns that alternate and begin with a human one.

    The cue is no turn. Words before the first tag are a human turn (a prompt without tags is one
    as a whole), a system turn's words begin the first one; neighbouring turns of one role are
    joined by a blank line.
    """
    prompt = dialogue.without_system(prompt)
    parsed = dialogue.parse_turns(prompt)
    first = len(prompt)
    if parsed:
        found = [at for tag in dialogue.STOP_STRINGS if (at := prompt.find(tag)) >= 0]
        first = 0 if prompt.startswith(("Human:", "Assistant:")) else min(found)
    turns = [Turn("human", prompt[:first].strip()), *parsed]
    if turns[-1] == Turn("assistant", ""):
        turns.pop()
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            parts = (joined.pop().text, turn.text)
            joined.append(Turn(turn.role, "\n\n".join(part for part in parts if part)))
        else:
            joined.append(turn)
    return tuple(joined)


def response_words(response: str) -> str:
    """Strip a response, and the tag that a model writes itself where the prompt had no cue."""
    return response.strip().removeprefix(_TAG).strip()


def shorter(turns: tuple[Turn, ...]) -> Iterator[tuple[Turn, ...]]:
    """Return a dialogue, then ever less of it: the oldest human turn goes with its answer."""
    yield turns
    starts = [at for at, turn in enumerate(turns) if turn.role == "human"]
    for start in starts[1:]:
        yield turns[start:]


def choose_rendering(
    scores: Mapping[Rendering, Sequence[tuple[float | None, float | None]]],
) -> tuple[Rendering, dict[str, float]]:
    """Choose the rendering by which a judge ranks calibration pairs best.

    Args:
        scores: For each rendering, (score of chosen, score of rejected) of the same pairs in the
            same order; None where there is no score.

    Returns:
        Its name, and the accuracy of each in [0, 1]: the share of pairs whose chosen response has
        the higher score, ties half. A pair that any rendering has no score of counts for none. Of
        equally good ones the first in `RENDERINGS` is taken.

    Raises:
        MetricError: If no pair is left, or renderings have different numbers of pairs.
    """
    if len({len(pairs) for pairs in scores.values()}) != 1:
        raise MetricError(
            "a rendering is chosen on the same pairs for each, at least one rendering",
            why=f"there are { ({name: len(pairs) for name, pairs in scores.items()}) }",
            hint="score every pair in every rendering",
        )
    whole = [
        at
        for at, row in enumerate(zip(*scores.values(), strict=True))
        if all(score is not None for pair in row for score in pair)
    ]
    if not whole:
        raise MetricError(
            "no rendering can be chosen: no calibration pair has all its scores",
            hint="give calibration pairs, or name the rendering",
        )
    names = [name for name in RENDERINGS if name in scores]
    accuracy = {}
    for name in names:
        pairs = [scores[name][at] for at in whole]
        points = [0.5 if c == r else float((c or 0.0) > (r or 0.0)) for c, r in pairs]
        accuracy[name] = sum(points) / len(points)
    best = max(names, key=lambda name: accuracy[name])
    return best, {str(name): share for name, share in accuracy.items()}
