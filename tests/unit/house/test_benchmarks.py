"""The benchmarks' harness: turns, medians, gates, and what is written."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

import harness
import pytest
from gpu import Slices, steady
from harness import Sample, in_turns, stopwatch
from results import Gate, Report, Section, at_least, at_most, ratio, spread


def samples(*seconds: float) -> list[Sample]:
    return [Sample(wall=2 * one, cpu=one) for one in seconds]


def make_report(*gates: Gate, quick: bool = False) -> Report:
    report = Report(name="made", title="Made up", settings={"Rows": 4}, quick=quick)
    counted = [Sample(wall=4.0, cpu=4.0, counters={"real tokens": 1000, "processed / real": 1.5})]
    ways = {"old": counted, "new": [Sample(wall=1.0, cpu=float("nan")), *samples(2.0)]}
    report.sections.append(Section(title="Work", samples=ways, clock="wall", unit="4 rows"))
    report.gates += gates
    report.facts = {"Speed (GF/s)": {"float32": 73.71048, "error": 4.68e-07}}
    return report


def test_ways_run_in_turns(capsys):
    order = []

    def way(name):
        def run():
            order.append(name)
            return Sample(cpu=1.0)

        return run

    found = in_turns({"a": way("a"), "b": way("b")}, 2)
    assert order == ["a", "b", "a", "b"]
    assert {name: len(runs) for name, runs in found.items()} == {"a": 2, "b": 2}


def test_ratio_is_of_medians_and_its_spread_is_by_round():
    found = ratio(samples(10, 20, 30), samples(5, 4, 10))
    assert (found.median, found.low, found.high) == (4.0, 2.0, 5.0)
    once = ratio(samples(12), samples(4, 3, 6))
    assert (once.median, once.low, once.high) == (3.0, 2.0, 4.0)
    slow, fast = [Sample(wall=8.0, cpu=8.0)], [Sample(wall=2.0, cpu=4.0)]
    assert ratio(slow, fast, "wall").median == 4.0


@pytest.mark.parametrize(
    ("gate", "verdict", "failed"),
    [
        (at_least("g", 1.9, 2.0, 4.0), "FAILED", True),
        (at_least("g", spread([2.0]), 2.0, 4.0), "passed", False),
        (at_least("g", 4.5, 2.0, 4.0), "passed, aim reached", False),
        (at_least("g", None, 2.0), "FAILED", True),
        (at_least("g", None, 2.0, unless="slow"), "not measurable here: slow", False),
        (at_least("g", 1.5, 2.0, unless="slow"), "not measurable here: slow", False),
        (at_least("g", 3.0, 2.0, unless="slow"), "passed", False),
        (at_most("g", 0, 0), "passed", False),
        (at_most("g", 1, 0), "FAILED", True),
        (at_most("g", 1, 3, aim=1), "passed, aim reached", False),
    ],
)
def test_a_gate_says_whether_its_number_is_reached(gate, verdict, failed):
    assert (gate.verdict, gate.failed) == (verdict, failed)


def test_two_processes_show_nothing_on_one_core_or_a_shared_machine(monkeypatch):
    alone, shared = [Sample(wall=1.0, cpu=0.99)], [Sample(wall=10.0, cpu=6.0)]
    monkeypatch.setattr(harness, "usable_cores", lambda: 2)
    assert harness.shared_machine(alone, cores=2) == ""
    assert "one thread had 60 % of a core" in harness.shared_machine(alone, shared, cores=2)
    monkeypatch.setattr(harness, "usable_cores", lambda: 1)
    assert harness.shared_machine(alone, cores=2) == "this machine has fewer than 2 cores"


@pytest.mark.parametrize("out", [["--out", "/home/me/results"], ["--out=/home/me/results"], []])
def test_results_name_the_command_but_not_where_they_were_put(tmp_path, monkeypatch, out):
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/made.py", *out, "--quick"])
    text = make_report().write(tmp_path)
    assert "`python benchmarks/made.py --quick`" in text
    assert "/home/me" not in text


@pytest.mark.parametrize("against", [["--against", "/home/me/src"], ["--against=/home/me/src"]])
def test_another_version_s_folder_is_not_named_in_results(tmp_path, monkeypatch, against):
    monkeypatch.setattr(sys, "argv", ["benchmarks/made.py", *against, "--rounds", "3"])
    text = make_report().write(tmp_path)
    assert "`python benchmarks/made.py --against SRC --rounds 3`" in text


def test_results_hold_gates_times_counters_facts_and_the_machine(tmp_path, capsys):
    gate = at_least("twice as fast", spread([2.5, 2.7]), 2.0, 4.0)
    assert make_report(gate).finish(tmp_path) == 0
    text = (tmp_path / "made.json").read_text()
    assert "NaN" not in text
    found = json.loads(text)
    assert found["gates"][0]["measured"] == 2.6
    assert found["gates"][0]["verdict"] == "passed"
    variant = found["sections"][0]["variants"]["new"]
    assert variant["cpu_seconds"] == [None, 2.0]
    assert variant["times_faster"]["median"] == pytest.approx(4.0 / 2.5)
    assert found["hardware"]["cores"] >= 1
    assert found["versions"]["python"]
    page = (tmp_path / "made.md").read_text()
    assert "| twice as fast | >= 2.00 | 4.00 | 2.60 (2.50-2.70) | passed |" in page
    assert "| old | 1 | 4.00 | 4.00 | 1.00 | 1,000 | 1.50 |" in page
    assert "- Speed (GF/s): float32 73.71, error 4.7e-07\n" in page
    assert page == capsys.readouterr().out.removesuffix("\n")


def test_a_failed_gate_fails_the_program(tmp_path):
    assert make_report(at_least("g", 1.0, 2.0)).finish(tmp_path) == 1


def test_a_quick_run_leaves_the_full_results_alone(tmp_path):
    make_report().finish(tmp_path)
    before = (tmp_path / "made.json").read_text()
    make_report(quick=True).finish(tmp_path)
    assert (tmp_path / "made.json").read_text() == before
    assert json.loads((tmp_path / "made-quick.json").read_text())["quick"] is True


def test_stopwatch_adds_up_and_keeps_what_a_failed_block_took():
    sample = Sample()
    with stopwatch(sample):
        sum(range(200_000))
    first = sample.cpu
    assert first > 0
    with pytest.raises(ZeroDivisionError), stopwatch(sample):
        1 / 0  # noqa: B018
    assert sample.cpu >= first


def test_a_gpus_updates_are_timed_between_looks_at_the_clock():
    """Sixteen updates are told at once: those of the first look warm up."""
    marks = [0.0, *[5.0] * 16, *[6.6] * 16, *[8.2] * 16, *[8.5] * 3]
    assert steady(marks, 10, every=16) == (pytest.approx(3.5 / 35), 35)
    assert steady(marks, 17, every=16) == (pytest.approx(1.9 / 19), 19)
    assert steady(marks, 100, every=16) == (pytest.approx(8.5 / 51), 51)  # better than nothing
    with pytest.raises(RuntimeError, match="no update was made"):
        steady([0.0], 10, every=16)


def test_a_part_that_fails_is_told_and_the_others_are_made(tmp_path, monkeypatch):
    made = []
    slices = Slices.__new__(Slices)
    slices.asked, slices.report = Namespace(out=tmp_path, threads=1), make_report()
    slices.failed, slices.found, slices.seconds = [], {}, {"ours": {}, "one by one": {}}
    slices.parts = {"first": lambda: 1 / 0, "second": lambda: made.append("second")}
    for part in slices.parts:
        slices.make(part)
    slices.extrapolate()
    assert (made, slices.failed) == (["second"], ["first"])
    said = (tmp_path / "made.md").read_text(encoding="utf-8")
    assert "The part first failed: ZeroDivisionError: division by zero" in said
    assert "Not all was measured" in slices.report.notes[1]
