"""What a study can decide, before it runs: the power of its stated claims.

Nothing is known yet of how much models disagree or seeds move them, so that both are assumed
(`DISCORDANCE`, `SEED_POINTS`); after the run the same is told from what was seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from alignstudy.analysis.claims.claims import Claim, claimable
from alignstudy.analysis.margins import Margins
from alignstudy.formatting import count, listing, percent, plural, short
from alignstudy.metrics.figures import rates_of
from alignstudy.metrics.metric import Metric
from alignstudy.stats.power.mcnemar_design import RateDesign
from alignstudy.stats.power.planning import (
    ALPHA,
    POWER,
    Design,
    TwoOneSided,
    joint_power,
    prompts_for,
    seeds_for,
)
from alignstudy.stats.power.pooled_design import PooledDesign
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.spread import SeedPart, Spread
from alignstudy.study.settings.recipes import lineages
from alignstudy.study.settings.study import StudySettings

DISCORDANCE = 0.3
"""Share of prompts on which only one of two models passes; half of it would be so in any seed."""

SEED_POINTS = 2.0
"""Standard deviation of a pass rate between training seeds, percentage points."""

SEED_SDS = 0.1
"""The same of a mean score, in standard deviations of one model's scores."""

ASSUMED = (
    f"assumed: two models disagree on {100 * DISCORDANCE:.0f} % of the prompts, and seeds move a"
    f" rate by {SEED_POINTS:g} points"
)


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What a study can decide of some claims of the same form.

    Attributes:
        claims: How many.
        about: Their figures.
        difference: The smallest difference of interest, in words.
        power: Chance that each is shown where it is true by so much, 0 to 1.
        prompts: A set, at which that is 80 %; None where no number is enough.
        seeds: Training seeds at which it is; None where none is, or nothing is trained twice.
    """

    claims: int
    about: str
    difference: str
    power: float
    prompts: int | None
    seeds: int | None

    @property
    def in_words(self) -> str:
        """Write it as a line of `check`."""
        found = (
            f"{self.about}: {self.difference} would be shown with {percent(100 * self.power, 0)}"
        )
        if self.power >= POWER:
            return found
        takes = [] if self.prompts is None else [f"{count(self.prompts)} prompts a set"]
        takes += [] if self.seeds is None else [f"{self.seeds} seeds"]
        return f"{found}; 80 % takes {' or '.join(takes) or 'more seeds and prompts'}"


@dataclass(frozen=True)
class _Size:
    """How large a study is.

    Attributes:
        prompts: Axis -> prompts.
        seeds: Of each trained recipe.
        trained: Recipes that are trained in every seed.
        margins: The smallest differences of interest.
    """

    prompts: Mapping[str, int]
    seeds: int
    trained: frozenset[str]
    margins: Margins

    @classmethod
    def of(cls, settings: StudySettings, prompts: Mapping[str, int]) -> _Size:
        trained = {name for name, grown in lineages(settings.recipes).items() if grown}
        return cls(prompts, len(settings.seeds), frozenset(trained), settings.margins)

    def interest(self, metric: Metric) -> float | None:
        """Return the smallest difference of interest; of scores in standard deviations."""
        if metric.is_rate:
            return self.margins.rates
        return None if self.margins.scores is not None else self.margins.score_sds

    def design(self, metric: Metric, pair: tuple[str, str], bound: float) -> Design:
        """Return what the test of a pair's difference can find."""
        sizes = [self.prompts[axis] for axis in metric.axes]
        trainings = sum(name in self.trained for name in pair) if self.seeds > 1 else 0
        if metric.is_rate and len(sizes) == 1 and not trainings and bound == 0.0:
            return RateDesign(DISCORDANCE, sizes[0])
        one, seed_sd = (1e4 * DISCORDANCE, SEED_POINTS) if metric.is_rate else (1.0, SEED_SDS)
        over = sum(1.0 / n for n in sizes) / len(sizes) ** 2
        # Half of what differs would differ in any seed; the rest is each training's own.
        chance = one / 4.0
        noise = chance / self.seeds * over
        seen = seed_sd**2 / self.seeds / len(sizes) + noise
        spread = Spread(
            value=0.0,
            prompts=(one - trainings * chance) * over + trainings * noise,
            df_prompts=min(sizes) - 1.0,
            seeds=trainings * (seen - noise),
            df_seeds=max(1.0, self.seeds - 1.0),
            trainings=(SeedPart(seen=seen, noise=noise, df=self.seeds - 1.0),) * trainings,
            units=min(sizes),
        )
        return SpreadDesign(spread, num_rates=len(sizes) if metric.is_rate else 0)

    def pooled(self, metric: Metric, pair: tuple[str, str]) -> Design:
        """Return what a comparison with the control can find, seeds pooled over all recipes."""
        trainings = sum(name in self.trained for name in pair)
        if self.seeds < 2 or not trainings:
            return self.design(metric, pair, 0.0)
        sizes = [self.prompts[axis] for axis in metric.axes]
        over, one = sum(1.0 / n for n in sizes) / len(sizes) ** 2, 1e4 * DISCORDANCE
        return PooledDesign(
            units=min(sizes),
            seeds=self.seeds,
            prompt=(1.0 - trainings / 4.0) * one * over,
            chance=one / 4.0 * over,
            seed=SEED_POINTS**2 / len(sizes),
            trainings=trainings,
            pool=len(self.trained),
        )


