"""The comparison of two run folders, number by number."""

from __future__ import annotations

import json
import sys

import pytest
import same_numbers

STATISTICS = {
    "schema": 1,
    "models": [{"model": "base", "hmr": {"value": 77.5, "n": 80}}, {"model": "sft", "hmr": None}],
    "comparisons": [
        {"metric": "hmr", "model": "sft", "reference": "base", "p_value": 3e-5, "note": "few"},
        {"metric": "hpr", "model": "sft", "reference": "base", "p_value": float("nan"), "note": ""},
    ],
    "lengths": [{"axis": "harmless", "adjusted": [["sft", "base", {"value": 0.5}]]}],
    "verdicts": [{"claim": "sft is higher", "verdict": "supported"}],
}
RESPONSES = [
    {"prompt_id": "a", "response": "Yes.", "rating": 1.5, "scores": {"judge": 1.50001}},
    {"prompt_id": "b", "response": "No.", "rating": -2.0, "scores": {"judge": -2.0}},
]
TABLE = 'model,hmr,seconds,note\nbase,77.5,3.2,"two\nlines"\nsft,80.0,4.1,\n'


@pytest.fixture(autouse=True)
def nothing_renamed(monkeypatch):
    """The folders of these tests are of one layout."""
    monkeypatch.setattr(same_numbers, "RENAMED", {})


@pytest.fixture
def write(tmp_path):
    def write(name, *, statistics=STATISTICS, responses=RESPONSES, table=TABLE):
        folder = tmp_path / name
        for inner, text in (
            ("statistics.json", json.dumps(statistics)),
            ("responses/base_harmful.json", json.dumps(responses)),
            ("tables/metrics.csv", table),
        ):
            (folder / inner).parent.mkdir(parents=True, exist_ok=True)
            (folder / inner).write_text(text, encoding="utf-8")
        return folder

    return write


def compare(old, new, **options):
    return same_numbers.compare(same_numbers.read(old), same_numbers.read(new), **options)


def changed(value, path, new):
    """Return a copy of nested data with one value changed."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def test_a_folder_equals_itself(write, capsys, monkeypatch):
    folder = str(write("a"))
    monkeypatch.setattr(sys, "argv", ["same_numbers.py", folder, folder])
    assert same_numbers.main() == 0
    numbers, texts = capsys.readouterr().out.splitlines()
    assert numbers == "11 numbers compared, 0 differ, 0 only old, 0 only new"
    assert texts.endswith(" texts compared, 0 differ, 0 only old, 0 only new")


@pytest.mark.parametrize(
    ("path", "new", "line"),
    [
        (("models", 0, "hmr", "value"), 77.6, "models[model=base].hmr.value: 77.5 -> 77.6"),
        (("models", 1, "hmr"), 5.0, "models[model=sft].hmr: None -> 5.0"),
        (("comparisons", 0, "p_value"), 3.0001e-5, "reference=base].p_value: 3e-05 -> 3.0001e-05"),
        (("comparisons", 1, "p_value"), 0.5, "reference=base].p_value: nan -> 0.5"),
        (("lengths", 0, "adjusted", 0, 2, "value"), 0.6, "adjusted[sft,base][2].value: 0.5 -> 0.6"),
        (("verdicts", 0, "verdict"), "open", "verdict: 'supported' -> 'open'"),
    ],
)
def test_a_number_or_verdict_that_changed_fails(write, path, new, line):
    outcome = compare(write("a"), write("b", statistics=changed(STATISTICS, path, new)))
    assert outcome.failed
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("differ: statistics.json:")
    assert outcome.lines[0].endswith(line)


def test_a_number_that_is_missing_fails_and_a_further_one_does_not(write):
    more = changed(STATISTICS, ("models", 0, "hpr"), 7.5)
    assert not compare(write("a"), write("b", statistics=more)).failed
    outcome = compare(write("b"), write("a", table="model,note\nbase,\nsft,\n"))
    assert outcome.failed
    assert outcome.counts["numbers", "only old"] == 2
    assert "only old: tables/metrics.csv:[model=sft].hmr: 80.0" in outcome.lines


def test_records_are_matched_by_what_they_are_about(write):
    turned = {
        key: rows[::-1] if isinstance(rows, list) else rows for key, rows in STATISTICS.items()
    }
    outcome = compare(write("a"), write("b", statistics=turned, responses=RESPONSES[::-1]))
    assert outcome.lines == []


def test_records_that_are_alike_are_matched_by_position():
    rows = [{"axis": "harmless", "n": 1}, {"axis": "harmless", "n": 2}]
    assert dict(same_numbers.leaves(rows, ""))["[axis=harmless#2].n"] == 2


def test_times_and_versions_are_not_compared_and_notes_do_not_fail(write):
    other = changed(changed(STATISTICS, ("schema",), 2), ("comparisons", 0, "note"), "some")
    outcome = compare(write("a"), write("b", statistics=other, table=TABLE.replace("3.2", "9.9")))
    assert not outcome.failed
    assert len(outcome.lines) == 1
    assert outcome.lines[0].startswith("differ (allowed): ")


def test_a_response_must_be_the_same_text(write):
    other = changed(RESPONSES, (0, "response"), "Yes")
    assert compare(write("a"), write("b", responses=other)).failed


def test_scores_may_move_as_far_as_allowed_and_ratings_by_their_rounding(write):
    near = changed(RESPONSES, (0, "scores", "judge"), 1.500015)
    near = changed(near, (0, "rating"), 1.5001)
    old, new = write("a"), write("b", responses=near)
    assert len(compare(old, new).lines) == 2
    assert compare(old, new, scores=1e-5).lines == []
    assert len(compare(old, new, scores=1e-6).lines) == 1
    moved = changed(STATISTICS, ("models", 0, "hmr", "value"), 77.500001)
    assert compare(old, write("c", statistics=moved), scores=1e-5).failed


def test_a_renamed_field_is_looked_for_under_its_new_name(write, monkeypatch):
    now = json.loads(json.dumps(STATISTICS).replace('"p_value"', '"p"'))
    old, new = write("a"), write("b", statistics=now)
    assert compare(old, new).failed
    monkeypatch.setattr(same_numbers, "RENAMED", {r"\.p_value$": ".p"})
    assert compare(old, new).lines == []
    monkeypatch.setattr(same_numbers, "RENAMED", {r"\.(hmr|model)$": ".x"})
    with pytest.raises(ValueError, match="one name"):
        compare(old, new)


def test_a_folder_without_numbers_is_refused(tmp_path, write, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["same_numbers.py", str(write("a")), str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="nothing to compare"):
        same_numbers.main()
