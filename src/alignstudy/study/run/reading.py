"""What is read is what was hashed: sources are held against their digest before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alignstudy.errors import EnvironmentFault
from alignstudy.sources import ResolvedSource, digest_of, files_of
from alignstudy.study.graph.stage import Stage, sources_of


@dataclass(frozen=True)
class _Reading:
    """What a source is at a moment.

    Attributes:
        digest: Of its content, whether or not it is of the hub.
        stamps: By file, what the system changes with the content and nobody can change back.
    """

    digest: str
    stamps: Mapping[str, tuple[int, int, int]]


@contextmanager
def read_as_hashed(stage: Stage) -> Iterator[None]:
    """Refuse what a stage makes of sources that another program changes meanwhile, put back or not.

    Raises:
        EnvironmentFault: If one isn't what the stage's key was made of, or was touched.
    """
    sources = sources_of(stage)
    before = [_reading(source) for source in sources]
    yield
    for source, reading in zip(sources, before, strict=True):
        if _reading(source) != reading:
            raise _changed(source.path)


def _reading(source: ResolvedSource) -> _Reading:
    status = {name: file.stat() for name, file in files_of(source.path).items()}
    stamps = {name: (it.st_ino, it.st_size, it.st_ctime_ns) for name, it in status.items()}
    digest = digest_of(source.path)
    if source.commit is None and digest != source.digest:
        raise _changed(source.path)
    return _Reading(digest, stamps)


def _changed(path: Path) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} was changed while this run read it",
        why="what was read can't be told: it may be neither the old content nor the new",
        hint="leave it alone, and run the same command again: it is read as it is then",
    )
