"""Stages in several processes: made once, in order; stopped, killed, failing."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest

from alignstudy.errors import DataError, InterruptedRunError
from alignstudy.study.cost.outlook import Outlook, StageEstimate
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run import side_by_side
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.side_by_side import make_side_by_side
from alignstudy.study.run.store import Store

pytest.importorskip("torch")


def wait_for(holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class Toy(Stage):
    """Does what it is told; writes who made it, and when."""

    kind: ClassVar[str] = "toy"
    numeric: ClassVar[bool] = True
    does: str = "nap"
    seconds: float = 0.0
    needs: tuple[Stage, ...] = ()
    here: int = 0
    odd: object = None

    def run(self, job):
        began = time.time()
        for needed in self.needs:
            assert (job.folder_of(needed) / "toy.json").is_file()
        job.progress.start(self.name, 1)
        marked = job.work / "checkpoint"
        resumed = marked.exists()
        marked.write_text("so far", encoding="utf-8")
        if self.does == "fail" and not resumed:
            wait_for(lambda: list(job.work.parent.glob("*/waits")))
            raise DataError("the row is empty", hint="fill it")
        if self.does == "die" and os.getpid() != self.here:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "wait for a stop" and not resumed:
            (job.work / "waits").touch()
            while not job.should_stop():
                time.sleep(0.01)
            raise InterruptedRunError("stopped", hint="again", kept="the checkpoint")
        time.sleep(self.seconds)
        job.progress.advance(1, loss=0.5)
        job.progress.finish()
        facts = {"pid": os.getpid(), "from": began, "to": time.time(), "resumed": resumed,
                 "workers": job.workers}  # fmt: skip
        (job.out / "toy.json").write_text(json.dumps(facts), encoding="utf-8")
        return {}


class Heard:
    """A progress that can show several pieces of work, and keeps what it was told."""

    def __init__(self, lines=None):
        self.lines = [] if lines is None else lines

    def start(self, what, total=None):
        self.lines.append(("start", what))

    def advance(self, done, **figures):
        self.lines.append(("advance", done, figures))

    def finish(self):
        self.lines.append(("finish",))

    def note(self, text):
        self.lines.append(("note", text))

    def another(self):
        return Heard(self.lines)


@pytest.fixture
def planned(monkeypatch):
    """Two processes pay, whatever the estimate; memory as given."""

    def plan(memory=1.0, room=10.0, hands=2):
        def outlook(stages, *_, **__):
            each = tuple(StageEstimate(stage=s.name, seconds=1.0, memory=memory) for s in stages)
            return Outlook(stages=each, hands=hands, spread=1, seconds=1, low=1, high=1, memory=1)

        monkeypatch.setattr(side_by_side, "outlook", outlook)
        monkeypatch.setattr(side_by_side, "room_for_stages", lambda: room)

    plan()
    return plan


def runner_of(tmp_path, **given):
    return Runner(
        store=Store(tmp_path / "home"), device="cpu", threads=1, workers=2,
        **{"progress": Heard(), **given},
    )  # fmt: skip


def toy(name, **given):
    return Toy(name=name, here=os.getpid(), **{"odd": name, **given})


def told(runner, stage):
    folder = runner.store.folder(stage.kind, stage.key)
    return json.loads((folder / "toy.json").read_text(encoding="utf-8"))


def test_independent_stages_are_made_at_the_same_time_each_once(planned, tmp_path):
    first = toy("first")
    arms = [toy(f"arm {number}", seconds=0.4, needs=(first,)) for number in range(6)]
    last = toy("last", needs=tuple(arms))
    runner = runner_of(tmp_path)
    make_side_by_side(runner, [last])
    found = {stage.name: told(runner, stage) for stage in (first, *arms, last)}
    assert len({each["pid"] for each in found.values()}) == 2
    assert os.getpid() in {each["pid"] for each in found.values()}
    assert all(found[arm.name]["from"] >= found["first"]["to"] for arm in arms)
    assert found["last"]["from"] >= max(found[arm.name]["to"] for arm in arms)
    assert sorted(runner.executed) == sorted(found)
    assert runner.executed[-1] == "last"
    assert found["last"]["workers"] == 2, "nothing beside it: it may spread its texts"
    assert runner.made == {stage.key for stage in (first, *arms, last)}


@pytest.mark.e2e
def test_the_terminal_hears_of_both_processes(planned, tmp_path):
    arms = [toy(f"arm {number}", seconds=0.5) for number in range(6)]
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    lines = runner.progress.lines
    assert {("start", arm.name) for arm in arms} <= set(
        line for line in lines if line[0] == "start"
    )
    assert lines.count(("advance", 1, {"loss": 0.5})) == len(arms)
    notes = [line[1] for line in lines if line[0] == "note"]
    assert all(any(note.startswith(f"{arm.name}: done in") for note in notes) for arm in arms)


def test_facts_of_a_shared_machine_name_no_energy_and_no_stage_as_made_before(planned, tmp_path):
    arms = [toy(f"arm {number}", seconds=0.5) for number in range(4)]
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    for arm in arms:
        facts = runner._facts_of(arm)
        assert facts["reused"] is False
        assert facts["joules"] is None
    assert any(runner._facts_of(arm).get("beside") for arm in arms)


def test_stages_that_both_want_the_memory_are_never_at_work_together(planned, tmp_path):
    planned(memory=6.0, room=10.0)
    arms = [toy(f"arm {number}", seconds=0.3) for number in range(4)]
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    spans = sorted((told(runner, arm)["from"], told(runner, arm)["to"]) for arm in arms)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_a_fault_stops_the_others_in_good_order_and_the_next_run_goes_on(planned, tmp_path):
    arms = [toy("waits", does="wait for a stop"), toy("breaks", does="fail", seconds=0.1),
            toy("later")]  # fmt: skip
    runner = runner_of(tmp_path)
    with pytest.raises(DataError) as caught:
        make_side_by_side(runner, arms[:2])
    assert "breaks: the row is empty" in str(caught.value)
    assert runner.executed == []
    again = runner_of(tmp_path)
    make_side_by_side(again, arms)
    assert told(again, arms[0])["resumed"] is True
    assert sorted(again.executed) == ["breaks", "later", "waits"]


def test_a_stop_reaches_every_process(planned, tmp_path):
    arms = [toy(name, does="wait for a stop") for name in ("one", "two")]
    asked = threading.Event()
    runner = runner_of(tmp_path, should_stop=asked.is_set)
    waits = [runner.store.work_folder(arm.key) / "waits" for arm in arms]

    def ask():
        while not all(path.exists() for path in waits):
            time.sleep(0.05)
        asked.set()

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(InterruptedRunError, match="stopped"):
        make_side_by_side(runner, arms)
    kept = [runner.store.work_folder(arm.key) / "checkpoint" for arm in arms]
    assert all(path.exists() for path in kept)


def test_stages_one_after_the_other_have_no_neighbours(planned, tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side._Crew, "_work_here", lambda _: None)  # the worker makes all
    chain = []
    for number in range(3):
        chain.append(toy(f"link {number}", needs=tuple(chain[-1:])))
    runner = runner_of(tmp_path)
    make_side_by_side(runner, chain)
    assert os.getpid() not in {told(runner, link)["pid"] for link in chain}
    assert not any(runner._facts_of(link).get("beside") for link in chain)
    assert {told(runner, link)["workers"] for link in chain} == {2}


def test_what_a_worker_left_damaged_is_made_again_here(planned, tmp_path, monkeypatch):
    arms = [toy(f"arm {number}", seconds=0.5) for number in range(3)]
    runner = runner_of(tmp_path)
    find, spoilt = Store.find, []

    def find_damaged(store, kind, key):
        made = store.folder(kind, key) / "toy.json"
        if not spoilt and made.is_file() and str(os.getpid()) not in made.read_text("utf-8"):
            spoilt.append(key)
            made.write_text("{}", encoding="utf-8")
        return find(store, kind, key)

    monkeypatch.setattr(Store, "find", find_damaged)
    make_side_by_side(runner, arms)
    (again,) = [arm for arm in arms if arm.key in spoilt]
    assert told(runner, again)["pid"] == os.getpid()
    assert any("damaged" in note and "made here" in note for note in runner.notes)
    assert {stage.key for stage in arms} <= runner.made


@pytest.mark.e2e
def test_what_a_killed_worker_was_at_is_made_here_from_its_checkpoint(planned, tmp_path):
    arms = [toy(f"arm {number}", does="die", seconds=0.5) for number in range(3)]
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    found = [told(runner, arm) for arm in arms]
    assert {each["pid"] for each in found} == {os.getpid()}
    assert sum(each["resumed"] for each in found) == 1
    (note,) = runner.notes
    assert "signal 9" in note
    assert "made here" in note


def test_a_stage_that_no_other_process_can_read_is_made_here(planned, tmp_path):
    arms = [toy("one", odd=len, seconds=0.3), toy("two", seconds=0.3), toy("three", seconds=0.3)]
    lock = threading.Lock()
    object.__setattr__(arms[0], "odd", lock)
    object.__setattr__(arms[0], "key", "f" * 64)
    object.__setattr__(arms[0], "fingerprint_inputs", {})
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    assert told(runner, arms[0])["pid"] == os.getpid()
    assert len(runner.executed) == 3


def test_one_process_is_enough_where_the_estimate_says_so(tmp_path):
    """Nothing is known of these stages: no second process is started for them."""
    arms = [toy("one"), toy("two")]
    runner = runner_of(tmp_path)
    make_side_by_side(runner, arms)
    assert runner.executed == []
    assert [runner.make(arm) for arm in arms]


@pytest.mark.e2e
def test_a_second_ctrl_c_ends_every_process_at_once(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import test_side_by_side as t
        from alignstudy.study import side_by_side
        from alignstudy.study.run.signals import stop_signals
        from alignstudy.study.cost.outlook import Outlook, StageEstimate

        def outlook(stages, *_, **__):
            each = tuple(StageEstimate(stage=s.name, seconds=1.0, memory=1.0) for s in stages)
            return Outlook(stages=each, hands=2, spread=1, seconds=1, low=1, high=1, memory=1)

        side_by_side.outlook = outlook
        arms = [t.toy(name, seconds=600.0) for name in ("one", "two")]
        with stop_signals(print) as stops:
            runner = t.runner_of(t.Path({str(tmp_path)!r}), should_stop=stops)
            t.make_side_by_side(runner, arms)
        """),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    work = tmp_path / "home" / "work"
    wait_for(lambda: len(list(work.glob("*/checkpoint"))) == 2)
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=30)[1]
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def children_of(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("this system doesn't list a process's children")
    return [int(child) for task in found.parent.parent.iterdir()
            for child in (task / "children").read_text().split()]  # fmt: skip
