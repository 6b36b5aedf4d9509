"""Evaluation of responses that already have ratings: no study, no model, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from alignstudy.analysis.analyze_run import LEAK, AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.data.contamination.leaks import leaks
from alignstudy.data.contamination.near_duplicates import cluster_prompts
from alignstudy.data.files.labels import key_of, read_labels
from alignstudy.data.ratings.folder import find_base
from alignstudy.data.ratings.rated import Rated
from alignstudy.data.ratings.read import read_rated
from alignstudy.data.ratings.shared import Shared, on_shared_prompts
from alignstudy.errors import InputError
from alignstudy.metrics.axes import axes_of
from alignstudy.records import Prompt, ScoredResponse
from alignstudy.report.stored import STATISTICS, findings_from_json
from alignstudy.sources import digest_of, home_path
from alignstudy.study.results import Run
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.settings.load import load_settings
from alignstudy.study.tools.claims_file import read_claims, registered_before
from alignstudy.study.tools.limits import LimitSources, thresholds_of, without_threshold
from alignstudy.study.tools.report import uncollected, write_run

PUBLISHED = "372ca8eb32c9cdd5025753bc422f2160cda6e9aa2502fc009e9e054000152211"
"""Digest of the published study's prompts and ratings, model by model."""

PUBLISHED_NAMES = {"sft_dpo": "sftdpo"}
"""Recipes of the preset `paper` that the published files call otherwise."""


def evaluate(
    ratings: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    base: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    calibration: str | Path | None = None,
    missing: Literal["refuse", "bounds"] = "refuse",
    metrics: Sequence[str] = (),
    claims: str | Path | None = None,
    labels: str | Path | None = None,
) -> Run:
    """Compare responses that already have ratings: no model, no torch.

    All figures rest on the prompts that every model has a rating for. The published study's ratings
    are recognised by their content: its thresholds and claims are used then, its protocol's known
    defects listed.

    Args:
        ratings: A folder of `<model>_<prompts>.json`, as the published study's; or logs of
            lm-evaluation-harness or Inspect, or folders that hold them.
        out: The folder to write.
        base: The model that others are compared with; "base" where there is one.
        thresholds: By axis, or by `AXIS@JUDGE`; left out: those of the run that the ratings lie
            in. Without any, mean scores are compared and pass rates left out.
        calibration: A file of labelled ratings, on which thresholds that aren't given are chosen.
        missing: What becomes of more than 1 % of a model's ratings missing: refused, or shown with
            the bounds of what they could change.
        metrics: Of logs: which scores to take, `NAME` or `TASK=NAME`; left out: the leading ones.
        claims: A YAML file with a list `claims:` to be judged.
        labels: A filled sheet of `alignstudy label`, or a better judge's labels.

    Raises:
        DataError: If a row can't be used (it is named), or too little is rated or shared.
        InputError: If the base or a claim's model isn't there, or a threshold parts nothing.
    """
    given = [ratings] if isinstance(ratings, str | Path) else list(ratings)
    sources, folder = [home_path(each) for each in given], RunFolder(path=home_path(out).absolute())
    with folder.locked(), uncollected():
        rated = read_rated(sources, metrics)
        around = _run_around(sources[0])
        limits = LimitSources(
            asked=thresholds or {},
            own=own_thresholds(around) if around is not None else {},
            calibration=None if calibration is None else home_path(calibration),
            is_published=published_digest(rated.rows) == PUBLISHED,
        )
        shared = on_shared_prompts(rated.rows, missing=missing)
        question = replace(
            _question(rated, shared, limits, around), base=find_base(shared.rows, base)
        )
        question = _with_claims(question, claims, shared.rows, sources)
        question = _with_labels(question, labels, sources[0])
        qualities = around.qualities if around is not None else ()
        rows, findings = analyze_run(shared.rows, question, qualities=qualities)
        provenance = _provenance(sources, labels)
        name = " and ".join(source.resolve().name for source in sources)
        protocol: Literal["paper"] | None = "paper" if limits.is_published else None
        write_run(folder, name, rows, findings, provenance, protocol=protocol)
    return Run(folder=folder.path, notes=question.notes)


