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
from pathlib import Path
from typing import ClassVar

import pytest

from alignstudy.errors import DataError, InterruptedRunError, WorkerEndedError
from alignstudy.study.graph.build import Graph
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.making import make_and_show
from alignstudy.study.run.parallel import make_in_parallel
from alignstudy.study.run.pieces import Export
from alignstudy.study.run.publishing import StudyTexts
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

TEXTS = StudyTexts(digest="toy", files={})


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
        marked = job.work / "checkpoint"
        resumed = marked.exists()
        marked.write_text("so far", encoding="utf-8")
        if self.does in ("fail", "die") and not resumed:
            wait_for(lambda: list(job.work.parent.glob("*/waits")))
            if self.does == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("the row is empty", hint="fill it")
        if self.does == "wait for a stop" and not resumed:
            (job.work / "waits").touch()
            while not job.should_stop():
                time.sleep(0.01)
            raise InterruptedRunError("stopped", hint="again", kept="the checkpoint")
        time.sleep(self.seconds)
        facts = {
            "pid": os.getpid(),
            "from": began,
            "to": time.time(),
            "resumed": resumed,
            "workers": job.workers,
        }
        (job.out / "toy.json").write_text(json.dumps(facts), encoding="utf-8")
        return {}


@dataclass(frozen=True, kw_only=True)
class Model(Toy):
    """A toy whose file is weights."""

    kind: ClassVar[str] = "model"
    weights: ClassVar[tuple[str, ...]] = ("toy.json",)


@dataclass(frozen=True, kw_only=True)
class Release(Toy):
    """Leaves the models that its inputs were made of to nobody."""

    kind: ClassVar[str] = "release"

    def releases(self, folder):
        return [model for answer in self.needs for model in answer.needs]


class Heard:
    """A progress that keeps what it was told."""

    def __init__(self):
        self.notes, self.done, self.total = [], 0, 0

    def start(self, what, total=None):
        self.total = total

    def advance(self, done, **figures):
        self.done += done

    def finish(self):
        pass

    def note(self, text):
        self.notes.append(text)


def runner_of(tmp_path, **given):
    return Runner(
        store=Store(tmp_path / "home"),
        device="cpu",
        workers=2,
        **{"progress": Heard(), **given},
    )


def toy(name, **given):
    return Toy(name=name, **{"odd": name, **given})


def facts_of(runner, stage):
    folder = runner.store.folder(stage.kind, stage.key)
    return json.loads((folder / "toy.json").read_text(encoding="utf-8"))


def test_independent_stages_are_made_at_the_same_time_each_once(tmp_path):
    first = toy("first")
    arms = [toy(f"arm {number}", seconds=1.0, needs=(first,)) for number in range(4)]
    stages = [first, *arms, toy("last", needs=tuple(arms))]
    runner = runner_of(tmp_path)
    make_in_parallel(runner, [stages[-1]])
    found = {stage.name: facts_of(runner, stage) for stage in stages}
    assert len({each["pid"] for each in found.values()} - {os.getpid()}) == 2
    assert all(found[arm.name]["from"] >= found["first"]["to"] for arm in arms)
    assert found["last"]["from"] >= max(found[arm.name]["to"] for arm in arms)
    assert sorted(runner.executed) == sorted(found)
    assert runner.executed[-1] == "last"
    assert set(runner.made) == {stage.key for stage in stages}
    workers = {name: each["workers"] for name, each in found.items()}
    assert workers["arm 0"] == 1
    assert workers["last"] == 2, "nothing beside it: it may spread its texts"
    assert runner.make(arms[0]).facts["beside"] is True
    facts = runner._job(tmp_path, tmp_path).facts_of
    assert not any(facts(stage)["reused"] for stage in stages)
    heard = runner.progress
    assert (heard.done, heard.total) == (6, 6)
    for stage in stages:
        told = [note for note in heard.notes if note.startswith(stage.name)]
        assert told[0].endswith(": started")
        assert ": done in" in told[1]


def test_a_fault_stops_the_others_in_good_order_and_the_next_run_goes_on(tmp_path):
    arms = [toy("waits", does="wait for a stop"), toy("breaks", does="fail"), toy("later")]
    runner = runner_of(tmp_path)
    with pytest.raises(DataError) as caught:
        make_in_parallel(runner, arms[:2])
    assert "breaks: the row is empty" in str(caught.value)
    assert "nothing new was finished" in caught.value.kept
    assert runner.executed == []
    again = runner_of(tmp_path)
    make_in_parallel(again, arms)
    assert facts_of(again, arms[0])["resumed"] is True
    assert sorted(again.executed) == ["breaks", "later", "waits"]