def control_prospect(settings: StudySettings, prompts: Mapping[str, int]) -> Prospect:
    """Return the chance of showing that one recipe differs from the control in the mean rate.

    Args:
        settings: Of a study with a control and at least one other recipe.
        prompts: Axis -> prompts, of every axis.
    """
    size = _Size.of(settings, prompts)
    metric, control = rates_of(settings.tested)[-1], settings.control or ""
    others = [name for name in settings.recipes if name != control]
    # Two that are trained differ by more chance than one and a fixed model.
    other = next((name for name in others if name in size.trained), others[0])
    tests = [(size.pooled(metric, (control, other)), size.margins.rates)]
    level = ALPHA / len(others)
    return Prospect(
        claims=len(others),
        about=f"{plural(len(others), 'comparison')} with {control} in {metric.title}",
        difference=f"a true {short(size.margins.rates, 2)} points",
        power=joint_power(tests, alpha=level),
        prompts=prompts_for(tests, alpha=level),
        seeds=seeds_for(tests, alpha=level),
    )


def prospects(
    settings: StudySettings, prompts: Mapping[str, int]
) -> tuple[list[Prospect], list[str]]:
    """Return what a study can decide of its claims, and those of which nothing can be said yet.

    Args:
        settings: Of the study.
        prompts: Axis -> prompts, of every axis.

    Returns:
        One a form of claim; and the names of claims that wait for scores: bounds, medians,
        spreads, claims of the sample alone, and margins in the judge's own unit.
    """
    size = _Size.of(settings, prompts)
    known = claimable(settings.tested)
    level = ALPHA / max(1, len(settings.claims))
    grouped: dict[tuple[object, ...], list[list[tuple[Design, float]]]] = {}
    about: dict[tuple[object, ...], tuple[str, str]] = {}
    waiting = []
    for claim in settings.claims:
        metrics = [known[name] for name in claim.metric]
        tests = _tests(claim, metrics, list(settings.recipes), size)
        if tests is None:
            waiting.append(claim.name or listing([metric.title for metric in metrics]))
            continue
        key: tuple[object, ...] = (claim.metric, claim.margin, claim.relation, repr(tests))
        grouped.setdefault(key, []).append(tests)
        about[key] = _about(claim, metrics, len(tests), size)
    found = []
    for form, alike in grouped.items():
        tests = alike[0]
        words, difference = about[form]
        found.append(
            Prospect(
                claims=len(alike),
                about=f"{plural(len(alike), 'claim')} on {words}",
                difference=difference,
                power=joint_power(tests, alpha=level),
                prompts=prompts_for(tests, alpha=level),
                seeds=seeds_for(tests, alpha=level),
            )
        )
    return found, waiting


def _tests(
    claim: Claim, metrics: Sequence[Metric], models: Sequence[str], size: _Size
) -> list[tuple[Design, float]] | None:
    """Return a claim's tests, each with the distance to be found; None: its scores are needed."""
    pairwise = all(metric.family for metric in metrics)
    if claim.is_bounded or claim.in_sample or not pairwise:
        return None
    subject = claim.subject or ""
    others = claim.than or [name for name in models if name != subject]
    found: list[tuple[Design, float]] = []
    for metric in metrics:
        interest = size.interest(metric)
        in_unit = not metric.is_rate and claim.margin > 0.0
        if interest is None or in_unit:
            return None
        for other in others:
            design = size.design(metric, (subject, other), claim.margin)
            alike = claim.relation == "equivalent"
            found.append((TwoOneSided(design), claim.margin) if alike else (design, interest))
    return found


def _about(claim: Claim, metrics: Sequence[Metric], num_parts: int, size: _Size) -> tuple[str, str]:
    """Return what a claim is about, and the difference that is to be found."""
    titles = listing([metric.title for metric in metrics])
    parts = f" ({num_parts} parts, all to be shown)" if num_parts > 1 else ""
    if claim.relation == "equivalent":
        return titles + parts, f"equivalence within {short(claim.margin, 2)} points"
    sizes = dict.fromkeys(
        f"{short(size.margins.rates, 2)} points"
        if metric.is_rate
        else f"{short(size.margins.score_sds, 2)} standard deviations of the scores"
        for metric in metrics
    )
    beyond = f" beyond the margin of {short(claim.margin, 2)}" if claim.margin else ""
    return titles + parts, f"a true {listing(list(sizes), word='or')}{beyond}"


def prospects_in_words(
    settings: StudySettings, prompts: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """Say what a study can decide: (state, words), "low" where it is under 80 %.

    Nothing is said where nothing is compared, no claim is stated and no control declared, or an
    axis has no prompt.
    """
    if len(settings.recipes) < 2 or not all(prompts.values()):
        return
    found, waiting = prospects(settings, prompts) if settings.claims else ([], [])
    for prospect in found:
        yield "ok" if prospect.power >= POWER else "low", prospect.in_words
    if waiting:
        yield "ok", f"{plural(len(waiting), 'claim')} can be planned only once there are scores"
    if found:
        over = plural(len(settings.claims), "stated claim")
        yield "ok", f"corrected for {over}; {ASSUMED}"
    if settings.control is not None:
        against = control_prospect(settings, prompts)
        yield "ok" if against.power >= POWER else "low", against.in_words
        yield "ok", f"corrected for {plural(against.claims, 'comparison')}; {ASSUMED}"


def sizes_asked(settings: StudySettings) -> dict[str, int]:
    """Return axis -> prompts that a study asks for."""
    return {axis.name: asked.size for axis, asked in settings.asked.sets.items()}
