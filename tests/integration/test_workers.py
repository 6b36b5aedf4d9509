"""Processes beside this one: the same results, and no fault that hangs or hides."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import EnvironmentFault, GuardError
from alignstudy.models.batching import plan_batches
from alignstudy.runtime import spreading
from alignstudy.runtime.kernel_probe import current_route, use_route
from alignstudy.runtime.spreading import workers_that_pay
from alignstudy.runtime.workers import WorkerPool

torch = pytest.importorskip("torch")


def doubler(factor):
    """What a worker loads: answers with who it is."""

    def run(task, note):
        if task == "note":
            note("a note")
        if task == "guard":
            raise GuardError("refused", why="because", hint="do this", kept="that")
        if task == "bug":
            raise KeyError("a bug")
        if task == "print":
            sys.stdout.write("what a library prints")
            sys.stdout.flush()
        if task == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "sleep":
            time.sleep(60)
        return task * factor, os.getpid(), torch.get_num_threads(), current_route()

    return run


def refuses():
    raise GuardError("the weights are none")


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(partial(doubler, 2), workers=2) as pool:
        yield pool


def test_answers_come_by_number_from_more_than_one_process(pool):
    found = dict(pool.run([*range(40), "note", "print"], note=lambda _: None))
    assert sorted(found) == list(range(42))
    assert [found[n][0] for n in range(40)] == [2 * n for n in range(40)]
    assert found[41][0] == "printprint"
    assert os.getpid() not in {answer[1] for answer in found.values()}
    assert {answer[2:] for answer in found.values()} == {(torch.get_num_threads(), current_route())}


def test_a_pool_does_more_than_one_piece_of_work_with_the_same_processes(pool):
    notes = []
    first = {answer[1] for _, answer in pool.run(list(range(30)), note=notes.append)}
    again = {answer[1] for _, answer in pool.run(["note"] * 30, note=notes.append)}
    assert len(first | again) <= 2
    assert notes == ["a note"] * 30
    assert list(pool.run([], note=print)) == []


def test_workers_compute_by_the_route_of_this_process():
    before = current_route()
    use_route("onednn" if before == "default" else "default")
    try:
        asked = current_route()
        with WorkerPool(partial(doubler, 1), workers=1) as pool:
            ((_, answer),) = pool.run([1], note=print)
    finally:
        use_route(before)
    assert answer[3] == asked


@pytest.mark.parametrize("task", ["guard", "bug", "die"])
def test_what_goes_wrong_in_a_worker_is_told_and_ends_all(task):
    with WorkerPool(partial(doubler, 2), workers=2) as pool:
        processes = [worker._process for worker in pool._workers]
        kinds = {"guard": GuardError, "bug": RuntimeError, "die": EnvironmentFault}
        with pytest.raises(kinds[task]) as caught:
            list(pool.run([task, "sleep"], note=print))
        assert pool.closed
        assert all(process.poll() is not None for process in processes)
        with pytest.raises(RuntimeError, match="closed"):
            list(pool.run([1], note=print))
    if task == "guard":
        error = caught.value
        told = (error.what, error.why, error.hint, error.kept)
        assert told == ("refused", "because", "do this", "that")
    if task == "bug":
        assert "KeyError: 'a bug'" in str(caught.value)
        assert "in run" in str(caught.value)
    if task == "die":
        assert "signal 9" in caught.value.why
        assert "fewer workers" in caught.value.hint


def test_a_model_that_cannot_be_loaded_is_told_as_it_is():
    with (
        pytest.raises(GuardError, match="the weights are none"),
        WorkerPool(refuses, workers=1) as pool,
    ):
        list(pool.run([1, 2], note=print))


def test_an_abandoned_run_ends_the_workers():
    pool = WorkerPool(partial(doubler, 2), workers=1)
    processes = [worker._process for worker in pool._workers]
    answers = pool.run([1, "sleep"], note=print)
    next(answers)
    answers.close()
    assert pool.closed
    assert all(process.poll() is not None for process in processes)


def test_a_forgotten_pool_ends_its_workers():
    pool = WorkerPool(partial(doubler, 2), workers=1)
    (process,) = [worker._process for worker in pool._workers]
    list(pool.run([1], note=print))
    assert process.poll() is None
    del pool
    assert process.poll() is not None


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, '{tests}')
from functools import partial
from test_workers import doubler
from alignstudy.runtime.workers import WorkerPool
pool = WorkerPool(partial(doubler, 1), workers=2)  # no `if __name__` guard, as in users' scripts
print(*[worker._process.pid for worker in pool._workers], flush=True)
for number, answer in pool.run([1, "sleep", "sleep"], note=print):
    print("answer", flush=True)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_began_them(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(tests=Path(__file__).parent)))
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert parent.stdout.readline() == "answer\n"
        os.kill(parent.pid, number)
        parent.wait(20)
        assert parent.returncode != 0
    until = time.monotonic() + 20
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open(encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_only_work_that_wins_back_the_start_is_spread(monkeypatch):
    monkeypatch.setattr(spreading, "usable_cores", lambda: 4)
    monkeypatch.setattr(spreading, "free_memory", lambda: 100 * 10**9)
    asked = {"asked": 4, "tasks": 100, "held": 10**9, "start_up": 10.0}
    assert workers_that_pay(13.0, **asked) == 1
    assert workers_that_pay(14.0, **asked) == 4
    assert workers_that_pay(1e4, **asked | {"asked": 1}) == 1
    assert workers_that_pay(1e4, **asked | {"tasks": 3}) == 3
    assert workers_that_pay(1e4, **asked | {"held": 25 * 10**9}) == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert workers_that_pay(1e4, **asked) == 2
    monkeypatch.setattr(spreading, "free_memory", lambda: 10**9)
    assert workers_that_pay(1e4, **asked) == 1


def test_memory_is_read_from_the_system():
    assert 10**7 < spreading.free_memory() < 10**14
    assert 1 <= spreading.usable_cores() <= 10**5


def cuts(count):
    """Every way to cut a row of things into stretches."""
    if count == 0:
        yield []
        return
    for first in range(1, count + 1):
        for rest in cuts(count - first):
            yield [first, *rest]


@given(
    st.lists(st.integers(1, 30), max_size=8), st.integers(1, 5), st.integers(1, 90),
    st.integers(0, 50), st.integers(0, 3),
)  # fmt: skip
def test_planned_batches_are_the_cheapest_cut(lengths, batch_size, budget, fixed, each):
    def cost(rows, longest):
        return fixed + rows * (each + longest)

    def allowed(sizes):
        return all(
            size == 1 or (size <= batch_size and size * ordered[sum(sizes[:n])] <= budget)
            for n, size in enumerate(sizes)
        )

    def total(sizes):
        return sum(cost(size, ordered[sum(sizes[:n])]) for n, size in enumerate(sizes))

    ordered = sorted(lengths, reverse=True)
    batches = plan_batches(lengths, cost=cost, batch_size=batch_size, max_batch_tokens=budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert [lengths[row] for batch in batches for row in batch] == ordered
    sizes = [len(batch) for batch in batches]
    assert allowed(sizes)
    assert total(sizes) == min(total(cut) for cut in cuts(len(lengths)) if allowed(cut))
