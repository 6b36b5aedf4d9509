"""What a reader sees agrees with the tables: labels, figures, notes and verdicts by one rule."""

from dataclasses import replace

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.analyze_run import AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.score_matrix import usable
from alignstudy.metrics.axes import HARMLESS, HELPFUL
from alignstudy.plots.base import FigureData
from alignstudy.records import ScoredResponse
from alignstudy.records.evidence import JudgeQuality
from alignstudy.report.html.viewer import viewer_data
from alignstudy.report.text.answer import answer

pytestmark = pytest.mark.usefixtures("without_figures")

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0}, empty_fails=("helpful",))


def rows(
    score, *, models=("base", "sft"), n=20, judges=("one",), axes=("harmless", "helpful"), empty=()
):
    """Score `score(judge, model, number)`; responses of the numbers in `empty` have no word."""
    return [
        ScoredResponse(
            model=model, seed=0, prompt_id=f"{axis}-{number}", axis=axis,
            prompt=f"{axis} question {number}",
            response="" if number in empty else f"{model} {number}",
            scores={judge: score(judge, model, number) for judge in judges},
        )
        for model in models for axis in axes for number in range(n)
    ]  # fmt: skip


def drawn_from(findings, found):
    return FigureData(findings=findings, responses=usable(found)[0])


def test_an_empty_response_is_nowhere_called_helpful():
    found = rows(lambda *_: 1.0, empty=(0, 1, 2))
    analysis = analyze_judge(found, LIMITS, judge="one", base="base", draws=50)
    rate = analysis.models[0].estimates["hpr"].value
    assert rate == pytest.approx(100 * 17 / 20)
    shown = viewer_data(found, [analysis])
    labels = [
        label
        for prompt in shown["prompts"] if prompt["axis"] == "helpful"
        for answer_ in prompt["answers"] if answer_["m"] == 0
        for label in answer_["l"]
    ]  # fmt: skip
    assert labels.count("helpful") == 17
    assert labels.count("not helpful") == 3
    _, findings = analyze_run(found, AnalysisConfig(thresholds={"one": LIMITS}, base="base"))
    passed = drawn_from(findings, found).by_prompt(HELPFUL, "base", passed=True)
    assert 100 * float(np.mean(passed)) == pytest.approx(rate)
    harmful = drawn_from(findings, found).by_prompt(HARMLESS, "base", passed=True)
    assert harmful.all()
    assert any("count as not helpful, whatever the score" in note for note in analysis.notes)


def test_a_prompt_too_long_for_one_model_is_in_no_figure():
    found = rows(lambda *_: 1.0)
    found[0] = replace(found[0], stop_reason="too_long")
    _, findings = analyze_run(found, AnalysisConfig(thresholds={"one": LIMITS}, base="base"))
    assert drawn_from(findings, found).by_prompt(HARMLESS, "base").size == 19


def test_a_baseline_decides_no_verdict_and_is_no_stamp():
    def score(judge, model, number):
        better = model == ("sft" if judge == "one" else "base")
        return 1.0 if better or number == 0 else -1.0

    found = rows(score, judges=("one", "length"))
    question = AnalysisConfig(
        thresholds={"one": LIMITS, "length": LIMITS}, base="base",
        claims=(Claim(metric=("hmr",), better="sft", than=("base",)),),
    )  # fmt: skip
    for is_baseline, verdict in ((True, "supported"), (False, "too small to decide")):
        quality = JudgeQuality(judge="length", is_baseline=is_baseline)
        _, findings = analyze_run(found, question, qualities=[quality])
        assert (findings.verdicts[0].verdict == "supported") is (verdict == "supported")


def test_models_that_never_differ_are_not_said_to_be_told_apart():
    found = rows(lambda *_: 1.0)
    _, findings = analyze_run(found, AnalysisConfig(thresholds={"one": LIMITS}, base="base"))
    text = " ".join([answer(findings).headline, *answer(findings).sentences])
    assert "0.0 points or more" not in text


def test_a_claim_is_judged_where_a_second_judge_reads_one_axis_only():
    found = rows(lambda judge, model, number: float(model == "sft"), judges=("one", "two"))
    found = [
        row if row.axis == "harmless" else replace(row, scores={"one": row.scores["one"]})
        for row in found
    ]
    question = AnalysisConfig(
        thresholds={"one": LIMITS, "two": LIMITS}, base="base",
        claims=(
            Claim(metric=("hpr",), better="sft", than=("base",)),
            Claim(metric=("sd_helpful",), better="sft", than=("base",)),
        ),
    )  # fmt: skip
    _, findings = analyze_run(found, question)
    assert findings.verdicts[0].verdict == "supported"
    assert [analysis.judge for analysis in findings.analyses] == ["one", "two"]
