"""All that a study found: the numbers behind the report, and `statistics.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.results import Analysis
from alignstudy.records.evidence import Agreement, Divergence, JudgeQuality, LeaveOneOut, plain
from alignstudy.records.labels import LabelEvidence
from alignstudy.records.rewards import RewardCheck

SCHEMA = 6
"""Version of the layout of `statistics.json`; docs/statistics.md describes it."""

Stated = Literal["before", "registered", "after", "published"]
"""When claims were stated: see `Findings.stated`."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The analyses of all judges, and what stands beside them.

    Attributes:
        analyses: The leading judge's first (the panel's where one is declared); at least one.
        verdicts: One a claim, in the study's order.
        qualities: One a judge that was assessed.
        agreements: One a pair of judges and axis.
        leave_one_out: Rankings of the panel, where there is one.
        divergences: One a model and seed.
        is_generated: Whether a program wrote the data: prompts, preferences, what judges learnt.
        stated: When the claims were stated: "before" the figures were made, by the study that made
            them; "registered" before the ratings were last written; "after", for all that is
            known; "published" with the published study.
        stated_since: Since when they are registered; "" if they aren't.
        labels: One a judge with thresholds, where responses are labelled.
        rewards: One a recipe that learnt from judges' scores, and seed; where there are several
            seeds, one of all together.
    """

    analyses: tuple[Analysis, ...]
    verdicts: tuple[Verdict, ...] = ()
    qualities: tuple[JudgeQuality, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    leave_one_out: tuple[LeaveOneOut, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    is_generated: bool = False
    stated: Stated = "before"
    stated_since: str = ""
    labels: tuple[LabelEvidence, ...] = ()
    rewards: tuple[RewardCheck, ...] = ()

    @property
    def first(self) -> Analysis:
        """The leading judge's analysis."""
        return self.analyses[0]

    @property
    def is_planned(self) -> bool:
        """Whether claims were stated, or a control: pairs that are in neither are exploration."""
        return bool(self.verdicts) or self.first.control is not None

    def quality(self, judge: str) -> JudgeQuality | None:
        """Return what a judge is worth; None where it was not assessed."""
        return next((item for item in self.qualities if item.judge == judge), None)

    def is_baseline(self, judge: str) -> bool:
        """Return whether a judge is there to be beaten: it decides no verdict."""
        quality = self.quality(judge)
        return quality is not None and quality.is_baseline

    def is_below_floor(self, judge: str, axis: str) -> bool:
        """Return whether a judge is stamped on an axis.

        One that was not assessed itself, as a panel is not, is stamped where every judge that was
        assessed on that axis is; one that measures the other axis only says nothing about it.
        """
        quality = self.quality(judge)
        if quality is not None:
            return axis in quality.below_floor
        stamps = [
            axis in item.below_floor
            for item in self.qualities
            if not item.is_baseline
            and (axis in item.below_floor or item.accuracy(axis) is not None)
        ]
        return bool(stamps) and all(stamps)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the leading analysis' keys on top, the others' under other_judges."""
        found = self.first.to_json()
        found["schema"] = SCHEMA
        found["other_judges"] = [analysis.to_json() for analysis in self.analyses[1:]]
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "analyses":
                is_list = isinstance(value, tuple)
                found[item.name] = [plain(asdict(each)) for each in value] if is_list else value
        return found
