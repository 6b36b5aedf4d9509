"""`alignstudy verify`: a run as it was made is called so, and no change of it goes unseen."""

import json
import random
import shutil
import sqlite3
from pathlib import Path

import pytest
from tiny_study import NUM_STAGES, run_here
from typer.testing import CliRunner

from alignstudy.cli.app import app
from alignstudy.study.run.known_runs import KnownRuns
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.store import Store
from alignstudy.study.tools.verify import verify

CHANGES = 200


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A run and a store of its own."""
    root = tmp_path_factory.mktemp("verified")
    shutil.copytree(finished.home, root / "home")
    run_here(finished.study, out=root / "run", home=root / "home")
    return root


def flip(path, rng, _):
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    replace(path, bytes(raw))


def cut(path, rng, _):
    raw = path.read_bytes()
    replace(path, raw[: rng.randrange(len(raw))])


def remove(path, _, __):
    path.unlink()


def swap(path, rng, others):
    other = rng.choice([each for each in others if each.read_bytes() != path.read_bytes()])
    one, two = path.read_bytes(), other.read_bytes()
    replace(path, two)
    replace(other, one)


def stray(path, _, __):
    (path.parent / "stray.json").write_text("{}")


def folder(path, _, __):
    path.unlink()
    path.mkdir()


def link(path, _, __):
    aside = path.parents[-3] / "aside"  # equal content, elsewhere
    shutil.copyfile(path, aside)
    path.unlink()
    path.symlink_to(aside)


def replace(path: Path, raw: bytes) -> None:
    """Write a file anew: what else is linked to it is another file."""
    path.unlink()
    path.write_bytes(raw)


KINDS = (flip, flip, cut, remove, swap, stray, folder, link)


def test_every_one_of_200_random_changes_is_found(made, tmp_path):
    run, home = made / "run", made / "home"
    runs = KnownRuns(Store(home))
    files = [path for path in run.rglob("*") if path.is_file() and path.name != ".lock"]
    for key in RunFolder(path=run).last_keys().values():  # others' artefacts lie there, too
        files += [path for path in (home / "store").glob(f"*/{key}/**/*") if path.is_file()]
    files.append(runs.entry_of(run))
    rng = random.Random(17)
    files = [path for path in sorted(files) if path.stat().st_size]
    missed = []
    for number in range(CHANGES):
        path, change = rng.choice(files), rng.choice(KINDS)
        if path == runs.entry_of(run) and change not in (flip, cut, swap, folder):
            continue  # who deletes it forgets the run: that is told, and no fault
        others = [each for each in files if each.parent == path.parent and each != path]
        if change is swap and not others:
            change = flip
        kept = tmp_path / f"kept-{number}"
        shutil.copytree(path.parent, kept, symlinks=True)
        change(path, rng, others)
        found = verify(run, store=Store(home))
        if not found.findings:
            missed.append((path, change.__name__, found.in_a_line))
        shutil.rmtree(path.parent)
        shutil.copytree(kept, path.parent, symlinks=True)
        shutil.rmtree(kept)
    assert missed == []
    found = verify(run, store=Store(home))
    assert found.findings == []
    assert found.artefacts == NUM_STAGES


def test_kept_values_that_were_changed_are_found(made):
    path = made / "home" / "references" / "references.sqlite"
    raw = path.read_bytes()
    base = sqlite3.connect(path)
    with base:
        base.execute("UPDATE kept SET value = x'00' WHERE rowid = 1")
    base.close()
    (finding,) = verify(made / "run", store=Store(made / "home")).findings
    assert finding.where == "references/references.sqlite"
    path.write_bytes(raw)


def test_what_is_not_in_this_store_is_told_and_no_fault(made, tmp_path):
    found = verify(made / "run", store=Store(tmp_path / "other"))
    assert found.findings == []
    assert found.artefacts == 0
    assert len(found.elsewhere) >= NUM_STAGES


def test_the_command_says_so_and_its_exit_code_is_that_of_damage(made, monkeypatch):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(made / "home"))
    sound = CliRunner().invoke(app, ["verify", str(made / "run")])
    assert sound.exit_code == 0, sound.output
    assert f"{NUM_STAGES} artefacts of the store" in sound.output.replace("\u00a0", " ")
    path = made / "run" / "statistics.json"
    before = path.read_text()
    path.write_text(before.replace("0", "1", 1))
    told = CliRunner().invoke(app, ["verify", str(made / "run"), "--json"])
    assert type(told.exception).__name__ == "DamagedArtefactError"
    assert told.exception.exit_code == 4
    (finding,) = json.loads(told.stdout)["findings"]
    assert finding["where"] == "statistics.json"
    shown = CliRunner().invoke(app, ["show", str(made / "run")])
    assert type(shown.exception).__name__ == "DamagedArtefactError"
    path.write_text(before)
