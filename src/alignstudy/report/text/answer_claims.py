"""The answer where claims were stated: what the data say of each, by its verdict."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.analysis.claims.claims import VERDICTS, Verdict
from alignstudy.formatting import count, listing, plural

_GROUPS = (
    (("supported",), "Supported"),
    (("contradicted",), "Contradicted"),
    (("underpowered", "not supported"), "Not shown, either way"),
    (("equivalent",), "Equivalent, within the margin"),
    (("unmeasurable",), "Not measurable with these judges"),
)
_MOST_QUOTED = 2


def claims_in_words(verdicts: Sequence[Verdict]) -> str:
    """Return how many claims were stated and what became of them."""
    amounts = [(sum(item.verdict == name for item in verdicts), name) for name in VERDICTS]
    if len(verdicts) == 1:
        return f"The claim that was stated ({verdicts[0].claim}) is {verdicts[0].verdict}."
    said = [f"{amount} {name}" for amount, name in amounts if amount]
    verb = "is" if said[0].startswith("1 ") else "are"
    claims = plural(len(verdicts), "claim")
    if len(said) == 1:
        return f"All {claims} that were stated are {said[0].split(' ', 1)[1]}."
    first, rest = said[0].replace(" ", f" {verb} ", 1), listing(said[1:])
    return f"Of {claims} that were stated, {first}, {rest}."


def verdict_sentences(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a sentence for each kind of verdict: the first claims with their evidence."""
    sentences = []
    for names, heading in _GROUPS:
        group = [item for item in verdicts if item.verdict in names]
        said = [_claim(item) for item in group[:_MOST_QUOTED]]
        if len(group) > len(said):
            said.append(f"and {len(group) - len(said)} more, in the table of claims")
        if said:
            sentences.append(f"{heading}: {'; '.join(said)}.")
    return sentences


def _claim(item: Verdict) -> str:
    """Write a claim with the difference that decides it, and what it would take to settle it."""
    evidence = item.brief
    if item.n_needed is not None and item.verdict == "underpowered":
        evidence += f"; it would take {count(item.n_needed)} prompts a set"
    return f"{item.claim} ({evidence})" if evidence else item.claim
