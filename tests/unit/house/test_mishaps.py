"""What `benchmarks/torture.py` stands on: a failing disk, damage, verdicts that can be bad."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest
from mishaps import commands, damage, disk, trees
from mishaps.bench import Bench
from mishaps.commands import Place, Process
from mishaps.disk import CRASHED, Mishap

WRITER = """
import os, sys
home = sys.argv[1]
os.mkdir(home + "/a")
with open(home + "/a/.f.tmp", "w") as file:
    file.write("ten bytes.")
    file.flush()
    os.fsync(file.fileno())
os.replace(home + "/a/.f.tmp", home + "/a/f")
os.link(home + "/a/f", home + "/g")
os.remove(home + "/a/f")
open(sys.argv[2] + "/elsewhere", "w").close()
"""
OPERATIONS = ["mkdir", "make", "flush", "rename", "link", "remove"]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return disk.build(tmp_path_factory.mktemp("library"))


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(library: Path, home: Path, mishap: Mishap) -> subprocess.CompletedProcess[str]:
    variables = {**mishap.variables((home, home)), "LD_PRELOAD": str(library)}
    command = [sys.executable, "-S", "-c", WRITER, str(home), str(home.parent)]
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("armed_by", ["environment", "itself"])
def test_every_operation_under_the_folders_is_counted_and_no_other(
    library, home, tmp_path, armed_by
):
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    mishap, arming = Mishap(log=log), ""
    variables = mishap.variables((home, home))
    if armed_by == "itself":
        roots = f"(Path({str(home)!r}), Path({str(home)!r}))"
        arming = f"from pathlib import Path; from mishaps.disk import Mishap; {mishap}.arm({roots})"
        variables = {"PYTHONPATH": str(Path(disk.__file__).parents[1])}
    subprocess.run(
        [sys.executable, "-c", f"{arming}\n{WRITER}", str(home), str(tmp_path)],
        env={**os.environ, "LD_PRELOAD": str(library), **variables}, pass_fds=[log], check=True,
    )  # fmt: skip
    os.close(log)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == OPERATIONS


@pytest.mark.parametrize(
    ("at", "after", "left"),
    [
        (1, False, {}),
        (2, False, {"a/.f.tmp": 5}),
        (2, True, {"a/.f.tmp": 10}),
        (4, False, {"a/.f.tmp": 10}),
        (4, True, {"a/f": 10}),
        (5, True, {"a/f": 10, "g": 10}),
        (6, True, {"g": 10}),
    ],
)
def test_a_crash_leaves_what_was_done_up_to_it(library, home, at, after, left):
    assert write(library, home, Mishap(at=at, after=after)).returncode == CRASHED
    assert {name: (home / name).stat().st_size for name in trees.files_of(home)} == left


@pytest.mark.parametrize(
    ("fault", "number"), [("full", errno.ENOSPC), ("io", errno.EIO), ("denied", errno.EACCES)]
)
@pytest.mark.parametrize("at", range(1, 1 + len(OPERATIONS)))
def test_an_error_reaches_the_program_as_the_system_would_give_it(library, home, fault, number, at):
    done = write(library, home, Mishap(at=at, fault=fault))
    assert done.returncode == 1
    assert f"[Errno {number}]" in done.stderr


def test_a_write_that_fails_after_it_began_leaves_half(library, home):
    assert "Errno 28" in write(library, home, Mishap(at=2, after=True, fault="full")).stderr
    assert (home / "a" / ".f.tmp").stat().st_size == 5


def test_past_the_last_operation_nothing_happens(library, home):
    assert write(library, home, Mishap(at=1 + len(OPERATIONS))).returncode == 0


def test_folders_are_copied_with_their_links_and_compared_by_content(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    (one / "a").mkdir(parents=True)
    (one / "a" / "f").write_text("f")
    os.link(one / "a" / "f", one / "g")
    (one / "result.json").write_text(json.dumps({"loss": 1.0, "seconds": 2.0}))
    trees.copy(one, other)
    assert (other / "g").samefile(other / "a" / "f")
    assert not (other / "g").samefile(one / "g")
    golden = trees.contents(one)
    (other / "result.json").write_text(json.dumps({"loss": 1.0, "seconds": 3.0}))
    assert [*trees.differences(golden, trees.contents(other), damaged=False)] == []
    (other / "result.json").write_text(json.dumps({"loss": 1.1, "seconds": 3.0}))
    (other / "a" / "f").unlink()
    (other / "a" / ".f.0123abcd").touch()
    (other / "key.damaged-1").touch()
    found = trees.contents(other)
    damaged = ["a/.f.0123abcd was left over", "a/f is missing", "result.json differs"]
    assert [*trees.differences(golden, found, damaged=True)] == damaged
    assert "key.damaged-1 is new" in trees.differences(golden, found, damaged=False)


@pytest.mark.parametrize("action", damage.ACTIONS)
def test_damage_is_done_and_known_as_long_as_it_is_there(tmp_path, action):
    for key in ("k1", "k2"):
        folder = tmp_path / "home" / "store" / "kind" / key
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"key": key}))
    before = trees.contents(tmp_path)
    done = damage.do(action, tmp_path, random.Random(0))
    assert trees.contents(tmp_path) != before
    assert done.stays()
    trees.replace(tmp_path / "home", None)
    assert not done.stays() or action == "delete"


def process(place: Place, script: str) -> Process:
    """Start a stand-in for the command: Python, with `home` and `out`."""
    log = place.root.with_name("said.txt")
    whole = (
        f"from pathlib import Path\nhome, out = map(Path, {[str(place.home), str(place.out)]})\n"
        f"home.mkdir(parents=True, exist_ok=True); out.mkdir(exist_ok=True)\n{script}"
    )
    with log.open("w") as stream:
        pid = os.posix_spawn(
            sys.executable, [sys.executable, "-S", "-c", whole], os.environ, setsid=True,
            file_actions=[(os.POSIX_SPAWN_DUP2, stream.fileno(), each) for each in (1, 2)],
        )  # fmt: skip
    return Process(pid, log)


GOOD = "(home / 'a').write_text('a'); (out / 'b').write_text('b')"


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (GOOD, "survived"),
        (f"{GOOD}; (home / 'a').exists() and (home / 'lost').unlink(missing_ok=True)", "survived"),
        (f"{GOOD}; (home / 'a').write_text('other')", "silent"),
        (f"{GOOD}; (out / '.b.0123abcd').touch()", "silent"),
        (f"{GOOD}; (out / 'b').unlink()", "silent"),
        ("import sys; sys.exit(3)", "stuck"),
        ("raise ValueError", "traceback"),
        ("import sys; sys.exit(2)", "traceback"),
        ("import os; os.kill(os.getpid(), 11)", "traceback"),
    ],
)
def test_a_verdict_is_what_it_should_be(tmp_path, script, outcome):
    place = Place(root=tmp_path / "place", study=tmp_path / "s", out=tmp_path / "place" / "run")
    bench = Bench(place=place, golden=tmp_path / "golden", start=lambda at, _: process(at, GOOD))
    assert bench.contents.keys() == {"home/a", "run/b"}
    bench.start = lambda at, _: process(at, script)
    bench.begin()
    assert bench.judge("nothing").outcome == outcome


def test_a_refusal_that_the_next_run_doesn_t_repeat_is_a_detection(tmp_path):
    place = Place(root=tmp_path / "place", study=tmp_path / "s", out=tmp_path / "place" / "run")
    codes = iter((0, 4, 0))
    bench = Bench(
        place=place,
        golden=tmp_path / "golden",
        start=lambda at, _: process(at, f"{GOOD}; import sys; sys.exit({next(codes)})"),
    )
    assert bench.contents
    bench.begin(bench.finished)
    assert bench.judge("nothing").outcome == "detected"


def test_a_run_may_be_killed_before_it_did_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "setsid", lambda: time.sleep(60))
    place = Place(root=tmp_path / "place", study=tmp_path / "s", out=tmp_path / "place" / "run")
    process = commands.forked(place)
    process.kill()
    ended = process.ended(10)
    assert (ended.code, ended.said) == (-SIGKILL, "")


def test_a_run_that_hangs_is_stuck(tmp_path, monkeypatch):
    place = Place(root=tmp_path / "place", study=tmp_path / "s", out=tmp_path / "place" / "run")
    bench = Bench(place=place, golden=tmp_path / "golden", start=lambda at, _: process(at, GOOD))
    assert bench.contents
    bench.start = lambda at, _: process(at, "import time; time.sleep(60)")
    bench.patience = 0.2
    bench.begin()
    verdict = bench.judge("nothing")
    assert (verdict.outcome, verdict.why[:4]) == ("stuck", "hung")
    assert replace(verdict, why="") != verdict
