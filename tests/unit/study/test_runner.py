"""Stages, keys, plans and the runner, on toy stages that add numbers."""

import multiprocessing
import time
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import EnvironmentFault, InputError, InterruptedRunError
from alignstudy.settings import Settings
from alignstudy.study.graph.fingerprint import changes, digest
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run.plan import make_plan
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store


class Numbers(Settings):
    first: float = 1e-5
    second: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Source(Stage):
    kind: ClassVar[str] = "source"
    settings: Numbers = field(default_factory=Numbers)

    def run(self, job):
        (job.out / "value").write_text(str(self.settings.first + self.settings.second))
        return {"made": 1}


@dataclass(frozen=True, kw_only=True)
class Sum(Stage):
    kind: ClassVar[str] = "sum"
    parts: tuple[Stage, ...] = field(default=())
    plus: float = 0.0

    def run(self, job):
        values = [float((job.folder_of(part) / "value").read_text()) for part in self.parts]
        (job.out / "value").write_text(str(sum(values) + self.plus))
        return {}


@dataclass(frozen=True, kw_only=True)
class Broken(Stage):
    kind: ClassVar[str] = "broken"
    error: str = ""
    after: Stage | None = None

    def run(self, job):
        if self.error == "enospc":
            raise OSError(28, "No space left on device", str(job.out / "x"))
        if self.error == "input":
            raise InputError("row 7 is bad", why="it is null")
        raise RuntimeError("our bug")


def study(first=1e-5, second=2.0, plus=0.0):
    one = Source(name="one", settings=Numbers(first=first))
    two = Source(name="two", settings=Numbers(second=second))
    return Sum(name="total", parts=(one, two), plus=plus)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


def run(store, goal):
    runner = Runner(store=store, device="cpu")
    artefact = runner.make(goal)
    return float((artefact.folder / "value").read_text()), runner.executed


def test_each_stage_runs_once_and_then_never_again(store):
    value, executed = run(store, study(second=3.0))
    assert value == pytest.approx(2.0 + 1e-5 + 3.0 + 1e-5)
    assert executed == ["one", "two", "total"]
    assert run(store, study(second=3.0)) == (value, [])


def test_edge_case_15_a_change_runs_what_hangs_on_it_and_nothing_else(store):
    run(store, study(second=3.0))
    assert run(store, study(second=4.0))[1] == ["two", "total"]
    assert run(store, study(second=3.0, plus=1.0))[1] == ["total"]


def test_the_name_is_no_part_of_the_key():
    stage = study()
    assert replace(stage, name="other").key == stage.key


def test_equal_stages_run_once(store):
    one, twin = Source(name="one"), Source(name="twin")
    assert run(store, Sum(name="total", parts=(one, twin)))[1] == ["one", "total"]


def test_the_version_and_the_device_are_part_of_the_key():
    class Newer(Source):
        version: ClassVar[int] = 2

    assert Newer(name="one").key != Source(name="one").key
    assert Source(name="one", device_class="cpu (1 threads)").key != Source(name="one").key


def test_numeric_stages_carry_the_libraries_versions(monkeypatch):
    class Numeric(Source):
        numeric: ClassVar[bool] = True

    before = Numeric(name="n").key
    monkeypatch.setattr("alignstudy.study.graph.stage.library_version", lambda name: "9.9.9")
    assert Numeric(name="n").key != before


@given(
    a=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=4),
    b=st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False), max_size=4),
)
def test_digests_are_equal_just_where_values_are(a, b):
    assert (digest(a) == digest(b)) == (repr(sorted(a.items())) == repr(sorted(b.items())))
    assert bool(changes(a, b)) == (a != b)


def test_a_plan_says_what_changed(store):
    old = study(second=3.0)
    run(store, old)
    before = {stage.name: stage.key for stage in in_order((old,))}
    lines = {
        line.stage.name: line for line in make_plan((study(first=2e-5, second=3.0),), store, before)
    }
    assert (lines["one"].state, lines["one"].why) == ("new", "first 1e-5 -> 2e-5")
    assert lines["two"].state == "cached"
    assert (lines["total"].state, lines["total"].why) == ("new", "one changes")


def test_a_plan_of_nothing_known_is_all_new(store):
    assert {line.why for line in make_plan((study(),), store, {})} == {"never run here"}


def test_a_lost_input_is_not_made_again_for_nothing(store):
    goal = study(second=3.0)
    run(store, goal)
    import shutil

    shutil.rmtree(store.folder("source", goal.parts[0].key))
    states = {line.stage.name: line.state for line in make_plan((goal,), store, {})}
    assert states == {"one": "not needed", "two": "cached", "total": "cached"}
    assert run(store, goal)[1] == []


def test_a_damaged_artefact_is_told_and_made_anew(store):
    goal = study(second=3.0)
    value, _ = run(store, goal)
    (store.folder("sum", goal.key) / "value").write_text("7.0000000")
    runner = Runner(store=store, device="cpu")
    assert float((runner.make(goal).folder / "value").read_text()) == value
    assert runner.executed == ["total"]
    assert "damaged" in runner.notes[0]


def test_edge_case_28_a_full_disk_is_the_machines_fault(store):
    with pytest.raises(EnvironmentFault, match="broken") as caught:
        Runner(store=store, device="cpu").make(Broken(name="broken", error="enospc"))
    assert "No space left" in caught.value.why
    assert caught.value.kept


def test_a_users_fault_names_the_stage_and_what_was_kept(store):
    stage = Broken(name="broken", error="input", after=Source(name="one"))
    with pytest.raises(InputError, match="broken: row 7 is bad") as caught:
        Runner(store=store, device="cpu").make(stage)
    assert "one" in caught.value.kept


def test_our_own_bug_is_not_dressed_up(store):
    with pytest.raises(RuntimeError, match="our bug"):
        Runner(store=store, device="cpu").make(Broken(name="broken"))


def test_a_stop_between_stages_keeps_what_is_done(store):
    asked = iter([False, True])
    runner = Runner(store=store, device="cpu", should_stop=lambda: next(asked))
    with pytest.raises(InterruptedRunError) as caught:
        runner.make(study(second=3.0))
    assert runner.executed == ["one"]
    assert "one" in caught.value.kept


@dataclass(frozen=True, kw_only=True)
class Slow(Stage):
    kind: ClassVar[str] = "slow"
    log: str = ""

    def run(self, job):
        with open(self.log, "a") as file:  # noqa: PTH123 - one appended line a run
            file.write("ran\n")
        time.sleep(0.5)
        (job.out / "value").write_text("1")
        return {}


def _make_slow(root, log):
    Runner(store=Store(root), device="cpu").make(Slow(name="slow", log=log))


def test_two_processes_make_one_artefact_once(tmp_path):
    log = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=_make_slow, args=(tmp_path / "home", str(log))) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "ran\n"
