"""Find every source of a study: what is here, what would be fetched."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from alignstudy.data.files.described import CARD, subset_patterns
from alignstudy.data.files.labels import LABELS, key_of, read_labels
from alignstudy.data.select.prompt_settings import PromptSet
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import InputError, NotFetchedError
from alignstudy.judges.base import measured_axes
from alignstudy.metrics.axes import axis_named
from alignstudy.sources import ResolvedSource, Source, home_path, resolve
from alignstudy.study.settings.own_data import WORLD
from alignstudy.study.settings.recipes import existing
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.yaml_file import Path_

SHEET_KEY = "labels/key"
"""The role of a sheet's key."""


@dataclass(frozen=True, kw_only=True)
class Located:
    """The sources of a study by role: "base", "data", "labels", "recipe/<name>", "judge/<name>".

    Attributes:
        found: Every role; those in `missing` stand here with a digest that no artefact can have.
        missing: Roles whose hub id is not on this machine.
        absent: Judges that could not be had, each with the reason; the others go on without.
        faults: Paths that lead nowhere: the keys that name them, and what is wrong. A study that
            has any isn't run.
    """

    found: dict[str, ResolvedSource]
    missing: dict[str, Source] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    faults: tuple[tuple[Path_, str], ...] = ()


def locate(settings: StudySettings, *, run: Path, fetch: bool, offline: bool = False) -> Located:
    """Find the sources of a study.

    Args:
        settings: The study.
        run: Its run folder, in which the key of a sheet of labels may lie.
        fetch: Whether what isn't here is fetched (a run), or listed as missing (a plan).
        offline: Whether the network may not be used.

    Raises:
        NotFetchedError: If fetching was asked for and failed. A judge that can't be fetched is
            left out while another one remains, and prompts of each axis keep the panel's, or the
            first, judge.
    """
    found, missing = {}, {}
    absent: dict[str, str] = {}
    faults: list[tuple[Path_, str]] = []
    for role, source in _wanted(settings).items():
        try:
            if role == "data":
                found[role] = resolve_data(settings, offline=offline or not fetch)
            else:
                found[role] = resolve(source, offline=offline or not fetch)
        except InputError as error:
            faults.append((_named_by(role, settings), error.in_a_line))
        except NotFetchedError as error:
            judge = role.removeprefix("judge/")
            if fetch and judge != role and len(absent) + 1 < len(settings.judges):
                absent[judge] = f"{error.what} ({error.why})" if error.why else error.what
                continue
            if fetch:
                raise
            missing[role] = source
            digest = f"not fetched: {source.name}@{source.revision or 'main'}"
            found[role] = ResolvedSource(source=source, path=Path(source.name), digest=digest)
    _refuse_unjudged(settings, absent)
    try:
        found |= _labels(settings, run)
    except InputError as error:
        faults.append((("labels",), error.in_a_line))
    return Located(found=found, missing=missing, absent=absent, faults=tuple(faults))


def _labels(settings: StudySettings, run: Path) -> dict[str, ResolvedSource]:
    """Find the file of labels and, where it is a sheet, its key; look whether they can be read."""
    if settings.labels is None:
        return {}
    path = home_path(settings.labels).absolute()  # a file in any case, no hub id
    found = {LABELS: resolve(Source(name=str(path), kind="dataset"), offline=True)}
    key = key_of(path, run)
    if key is not None:
        found[SHEET_KEY] = resolve(Source(name=str(key), kind="dataset"), offline=True)
    read_labels(path, key)
    return found


def _refuse_unjudged(settings: StudySettings, absent: dict[str, str]) -> None:
    """Refuse, before anything is trained, judges that are left but can't fill the tables."""
    there = [judge for judge in settings.judges if judge.name not in absent]
    for axis in settings.tested if absent else ():
        if settings.leading is None:
            judged = axis.name in measured_axes(there[0].settings, settings.tested)
        else:
            judged = any(name not in absent for name in settings.leading.members(axis.name))
        if not judged:
            raise NotFetchedError(
                f"no judge is left that fills the tables for {axis.prompts} prompts",
                why="; ".join(f"judge {name} is absent: {why}" for name, why in absent.items()),
                hint="connect to the network and run again without --offline, or put a judge that"
                " measures both kinds of prompts next in `judges`, or in the panel",
                kept="every finished stage",
            )


def _named_by(role: str, settings: StudySettings) -> Path_:
    """Return the keys of the study file that name a source."""
    kind, _, name = role.partition("/")
    if kind == "recipe":
        return ("recipes", name, "from")
    if kind == "judge":
        return ("judges", [judge.name for judge in settings.judges].index(name), "path")
    if kind == "prompts" and settings.axes:
        key = next(key for key in settings.axes if axis_named(key).name == name)
        return ("axes", key, "prompts", "file")
    return {"data": ("data", "source"), "prompts": ("prompts",)}.get(kind, (kind,))


def _wanted(settings: StudySettings) -> dict[str, Source]:
    """Return the sources that a study names, by role."""
    wanted: dict[str, Source] = {}
    if settings.base.path is not None:
        wanted["base"] = _model(settings.base.path, settings.base.revision)
    if settings.data.source != WORLD:
        wanted["data"] = _data(settings)
    for axis, chosen in settings.asked.sets.items():
        if chosen.file is not None:
            wanted[f"prompts/{axis.name}"] = Source(name=chosen.file, kind="dataset")
    for name, given in existing(settings.recipes).items():
        wanted[f"recipe/{name}"] = _model(given.path, given.revision)
    for judge in settings.judges:
        if judge.path is not None:
            wanted[f"judge/{judge.name}"] = _model(judge.path, judge.revision)
    return wanted


def _model(path: str, revision: str | None) -> Source:
    return Source(name=path, kind="model", revision=revision)


def _data(settings: StudySettings) -> Source:
    return Source(name=settings.data.source, kind="dataset", revision=settings.data.revision)


def is_here(settings: StudySettings) -> bool:
    """Return whether the data is on this machine, or meant to be."""
    try:
        return _data(settings).is_local or bool(resolve(_data(settings), offline=True))
    except NotFetchedError:
        return False


def resolve_data(settings: StudySettings, *, offline: bool) -> ResolvedSource:
    """Find the data; of a hub data set only what the study reads is fetched.

    Raises:
        InputError: If a local path doesn't exist.
        NotFetchedError: If it is neither here nor to be had.
    """
    source = _data(settings)
    subsets = _subsets_read(settings)
    if source.is_local or not subsets:
        return resolve(source, offline=offline)
    card = resolve(source, offline=offline, patterns=(CARD,))
    pinned = replace(source, revision=card.commit)
    patterns = (CARD, *subset_patterns(card.path, subsets))
    return replace(resolve(pinned, offline=offline, patterns=patterns), source=source)


def _subsets_read(settings: StudySettings) -> tuple[str, ...]:
    """Return the subsets that a study reads of its data; none: all."""
    selections: list[RowSelection | PromptSet | None] = [settings.data.train]
    selections += [each for each in settings.asked.sets.values() if each.file is None]
    selections += [judge.train.rows for judge in settings.judges if judge.train]
    selections += [settings.base.scratch.rows] if settings.base.scratch else []
    subsets = [set(chosen.subsets) for chosen in selections if chosen is not None]
    if not all(subsets):
        return ()
    drawn = [each for each in (settings.calibration, settings.validation) if each is not None]
    named = set().union(*subsets, *(part for each in drawn for part in each.subsets.values()))
    return tuple(sorted(named))
