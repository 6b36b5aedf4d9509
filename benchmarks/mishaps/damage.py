"""Damage to files that lie there: a bit, a length, a place, something that doesn't belong there."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mishaps.trees import OURS, files_of

ACTIONS = ("flip", "empty", "half", "swap", "swap_folders", "delete", "stray", "obstacle")


@dataclass(frozen=True)
class Damage:
    """What was done.

    Attributes:
        what: In words.
        place: The file that was damaged.
        stays: Whether it is still as it was done.
        kept: A file that isn't ours, and must be there in the end; empty: none.
        mend: Takes away what only a person may, once a message said so.
    """

    what: str
    place: Path
    stays: Callable[[], bool] = lambda: False
    kept: str = ""
    mend: Callable[[], None] = lambda: None


def describes(name: str) -> bool:
    """Whether a file says of others what they are: a manifest, a seal, a run's record."""
    path = Path(name)
    inside = path.parts[1:]
    if path.suffix != ".json":
        return False
    known = path.name in ("manifest.json", "COMPLETE.json", "provenance.json")
    return known or inside[0] == "runs" or (path.parts[0] == "home" and len(inside) == 1)


def flip(root: Path, name: str, drawn: random.Random) -> Damage:
    """Flip one bit of a file, which isn't empty."""
    path = root / name
    data = bytearray(path.read_bytes())
    at = drawn.randrange(8 * len(data))
    data[at // 8] ^= 1 << at % 8
    path.write_bytes(data)
    return Damage(f"bit {at} of {name} flipped", path, stays=_is_there(path, bytes(data)))


def do(action: str, root: Path, drawn: random.Random) -> Damage:
    """Do one of ACTIONS to a file that is drawn: every kind of file is as likely."""
    if action == "swap_folders":
        return _swap_folders(root, drawn)
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in files_of(root):
        if (root / name).stat().st_size or action in ("delete", "obstacle", "stray"):
            kinds.setdefault(_kind(name), []).append(name)
    names = kinds[drawn.choice(sorted(kinds))]
    name = drawn.choice(names)
    if action == "swap" and len(names) > 1:
        done = _swap(root, *drawn.sample(names, 2))
    elif action in ("flip", "swap"):
        done = flip(root, name, drawn)
    else:
        done = _ALONE[action](root, name)
    return _read_again(root, done) if name.endswith(".sqlite") else done


def _read_again(root: Path, done: Damage) -> Damage:
    """Have values that are kept to save time read: drop what was made of them."""
    shutil.rmtree(root / "home" / "store")
    return replace(done, stays=lambda: False)


def _kind(name: str) -> tuple[str, ...]:
    """Name a kind of file: where it lies, but for keys and numbers, and how its name ends."""
    parts = Path(name).parent.parts
    return (*parts[: 3 if parts[0] == "home" else 2], Path(name).suffix or Path(name).name)


def _is_there(path: Path, data: bytes) -> Callable[[], bool]:
    return lambda: path.is_file() and path.read_bytes() == data


def _empty(root: Path, name: str) -> Damage:
    return _cut(root, name, 0)


def _half(root: Path, name: str) -> Damage:
    return _cut(root, name, (root / name).stat().st_size // 2)


def _cut(root: Path, name: str, size: int) -> Damage:
    path = root / name
    os.truncate(path, size)
    return Damage(f"{name} cut to {size} bytes", path, stays=_is_there(path, path.read_bytes()))


def _delete(root: Path, name: str) -> Damage:
    path = root / name
    path.unlink()
    return Damage(f"{name} deleted", path, lambda: not path.exists())


def _swap(root: Path, first: str, second: str) -> Damage:
    one, other = root / first, root / second
    data = one.read_bytes(), other.read_bytes()
    one.write_bytes(data[1])
    other.write_bytes(data[0])
    same = data[0] == data[1]
    stays = _is_there(one, data[1])
    return Damage(f"{first} and {second} swapped", one, stays=lambda: not same and stays())


def _swap_folders(root: Path, drawn: random.Random) -> Damage:
    """Swap two artefacts of one kind, whichever kind has two."""
    kinds = sorted(path for path in (root / "home" / "store").iterdir())
    pairs = [sorted(kind.iterdir())[:2] for kind in kinds if len([*kind.iterdir()]) > 1]
    if not pairs:
        return do("swap", root, drawn)
    one, other = drawn.choice(pairs)
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    data = (one / "manifest.json").read_bytes()
    return Damage(
        f"artefacts {one.relative_to(root)} and {other.name} swapped",
        one / "manifest.json",
        stays=_is_there(one / "manifest.json", data),
    )


def _stray(root: Path, name: str) -> Damage:
    """Put a file beside one.

    In an artefact it is damage; in a stage's scratch folder nobody sees it; elsewhere, in a run
    folder above all, it may be the user's, and must be kept.
    """
    path = (root / name).with_name(f"{OURS}.txt")
    path.write_text("not made by a run\n", encoding="utf-8")
    inside = path.relative_to(root).as_posix()
    if inside.startswith("home/store/"):
        return Damage(f"{inside} added", path, path.exists)
    return Damage(f"{inside} added", path, kept="" if inside.startswith("home/work/") else inside)


def _obstacle(root: Path, name: str) -> Damage:
    """Put a folder that holds something in a file's place."""
    path = root / name
    path.unlink()
    path.mkdir()
    (path / f"{OURS}.txt").write_text("not made by a run\n", encoding="utf-8")
    return Damage(
        f"{name} is now a folder",
        path,
        path.is_dir,
        mend=lambda: shutil.rmtree(path, ignore_errors=True),
    )


_ALONE = {
    "empty": _empty,
    "half": _half,
    "delete": _delete,
    "stray": _stray,
    "obstacle": _obstacle,
}
