"""docs/statistics.md names every key of statistics.json, and no other."""

import json
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import SCHEMA, Findings
from alignstudy.analysis.results import Analysis, Thresholds
from alignstudy.records import ScoredResponse

AXES = ("harmless", "helpful")

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "statistics.md"
SECTIONS = {
    "Analysis": "Analysis",
    "Axis": "Axis",
    "Estimate": "Estimate",
    "Thresholds": "Thresholds",
    "ModelFigures": "Model",
    "Hygiene": "Hygiene",
    "Improvement": "Improvement",
    "Comparison": "Comparison",
    "Power": "Power",
    "Omnibus": "Omnibus",
    "Sweep": "Sweep",
    "PairSweep": "Pair in a sweep",
    "LengthEffect": "Length",
    "SeedSpread": "Seed spread",
    "WinnerLead": "Winner's lead",
    "BestSet": "Set of the best",
    "ControlTest": "Control test",
    "VarianceSplit": "Variance split",
    "Sensitivity": "Sensitivity",
    "MissingBounds": "Missing bounds",
    "LeadBounds": "Lead bounds",
    "ThresholdError": "Threshold error",
    "Verdict": "Verdict",
    "JudgeQuality": "Judge quality",
    "PairAccuracy": "Pairwise accuracy",
    "ReliabilityBin": "Reliability bin",
    "LengthPreference": "Length preference",
    "ProbeShift": "Probe",
    "Agreement": "Agreement",
    "LeaveOneOut": "Leave one out",
    "Divergence": "Divergence",
    "LabelEvidence": "Label evidence",
    "CorrectedFigure": "Corrected figure",
    "LabelAgreement": "Judge against labels",
    "RewardCheck": "Reward check",
    "JudgeMove": "Judge's move",
}


def documented(section):
    """The keys that a section's table names."""
    text = DOCUMENT.read_text(encoding="utf-8")
    part = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", text, re.S | re.M)
    return re.findall(r"^\| `(\w+)` \| \S", part[1], re.M)


def records_in(kind, found):
    """Every record that a record holds, however deep."""
    if is_dataclass(kind) and kind not in found:
        found.add(kind)
        for hint in get_type_hints(kind).values():
            records_in(hint, found)
    for inner in get_args(kind):
        records_in(inner, found)
    return found


def test_every_record_has_a_section():
    reached = {kind.__name__ for kind in records_in(Findings, set())} - {"Findings"}
    assert reached == set(SECTIONS)


@pytest.mark.parametrize("kind", sorted(records_in(Findings, set()), key=lambda k: k.__name__))
def test_a_section_names_every_key_of_its_record(kind):
    if kind is Findings:
        text = DOCUMENT.read_text(encoding="utf-8").split("## How to read it")[0]
        names = {item.name for item in fields(Findings)} - {"analyses"}
        assert names | {"schema", "answer", "other_judges"} == set(
            re.findall(r"^\| `(\w+)`", text, re.M)
        )
        return
    assert documented(SECTIONS[kind.__name__]) == [item.name for item in fields(kind)]


def test_a_real_file_holds_the_documented_keys_and_no_nan():
    rows = [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{axis} {i}",
            response=f"answer {i * place}" if i else "", scores={"one": score, "two": -score},
        )
        for axis in AXES
        for place, model in enumerate(("base", "sft"))
        for seed in (0, 1)
        for i in range(12)
        for score in [0.3 * i + place * (i % 3) - seed * 0.1 * (i % 2) - 2.0]
    ]  # fmt: skip
    limits = Thresholds(values={"harmless": 0.0, "helpful": 0.0})
    analyses = tuple(
        analyze_judge(rows, limits, judge=judge, base="base", draws=50, control="base",
                clusters={"harmless-0": "c", "harmless-1": "c"})
        for judge in ("one", "two")
    )  # fmt: skip
    found = Findings(analyses=analyses)
    claim = Claim(metric=("hmr", "hpr"), better="sft")
    found = Findings(analyses=analyses, verdicts=verdicts(found, [claim], rows))
    text = json.dumps(found.to_json(), allow_nan=False)
    read = json.loads(text)
    assert read["schema"] == SCHEMA
    assert set(documented("Analysis")) <= set(read)
    assert set(read["other_judges"][0]) == {item.name for item in fields(Analysis)}
    assert set(read["comparisons"][0]) == set(documented("Comparison"))
    assert set(read["comparisons"][0]["power"]) == set(documented("Power"))
    assert set(read["sweeps"][0]["pairs"][0]) == set(documented("Pair in a sweep"))
    assert set(read["winner_leads"][0]) == set(documented("Winner's lead"))
    assert set(read["best_sets"][0]) == set(documented("Set of the best"))
    assert set(read["control_tests"][0]) == set(documented("Control test"))
    assert set(read["seed_spreads"][0]) == set(documented("Seed spread"))
    assert set(read["verdicts"][0]["parts"][0]) == set(documented("Verdict"))
    assert read["clusters"] == {
        "harmless-0": "harmless-cluster-0",
        "harmless-1": "harmless-cluster-0",
    }
