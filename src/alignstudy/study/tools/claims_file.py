"""Claims in a file of their own, and the register that says since when a file of them is known.

What the register can prove, and what it can't, is said in docs/evaluate.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from alignstudy.analysis.claims.claims import Claim, claim_faults
from alignstudy.errors import DamagedArtefactError, EnvironmentFault, InputError
from alignstudy.records import Axis
from alignstudy.settings import Many, Settings
from alignstudy.sources import home_path, sha256_of
from alignstudy.study.graph.fingerprint import digest
from alignstudy.study.run.store import disk_faults, home
from alignstudy.study.settings.faults import refuse, settings_error
from alignstudy.study.settings.yaml_file import YamlFile, read_yaml
from alignstudy.version import __version__

REGISTER = "registered-claims.jsonl"
"""In the user's store: one line a registration, which proves itself; only ever added to."""


class ClaimsFile(Settings):
    """Claims in a file of their own, written as in a study."""

    claims: Many[Claim] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A file of claims as it was registered.

    Attributes:
        sha256: Of its content, byte by byte.
        registered: When, in UTC, by this machine's clock.
        file: Where it lay.
        alignstudy: The version that registered it.
    """

    sha256: str
    registered: str
    file: str
    alignstudy: str


def read_claims(path: Path, models: Iterable[str], axes: Sequence[Axis]) -> tuple[Claim, ...]:
    """Read a file of claims; every model and figure that it names must be there.

    Raises:
        SettingsError: Naming file and line of what can't be meant.
        InputError: If a claim names a model that isn't there.
    """
    file, claims = _parsed(path)
    faults = (
        (("claims", at), fault)
        for at, claim in enumerate(claims)
        for fault in claim_faults(claim, axes)
    )
    refuse(faults, file)
    known = sorted(set(models))
    for claim in claims:
        unknown = [name for name in claim.named() if name not in known]
        if unknown:
            raise InputError(
                f"{path}: a claim names '{unknown[0]}', which is no model here",
                hint=f"choose among: {', '.join(known)}",
            )
    return claims


def register(claims: str | Path) -> Registration:
    """Write into the user's store that a file of claims exists now, as it is.

    Registering the same content again changes nothing: the first date holds.

    Raises:
        SettingsError: If the file doesn't hold claims.
        EnvironmentFault: If the store can't be written.
    """
    path = home_path(claims)
    _parsed(path)
    known = registered(path)
    if known is not None:
        return known
    entry = Registration(
        sha256=sha256_of(path),
        registered=datetime.now(UTC).isoformat(timespec="seconds"),
        file=str(path.absolute()),
        alignstudy=__version__,
    )
    place = home() / REGISTER
    with disk_faults(f"the register of claims {place}"):
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a", encoding="utf-8") as file:
            line = json.dumps({**asdict(entry), "proof": _proof(entry)})
            file.write(f"\n{line}\n")  # whatever a kill left of the line before
            file.flush()
            os.fsync(file.fileno())
    return entry


def registered(path: Path) -> Registration | None:
    """Return a claims file's first registration; None if its content was never registered.

    Raises:
        DamagedArtefactError: If it isn't there, and a line of the register can't be believed: that
            may have been its.
        EnvironmentFault: If a file can't be read.
    """
    sha256, place = sha256_of(path), home() / REGISTER
    try:
        lines = place.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(f"{place}: can't be read", why=str(error)) from error
    entries = [_entry(line) for line in lines if line]
    found = next((entry for entry in entries if entry and entry.sha256 == sha256), None)
    if found is None and None in entries:
        raise DamagedArtefactError(
            f"{place}: line {1 + entries.index(None)} is no registration of claims",
            why="it isn't what was written: what it said of dates can't be trusted now",
            hint="take the line out, then register the claims again: the date is then today's",
            kept="the register as it is",
        )
    return found


def _entry(line: bytes) -> Registration | None:
    """Read a line of the register; None if it doesn't prove itself."""
    try:
        content = json.loads(line)
        proof = content.pop("proof")
        entry = Registration(**content)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return entry if proof == _proof(entry) else None


def _proof(entry: Registration) -> str:
    return digest(asdict(entry))


def registered_before(path: Path, ratings: Iterable[Path]) -> str:
    """Return since when claims are registered, if that was before any of the ratings was written.

    Files say when they were last written: a copy says when it was copied.

    Returns:
        The date; "" if they were not registered, or not before.
    """
    entry = registered(path)
    files = [
        file
        for source in ratings
        for file in (source.rglob("*") if source.is_dir() else [source])
        if file.is_file()
    ]
    if entry is None or not files:
        return ""
    first = min(file.stat().st_mtime for file in files)
    return entry.registered if datetime.fromisoformat(entry.registered).timestamp() < first else ""


def _parsed(path: Path) -> tuple[YamlFile, tuple[Claim, ...]]:
    """Read a file of claims as they are written.

    Raises:
        SettingsError: Naming file and line of what can't be meant.
    """
    file = read_yaml(path)
    try:
        return file, ClaimsFile.model_validate(file.data).claims
    except ValidationError as error:
        raise settings_error(error, file, ClaimsFile) from error
