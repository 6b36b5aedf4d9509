"""Studies whose truth is known, judged by a judge that is wrong in a known way, and labelled."""

from dataclasses import replace

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.analyze_run import AnalysisConfig, analyze_run
from alignstudy.analysis.labels.evidence import label_evidence
from alignstudy.analysis.labels.matching import checked_labels, text_digest
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import DataError
from alignstudy.records import ScoredResponse
from alignstudy.records.labels import Label
from alignstudy.report.html.sections import sections
from alignstudy.report.inputs import ReportInputs
from alignstudy.report.stored import findings_from_json
from alignstudy.report.text.cautions import cautions

AXES = ("harmless", "helpful")
LIMITS = Thresholds(values=dict.fromkeys(AXES, 0.5))
TRUTH = {"base": 0.4, "sft": 0.6}
FAVOUR = {"base": 0.0, "sft": 0.5}
"""The share of failing responses that the judge passes all the same: it favours sft."""


def response(model, seed, axis, at, **scores):
    return ScoredResponse(
        model=model, seed=seed, prompt_id=f"{axis}-{at}", axis=axis, prompt=f"{axis} {at}",
        response=f"{model} {seed} {at}", scores=scores,
    )  # fmt: skip


def study(*, prompts=200, seeds=(0,), seed=0):
    """Return rows, and the truth of each by (model, seed, prompt id)."""
    rng = np.random.default_rng(seed)
    rows, truth = [], {}
    for axis in AXES:
        ease = rng.normal(size=prompts)
        for model, rate in TRUTH.items():
            for run in seeds:
                cut = np.quantile(ease, rate) * np.sqrt(2)
                passes = ease + rng.normal(size=prompts) < cut
                favoured = rng.random(prompts) < FAVOUR[model]
                coins = rng.integers(0, 2, prompts).astype(float)
                for at in range(prompts):
                    name = f"{axis}-{at}"
                    truth[model, run, name] = bool(passes[at])
                    scores = {"judge": float(passes[at] or favoured[at]), "coin": coins[at]}
                    rows.append(response(model, run, axis, at, **scores))
    return rows, truth


def labelled(truth, many, seed=1, models=tuple(TRUTH)):
    """Label all models' responses to some prompts, under a seed drawn for each."""
    rng = np.random.default_rng(seed)
    names = sorted({name for _, _, name in truth})
    seeds = sorted({run for _, run, _ in truth})
    found = []
    for axis in AXES:
        own = [name for name in names if name.startswith(axis)]
        for name in rng.choice(own, many, replace=False):
            for model in models:
                run = int(rng.choice(seeds))
                found.append(
                    Label(model=model, seed=run, prompt_id=str(name), axis=axis,
                          passes=truth[model, run, str(name)], where=f"sheet.csv:{len(found)}")
                )  # fmt: skip
    return tuple(found)


def analyzed(rows, labels):
    limits = {"judge": LIMITS, "coin": LIMITS}
    _, findings = analyze_run(rows, AnalysisConfig(thresholds=limits, base="base", labels=labels))
    return findings


def held_against(rows, labels, lineages=None):
    """Return what labels say of the judge, without all else that is found."""
    grid = dict.fromkeys(AXES, (0.5,))
    analysis = analyze_judge(
        rows, LIMITS, judge="judge", base="base", draws=10, sweep=grid, lineages=lineages
    )
    return label_evidence(analysis, rows, checked_labels(labels, rows))


@pytest.fixture(scope="module")
def planted():
    rows, truth = study()
    return rows, truth, analyzed(rows, labelled(truth, 80))


def of(findings, judge="judge"):
    return next(each for each in findings.labels if each.judge == judge)


def figure(evidence, metric, model, reference=""):
    wanted = (metric, model, reference)
    return next(e for e in evidence.figures if (e.metric, e.model, e.reference) == wanted)


def rate_of(truth, model, axis):
    return 100 * np.mean([v for (m, _, name), v in truth.items() if m == model and axis in name])


def test_a_judge_that_favours_a_model_is_corrected(planted):
    _, truth, findings = planted
    for metric, axis in (("hmr", "harmless"), ("hpr", "helpful")):
        real = {model: rate_of(truth, model, axis) for model in TRUTH}
        sft, base = (figure(of(findings), metric, model) for model in ("sft", "base"))
        assert sft.raw.low > real["sft"]  # the judge's interval is sure of a wrong rate
        assert sft.corrected.low <= real["sft"] <= sft.corrected.high
        assert base.corrected.value == pytest.approx(real["base"], abs=3)
        assert sft.bias.low > 4.0
        assert base.bias.value == 0.0  # there the judge is right
        gap = figure(of(findings), metric, "sft", "base")
        assert gap.raw.value > real["sft"] - real["base"] + 10
        assert gap.corrected.low <= real["sft"] - real["base"] <= gap.corrected.high
        assert gap.num_labels == 80
    mean = figure(of(findings), "cas", "sft")
    halves = [figure(of(findings), name, "sft").corrected.value for name in ("hmr", "hpr")]
    assert mean.corrected.value == pytest.approx(np.mean(halves))
    assert (mean.trust, mean.bias, mean.num_labels) == (None, None, 160)


def test_a_good_judge_makes_labels_worth_more_and_a_coin_adds_nothing(planted):
    _, _, findings = planted
    good, coin = (figure(of(findings, name), "hmr", "base") for name in ("judge", "coin"))
    assert good.trust == pytest.approx(1.0)
    assert good.worth > 2 * good.num_labels
    assert coin.trust < 0.25
    assert coin.worth == pytest.approx(coin.num_labels, rel=0.1)
    assert coin.corrected.value == pytest.approx(coin.labels_only.value, abs=4)
    assert good.labels_only == coin.labels_only


