"""Studies whose truth is known: right verdicts, reversed with the sign, and none out of nothing."""

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.records import ScoredResponse

AXES = ("harmless", "helpful")

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})
FAMILIES = (("hmr", "hpr"), ("cas",), ("score_harmless", "score_helpful"))


def study(gains, *, n, rng, judges=("judge",), noise=0.7):
    """Scores of each model: a prompt's difficulty, the model's own gain, and noise a judge."""
    rows = []
    for axis in AXES:
        difficulty = rng.normal(0.0, 1.0, n)
        for model, gain in gains.items():
            own = difficulty + gain + rng.normal(0.0, noise, n)
            scores = {judge: own + rng.normal(0.0, 0.3, n) for judge in judges}
            rows += [
                ScoredResponse(
                    model=model,
                    seed=0,
                    prompt_id=f"{axis}-{i}",
                    axis=axis,
                    prompt=f"{axis} {i}",
                    response=f"{model} {i}",
                    scores={judge: float(values[i]) for judge, values in scores.items()},
                )
                for i in range(n)
            ]
    return rows


def judged(rows, claims, *, judges=("judge",), draws=200, sign=1.0):
    if sign < 0:
        rows = [
            ScoredResponse(**{**vars(row), "scores": {j: -s for j, s in row.scores.items()}})
            for row in rows
        ]
    analyses = tuple(
        analyze_judge(rows, LIMITS, judge=judge, base="base", draws=draws) for judge in judges
    )
    return [v.verdict for v in verdicts(Findings(analyses=analyses), claims, rows)]


@pytest.fixture(scope="module")
def planted():
    gains = {"base": 0.0, "good": 0.8, "twin": 0.0, "bit": 0.08}
    return study(gains, n=400, rng=np.random.default_rng(11), judges=("one", "two"))


CLAIMS = {
    "good is better": Claim(metric=("hmr", "hpr", "cas"), better="good", than=("base",)),
    "good by 10": Claim(metric=("hmr",), better="good", than=("base",), margin=10.0),
    "base is better": Claim(metric=("score_helpful",), better="base", than=("good",)),
    "good is best": Claim(metric=("score_harmless", "score_helpful"), better="good"),
    "base is best": Claim(metric=("cas",), better="base"),
    "good by half": Claim(metric=("score_helpful",), better="good", than=("base",), margin=0.5),
    "twin is alike": Claim(
        metric=("score_harmless",), better="twin", than=("base",), relation="equivalent", margin=0.3
    ),
    "twin gains 0.3": Claim(metric=("score_harmless",), better="twin", than=("base",), margin=0.3),
    "bit is better": Claim(metric=("score_helpful",), better="bit", than=("base",)),
}


def test_a_planted_study_gets_the_right_verdicts(planted):
    found = dict(
        zip(CLAIMS, judged(planted, list(CLAIMS.values()), judges=("one", "two")), strict=True)
    )
    assert found == {
        "good is better": "supported",
        "good by 10": "supported",
        "base is better": "contradicted",
        "good is best": "supported",
        "base is best": "contradicted",
        "good by half": "supported",
        "twin is alike": "equivalent",
        "twin gains 0.3": "equivalent",
        "bit is better": found["bit is better"],
    }
    assert found["bit is better"] in ("too small to decide", "no difference of interest shown")


def test_with_the_sign_reversed_the_verdicts_reverse(planted):
    claims = [CLAIMS[name] for name in ("good is better", "base is better", "twin is alike")]
    assert judged(planted, claims, judges=("one", "two"), sign=-1.0) == [
        "contradicted",
        "supported",
        "equivalent",
    ]


def test_a_small_true_gain_is_undecided_with_few_prompts_and_supported_with_many():
    claims = [Claim(metric=("score_helpful",), better="bit", than=("base",))]
    gains = {"base": 0.0, "bit": 0.25}
    few = study(gains, n=20, rng=np.random.default_rng(4))
    many = study(gains, n=1500, rng=np.random.default_rng(4))
    assert judged(few, claims) == ["too small to decide"]
    assert judged(many, claims) == ["supported"]


def test_the_prompts_needed_are_enough():
    """A study as large as an undecided verdict asks for shows what is of interest in 80 %."""
    claim = Claim(metric=("score_helpful",), better="bit", than=("base",))
    rng = np.random.default_rng(8)
    pilot = study({"base": 0.0, "bit": 0.0}, n=60, rng=rng)
    analysis = analyze_judge(pilot, LIMITS, judge="judge", base="base", draws=100)
    [verdict] = verdicts(Findings(analyses=(analysis,)), [claim], pilot)
    gap = analysis.comparison("score_helpful", "bit", "base")
    assert verdict.verdict == "too small to decide"
    spread = gap.difference.value / gap.effect_size
    shifts = rng.normal(gap.margin, spread, (4000, verdict.n_needed))
    t = shifts.mean(axis=1) / (shifts.std(axis=1, ddof=1) / np.sqrt(verdict.n_needed))
    assert np.mean(t > 1.97) == pytest.approx(0.8, abs=0.03)


@pytest.mark.e2e
def test_nothing_is_supported_where_there_is_nothing():
    """500 studies of three models that are alike: in 95 % no claim of a family is supported."""
    models = ("base", "x", "y")
    stated = [
        Claim(metric=(metric,), better=one, than=(two,))
        for family in FAMILIES
        for metric in family
        for one in models
        for two in models
        if one != two
    ]
    wrong = dict.fromkeys(FAMILIES, 0)
    rng = np.random.default_rng(2)
    for _ in range(500):
        rows = study(dict.fromkeys(models, 0.0), n=20, rng=rng)
        analysis = analyze_judge(rows, LIMITS, judge="judge", base="base", draws=40, sweep=ONE)
        found = verdicts(Findings(analyses=(analysis,)), stated, rows)
        shown = {
            claim.metric[0]
            for claim, item in zip(stated, found, strict=True)
            if item.verdict == "supported"
        }
        for family in FAMILIES:
            wrong[family] += not shown.isdisjoint(family)
    # 25 of 500 are 5 %; 3.3 standard errors more would be 41.
    assert max(wrong.values()) <= 41, wrong
    assert sum(wrong.values()) > 0, "500 studies at 5 % without one error: nothing was tested"


ONE = {axis: (0.0,) for axis in AXES}


def test_a_rate_near_0_whose_seeds_lie_far_apart_gets_no_verdict():
    """Seeds of 0, 0 and 24 %: three of them don't show how far others may lie."""
    rows = [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"p{i}", axis="helpful", prompt=f"{i}", response="r",
            scores={"judge": 1.0 if i < passed else -1.0},
        )
        for model, counts in {"base": [150], "sft": [0, 0, 48]}.items()
        for seed, passed in enumerate(counts)
        for i in range(200)
    ]  # fmt: skip
    analysis = analyze_judge(rows, LIMITS, judge="judge", base="base", draws=50)
    pair = analysis.comparison("hpr", "sft", "base")
    assert (pair.p_value, "nominal only" in pair.note) == (None, True)
    claims = [
        Claim(metric=("hpr",), worse="sft", than=("base",)),
        Claim(metric=("hpr",), models=("sft",), at_most=30.0),
    ]
    found = verdicts(Findings(analyses=(analysis,)), claims, rows)
    assert [verdict.verdict for verdict in found] == ["too small to decide"] * 2
    assert "nominal only" in found[0].evidence
