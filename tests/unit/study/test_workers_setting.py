"""In how many processes a study's work may be spread."""

from types import SimpleNamespace

import pytest

from alignstudy.study.devices import worker_count


@pytest.mark.parametrize(
    ("threads", "workers", "variable", "wanted"),
    [(2, "auto", "", 4), (16, "auto", "", 1), (None, "auto", "", 1), (None, "auto", "4", 2),
     (2, 3, "", 3), (2, 9, "", 4), (2, 1, "", 1)],
)  # fmt: skip
def test_workers_fill_the_cores_that_threads_leave(monkeypatch, threads, workers, variable, wanted):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    asked = SimpleNamespace(device="cpu", threads=threads, workers=workers)
    assert worker_count(asked) == wanted


def test_an_accelerator_is_one_process_work(monkeypatch):
    monkeypatch.setattr("alignstudy.study.devices.accelerator", lambda asked: "H200")
    assert worker_count(SimpleNamespace(device="auto", threads=1, workers="auto")) == 1
