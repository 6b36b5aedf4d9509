"""What stages took: nothing counted twice, nothing invented, units that people read."""

import json
import time
from dataclasses import dataclass
from typing import ClassVar

import pytest
from report_fixtures import inputs

from alignstudy.formatting import quantity
from alignstudy.report.stored import (
    REPORT_DATA,
    read_report_inputs,
    write_findings,
    write_report_data,
)
from alignstudy.report.tables import run
from alignstudy.study.cost import meter as metering
from alignstudy.study.cost.meter import Meter, cost_row
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

MEGABYTE = 2**20


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_stretch_inside_another_is_counted_once():
    meter = Meter("cpu")
    with meter.measured() as outer:
        time.sleep(0.02)
        with meter.measured() as inner:
            time.sleep(0.2)
            burn(0.1)
    assert inner.seconds > 0.2
    assert outer.seconds < 0.2
    assert inner.cpu_seconds > 0.05
    assert outer.cpu_seconds < 0.1


def test_a_stretch_that_fails_inside_another_leaves_the_outer_one_right():
    meter = Meter("cpu")

    def fail():
        with meter.measured():
            time.sleep(0.2)
            raise ValueError("inside")

    with meter.measured() as outer, pytest.raises(ValueError, match="inside"):
        fail()
    assert 0 <= outer.seconds < 0.2


@pytest.mark.skipif(
    not metering.reset_peak("cpu"), reason="this system keeps no peak that can be reset"
)
def test_each_stretch_has_its_own_peak():
    meter = Meter("cpu")
    with meter.measured() as large:
        block = bytearray(200 * MEGABYTE)
        block[::4096] = b"x" * len(block[::4096])
        with meter.measured() as inner:
            pass
        del block
    with meter.measured() as small:
        pass
    assert large.peak_memory - small.peak_memory > 150 * MEGABYTE
    assert inner.peak_memory >= 200 * MEGABYTE


def test_where_peaks_cannot_be_reset_only_one_that_rose_is_told(monkeypatch):
    highest = iter([500, 500, 500, 900])
    monkeypatch.setattr(metering, "reset_peak", lambda device: False)
    monkeypatch.setattr(metering, "lifetime_peak", lambda: next(highest))
    meter = Meter("cpu")
    with meter.measured() as flat:
        pass
    with meter.measured() as rising:
        pass
    assert (flat.peak_memory, rising.peak_memory) == (None, 900)


@dataclass(frozen=True, kw_only=True)
class Nap(Stage):
    kind: ClassVar[str] = "nap"
    after: Stage | None = None
    asks: Stage | None = None

    def run(self, job):
        if self.asks is not None:
            job.folder_of(self.asks)
        return {"seen": [job.facts_of(item)["reused"] for item in self.inputs()]}


def test_a_stage_says_what_it_took_and_which_inputs_were_there_before(tmp_path):
    store = Store(tmp_path)
    first = Runner(store=store, device="cpu")
    old = Nap(name="old")
    facts = first.make(old).facts
    assert {"seconds", "cpu_seconds", "peak_memory", "started"} <= set(facts)
    assert "flops" not in facts
    second = Runner(store=store, device="cpu")
    fresh = Nap(name="fresh", after=Nap(name="between", after=old), asks=old)
    assert second.make(fresh).facts["seen"] == [False, True]


def test_a_stage_that_goes_on_after_an_interruption_says_so(tmp_path):
    store, stage = Store(tmp_path), Nap(name="late")
    (store.work_folder(stage.key) / "checkpoint-3").mkdir(parents=True)
    assert Runner(store=store, device="cpu").make(stage).facts["resumed"] is True


def test_an_artefact_of_before_costs_were_kept_still_has_its_time():
    row = cost_row("train", {"seconds": 3.0, "tokens": 7})
    assert (row["seconds"], row["tokens"], row["flops"]) == (3.0, 7, None)


COSTS = (
    {"stage": "a", "seconds": 75.0, "cpu_seconds": 70.0, "tokens": 9, "flops": 2.5e12,
     "peak_memory": 1_250_000_000, "device_memory": None, "reused": True},
    {"stage": "b", "seconds": 5.0, "cpu_seconds": 4.0, "tokens": None, "flops": None,
     "peak_memory": 900_000_000, "device_memory": None, "reused": False},
)  # fmt: skip


def test_costs_have_units_and_what_is_not_known_is_said_not_shown():
    table = run.costs_table(COSTS, ("Saved much.",))
    heads = ("Stage", "Time", "Processor time", "Tokens", "FLOPs", "Peak memory", "Made before")
    assert table.heads == heads
    first, second = ([cell.text.replace("\u00a0", " ") for cell in row] for row in table.cells)
    assert first == ["a", "1 min 15 s", "1 min 10 s", "9", "2.50 TFLOP", "1.25 GB", "yes"]
    assert second == ["b", "5 s", "4 s", "\u2013", "\u2013", "900 MB", ""]
    note = table.note.replace("\u00a0", " ")
    assert "All stages: 1 min 20 s, 2.50 TFLOP." in note
    assert "1 stage was made before" in note
    assert "Made in that run: 5 s." in note
    assert note.endswith("Saved much.")


def test_no_costs_are_no_table():
    table = run.costs_table(())
    assert (table.rows, table.note) == ([], "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (0.4, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (12_345, "12.3 kB"),
     (123_456_789, "123 MB"), (7.3e9, "7.30 GB"), (5e24, "5,000 ZB")],
)  # fmt: skip
def test_quantities(value, text):
    assert quantity(value, "B").replace("\u00a0", " ") == text


def test_a_report_can_be_made_again_with_its_costs_and_from_a_run_of_before_there_were_notes(
    tmp_path,
):
    given = inputs(costs=COSTS, cost_notes=("Saved much.",))
    write_findings(given.findings, given.responses, tmp_path)
    write_report_data(given, tmp_path / REPORT_DATA)
    read = read_report_inputs(tmp_path)
    assert (read.costs, read.cost_notes) == (COSTS, ("Saved much.",))
    data = json.loads((tmp_path / REPORT_DATA).read_text())
    del data["cost_notes"]
    data["costs"] = [{"stage": "a", "seconds": 3.0, "tokens": 5, "device": "cpu"}]
    (tmp_path / REPORT_DATA).write_text(json.dumps(data))
    old = read_report_inputs(tmp_path)
    assert old.cost_notes == ()
    assert run.costs_table(old.costs).heads == ("Stage", "Time", "Tokens", "Device")
