"""How well-formed responses are, by model and prompt set, and the flags of single responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from alignstudy.analysis.model_figures import Hygiene
from alignstudy.analysis.results import Thresholds
from alignstudy.metrics.form import (
    CAP,
    COMPRESSION,
    ECHO,
    EMPTY,
    MEAN_WORDS,
    ROLE_TAG,
    echoes,
    is_blank,
    runs_on,
)
from alignstudy.metrics.refusal import COMPLY, EVASIVE, INCOHERENT, REFUSAL, classify
from alignstudy.metrics.repeats import (
    DISTINCT,
    LONGEST_LOOP,
    LOOP,
    LOOPING,
    REPETITION,
    repeated_ngrams,
    repeated_words,
    words,
)
from alignstudy.records import ScoredResponse, StopReason


def hygiene(rows: Sequence[ScoredResponse], *, budget: int | None) -> Hygiene:
    """Return the hygiene of a model's responses to one prompt set; at least one.

    Emptiness, echo, length and manner are those of the text that judges read; run-on turns, loops,
    variety and compression those of all that was generated, where it is known.

    Args:
        rows: Responses of one model on one axis, of all its seeds.
        budget: Words that distinct-n reads, the same for all models (`word_budget`); None: all.

    Raises:
        MetricError: If there is no response.
    """
    texts = tuple((row.prompt, row.response, generated(row)) for row in rows)
    reasons = [row.stop_reason for row in rows if row.stop_reason is not None]
    cap = CAP.of(reasons) if len(reasons) == len(rows) else None
    return replace(_of_texts(texts, budget), cap=cap)


@lru_cache(maxsize=32)  # the same responses come again with every judge
def _of_texts(texts: tuple[tuple[str, str, str], ...], budget: int | None) -> Hygiene:
    """Return all but the cap, of prompts, responses and all that was generated."""
    prompts, responses, raw = ([row[part] for row in texts] for part in range(3))
    said = [words(text) for text in raw]
    repeats = [repeated_words(found) for found in said]
    manners = [classify(text) for text in responses]
    distincts = [DISTINCT.of(said, size=size, budget=budget) for size in (1, 2, 3)]
    return Hygiene(
        n=len(texts),
        empty=EMPTY.of(responses),
        cap=None,
        role_tag=ROLE_TAG.of(raw),
        repetition=REPETITION.of(repeats),
        mean_words=MEAN_WORDS.of(responses),
        loop=LOOP.of(repeats),
        echo=ECHO.of(prompts, responses),
        distinct_1=distincts[0],
        distinct_2=distincts[1],
        distinct_3=distincts[2],
        longest_loop=LONGEST_LOOP.of(said),
        compression=COMPRESSION.of(raw),
        refusal=REFUSAL.of(manners),
        evasive=EVASIVE.of(manners),
        incoherent=INCOHERENT.of(manners),
        comply=COMPLY.of(manners),
    )


def generated(row: ScoredResponse) -> str:
    """Return all that was generated, before the protocol's cuts; the response where not known."""
    return row.response if row.raw_response is None else row.raw_response


def word_budget(rows_by_model: Mapping[str, Sequence[ScoredResponse]]) -> int | None:
    """Return the words that every model has on one prompt set, for distinct-n to read.

    A model without a word has no distinct-n and doesn't count.

    Returns:
        The fewest words and punctuation marks of a model that has any; None where none has.
    """
    totals = [sum(len(words(generated(row))) for row in rows) for rows in rows_by_model.values()]
    return min((total for total in totals if total), default=None)


def is_empty(row: ScoredResponse) -> bool:
    """Whether a response is without a word."""
    return is_blank(row.response)


def fails_as_empty(row: ScoredResponse, thresholds: Thresholds) -> bool:
    """Whether a response fails whatever its score: an empty one is no help.

    On other axes the judge's score holds, and the rate is shown with and without the empty ones
    (`sensitivities`): nothing said has no merit, but does no harm either.
    """
    return row.axis in thresholds.empty_fails and is_empty(row)


FLAGS: dict[str, Callable[[ScoredResponse], bool]] = {
    "empty": is_empty,
    "cap": lambda row: row.stop_reason == StopReason.CAP,
    "role_tag": lambda row: runs_on(generated(row)),
    "loop": lambda row: repeated_ngrams(generated(row)) > LOOPING,
    "echo": lambda row: echoes(row.prompt, row.response),
    "refusal": lambda row: classify(row.response) == "refuse",
    "evasive": lambda row: classify(row.response) == "evasive",
    "incoherent": lambda row: classify(row.response) == "incoherent",
}
"""What can be wrong with a response; "cap" only where generation said why it ended."""
