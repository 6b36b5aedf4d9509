"""Evaluation of responses that already have ratings: no study, no model, no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from alignstudy.analysis.analyze_run import LEAK, AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim, claim_faults
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.data.contamination.leaks import leaks
from alignstudy.data.contamination.near_duplicates import cluster_prompts
from alignstudy.errors import InputError
from alignstudy.metrics.axes import axes_of, axis_named
from alignstudy.records import Axis, Prompt, ScoredResponse
from alignstudy.report.ratings import find_base, read_ratings
from alignstudy.report.stored import STATISTICS, findings_from_json
from alignstudy.settings import Many, Settings
from alignstudy.sources import digest_of, home_path
from alignstudy.study.results import Run
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.settings.axes import SweepSettings
from alignstudy.study.settings.faults import refuse, settings_error
from alignstudy.study.settings.load import load_settings
from alignstudy.study.settings.yaml_file import read_yaml
from alignstudy.study.tools.report import uncollected, write_run

PUBLISHED = "372ca8eb32c9cdd5025753bc422f2160cda6e9aa2502fc009e9e054000152211"
"""Digest of the published study's prompts and ratings, model by model."""

PUBLISHED_NAMES = {"sft_dpo": "sftdpo"}
"""Recipes of the preset `paper` that the published files call otherwise."""


class ClaimsFile(Settings):
    """Claims in a file of their own, written as in a study."""

    claims: Many[Claim] = Field(min_length=1)


def evaluate(
    ratings: str | Path,
    *,
    out: str | Path,
    base: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    claims: str | Path | None = None,
) -> Run:
    """Compare responses that already have ratings: no model, no torch.

    The published study's ratings are recognised by their content: its claims are judged then, and
    its protocol's known defects listed.

    Args:
        ratings: A folder of `<model>_<prompts>.json`, as the published study's.
        out: The folder to write.
        base: The model that others are compared with; "base" where there is one.
        thresholds: By axis; left out: those of the run that the ratings lie in, else the
            published study's.
        claims: A YAML file with a list `claims:` to be judged.

    Raises:
        DataError: Naming the file and row that can't be used.
        InputError: If the base or a claim's model isn't there.
    """
    source, folder = home_path(ratings), RunFolder(path=home_path(out).absolute())
    asked = {axis_named(key).name: float(each) for key, each in (thresholds or {}).items()}
    with folder.locked(), uncollected():
        rows = read_ratings(source)
        axes, own = axes_of(row.axis for row in rows), dict[str, Thresholds]()
        around = own_findings(source.resolve().parent / STATISTICS)
        if around is not None:
            known = {axis.name: axis for axis in around.first.axes}
            axes, own = tuple(known.get(a.name, a) for a in axes), own_thresholds(around)
        base = find_base(rows, base)
        stated = () if claims is None else _claims_of(home_path(claims), rows, axes)
        sweep = SweepSettings()
        protocol: Literal["paper"] | None = None
        if published_digest(rows) == PUBLISHED:
            _, paper = load_settings("paper")
            sweep, protocol = paper.thresholds.sweep, "paper"
            stated = stated or tuple(claim.renamed(PUBLISHED_NAMES) for claim in paper.claims)
        question = AnalysisConfig(
            thresholds=_thresholds(rows, axes, own, asked),
            base=base,
            axes=axes,
            claims=stated,
            sweep=sweep.grids(),
            clusters=clusters_of(rows),
            excluded={LEAK: leaking(rows)},
        )
        rows, findings = analyze_run(rows, question)
        provenance = {"ratings": str(source), "ratings_sha256": digest_of(source)}
        name = source.resolve().name
        write_run(folder, name, rows, findings, provenance, protocol=protocol)
    return Run(folder=folder.path)


def published_digest(rows: Sequence[ScoredResponse]) -> str:
    """Hash prompts and ratings, model by model, in their order."""
    content = [[row.model, row.axis, row.prompt, *map(repr, row.scores.values())] for row in rows]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _claims_of(
    path: Path, rows: Sequence[ScoredResponse], axes: Sequence[Axis]
) -> tuple[Claim, ...]:
    """Read a file of claims; every model and figure that it names must be there."""
    file = read_yaml(path)
    try:
        claims = ClaimsFile.model_validate(file.data).claims
    except ValidationError as error:
        raise settings_error(error, file, ClaimsFile) from error
    faults = (
        (("claims", at), fault)
        for at, claim in enumerate(claims)
        for fault in claim_faults(claim, axes)
    )
    refuse(faults, file)
    models = {row.model for row in rows}
    for claim in claims:
        unknown = [name for name in claim.named() if name not in models]
        if unknown:
            raise InputError(
                f"{path}: a claim names '{unknown[0]}', which is no model here",
                hint=f"choose among: {', '.join(sorted(models))}",
            )
    return claims


def _thresholds(
    rows: Sequence[ScoredResponse],
    axes: Sequence[Axis],
    own: Mapping[str, Thresholds],
    asked: Mapping[str, float],
) -> dict[str, Thresholds]:
    """Return each judge's thresholds: as asked, else the run's own, else the published study's.

    Raises:
        InputError: If one is asked for an axis that isn't there.
    """
    for name in asked:
        if name not in {axis.name for axis in axes}:
            raise InputError(
                f"a threshold is given for '{name}', and no response is on that axis",
                hint=f"name one of: {', '.join(axis.name for axis in axes)}",
            )
    found = {}
    for judge in dict.fromkeys(name for row in rows for name in row.scores):
        theirs = own.get(judge)
        values: dict[str, float | None] = {}
        origin: dict[str, str] = {}
        for axis in axes:
            if axis.name in asked:
                values[axis.name], origin[axis.name] = asked[axis.name], "given"
            elif theirs is not None:
                values[axis.name] = theirs.of(axis.name)
                origin[axis.name] = theirs.origin.get(axis.name, "the run's")
            elif axis.threshold is not None:
                values[axis.name] = axis.threshold
                origin[axis.name] = "the published study's, since none was given"
        found[judge] = Thresholds(
            values={axis: value for axis, value in values.items() if value is not None},
            inclusive=theirs is not None and theirs.inclusive,
            origin=origin,
            empty_fails=theirs.empty_fails if theirs is not None else (),
        )
    return found


def own_findings(path: Path) -> Findings | None:
    """Return the findings of the run that the responses lie in; None if they lie in none."""
    if not path.is_file():
        return None
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
