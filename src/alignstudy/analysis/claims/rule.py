"""The rule by which tests become verdicts; no wording, no data.

A claim has parts, which must all hold; a part is tested with every judge that is valid on its axis.
Its p-values are those of two-sided tests at the boundary that it names (no difference, a margin, a
bound), each for one direction:

- *for* a claim: the largest of its parts' and judges', for all of them must be shown
  (intersection-union test, Berger 1982, doi:10.1080/00401706.1982.10487790);
- *against* it: the smallest of its parts', times the number of parts, for one false part is enough;
  of a part, the largest of its judges'.

The smaller of the two is the claim's, and Holm's correction runs over the stated claims: it gives
each the level at which it is judged. Then, at that level:

- *supported*: every part is shown, and its 95 % interval lies beyond the boundary;
- *equivalent*: a claim of equivalence: both one-sided tests reject; a claim of more than a margin:
  the data reject it, and show that the difference is above minus the margin;
- *contradicted*: the data reject the claim;
- *not borne out*: a description (a superlative, a median, a bound, `in_sample`) is false in the
  sample, and the data don't reject it;
- *too small to decide*: else, if the smallest difference of interest beyond the boundary would be
  missed more often than once in five times;
- *no difference of interest shown*: else;
- *unmeasurable*: no judge is valid, there is no such figure, or two judges show the opposite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alignstudy.analysis.results import Comparison
from alignstudy.records import Estimate
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.power.planning import (
    ALPHA,
    POWER,
    Design,
    joint_power,
    prompts_for,
    seeds_for,
    smallest,
)

SHOWN = frozenset({"supported", "equivalent"})
UNDECIDED = frozenset({"too small to decide", "no difference of interest shown"})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one judge's scores say of a part of a claim.

    Attributes:
        judge: Whose scores.
        estimate: The figure, or the difference as claimed.
        holds: Whether the part is so in the sample.
        shows: Whether the whole 95 % interval lies where the part says.
        p_for: Of "it is not so"; None where no test was made.
        p_against: Of "it is so".
        p_within: Of "it is below minus the margin", for a claim of more than a margin.
        design: What the test can find; None where no spread is known.
        pair: The comparison, turned as claimed; None for a figure of one model.
    """

    judge: str
    estimate: Estimate
    holds: bool
    shows: bool
    p_for: float | None = None
    p_against: float | None = None
    p_within: float | None = None
    design: Design | None = None
    pair: Comparison | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """One figure of one pair of models, or of one model, as a claim says it is.

    Attributes:
        evidence: One a valid judge; empty where it is unmeasurable.
        is_equivalence: Whether the claim is that two models are alike.
        is_description: Whether it describes a sample.
        in_sample: Whether it is of these responses only: no test is asked.
        interest: The smallest distance of interest from the boundary, in the figure's unit; None:
            not known.
    """

    evidence: tuple[Evidence, ...] = ()
    is_equivalence: bool = False
    is_description: bool = False
    in_sample: bool = False
    interest: float | None = None

    @property
    def p_for(self) -> float:
        """Of "it is not so", over all judges; 1 without a test."""
        return max((1.0 if e.p_for is None else e.p_for for e in self.evidence), default=1.0)

    @property
    def p_against(self) -> float:
        """Of "it is so", over all judges; 1 without a test."""
        found = (1.0 if e.p_against is None else e.p_against for e in self.evidence)
        return max(found, default=1.0)

    @property
    def is_tested(self) -> bool:
        """Whether every judge's scores were tested."""
        tested = all(e.p_for is not None for e in self.evidence)
        return bool(self.evidence) and tested and not self.in_sample

    @property
    def p_within(self) -> float:
        """The p-value of "below minus the margin", over all judges; 1 without a margin."""
        found = (1.0 if e.p_within is None else e.p_within for e in self.evidence)
        return max(found, default=1.0)

    def judges_clash(self, level: float) -> bool:
        """Whether one judge's scores show that it is so, and another's that it is not."""
        shown = any(e.p_for is not None and e.p_for < level for e in self.evidence)
        return shown and any(e.p_against is not None and e.p_against < level for e in self.evidence)

    def weakest(self, level: float) -> Design | None:
        """Return the design of the judge that is least likely to find what is of interest."""
        designs = [evidence.design for evidence in self.evidence]
        if self.interest is None or not designs or None in designs:
            return None
        known = [design for design in designs if design is not None]
        distance = self.interest
        return min(known, key=lambda design: design.power(distance, alpha=level))


@dataclass(frozen=True)
class Ruling:
    """A verdict without its words.

    Attributes:
        verdict: One of `VERDICTS`.
        parts: Each part's own, at the claim's level.
        level: Two-sided level at which the claim was judged.
        p_value: The claim's own; None where nothing was tested.
        p_holm: Corrected for all stated claims.
        power: Chance to have found the smallest differences of interest, percent; None where it
            isn't known, or the claim is decided.
        n_needed: Prompts a set at which that is 80 %.
        seeds_needed: Training seeds at which it is.
    """

    verdict: str
    parts: tuple[str, ...] = ()
    level: float = ALPHA
    p_value: float | None = None
    p_holm: float | None = None
    power: float | None = None
    n_needed: int | None = None
    seeds_needed: int | None = None


