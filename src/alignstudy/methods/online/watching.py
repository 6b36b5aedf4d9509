"""What an online training's rollouts show of it: guards that shout, and never change a number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.records import GuardOutcome

MOST_GROWTH = 1.5
"""Times the first samples' mean length beyond which it is said."""
LEAST_ENTROPY = 0.3
"""Share of the first samples' entropy below which it is said."""
MOST_CUT = 0.05
"""Share of samples that don't end, or have no score, above which it is said."""


def watched(
    history: Sequence[Mapping[str, float]], settings: OnlineSettings
) -> Iterator[GuardOutcome]:
    """Yield what the first and the last rollout, and the largest KL, come to."""
    first, last = history[0], history[-1]
    yield _kl(history, settings.max_kl)
    grown = last["completions/mean_length"] / first["completions/mean_length"]
    yield _told(
        "samples_keep_their_length",
        grown <= MOST_GROWTH,
        f"samples have {last['completions/mean_length']:.1f} tokens, {grown:.2f} times as many as"
        " at the beginning",
        "what is rewarded may be length: compare scores at equal length",
    )
    left = last["entropy"] / max(first["entropy"], 1e-9)
    yield _told(
        "samples_stay_varied",
        left >= LEAST_ENTROPY,
        f"a token's entropy is {last['entropy']:.3g} nats, {left:.2f} times what it was",
        "the policy writes nearly the same every time: raise beta, or train for fewer steps",
    )
    for name, words, advice in (
        ("ended", "don't end", "raise sampling.max_new_tokens, or set missing_eos_penalty"),
        ("unscored", "have no score", "nothing is learnt of them: see the judge's own settings"),
    ):
        shares = [each[f"completions/{name}"] for each in history]
        shares = [1 - share for share in shares] if name == "ended" else shares
        share = sum(shares) / len(shares)
        guard = "samples_end" if name == "ended" else "samples_are_scored"
        yield _told(guard, share <= MOST_CUT, f"{share:.1%} of the samples {words}", advice)


def _kl(history: Sequence[Mapping[str, float]], most: float | None) -> GuardOutcome:
    found = [each["kl/reference"] for each in history]
    known = [kl for kl in found if kl == kl]
    if not known:
        detail = "no KL was measured: there is no reference (beta 0, max_kl null)"
        return GuardOutcome(guard="kl_stays_under_its_cap", passed=True, detail=detail)
    largest = max(known)
    detail = f"the largest KL to the reference that was measured is {largest:.3g} nats a sample"
    if most is None:
        return GuardOutcome(guard="kl_stays_under_its_cap", passed=True, detail=f"{detail}; no cap")
    return _told(
        "kl_stays_under_its_cap",
        largest <= most,
        f"{detail}, the cap {most:g}",
        "training ended there, and the model before it was taken: lower learning_rate, raise beta",
    )


def _told(guard: str, passed: bool, seen: str, advice: str) -> GuardOutcome:
    return GuardOutcome(guard=guard, passed=passed, detail=seen if passed else f"{seen}; {advice}")
