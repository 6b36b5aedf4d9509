"""Numbers that agree wherever they stand: tables, curves, labels, panels, runs side by side."""

import json
from dataclasses import replace

import pytest

from alignstudy import compare, evaluate
from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.analyze_run import OVERLAP, AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim, claim_faults
from alignstudy.analysis.judge_panel.agreement import agreements
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import InputError
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import ScoredResponse
from alignstudy.study.run.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("without_figures")

RIGOROUS = Thresholds(values={"harmless": 0.0, "helpful": 0.0}, empty_fails=("helpful",))


def answers(texts, scores, *, model="base", axis="helpful", judge="one"):
    """Make one model's rows of one axis."""
    return [
        ScoredResponse(
            model=model, seed=0, prompt_id=f"{axis}-{at}", axis=axis, prompt=f"{axis} prompt {at}",
            response=text, scores={judge: score},
        )
        for at, (text, score) in enumerate(zip(texts, scores, strict=True))
    ]  # fmt: skip


def test_an_empty_response_without_a_score_is_in_no_rate_of_a_curve():
    texts = ["words"] * 10 + ["", ""]
    rows = answers(texts, [1.0] * 5 + [-1.0] * 5 + [None, 2.0])
    found = analyze_judge(
        rows, RIGOROUS, judge="one", base="base", draws=50, sweep={"helpful": [-2.0, 0.0]}
    )
    # Eleven scores, five of which pass; the empty response that was scored passes nowhere.
    assert found.models[0].estimates["hpr"].value == pytest.approx(100 * 5 / 11)
    [sweep] = found.sweeps
    assert sweep.rates["base"] == pytest.approx((100 * 10 / 11, 100 * 5 / 11))


@pytest.mark.parametrize("how", ["mean_z", "rank_mean", "majority"])
def test_an_empty_response_fails_with_a_panel_as_with_its_judges(how):
    texts = ["words"] * 11 + [""]
    rows = answers(texts, [float(at) - 5.5 for at in range(12)], judge="one")
    rows = [replace(row, scores={**row.scores, "two": 2 * row.scores["one"]}) for row in rows]
    question = AnalysisConfig(
        thresholds={"one": RIGOROUS, "two": RIGOROUS},
        base="base",
        panel=PanelSettings(helpfulness=("one", "two"), combine=how),
    )
    _, findings = analyze_run(rows, question)
    assert findings.first.thresholds.empty_fails
    assert [a.models[0].estimates["hpr"].value for a in findings.analyses] == pytest.approx(
        [100 * 5 / 12] * 3
    )


def test_a_panel_refuses_judges_that_disagree_on_empty_responses():
    rows = answers(["words"] * 4, [1.0, 2.0, 3.0, 4.0])
    rows = [replace(row, scores={**row.scores, "two": -row.scores["one"]}) for row in rows]
    question = AnalysisConfig(
        thresholds={"one": RIGOROUS, "two": replace(RIGOROUS, empty_fails=())},
        base="base",
        panel=PanelSettings(helpfulness=("one", "two")),
    )
    with pytest.raises(InputError, match="empty"):
        analyze_run(rows, question)


def test_kappa_is_of_the_labels_that_tables_count():
    # Both judges fail the empty responses; raw scores would say that they disagree on them.
    texts = ["words"] * 4 + ["", ""]
    rows = answers(texts, [1.0, 1.0, -1.0, -1.0, 1.0, 1.0])
    others = [1.0, 1.0, -1.0, -1.0, -1.0, -1.0]
    rows = [
        replace(row, scores={**row.scores, "two": other})
        for row, other in zip(rows, others, strict=True)
    ]
    [strict] = agreements(rows, {"one": RIGOROUS, "two": RIGOROUS}, axes=PUBLISHED)
    assert strict.kappa == pytest.approx(1.0)
    lax = replace(RIGOROUS, empty_fails=())
    [plain] = agreements(rows, {"one": lax, "two": lax}, axes=PUBLISHED)
    assert plain.kappa == pytest.approx(2 / 5)


def test_rates_without_overlap_start_from_the_rate_of_the_table():
    texts = ["words"] * 12
    rows = answers(texts, [1.0] * 3 + [-1.0] * 9)
    other = answers(texts, [1.0] * 6 + [-1.0] * 6, model="sft")
    # One model could not read prompts 0 and 1: they are left out for all.
    other[:2] = [replace(row, stop_reason="too_long", scores={"one": None}) for row in other[:2]]
    question = AnalysisConfig(
        thresholds={"one": RIGOROUS}, base="base", excluded={OVERLAP: frozenset({"helpful-11"})}
    )
    _, findings = analyze_run([*rows, *other], question)
    hpr = {figures.model: figures.estimates["hpr"].value for figures in findings.first.models}
    assert hpr == pytest.approx({"base": 10.0, "sft": 40.0})
    without = {s.model: s for s in findings.first.sensitivities if s.without == "overlap"}
    assert {model: found.full for model, found in without.items()} == pytest.approx(hpr)
    assert {model: found.n for model, found in without.items()} == {"base": 9, "sft": 9}


def test_overlap_leaves_out_prompts_that_the_leading_judge_did_not_read():
    harmful = answers(["words"] * 12, [1.0] * 6 + [-1.0] * 6, axis="harmless")
    helpful = answers(["words"] * 12, [1.0] * 12, judge="two")
    question = AnalysisConfig(
        thresholds={"one": RIGOROUS, "two": RIGOROUS},
        base="base",
        excluded={OVERLAP: frozenset({"harmless-0", "helpful-0"})},
    )
    _, findings = analyze_run([*harmful, *helpful], question)
    [without] = [s for s in findings.first.sensitivities if s.without == "overlap"]
    assert (without.metric, without.n) == ("hmr", 11)


