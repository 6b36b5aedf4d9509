"""Who ranks the samples that methods learn from, and what must hold of it."""

from __future__ import annotations

from collections.abc import Iterator

from alignstudy.judges.quality.assess import BASELINES
from alignstudy.methods.base import TrainingSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.rounds.round import rounds_of
from alignstudy.methods.rounds.rules import RANKING
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.settings.yaml_file import Path_


def reporting(study: StudySettings) -> set[str]:
    """Return the judges whose scores lead the report."""
    if study.leading is None:
        return {study.judges[0].name}
    return {name for axis in study.tested for name in study.leading.members(axis.name)}


def default_ranker(study: StudySettings) -> str | None:
    """Return the first judge that neither leads the report nor is a baseline.

    Where there is none, and the study accepts it, the report's own; else None.
    """
    own = reporting(study)
    real = [each.name for each in study.judges if each.settings.use not in BASELINES]
    others = [name for name in real if name not in own]
    if not others and "same_judge" in study.accept:
        others = [name for name in real if name in own]
    return others[0] if others else None


def rankers(study: StudySettings) -> dict[str, tuple[str | None, ...]]:
    """Return the judges whose scores of a method's samples it learns from, by label."""
    found = dict[str, tuple[str | None, ...]]()
    for label, method in study.methods.items():
        rounds = rounds_of(method) if isinstance(method, TrainingSettings) else ()
        for one in rounds:
            if one.rule in RANKING:
                found[label] = (one.ranked_by or default_ranker(study),)
            elif isinstance(one.training, OnlineSettings) and one.reward_model is None:
                found[label] = one.training.rewarded_by or (default_ranker(study),)
    return found


def learnt_from(study: StudySettings) -> dict[str, tuple[str, ...]]:
    """Return the judges whose scores each method learns from, by label; () of none is left out."""
    found = {
        label: tuple(name for name in names if name is not None)
        for label, names in rankers(study).items()
    }
    return {label: names for label, names in found.items() if names}


def ranking_faults(study: StudySettings) -> Iterator[tuple[Path_, str]]:
    """Find methods that nobody ranks samples for, or the judge that reports on them."""
    if not study.judges:
        return  # which is said where it stands
    known, own = [judge.name for judge in study.judges], reporting(study)
    for label, name in _each(rankers(study)):
        if name is None:
            yield (
                ("methods", label),
                "needs a judge that ranks samples, and the study has none but the one that reports:"
                " add a second judge; or `accept: [same_judge]`, and read its scores with caution",
            )
        elif name not in known:
            text = f"has samples ranked by '{name}', which `judges` doesn't hold"
            yield ("methods", label), f"{text}; known: {', '.join(known)}"
        elif name in own and "same_judge" not in study.accept:
            yield (
                ("methods", label),
                f"has samples ranked by '{name}', which reports on them: what it rewards by mistake"
                " would count as success; name another, or `accept: [same_judge]`",
            )
    if study.accept and not any(name in own for _, name in _each(rankers(study))):
        yield ("accept",), "same_judge: no method learns what the report's own judge ranked"


def ranked_by_reporters(study: StudySettings) -> Iterator[str]:
    """Say which methods learn from samples that the report's own judge ranked."""
    own = reporting(study)
    for label, name in _each(rankers(study)):
        if name in own:
            yield (
                f"{label} learns from samples that {name} ranked, and {name} reports on it: its"
                " scores overstate what a reader would see"
            )


def _each(found: dict[str, tuple[str | None, ...]]) -> list[tuple[str, str | None]]:
    return [(label, name) for label, names in found.items() for name in names]
