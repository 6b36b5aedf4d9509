"""The verdicts that a claim can get: how each is set off, and what it means."""

from __future__ import annotations

from typing import NamedTuple


class VerdictWords(NamedTuple):
    """How a verdict is shown.

    Attributes:
        kind: "good" (as was claimed), "bad" (against the claim), "open" (not settled), "plain".
        meaning: In a sentence, as the glossary has it.
    """

    kind: str
    meaning: str


VERDICTS = {
    "supported": VerdictWords(
        "good",
        "The claim is shown beyond its margin, corrected for all stated claims, by every judge"
        " above its floor.",
    ),
    "contradicted": VerdictWords("bad", "The data reject the claim at the corrected level."),
    "equivalent": VerdictWords(
        "plain", "The models are shown to lie within the margin of each other."
    ),
    "too small to decide": VerdictWords(
        "open",
        "Not shown, and a study of this size would miss the smallest difference of interest more"
        " often than once in five times.",
    ),
    "no difference of interest shown": VerdictWords(
        "open",
        "Not shown, though a difference of interest would have been seen with 80 % power.",
    ),
    "not borne out": VerdictWords(
        "open",
        "A description (a superlative, a median, a bound) that is false in this sample, without"
        " the data rejecting it.",
    ),
    "unmeasurable": VerdictWords(
        "plain", "No judge lies above its floor there, or the figure was not measured."
    ),
}


def verdict_kind(verdict: str) -> str:
    """Return how a verdict is set off; one that isn't known is open."""
    return VERDICTS[verdict].kind if verdict in VERDICTS else "open"
