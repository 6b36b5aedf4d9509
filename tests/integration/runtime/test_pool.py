"""Worker processes: the same results, and no fault that hangs or hides."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest

from alignstudy.errors import EnvironmentFault, GuardError
from alignstudy.runtime import pool as pools
from alignstudy.runtime.pool import WorkerPool, workers_that_pay


def refuse():
    raise GuardError("refused", why="because", hint="do this", kept="that")


def doubler(factor):
    """What a worker loads: doubles numbers, and does what names say; answers with who it is."""
    does = {
        "print": lambda: os.write(1, b"what a library prints"),
        "guard": refuse,
        "bug": lambda: {}["a bug"],
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "sleep": lambda: time.sleep(600),
    }

    def run(task, note):
        if task == "note":
            note("a note")
        if task == "threads":
            return sys.modules["torch"].get_num_threads()
        does.get(task, lambda: time.sleep(0.01))()
        return task * factor, os.getpid()

    return run


def refuses():
    raise GuardError("the weights are none")


def ignore(note):
    pass


def pids(pool):
    return set(pool._executor._processes)


@pytest.fixture(scope="module")
def pool():
    with WorkerPool(partial(doubler, 2), workers=2) as pool:
        yield pool


def test_answers_come_in_order_from_more_than_one_process(pool):
    found = list(pool.map([*range(40), "note", "print"], note=ignore))
    assert [answer[0] for answer in found[:40]] == [2 * n for n in range(40)]
    assert found[41][0] == "printprint"
    assert os.getpid() not in {answer[1] for answer in found}


def test_workers_compute_with_the_threads_that_they_are_given():
    pytest.importorskip("torch")
    with WorkerPool(partial(doubler, 2), workers=1, threads=3) as pool:
        assert list(pool.map(["threads"], note=print)) == [3]


def test_a_pool_does_more_than_one_piece_of_work_with_the_same_processes(pool):
    notes = []
    first = {answer[1] for answer in pool.map(list(range(30)), note=notes.append)}
    again = {answer[1] for answer in pool.map(["note"] * 30, note=notes.append)}
    assert len(first | again) <= 2
    assert notes == ["a note"] * 30
    assert list(pool.map([], note=print)) == []


@pytest.mark.parametrize(
    ("task", "kind"), [("guard", GuardError), ("bug", KeyError), ("die", EnvironmentFault)]
)
def test_what_goes_wrong_in_a_worker_is_raised_here_and_ends_all(task, kind):
    with WorkerPool(partial(doubler, 2), workers=2) as pool:
        answers = pool.map([1, 2, task, "sleep"], note=ignore)
        next(answers)
        begun = pids(pool)
        with pytest.raises(kind) as caught:
            list(answers)
        assert not any(map(alive, begun))
    if task == "guard":
        error = caught.value
        found = (error.what, error.why, error.hint, error.kept)
        assert found == ("refused", "because", "do this", "that")
    if task == "die":
        assert "signal 9 (most often the system's: out of memory)" in caught.value.why
        assert "fewer workers" in caught.value.hint


def test_a_model_that_cannot_be_loaded_is_the_fault_of_the_first_task():
    with WorkerPool(refuses, workers=1) as pool, pytest.raises(GuardError, match="weights are"):
        list(pool.map([1, 2], note=print))


def test_an_abandoned_or_forgotten_pool_ends_its_workers():
    pool = WorkerPool(partial(doubler, 2), workers=1)
    answers = pool.map([1, "sleep"], note=print)
    next(answers)
    begun = pids(pool)
    answers.close()
    assert not any(map(alive, begun))
    pool = WorkerPool(partial(doubler, 2), workers=1)
    list(pool.map([1], note=print))
    begun = pids(pool)
    del pool
    wait_for(lambda: not any(map(alive, begun)))


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
sys.path.insert(0, '{tests}')
from functools import partial
from test_pool import doubler
from alignstudy.runtime.pool import WorkerPool
pool = WorkerPool(partial(doubler, 1), workers=2)  # no `if __name__` guard, as in users' scripts
for number, answer in enumerate(pool.map([1, 2, "sleep", "sleep"], note=print)):
    print(*pool._executor._processes, flush=True)
"""


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_began_them(tmp_path, number):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(tests=Path(__file__).parent)))
    parent = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with parent:
        begun = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(begun) == 2
        os.kill(parent.pid, number)
        parent.wait(60)
        assert parent.returncode != 0
    wait_for(lambda: not any(map(alive, begun)))


def wait_for(holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open(encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_only_work_that_wins_back_the_start_is_spread(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(pools, "usable_cores", lambda: 4)
    monkeypatch.setattr(pools, "free_memory", lambda: 100 * 10**9)
    asked = {"asked": 4, "tasks": 100, "held": 10**9, "start_up": 10.0}
    assert workers_that_pay(13.0, **asked) == 1
    assert workers_that_pay(14.0, **asked) == 4
    assert workers_that_pay(1e4, **asked | {"asked": 1}) == 1
    assert workers_that_pay(1e4, **asked | {"tasks": 3}) == 3
    assert workers_that_pay(1e4, **asked | {"held": 25 * 10**9}) == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert workers_that_pay(1e4, **asked) == 2
    monkeypatch.setattr(pools, "free_memory", lambda: 10**9)
    assert workers_that_pay(1e4, **asked) == 1


def test_memory_is_read_from_the_system():
    assert 10**7 < pools.free_memory() < 10**14
    assert 1 <= pools.usable_cores() <= 10**5


def locks():
    """What a worker loads: makes a semaphore, as libraries' progress bars do."""
    from multiprocessing import RLock

    kept = []
    return lambda task, note: kept.append(RLock()) or task


def test_workers_that_are_done_leave_nothing_behind():
    """Else Python warns, at the end of a run, of leaked semaphores."""
    program = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from alignstudy.runtime.pool import WorkerPool
        from test_pool import ignore, locks

        with WorkerPool(locks, workers=2) as pool:
            print(list(pool.map([1, 2, 3], note=ignore)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True,
        check=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("[1, 2, 3]", "")
