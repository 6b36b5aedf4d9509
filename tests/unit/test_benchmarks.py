"""The benchmarks' harness: turns, medians, gates, and what is written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import harness
from harness import (
    Gate,
    Report,
    Sample,
    Section,
    at_most,
    gate_on_ratio,
    in_turns,
    ratio,
    spread,
    stopwatch,
)


def samples(*seconds: float) -> list[Sample]:
    return [Sample(wall=2 * one, cpu=one) for one in seconds]


def test_ways_run_in_turns_and_the_dear_one_less_often():
    order = []

    def way(name):
        def run():
            order.append(name)
            return Sample(cpu=1.0)

        return run

    found = in_turns({"a": way("a"), "b": way("b")}, {"a": 1, "b": 3}, tell=lambda _: None)
    assert order == ["a", "b", "b", "b"]
    assert {name: len(runs) for name, runs in found.items()} == {"a": 1, "b": 3}
    order.clear()
    in_turns({"a": way("a"), "b": way("b")}, 2, tell=lambda _: None)
    assert order == ["a", "b", "a", "b"]


def test_spread_is_median_least_and_largest():
    found = spread([3.0, 1.0, 10.0])
    assert (found.median, found.low, found.high) == (3.0, 1.0, 10.0)


def test_ratio_is_of_medians_and_its_spread_is_by_round():
    found = ratio(samples(10, 20, 30), samples(5, 4, 10))
    assert (found.median, found.low, found.high) == (4.0, 2.0, 5.0)
    once = ratio(samples(12), samples(4, 3, 6))
    assert (once.median, once.low, once.high) == (3.0, 2.0, 4.0)


def test_ratio_heeds_the_clock_asked_for():
    slow, fast = [Sample(wall=8.0, cpu=8.0)], [Sample(wall=2.0, cpu=4.0)]
    assert ratio(slow, fast, "wall").median == 4.0
    assert ratio(slow, fast).median == 2.0


@pytest.mark.parametrize(
    ("measured", "verdict", "failed"),
    [(1.9, "FAILED", True), (2.0, "passed", False), (4.5, "passed, aim reached", False)],
)
def test_gate_on_a_least_ratio(measured, verdict, failed):
    gate = Gate(name="g", measured=measured, required=2.0, aim=4.0)
    assert (gate.verdict, gate.failed) == (verdict, failed)


def test_gate_on_a_most_count():
    assert not at_most("g", 0, 0).failed
    assert at_most("g", 1, 0).failed
    assert at_most("g", 2, 3, aim=1).verdict == "passed"
    assert at_most("g", 1, 3, aim=1).verdict == "passed, aim reached"


def test_what_was_not_measured_is_failed_unless_a_reason_is_given():
    assert Gate(name="g", measured=None, required=2.0).failed
    gate = Gate(name="g", measured=0.3, required=6.0, not_measurable="bf16 at 10 GF/s, fp32 at 70")
    assert not gate.failed
    assert gate.verdict == "not measurable here: bf16 at 10 GF/s, fp32 at 70"


def test_what_could_not_be_measured_is_never_called_passed():
    gate = Gate(name="g", measured=9.0, required=6.0, not_measurable="no such processor")
    assert "passed" not in gate.verdict


def test_a_reason_not_to_measure_counts_only_where_the_gate_is_missed():
    reached = gate_on_ratio("g", spread([3.0]), 2.0, unless="a slow machine")
    assert reached.verdict == "passed"
    missed = gate_on_ratio("g", spread([1.5]), 2.0, unless="a slow machine")
    assert (missed.verdict, missed.measured) == ("not measurable here: a slow machine", 1.5)
    assert gate_on_ratio("g", spread([1.5]), 2.0).failed


def test_a_machine_is_shared_where_one_thread_gets_no_whole_core():
    assert harness.shared_machine([Sample(wall=10.0, cpu=9.9)], [Sample(wall=5.0, cpu=4.9)]) == ""
    told = harness.shared_machine([Sample(wall=10.0, cpu=9.9)], [Sample(wall=10.0, cpu=6.0)])
    assert "60 % of a core" in told


def test_two_processes_show_nothing_on_one_core_or_a_shared_machine(monkeypatch):
    alone, shared = [Sample(wall=1.0, cpu=1.0)], [Sample(wall=2.0, cpu=1.0)]
    monkeypatch.setattr("alignstudy.runtime.spreading.usable_cores", lambda: 2)
    assert harness.two_cannot_show(alone) == ""
    assert "others used the processor" in harness.two_cannot_show(alone, shared)
    monkeypatch.setattr("alignstudy.runtime.spreading.usable_cores", lambda: 1)
    assert harness.two_cannot_show(alone) == "this machine has 1 core"


@pytest.mark.parametrize("out", [["--out", "/home/me/results"], ["--out=/home/me/results"], []])
def test_results_name_the_command_but_not_where_they_were_put(tmp_path, monkeypatch, out):
    monkeypatch.setattr(sys, "argv", ["/somewhere/benchmarks/made.py", *out, "--quick"])
    text = make_report().write(tmp_path)
    assert "`python benchmarks/made.py --quick`" in text
    assert "/home/me" not in text


def test_facts_are_written_in_few_digits(tmp_path):
    report = make_report()
    report.facts = {"Speed (GF/s)": {"route": "default", "float32": 73.71048, "error": 4.68e-07}}
    report.facts["Spread"] = 0.1368192285
    text = report.write(tmp_path)
    assert "- Speed (GF/s): route default, float32 73.71, error 4.7e-07\n- Spread: 0.14\n" in text
    assert json.loads((tmp_path / "made.json").read_text())["facts"]["Spread"] == 0.1368192285


def test_unknown_processor_seconds_are_written_as_null(tmp_path):
    report = Report(name="made", title="Made up", settings={})
    ways = {"old": samples(4.0), "new": [Sample(wall=2.0, cpu=float("nan"))]}
    report.add(Section(title="Work", samples=ways, baseline="old", clock="wall"))
    report.finish(tmp_path)
    text = (tmp_path / "made.json").read_text()
    variant = json.loads(text)["sections"][0]["variants"]["new"]
    assert variant["cpu_seconds"] == [None]
    assert "NaN" not in text
    assert variant["times_faster"]["median"] == 4.0


def make_report(*gates: Gate, quick: bool = False) -> Report:
    report = Report(name="made", title="Made up", settings={"Rows": 4}, quick=quick)
    counted = [Sample(wall=4.0, cpu=4.0, counters={"real tokens": 1000, "processed / real": 1.5})]
    ways = {"old": counted, "new": samples(1.0, 2.0)}
    report.add(Section(title="Work", samples=ways, baseline="old", unit="4 rows"))
    report.gates += gates
    return report


def test_results_hold_gates_times_counters_and_the_machine(tmp_path, capsys):
    gate = gate_on_ratio("twice as fast", spread([2.5, 2.7]), 2.0, 4.0)
    assert make_report(gate).finish(tmp_path) == 0
    found = json.loads((tmp_path / "made.json").read_text())
    assert found["gates"][0]["measured"] == 2.6
    assert found["gates"][0]["verdict"] == "passed"
    variant = found["sections"][0]["variants"]["new"]
    assert variant["cpu_seconds"] == [1.0, 2.0]
    assert variant["times_faster"]["median"] == pytest.approx(4.0 / 1.5)
    assert found["hardware"]["cores"] >= 1
    assert found["versions"]["python"]
    page = (tmp_path / "made.md").read_text()
    assert "| twice as fast | >= 2.00 | 4.00 | 2.60 (2.50-2.70) | passed |" in page
    assert "| old | 1 | 4.00 | 4.00 | 1.00 | 1,000 | 1.50 |" in page
    assert page == capsys.readouterr().out.removesuffix("\n")


def test_a_failed_gate_fails_the_program(tmp_path):
    assert make_report(Gate(name="g", measured=1.0, required=2.0)).finish(tmp_path) == 1


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
    assert 0 < first <= sample.wall + 0.05
    with pytest.raises(ZeroDivisionError), stopwatch(sample):
        1 / 0  # noqa: B018
    assert sample.cpu >= first


def test_results_go_beside_the_benchmarks():
    assert harness.RESULTS.parent.name == "benchmarks"