def test_how_often_the_judge_is_right_by_model(planted):
    _, _, findings = planted
    found = {(each.axis, each.model): each for each in of(findings).agreements}
    assert found["harmless", "base"].agrees.value == 100.0
    assert found["harmless", "base"].balanced.low < 99.0  # 80 labels don't show that it never errs
    sft = found["harmless", "sft"]
    assert sft.finds_passes.value == 100.0
    assert sft.finds_fails.low <= 50.0 <= sft.finds_fails.high
    assert sft.balanced.value == pytest.approx((100 + sft.finds_fails.value) / 2)
    assert found["harmless", ""].num_labels == 160


def test_what_labels_contradict_is_told_and_stands_in_the_report(planted):
    rows, _, findings = planted
    evidence = of(findings)
    assert any("labels contradict the judge's HmR of sft" in note for note in evidence.notes)
    assert not any("base" in note for note in evidence.notes)
    assert findings_from_json(findings.to_json()).labels == findings.labels
    inputs = ReportInputs(
        study="s", settings={}, protocol=None, findings=findings, responses=tuple(rows)
    )
    page = sections(inputs)
    assert any("contradict the judge's HmR of sft" in caution for caution in cautions(inputs))
    titles = [item.table.title for item in page["judges"].items if item.table is not None]
    assert titles[-3:] == [
        "Rates corrected by labels",
        "Differences corrected by labels",
        "The judge against the labels",
    ]


def test_labels_do_not_move_the_judges_figures(planted):
    rows, _, findings = planted
    plain = analyzed(rows, ())
    assert plain.labels == ()
    assert replace(findings, labels=()) == plain


def test_labels_of_everything_are_the_truth():
    rows, truth = study(prompts=60)
    evidence = held_against(rows, labelled(truth, 60))
    for model in TRUTH:
        found = figure(evidence, "hpr", model).corrected
        assert found.value == pytest.approx(rate_of(truth, model, "helpful"))


def test_with_several_seeds_training_again_is_in_the_interval():
    """Seeds move sft's true rate by 10 points; a judge that sees 60 % of that is stretched."""
    held = pairs_held = 0
    widths = []
    studies = 10
    for number in range(studies):
        rng = np.random.default_rng(number)
        rows, truth = [], {}
        for model in TRUTH:
            for run in (0, 1, 2):
                rate = TRUTH[model] + (0.1 * rng.normal() if model == "sft" else 0.0)
                for axis in AXES:
                    passes = rng.random(80) < rate
                    judged = np.where(rng.random(80) < 0.8, passes, ~passes)
                    for at in range(80):
                        truth[model, run, f"{axis}-{at}"] = bool(passes[at])
                        rows.append(response(model, run, axis, at, judge=float(judged[at])))
        evidence = held_against(rows, labelled(truth, 40, seed=number))
        found = figure(evidence, "hmr", "sft").corrected
        pair = figure(evidence, "cas", "sft", "base").corrected
        held += found.low <= 60 <= found.high
        pairs_held += pair.low <= 20 <= pair.high
        widths.append(found.high - found.low)
    assert held >= studies - 1
    assert pairs_held >= studies - 1
    assert np.median(widths) > 38  # labels alone, were seeds all alike: about 30
    assert any("training again" in note for note in evidence.notes)


def test_too_few_labels_correct_nothing():
    rows, truth = study(prompts=60)
    few = [label for label in labelled(truth, 20) if label.model == "base" or label.axis == AXES[0]]
    evidence = held_against(rows, few)
    assert {(e.metric, e.model) for e in evidence.figures if not e.reference} == {
        ("hmr", "base"), ("hmr", "sft"), ("hpr", "base"), ("cas", "base"),
    }  # fmt: skip
    assert any("fewer than 10 labelled helpful prompts of sft" in n for n in evidence.notes)


WRONG = [
    ({"prompt_id": "harmless-999"}, "no such response"),
    ({"model": "dpo"}, "no such response"),
    ({"seed": 7}, "no such response"),
    ({"axis": "helpfulness"}, "no such response"),
    ({"seed": None}, "seeds 0, 1: name one"),
    ({"response": "0" * 64}, "another than the one that was labelled"),
]


@pytest.mark.parametrize(("change", "why"), WRONG)
def test_labels_of_other_responses_are_refused(change, why):
    rows, truth = study(prompts=20, seeds=(0, 1))
    labels = labelled(truth, 10)
    assert len(checked_labels(labels, rows)) == len(labels)
    with pytest.raises(DataError) as refused:
        checked_labels([*labels[:3], replace(labels[3], **change)], rows)
    assert labels[3].where in str(refused.value)
    assert why in str(refused.value)


def test_a_label_knows_its_text_and_comes_once():
    rows, truth = study(prompts=20)
    first = labelled(truth, 10)[0]
    [row] = [r for r in rows if (r.model, r.prompt_id) == (first.model, first.prompt_id)]
    known = replace(first, response=text_digest(row), axis="harmlessness", seed=None)
    assert checked_labels([known], rows) == (replace(known, axis="harmless", seed=0),)
    with pytest.raises(DataError, match=r"(?s)sheet.csv:0.*labelled twice"):
        checked_labels([known, first], rows)
