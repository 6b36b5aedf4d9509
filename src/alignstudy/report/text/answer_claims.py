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
_NUM_TOLD = 2


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
    return f"Of {claims} that were stated, {said[0].replace(' ', f' {verb} ', 1)}, {_rest(said)}."


def _rest(said: Sequence[str]) -> str:
    return listing(list(said[1:]))


def verdict_sentences(verdicts: Sequence[Verdict]) -> list[str]:
    """Return a sentence for each kind of verdict: the first claims with their evidence."""
    sentences = []
    for names, heading in _GROUPS:
        group = [item for item in verdicts if item.verdict in names]
        if group:
            sentences.append(f"{heading}: {_told(group)}.")
    return sentences


def _told(group: Sequence[Verdict]) -> str:
    """Tell the first claims of a group with evidence, and count the rest."""
    said = [_claim(item) for item in group[:_NUM_TOLD]]
    rest = len(group) - len(said)
    return "; ".join([*said, f"and {rest} more, in the table of claims"] if rest else said)


def _claim(item: Verdict) -> str:
    """Write a claim with the difference that decides it, and what it would take to settle it."""
    told = item.brief
    if item.n_needed is not None and item.verdict == "underpowered":
        told += f"; it would take {count(item.n_needed)} prompts a set"
    return f"{item.claim} ({told})" if told else item.claim