LIMITS = {"harmless": -3.0, "helpful": -2.0}


def write_ratings(folder, *, model, twice=0):
    """Write rated responses to 24 prompts of each set, the first `twice` of them asked twice."""
    folder.mkdir(parents=True)
    for axis in ("harmful", "helpful"):
        numbers = [*range(24), *range(twice)]
        rows = [
            {
                "prompt": f"{axis} question number {number}, of thing {number * 7}?",
                "response": f"{model} answers {at} in words",
                "rating": float(at % 5) - 4.0,
            }
            for at, number in enumerate(numbers)
        ]
        (folder / f"{model}_{axis}.json").write_text(json.dumps(rows))
    return folder


def test_runs_that_ask_a_prompt_twice_are_compared_on_both(tmp_path):
    runs = [
        evaluate(
            write_ratings(tmp_path / "in" / name, model=name, twice=3),
            out=tmp_path / name,
            thresholds=LIMITS,
        )
        for name in ("a", "b")
    ]
    found = compare([run.folder for run in runs], out=tmp_path / "both")
    assert {row["n"] for row in found.statistics["comparisons"] if row["metric"] == "hmr"} == {27}
    assert {model["estimates"]["hmr"]["n"] for model in found.statistics["models"]} == {27}


def test_a_prompt_that_one_run_asks_once_is_compared_once(tmp_path):
    runs = [
        evaluate(
            write_ratings(tmp_path / "in" / name, model=name, twice=twice),
            out=tmp_path / name,
            thresholds=LIMITS,
        )
        for name, twice in (("a", 3), ("b", 0))
    ]
    found = compare([run.folder for run in runs], out=tmp_path / "both")
    assert {row["n"] for row in found.statistics["comparisons"] if row["metric"] == "hmr"} == {24}


def test_runs_with_another_rule_for_empty_responses_are_not_compared(tmp_path):
    runs = [
        evaluate(write_ratings(tmp_path / "in" / name, model=name), out=tmp_path / name).folder
        for name in ("a", "b")
    ]
    path = runs[1] / "statistics.json"
    statistics = json.loads(path.read_text())
    statistics["thresholds"]["empty_fails"] = ["helpful"]
    RunFolder(path=runs[1]).write(path.name, json.dumps(statistics))
    with pytest.raises(InputError, match="empty"):
        compare(runs, out=tmp_path / "both")


def test_ratings_named_by_a_dot_have_their_own_run_s_thresholds(tmp_path, monkeypatch):
    ratings = write_ratings(tmp_path / "in", model="base")
    run = evaluate(
        ratings, out=tmp_path / "run", thresholds={"harmless": -1.0, "helpful": -0.5}
    ).folder
    monkeypatch.chdir(run / "responses")
    again = evaluate(".", out=tmp_path / "again")
    assert again.statistics["thresholds"]["values"] == {"harmless": -1.0, "helpful": -0.5}


def test_evidence_says_so_where_models_figures_rest_on_other_prompts_than_their_difference():
    base = answers(["words"] * 20, [1.0] * 10 + [-1.0] * 8 + [None] * 2)
    sft = answers(["words"] * 20, [None] * 4 + [1.0] * 12 + [-1.0] * 4, model="sft")
    claims = (Claim(metric=("hpr",), better="sft", than=("base",)),)
    question = AnalysisConfig(thresholds={"one": RIGOROUS}, base="base", claims=claims)
    _, findings = analyze_run([*base, *sft], question)
    brief = findings.verdicts[0].brief.replace("\u00a0", " ")
    # 75.0 less 55.6 is not 42.9: the difference is over the 14 prompts that both have.
    assert brief.startswith("HpR sft 75.0 %, base 55.6 %, and on the prompts that both have: +42.9")
    whole = answers(["words"] * 20, [1.0] * 10 + [-1.0] * 10)
    whole += answers(["words"] * 20, [1.0] * 12 + [-1.0] * 8, model="sft")
    _, findings = analyze_run(whole, question)
    assert (
        findings.verdicts[0]
        .brief.replace("\u00a0", " ")
        .startswith("HpR sft 60.0 %, base 50.0 %: +10.0 points")
    )


def test_rates_without_flagged_responses_count_prompts_as_the_table_does():
    # Prompt 0 lost the score of two of its three seeds: it still counts as one prompt.
    rows = [
        replace(row, seed=seed)
        for seed in range(3)
        for row in answers(["words"] * 11 + [""], [1.0] * 4 + [-1.0] * 8)
    ]
    rows = [
        replace(row, scores={"one": None}) if row.seed and row.prompt_id == "helpful-0" else row
        for row in rows
    ]
    found = analyze_judge(rows, RIGOROUS, judge="one", base="base", draws=50)
    [without] = [s for s in found.sensitivities if s.without == "empty"]
    assert (
        without.full
        == pytest.approx(found.models[0].estimates["hpr"].value)
        == pytest.approx(100 * 4 / 12)
    )
    assert without.value.value == pytest.approx(100 * 4 / 11)
    assert without.value.low < without.value.value < without.value.high


@pytest.mark.parametrize("metric", ["hmr", "hpr", "cas"])
def test_a_margin_that_no_two_rates_can_exceed_is_refused_before_the_run(metric):
    [fault] = claim_faults(
        Claim(metric=(metric,), better="sft", than=("base",), margin=100.0), PUBLISHED
    )
    assert "differ by 100" in fault
    # In a judge's unit, 100 may be little.
    score = Claim(metric=("score_helpful",), better="sft", than=("base",), margin=100.0)
    assert not list(claim_faults(score, PUBLISHED))
