"""From scored responses to all findings: every judge's analysis, the panel's, and the verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings, Stated
from alignstudy.analysis.judge_panel.agreement import agreements, leave_one_out
from alignstudy.analysis.judge_panel.combine import PANEL, absence_notes, combine
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.labels.evidence import label_evidence
from alignstudy.analysis.labels.matching import checked_labels
from alignstudy.analysis.margins import Margins
from alignstudy.analysis.results import Analysis, Lineage, Thresholds
from alignstudy.analysis.rewards import Learner, reward_checks
from alignstudy.analysis.robustness.missing import bounds_notes, missing_bounds
from alignstudy.analysis.robustness.sensitivity import sensitivities
from alignstudy.analysis.robustness.threshold_errors import Draws, with_threshold_errors
from alignstudy.analysis.robustness.variance import with_judges
from alignstudy.analysis.score_matrix import usable
from alignstudy.metrics.axes import axes_of
from alignstudy.records import Axis, ScoredResponse
from alignstudy.records.evidence import Divergence, JudgeQuality
from alignstudy.records.labels import Label, LabelEvidence
from alignstudy.records.rewards import RewardCheck

OVERLAP, LEAK = "overlap", "leak"
"""Why prompts are left out: training has seen them; they end in an answer."""


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """What is asked of scored responses.

    Attributes:
        thresholds: By judge, the leading judge first.
        axes: Those of the study, in the order of the draws; None: those of the responses.
        base: The model that others are compared with; None for none.
        control: The model that all others are held against in a family of its own; None for none.
        panel: Judges whose scores are combined; the panel then leads.
        claims: To be judged.
        stated: When they were stated, see `Findings`.
        stated_since: The date since when they are registered; "" if they aren't.
        margins: Differences that would not matter.
        sweep: Grids of thresholds; an axis that isn't there gets one from its scores.
        clusters: Prompt id -> cluster of near-duplicates; {}: every prompt is its own.
        excluded: Why -> ids of prompts without which the rates are shown too: `OVERLAP`, `LEAK`.
        absent: Judges of the panel that could not be had.
        lineages: Model -> what it grew from; {}: not known.
        whole: Where ratings are missing, all rows: those that were left out, too; (): none is.
        notes: What is known of the responses beside their scores, a sentence each.
        labels: Of some responses, by people or a better judge.
        threshold_draws: Judge -> axis -> thresholds that other calibration pairs would have given.
        join_threshold_errors: Whether they widen the rates' own intervals.
        learners: The models that learnt from judges' scores.
        rewards: What is known of such models already, by the runs that the responses are from.
    """

    thresholds: Mapping[str, Thresholds]
    base: str | None
    control: str | None = None
    axes: tuple[Axis, ...] | None = None
    panel: PanelSettings | None = None
    claims: tuple[Claim, ...] = ()
    stated: Stated = "before"
    stated_since: str = ""
    margins: Margins = field(default_factory=Margins)
    sweep: Mapping[str, Sequence[float]] = field(default_factory=dict)
    clusters: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    lineages: Mapping[str, Lineage] = field(default_factory=dict)
    whole: Sequence[ScoredResponse] = ()
    notes: tuple[str, ...] = ()
    labels: tuple[Label, ...] = ()
    threshold_draws: Mapping[str, Draws] = field(default_factory=dict)
    join_threshold_errors: bool = False
    learners: tuple[Learner, ...] = ()
    rewards: tuple[RewardCheck, ...] = ()


def analyze_run(
    responses: Sequence[ScoredResponse],
    question: AnalysisConfig,
    *,
    qualities: Sequence[JudgeQuality] = (),
    divergences: Sequence[Divergence] = (),
) -> tuple[list[ScoredResponse], Findings]:
    """Analyse every judge's scores, combine the panel's, and judge the claims.

    Args:
        responses: Rows of every model and training seed, with every judge's score.
        question: What is asked of them.
        qualities: What the judges are worth.
        divergences: How far the models moved.

    Returns:
        The rows, with the panel's scores where there is a panel, and the findings.

    Raises:
        DataError: If rows can't be compared, or a label is of no response.
        InputError: If a judge or model is named that isn't there.
    """
    rows, limits = list(responses), dict(question.thresholds)
    members, panel = dict(limits), question.panel
    axes = question.axes or axes_of(row.axis for row in rows)
    judges = [*limits]
    if panel is not None:
        rows, limits[PANEL] = combine(
            rows, members, panel, axes=axes, base=question.base, absent=question.absent
        )
        judges = [PANEL, *judges] if panel.report_each else [PANEL]
    analyses = _analyses(rows, {name: limits[name] for name in judges}, axes, question)
    rankings = (
        leave_one_out(rows, members, panel, axes=axes, base=question.base, absent=question.absent)
        if panel is not None
        else ()
    )
    silent = {PANEL, *(quality.judge for quality in qualities if quality.is_baseline)}
    first = replace(analyses[0], variances=with_judges(analyses, silent))
    findings = Findings(
        analyses=(_completed(first, rows, question), *analyses[1:]),
        qualities=tuple(qualities),
        divergences=tuple(divergences),
        agreements=agreements(rows, members, axes=axes) if len(members) > 1 else (),
        leave_one_out=rankings,
        stated=question.stated,
        stated_since=question.stated_since,
        labels=tuple(_by_labels(rows, analyses, question)),
    )
    rewards = reward_checks(
        question.learners, rows, findings, judges=[*members], axes=axes, clusters=question.clusters
    )
    return rows, replace(
        findings,
        verdicts=verdicts(findings, question.claims, rows),
        rewards=(*question.rewards, *rewards),
    )


def _analyses(
    rows: Sequence[ScoredResponse],
    limits: Mapping[str, Thresholds],
    axes: Sequence[Axis],
    question: AnalysisConfig,
) -> tuple[Analysis, ...]:
    """Analyse the scores of each judge; `limits` holds their thresholds, the leading one's first.

    The study's grid of thresholds is in the unit of its first judge.
    """
    swept = next(iter(question.thresholds))
    return tuple(
        _left_open(
            analyze_judge(
                [row for row in rows if judge in row.scores],
                thresholds,
                axes=axes,
                judge=judge,
                base=question.base,
                control=question.control,
                margins=question.margins,
                sweep=question.sweep if judge == swept else None,
                clusters=question.clusters or None,
                lineages=question.lineages,
            ),
            rows,
            axes,
            question,
        )
        for judge, thresholds in limits.items()
    )


def _left_open(
    found: Analysis, rows: Sequence[ScoredResponse], axes: Sequence[Axis], question: AnalysisConfig
) -> Analysis:
    """Add what the judge's calibrated thresholds leave open."""
    judge = found.judge
    draws = dict(question.threshold_draws.get(judge, {}))
    if judge == PANEL and question.panel is not None and question.panel.combine == "own":
        draws = {
            axis.name: given[axis.name]
            for axis in axes
            for name in question.panel.members(axis.name)
            if axis.name in (given := question.threshold_draws.get(name, {}))
        }
    return with_threshold_errors(found, rows, draws, joined=question.join_threshold_errors)