def rulings(claims: Sequence[Sequence[Part]]) -> list[Ruling]:
    """Judge all stated claims together.

    Args:
        claims: The parts of each.
    """
    p_values = [_p_value(parts) for parts in claims]
    tested = [at for at, p_value in enumerate(p_values) if p_value is not None]
    adjusted = holm([p_values[at] or 0.0 for at in tested])
    p_holm = dict(zip(tested, adjusted, strict=True))
    levels = levels_of([p_values[at] or 0.0 for at in tested])
    level_of = dict(zip(tested, levels, strict=True))
    return [
        _ruling(parts, level_of.get(at, ALPHA / max(1, len(tested))), p_values[at], p_holm.get(at))
        for at, parts in enumerate(claims)
    ]


def _p_value(parts: Sequence[Part]) -> float | None:
    """Return a claim's own p-value; None where nothing of it was tested."""
    tested = [part for part in parts if part.is_tested]
    if not tested:
        return None
    against = len(parts) * min(part.p_against for part in tested)
    return min(1.0, max(part.p_for for part in parts), against)


def levels_of(p_values: Sequence[float]) -> list[float]:
    """Return the level at which Holm's procedure judges each hypothesis of a family.

    Those that are rejected one after the other are judged at 5 % over those that were left; all
    others at the level at which it stopped.
    """
    levels = [0.0] * len(p_values)
    left, stopped = len(p_values), False
    for at in sorted(range(len(p_values)), key=p_values.__getitem__):
        levels[at] = ALPHA / left
        stopped = stopped or p_values[at] >= levels[at]
        left -= 0 if stopped else 1
    return levels


def _ruling(
    parts: Sequence[Part], level: float, p_value: float | None, p_holm: float | None
) -> Ruling:
    found = tuple(_of_part(part, level, len(parts)) for part in parts)
    whole = conjunction(found, is_equivalence=any(part.is_equivalence for part in parts))
    if whole not in UNDECIDED:
        return Ruling(whole, found, level, p_value, p_holm)
    designs = [part.weakest(level) for part in parts]
    tests = [
        (design, part.interest)
        for design, part in zip(designs, parts, strict=True)
        if design is not None and part.interest is not None
    ]
    if len(tests) < len(parts):
        return Ruling("too small to decide", found, level, p_value, p_holm)
    power = joint_power(tests, alpha=level)
    could = power >= POWER and not any(part.is_equivalence for part in parts)
    return Ruling(
        "no difference of interest shown" if could else "too small to decide",
        found,
        level,
        p_value,
        p_holm,
        100.0 * power,
        prompts_for(tests, alpha=level),
        seeds_for(tests, alpha=level),
    )


def _of_part(part: Part, level: float, num_parts: int) -> str:
    """Judge a part at its claim's level."""
    if not part.evidence:
        return "unmeasurable"
    if part.in_sample:
        return "supported" if all(e.holds for e in part.evidence) else "not borne out"
    decided = _by_test(part, level, num_parts) if part.is_tested else ""
    if decided:
        return decided
    if part.is_description and not any(e.holds for e in part.evidence):
        return "not borne out"
    design = part.weakest(level)
    if design is None or part.interest is None or part.is_equivalence:
        return "too small to decide"
    enough = design.power(part.interest, alpha=level) >= POWER
    return "no difference of interest shown" if enough else "too small to decide"


def _by_test(part: Part, level: float, num_parts: int) -> str:
    """Return what tests decide of a part; "" where they decide nothing."""
    if part.judges_clash(level):
        return "unmeasurable"
    if part.p_for < level and all(e.shows for e in part.evidence):
        return "equivalent" if part.is_equivalence else "supported"
    if num_parts * part.p_against < level:
        return "equivalent" if num_parts * part.p_within < level else "contradicted"
    return ""


def conjunction(parts: Sequence[str], *, is_equivalence: bool) -> str:
    """Judge a claim that holds if all of its parts do, from their verdicts."""
    found = set(parts)
    if "contradicted" in found:
        return "contradicted"
    if "equivalent" in found and not is_equivalence and len(found) > 1:
        return "contradicted"  # one part lies within the margin that it was to be beyond
    for name in ("unmeasurable", "not borne out"):
        if name in found:
            return name
    if found <= SHOWN:
        return "equivalent" if "equivalent" in found else "supported"
    return "too small to decide" if "too small to decide" in found else max(found & UNDECIDED)


def detectable(part: Part, level: float) -> float | None:
    """Return the smallest distance from the boundary that is found with 80 % power."""
    design = part.weakest(level)
    if design is None or design.power(design.most, alpha=level) < POWER:
        return None
    return smallest(lambda size: design.power(size, alpha=level) >= POWER, most=design.most)
