"""A store that two people share: each reads, goes on from and mends what the other made."""

import multiprocessing
import os
import shutil
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from alignstudy.runtime.keyed_file import KeyedFile
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.known_runs import KnownRuns
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

GROUP, ANN, BEN = 54_321, 54_322, 54_323

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be two other users"
)


@dataclass(frozen=True, kw_only=True)
class Made(Stage):
    """Writes a weight file for its user only, as some libraries do."""

    kind: ClassVar[str] = "made"
    weights: ClassVar[tuple[str, ...]] = ("*.safetensors",)
    number: int

    def run(self, job):
        path = job.out / "model.safetensors"
        path.write_bytes(b"weights")
        path.chmod(0o600)
        return {}


@pytest.fixture
def home():
    """A folder of the group's, in which new files are the group's, too."""
    root = Path(tempfile.mkdtemp(prefix="shared-"))
    os.chown(root, 0, GROUP)
    root.chmod(0o2775)
    yield root / "home"
    shutil.rmtree(root)


def use(home, numbers):
    """Make stages as a run does; return the names of those that were made."""
    store = Store(home)
    store.root.mkdir(parents=True, exist_ok=True)
    goals = [Made(name=f"made {number}", number=number) for number in numbers]
    runner = Runner(store=store, device="cpu")
    with KnownRuns(store).using(goals, folder=home / "run"):
        store.sweep()
        for goal in goals:
            runner.make(goal)
    kept = KeyedFile(home / "scores" / "scores.sqlite", what="scores")
    known = len(kept.get([str(number) for number in numbers]))
    kept.put({str(number): b"value" for number in numbers})
    return runner.executed, known


def as_user(user, work, *given):
    """Do something in a process of another user of the group."""
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()

    def child():
        os.setgroups([])
        os.setgid(GROUP)
        os.umask(0o002)
        os.setuid(user)
        try:
            told.put(work(*given))
        except BaseException:
            told.put(traceback.format_exc())

    process = context.Process(target=child)
    process.start()
    found = told.get()
    process.join()
    if isinstance(found, str):
        pytest.fail(found)
    return found


def test_b2_two_users_of_a_group_share_a_store(home, tmp_path):
    use(tmp_path / "warm", [1])  # what is imported late is imported here: others may not read it
    assert as_user(ANN, use, home, [1, 2]) == (["made 1", "made 2"], 0)
    assert as_user(BEN, use, home, [1, 2, 3]) == (["made 3"], 2)
    assert as_user(ANN, use, home, [3]) == ([], 1)


def test_b2_one_user_mends_and_frees_what_the_other_made(home, tmp_path):
    use(tmp_path / "warm", [1])
    as_user(ANN, use, home, [1, 2])
    stages = [Made(name=f"made {number}", number=number) for number in (1, 2)]

    def harm():
        path = Store(home).folder("made", stages[0].key) / "model.safetensors"
        path.write_bytes(b"weighty")
        return Store(home).drop_weights("made", stages[1].key) or 0

    assert as_user(BEN, harm) == len(b"weights")
    assert as_user(BEN, use, home, [1, 2]) == (["made 1", "made 2"], 2)
    assert as_user(ANN, use, home, [1, 2]) == ([], 2)