def _by_labels(
    rows: Sequence[ScoredResponse], analyses: Sequence[Analysis], question: AnalysisConfig
) -> Iterator[LabelEvidence]:
    """Hold the rates of every judge that has thresholds against the labels."""
    labels = checked_labels(question.labels, rows)
    for analysis in analyses if labels else ():
        if analysis.thresholds.values:
            yield label_evidence(analysis, rows, labels, clusters=question.clusters)


def _completed(
    first: Analysis, rows: Sequence[ScoredResponse], question: AnalysisConfig
) -> Analysis:
    """Add to the leading analysis what it can't know: what to do without, what is missing."""
    notes = first.notes
    if question.panel is not None:
        notes += absence_notes(question.panel, first.axes, question.absent)
    known = [row for row in usable(rows)[0] if first.judge in row.scores]
    extra = sensitivities(
        known,
        first.thresholds,
        axes=first.axes,
        judge=first.judge,
        excluded=question.excluded,
    )
    if question.whole:
        bounds, lead_bounds = missing_bounds(question.whole, first)
        frail = {(b.metric, b.model, b.reference) for b in lead_bounds if not b.survives}
        compared = (
            replace(c, survives_missing=(c.metric, c.model, c.reference) not in frail)
            for c in first.comparisons
        )
        first = replace(first, bounds=bounds, lead_bounds=lead_bounds, comparisons=tuple(compared))
    notes = (*question.notes, *bounds_notes(first), *notes)
    return replace(first, notes=notes, sensitivities=first.sensitivities + extra)