@pytest.mark.e2e
def test_a_killed_worker_ends_the_run_with_words_and_the_next_run_goes_on(tmp_path):
    made = toy("made")
    arms = [
        toy(name, does=does, needs=(made,))
        for name, does in (("waits", "wait for a stop"), ("dies", "die"))
    ]
    runner = runner_of(tmp_path)
    with pytest.raises(WorkerEndedError) as caught:
        make_in_parallel(runner, arms)
    assert "a worker process ended before its work did" in caught.value.what
    assert "signal 9 (most often the system's: out of memory)" in caught.value.why
    assert "run the same command again" in caught.value.hint
    assert "(made)" in caught.value.kept
    assert caught.value.exit_code == 3
    again = runner_of(tmp_path)
    make_in_parallel(again, arms)
    assert sorted(again.executed) == ["dies", "waits"]
    assert all(facts_of(again, arm)["resumed"] for arm in arms)


def test_a_stop_reaches_every_process(tmp_path):
    arms = [toy(name, does="wait for a stop") for name in ("one", "two")]
    asked = threading.Event()
    runner = runner_of(tmp_path, should_stop=asked.is_set)
    waits = [runner.store.work_folder(arm.key) / "waits" for arm in arms]

    def ask():
        wait_for(lambda: all(path.exists() for path in waits))
        asked.set()

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(InterruptedRunError, match="stopped"):
        make_in_parallel(runner, arms)
    kept = [runner.store.work_folder(arm.key) / "checkpoint" for arm in arms]
    assert all(path.exists() for path in kept)


def test_a_stop_between_stages_begins_no_other(tmp_path):
    runner = runner_of(tmp_path, should_stop=lambda: True)
    with pytest.raises(InterruptedRunError, match="stopped as asked"):
        make_in_parallel(runner, [toy("one"), toy("two")])
    assert runner.executed == []


def test_a_stage_of_the_users_own_script_is_made_in_this_process(tmp_path):
    arms = [toy("one", odd="__main__:rate"), toy("two"), toy("three")]
    runner = runner_of(tmp_path)
    make_in_parallel(runner, arms)
    assert facts_of(runner, arms[0])["pid"] == os.getpid()
    assert facts_of(runner, arms[1])["pid"] != os.getpid()
    assert len(runner.executed) == 3


@pytest.mark.parametrize("stages", [1, 2])
def test_one_process_is_enough_for_one_stage_or_one_worker(tmp_path, stages):
    arms = [toy(f"arm {number}") for number in range(stages)]
    runner = runner_of(tmp_path)
    runner.workers = 3 - stages
    make_in_parallel(runner, arms)
    assert runner.executed == []


@pytest.mark.e2e
def test_a_second_ctrl_c_ends_every_process_at_once(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(Path(__file__).parent)!r}]
        import test_parallel as t
        from alignstudy.study.run.signals import stop_signals

        arms = [t.toy(name, seconds=600.0) for name in ("one", "two")]
        with stop_signals(print) as stops:
            runner = t.runner_of(t.Path({str(tmp_path)!r}), should_stop=stops)
            t.make_in_parallel(runner, arms)
        """),
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    work = tmp_path / "home" / "work"
    wait_for(lambda: len(list(work.glob("*/checkpoint"))) == 2)
    children = children_of(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def children_of(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("this system doesn't list a process's children")
    return [
        int(child)
        for task in found.parent.parent.iterdir()
        for child in (task / "children").read_text().split()
    ]


@pytest.mark.e2e
def test_weights_that_workers_made_go_while_others_still_work(tmp_path):
    models = [Model(name=f"model {n}", odd=n) for n in range(2)]
    answers = tuple(toy(f"answer {model.odd}", needs=(model,)) for model in models)
    choice = Release(name="choice", needs=answers)
    late = toy("late", needs=(models[1], choice), seconds=0.5)
    graph = Graph(
        exports=(Export(stage=late, source="toy.json", target="toy.json"),),
        preview=None, prompts=None, parts=(),
    )  # fmt: skip
    runner, folder = runner_of(tmp_path), RunFolder(path=tmp_path / "run")
    with folder.locked():
        make_and_show(runner, graph, graph.goals, folder, TEXTS)
    assert len(runner.executed) == 6
    heard = runner.progress.notes
    gone = [
        next(i for i, n in enumerate(heard) if f"{m.name}: weights dropped" in n) for m in models
    ]
    ended = next(i for i, note in enumerate(heard) if note.startswith("late: done"))
    assert gone[0] < ended < gone[1], "one as soon as the choice is made, one after its last reader"
    assert runner.store.peek("model", models[0].key) is None
