"""Stages and their keys: what decides a number is in the key, and stands for the right judge."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from panel_fixtures import rows, thresholds

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.judge_panel.combine import combine
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.errors import GuardError, NotFetchedError
from alignstudy.judges.kinds.constant import ConstantSettings
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Estimate
from alignstudy.records.evidence import JudgeQuality, PairAccuracy
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import StageJob, in_order
from alignstudy.study.settings.locate import Located, locate
from alignstudy.study.stages.compare import Compare
from alignstudy.study.stages.divergence import Diagnose
from alignstudy.study.stages.publish import _looks_reversed
from alignstudy.study.stages.score import JudgeSpec

pytestmark = pytest.mark.usefixtures("without_figures")

GONE = {"name": "gone", "path": "nobody/not-there"}
LENGTH = {"use": "length"}
REFUSALS = {"use": "rules", "measures": "refusal"}
GRID = [-6.0, 0.0, 0.1]


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a study of some judges, every other setting as small as it goes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")

    def loaded(*judges, **changes):
        study = {
            "study": "small", "base": str(base), "data": {"source": "world"}, "judges": judges,
            "methods": {"sft": {}}, "recipes": {"base": [], "sft": ["sft"]},
            "thresholds": {"harmless": -3.0, "helpful": -2.0, "sweep": {"harmless": GRID}},
            **changes,
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(json.dumps(study))
        return Study.load(path, out=tmp_path / "run")

    return loaded


def stages(study, located=None):
    return in_order(study.graph(located or study.located(fetch=True)).goals)


def compare_of(study):
    return next(stage for stage in stages(study) if isinstance(stage, Compare))


def test_a_second_judge_does_not_inherit_the_numbers_of_an_absent_first_one(load):
    whole = compare_of(load(LENGTH, {**LENGTH, "name": "other"}))
    assert whole.limits[0] == {"harmless": -3.0, "helpful": -2.0}
    assert whole.sweep.axes["harmless"] == tuple(GRID)
    left = compare_of(load(GONE, LENGTH))
    assert left.absent == ("gone",)
    assert left.limits[0] == {"harmless": None, "helpful": None}
    assert left.sweep.axes == {}


def test_judges_that_leave_an_axis_open_are_refused_before_anything_runs(load, tmp_path):
    limits = {"thresholds": {"harmless": 0.5}}
    with pytest.raises(NotFetchedError, match="helpful prompts") as refused:
        load(GONE, {**REFUSALS, **limits}).located(fetch=True)
    assert "gone" in refused.value.why
    panel = {"harmlessness": ["length"], "helpfulness": ["gone"]}
    with pytest.raises(NotFetchedError, match="helpful prompts"):
        locate(load(LENGTH, GONE, panel=panel).settings, run=tmp_path, fetch=True)
    panel = {"harmlessness": ["length", "gone"], "helpfulness": ["length"]}
    assert list(
        locate(load(LENGTH, GONE, panel=panel).settings, run=tmp_path, fetch=True).absent
    ) == ["gone"]


@pytest.mark.parametrize("fails", [("helpful",), ()])
def test_a_panel_keeps_the_protocols_rule_for_empty_responses(fails):
    scores = {"base": {"a": [0.0, 1.0], "b": [2.0, 5.0]}}
    limits = {judge: replace(thresholds(0.5), empty_fails=fails) for judge in "ab"}
    panel = PanelSettings(harmlessness=("a", "b"))
    assert combine(rows(scores), limits, panel, axes=PUBLISHED, base="base")[1].empty_fails == fails


def test_samples_with_a_cap_of_their_own_do_not_hang_on_generations(load):
    def keys(**changes):
        made = stages(load(LENGTH, **changes))
        return {stage.name: stage.key for stage in made if isinstance(stage, Diagnose)}

    own = {"diagnostics": {"max_new_tokens": 8}}
    longer = {"generation": {"max_new_tokens": 99}}
    assert keys(**own) == keys(**own, **longer)
    assert keys() != keys(**longer)


def test_a_python_judge_that_was_edited_during_the_run_is_refused(load, tmp_path):
    source = tmp_path / "edited_judge.py"
    source.write_text("def rate(items):\n    return [1.0 for _ in items]\n")
    study = load({"use": "python", "call": "edited_judge:rate", "name": "mine"})
    spec = next(stage.judge for stage in stages(study) if stage.name.startswith("score/"))
    (given,) = spec.build(_job(tmp_path)).score([("a", "b")])
    assert given.score == 1.0
    source.write_text("def rate(items):\n    return [2.0 for _ in items]\n")
    with pytest.raises(GuardError, match="changed during the run"):
        spec.build(_job(tmp_path))
    assert JudgeSpec(settings=ConstantSettings(), model=None, axes=()).build(_job(tmp_path))


def _job(folder: Path) -> StageJob:
    from alignstudy.progress import SILENT

    return StageJob(
        out=folder, work=folder, scores=folder / "scores.sqlite",
        references=folder / "references.sqlite", workers=1,
        folder_of=lambda stage: folder, records_of=lambda stage: folder,
        facts_of=lambda stage: {}, made_with=lambda *_: [], pace=lambda _: None,
        device="cpu", progress=SILENT, should_stop=lambda: False,
    )  # fmt: skip


def test_a_few_pairs_below_half_are_no_reversed_judge():
    assert not _looks_reversed({"pair_accuracy": 0.28, "n": 16})
    assert not _looks_reversed({"pair_accuracy": 0.49, "n": 200})
    assert _looks_reversed({"pair_accuracy": 0.28, "n": 200})


def test_located_has_a_judge_or_the_reason_why_not(load):
    found = load(GONE, LENGTH).located(fetch=True)
    assert isinstance(found, Located)
    assert "nobody/not-there" in found.absent["gone"]


def test_recipes_of_equal_settings_are_diagnosed_each_and_the_base_once(load):
    methods = {"sft": {}, "again": {"method": "sft"}}
    recipes = {"base": [], "sft": ["sft"], "again": ["again"]}
    made = stages(load(LENGTH, methods=methods, recipes=recipes, seeds=[0, 1]))
    found = {stage.name for stage in made if isinstance(stage, Diagnose)}
    trained = {f"diagnose/{name}/seed-{seed}" for name in ("sft", "again") for seed in (0, 1)}
    assert found == trained | {"diagnose/base/seed-0"}


def test_a_panel_is_stamped_by_the_judges_that_measure_the_axis():
    harmless, helpful = (
        PairAccuracy(axis=axis, subset="all", accuracy=percent(value), ties=0)
        for axis, value in (("harmless", 90.0), ("helpful", 50.0))
    )
    weak = JudgeQuality(judge="both", accuracies=(harmless, helpful), below_floor=("helpful",))
    refusals = JudgeQuality(judge="rules", accuracies=(harmless,))
    findings = Findings(analyses=(), qualities=(weak, refusals))
    assert not findings.is_below_floor("panel", "harmless")
    assert findings.is_below_floor("panel", "helpful")
    good = JudgeQuality(judge="good", accuracies=(harmless, replace(harmless, axis="helpful")))
    for qualities in ((weak, good), ()):
        assert not replace(findings, qualities=qualities).is_below_floor("panel", "helpful")


def percent(value):
    return Estimate(value=value, low=value - 5, high=value + 5, n=200, method="wilson")


def test_a_judge_with_numbers_of_its_own_is_not_calibrated(load):
    numbers = {"thresholds": {"harmless": 1.0, "helpful": 1.0}}
    study = load(LENGTH, {"use": "constant", "name": "own", **numbers}, thresholds="calibrated")
    names = {stage.name for stage in stages(study)}
    assert {name for name in names if name.startswith("calibrate/")} == {"calibrate/length"}
    assert {"assess/own", "score/own/base/seed-0"} <= names
    assert compare_of(study).calibrations[1] is None