def _question(
    rated: Rated, shared: Shared, limits: LimitSources, around: Findings | None
) -> AnalysisConfig:
    """Return what is asked of ratings, but for the base and claims of a file."""
    axes = axes_of(row.axis for row in rated.rows)
    if around is not None:
        known = {axis.name: axis for axis in around.first.axes}
        axes = tuple(known.get(axis.name, axis) for axis in axes)
    found = thresholds_of(rated, axes, limits)
    sweep: dict[str, tuple[float, ...]] = {
        axis: (value,) for axis, (value, _) in rated.thresholds.items()
    }
    claims: tuple[Claim, ...] = ()
    if limits.is_published:
        _, paper = load_settings("paper")
        sweep = paper.thresholds.sweep.grids()
        claims = tuple(claim.renamed(PUBLISHED_NAMES) for claim in paper.claims)
    return AnalysisConfig(
        thresholds=found,
        base=None,
        axes=axes,
        sweep=sweep,
        clusters=clusters_of(shared.rows),
        excluded={LEAK: leaking(shared.rows)},
        whole=() if shared.is_whole else rated.rows,
        notes=(*shared.notes, *without_threshold(found, axes), *rated.notes),
        claims=claims,
        stated="published" if limits.is_published else "before",
        rewards=() if around is None else around.rewards,
    )


def _with_claims(
    question: AnalysisConfig,
    file: str | Path | None,
    rows: Sequence[ScoredResponse],
    sources: Sequence[Path],
) -> AnalysisConfig:
    """Add a file's claims, if any, and whether they were registered before ratings were made."""
    if file is None:
        return question
    path = home_path(file)
    since = registered_before(path, sources)
    notes = question.notes
    if question.whole:
        notes += (
            "claims about bounds, medians and spreads are judged on what all models have ratings"
            " for, not on what is missing",
        )
    return replace(
        question,
        notes=notes,
        claims=read_claims(path, (row.model for row in rows), question.axes or ()),
        stated="registered" if since else "after",
        stated_since=since,
    )


def published_digest(rows: Sequence[ScoredResponse]) -> str:
    """Hash prompts and ratings, model by model, in their order."""
    content = [[row.model, row.axis, row.prompt, *map(repr, row.scores.values())] for row in rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _run_around(ratings: Path) -> Findings | None:
    """Return the findings of the run whose responses these are; None of other ratings."""
    place = ratings.resolve()
    return own_findings(place.parent / STATISTICS) if place.name == "responses" else None


def _with_labels(
    question: AnalysisConfig, file: str | Path | None, ratings: Path
) -> AnalysisConfig:
    """Add labels of some responses, where there are any."""
    if file is None:
        return question
    path = home_path(file)
    return replace(question, labels=read_labels(path, key_of(path, ratings.resolve().parent)))


def _provenance(sources: Sequence[Path], labels: str | Path | None) -> dict[str, Any]:
    """Return the digests of all that was read."""
    found = {"ratings_sha256": {str(source): digest_of(source) for source in sources}}
    if labels is not None:
        found["labels_sha256"] = {str(labels): digest_of(home_path(labels))}
    return found


def own_findings(path: Path) -> Findings | None:
    """Return the findings of a run by its statistics; None where there are none.

    Raises:
        InputError: If they can't be read.
        DamagedArtefactError: If they were changed since the run placed them.
    """
    if not path.is_file():
        return None
    RunFolder(path=path.parent).check(path.name)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read", why=str(error)) from error
    return findings_from_json(found)


def own_thresholds(findings: Findings) -> dict[str, Thresholds]:
    """Return a run's thresholds, judge by judge."""
    return {analysis.judge: analysis.thresholds for analysis in findings.analyses}


def leaking(rows: Sequence[ScoredResponse]) -> frozenset[str]:
    """Return the ids of the prompts that end in an answer."""
    texts = {row.prompt_id: (row.axis, row.prompt) for row in rows}
    prompts = [Prompt(id=name, axis=axis, text=text) for name, (axis, text) in texts.items()]
    return frozenset(leaks(prompts).ends_in_answer)


def clusters_of(rows: Sequence[ScoredResponse]) -> dict[str, str]:
    """Cluster near-duplicate prompts, axis by axis."""
    found: dict[str, str] = {}
    for axis in dict.fromkeys(row.axis for row in rows):
        found |= cluster_prompts({row.prompt_id: row.prompt for row in rows if row.axis == axis})
    return found
