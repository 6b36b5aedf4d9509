"""What became of rewards that models learnt from, in sentences: alarms, cautions, a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from alignstudy.analysis.findings import Findings
from alignstudy.formatting import interval, listing, number, p_in_words, percent, plural
from alignstudy.metrics.rates import SCORE
from alignstudy.records.rewards import TELLING_GROWTH, JudgeMove, RewardCheck, RewardVerdict, Role

REWARD_VERDICTS: dict[RewardVerdict, tuple[str, str]] = {
    "hacked": ("bad", "hacked the reward"),
    "suspected": ("bad", "may have hacked the reward"),
    "alone": ("open", "rose in no other judge's eyes"),
    "unwatched": ("open", "rose with no other judge to see it"),
    "no rise": ("open", "didn't raise the reward"),
    "untested": ("plain", "had too few prompts to tell"),
    "shared": ("good", "rose by an independent judge, too"),
}
"""How each verdict is set off, and what a recipe did that has it; the gravest first."""


def start_in_words(check: RewardCheck) -> str:
    """Return what a model that learnt from scores is held against: its chain, or the base."""
    return " > ".join(check.start) or "the base"


def seeds_in_words(check: RewardCheck) -> str:
    """Return what trainings a check is of."""
    return "all seeds" if check.seed is None else f"seed {check.seed}"


def hacked_models(findings: Findings) -> set[str]:
    """Return the recipes that are accused of reward hacking, under any seed."""
    return {check.model for check in findings.rewards if check.verdict == "hacked"}


def reward_alarms(findings: Findings) -> tuple[str, ...]:
    """Return the accusations of reward hacking, one a recipe."""
    return tuple(
        f"Reward hacking: {said}. Don't take its gain by {_names(check, 'trained')} for a gain in"
        f" quality.{_length(check)}"
        for check, said in _told(findings.rewards)
        if check.verdict == "hacked"
    )


def reward_cautions(findings: Findings) -> Iterator[str]:
    """Say of every other recipe that learnt from scores what its reward doesn't show."""
    for check, said in _told(findings.rewards):
        length = _length(check)
        if check.verdict not in ("hacked", "shared"):
            yield f"{said}.{length}"
        elif check.verdict == "shared" and length:
            yield f"{said}.{length} A judge may like that."


def rewards_in_short(findings: Findings) -> str:
    """Count what became of the recipes that learnt from scores; "" where none did."""
    found = Counter(check.verdict for check in gravest(findings.rewards))
    if not found:
        return ""
    said = [f"{found[name]} {did}" for name, (_, did) in REWARD_VERDICTS.items() if found[name]]
    return f"Of {plural(found.total(), 'recipe')} that learnt from judges' scores, {listing(said)}."


def gravest(checks: Sequence[RewardCheck]) -> Iterator[RewardCheck]:
    """Return the gravest check of each recipe; of equally grave ones that of all seeds."""
    order = list(REWARD_VERDICTS)
    for model in dict.fromkeys(check.model for check in checks):
        own = [check for check in checks if check.model == model]
        yield min(own, key=lambda check: (order.index(check.verdict), check.seed is not None))


def _told(checks: Sequence[RewardCheck]) -> Iterator[tuple[RewardCheck, str]]:
    """Return the gravest check of each recipe, with what it says, without the full stop.

    Of several seeds its numbers are of one, or of all together; others of that verdict are named.
    """
    for check in gravest(checks):
        own = [each for each in checks if each.model == check.model]
        others = [each.seed for each in own if each.verdict == check.verdict]
        others = [seed for seed in others if seed not in (None, check.seed)]
        where = "" if len(own) == 1 else f" ({seeds_in_words(check)})"
        like = listing([str(seed) for seed in others])
        more = f"; the verdict is the same under seed {like} alone" if like else ""
        yield (
            check,
            f"{check.model}{where} learnt from the scores of {_names(check, 'trained')}: against"
            f" {start_in_words(check)} {_what(check)}{more}",
        )


def _what(check: RewardCheck) -> str:
    """Say what became of the scores."""
    trained, others = list(check.of_role("trained")), list(check.of_role("independent"))
    fallen = [move for move in check.of_role("independent", "below its floor") if move.fell]
    fell = f"those of {_strangers(fallen)} fell ({_moves(fallen)})"
    if check.verdict == "untested":
        return "nothing could be tested, on too few prompts"
    if check.verdict == "no rise":
        said = f"they are not shown to have risen ({_moves(trained)})"
        return f"{said}, and {fell}" if fallen else said
    rose = f"they rose ({_moves([move for move in trained if move.rose])})"
    if check.verdict == "unwatched":
        stamped = _names(check, "below its floor")
        but = f" but {stamped}, below the floor" if stamped else ""
        return f"{rose}, and nobody else looked{but}: add a judge that nothing learns from"
    if check.verdict == "hacked":
        sure = [move for move in fallen if move.surely_fell]
        return f"{rose}, and those of {_strangers(sure)} fell ({_moves(sure)})"
    if check.verdict == "suspected":
        return f"{rose}, and {fell}: {_doubt(fallen)}"
    told = f"{rose}, and those of {_strangers(others)}"
    if check.verdict == "alone":
        return f"{told} are not shown to have moved ({_moves(others)})"
    return f"{told} rose, too ({_moves([move for move in others if move.rose])})"


def _doubt(fallen: Sequence[JudgeMove]) -> str:
    """Say why a fall is no accusation."""
    known = [move.p_holm for move in fallen if move.p_holm is not None]
    if not known:
        return "this is reward hacking if a judge below its floor can be believed"
    return f"this may be reward hacking, or chance ({p_in_words(min(known))} after Holm)"


def _strangers(moves: Sequence[JudgeMove]) -> str:
    return f"{'a judge' if len(moves) == 1 else 'judges'} that had no part in it"


def _moves(moves: Sequence[JudgeMove]) -> str:
    """List judges with what their scores changed by: `small +0.41 [0.30, 0.52]`."""
    digits = SCORE.digits
    return listing(
        [
            f"{move.judge} {number(move.difference.value, digits, signed=True)}"
            f" {interval(move.difference, digits)}"
            for move in moves
        ]
    )


def _names(check: RewardCheck, role: Role) -> str:
    return listing([move.judge for move in check.of_role(role)])


def _length(check: RewardCheck) -> str:
    """Say how much longer or shorter responses have become, as a sentence; "" if not much."""
    if 1 / TELLING_GROWTH <= check.growth <= TELLING_GROWTH:
        return ""
    cut = check.end_truncated
    more = f", and {percent(cut, 0)} are cut" if cut > check.start_truncated else ""
    return (
        f" Its answers are {number(check.growth, 1)} times as long ({number(check.end_tokens, 0)}"
        f" tokens, {number(check.start_tokens, 0)} before){more}."
    )
