"""The rule of verdicts: every branch, several judges, judges below the floor, claims of parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import VERDICTS, Claim, Verdict
from alignstudy.analysis.claims.rule import (
    JudgeEvidence,
    conjunction,
    rule_better,
    rule_bound,
    rule_equivalent,
)
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Comparison, Thresholds
from alignstudy.errors import InputError
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.evidence import JudgeQuality, PairAccuracy
from alignstudy.records.robustness import Power

AXES = ("harmless", "helpful")

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})


def sight(
    value,
    half,
    p_holm,
    *,
    power=50.0,
    needed=300,
    p_equivalent=None,
    judge="one",
    p=None,
    num_sets=1,
):
    gap = Estimate(value=value, low=value - half, high=value + half, n=50, method="tango")
    pair = Comparison(
        metric="hmr",
        model="a",
        reference="b",
        difference=gap,
        p_value=p_holm if p is None else p,
        p_holm=p_holm,
        test="exact McNemar",
        wins=9,
        losses=3,
        ties=38,
        n=50,
        power=Power(power=power, detectable=20.0, n_needed=needed),
    )
    return JudgeEvidence(judge=judge, pair=pair, num_sets=num_sets, p_equivalent=p_equivalent)


# The rule


@pytest.mark.parametrize(
    ("sights", "margin", "expected"),
    [
        ([sight(10, 5, 0.01)], 0.0, ("supported", None)),
        ([sight(10, 5, 0.06)], 0.0, ("underpowered", 300)),
        ([sight(10, 5, 0.06, power=85)], 0.0, ("not supported", None)),
        ([sight(10, 12, 0.01)], 0.0, ("underpowered", 300)),
        ([sight(-10, 5, 0.01)], 0.0, ("contradicted", None)),
        ([sight(-10, 5, 0.06)], 0.0, ("not supported", None)),
        ([sight(0, 5, 1.0)], 0.0, ("not supported", None)),
        ([sight(10, 4, 0.01)], 5.0, ("supported", None)),
        ([sight(10, 5, 0.01)], 8.0, ("underpowered", None)),
        ([sight(3, 2, 0.01, p_equivalent=0.02)], 5.0, ("equivalent", None)),
        ([sight(3, 2, 0.01, p_equivalent=0.20)], 5.0, ("not supported", None)),
        # Shown the other way round, although within the margin.
        ([sight(-3, 2, 0.01, p_equivalent=0.02)], 5.0, ("contradicted", None)),
        # Every judge has to agree.
        ([sight(10, 5, 0.01), sight(9, 5, 0.01)], 0.0, ("supported", None)),
        ([sight(10, 5, 0.01), sight(9, 12, 0.3, needed=120)], 0.0, ("underpowered", 120)),
        ([sight(10, 5, 0.01), sight(-9, 5, 0.01)], 0.0, ("not supported", None)),
        ([sight(-10, 5, 0.01), sight(-9, 12, 0.3)], 0.0, ("not supported", None)),
    ],
)
def test_rule_of_a_difference(sights, margin, expected):
    found = rule_better(sights, margin)
    needed = found.n_needed if margin == 0.0 else None
    assert (found.verdict, needed) == expected


def test_prompts_needed_with_a_margin_are_for_what_is_beyond_it():
    """At n_needed the distance to the margin is 2.8 standard errors: 80 % power at 5 %."""
    found = rule_better([sight(10, 5, 0.01)], 8.0)
    error = 5 / 1.959964 * np.sqrt(50 / found.n_needed)
    assert 2.0 / error == pytest.approx(1.959964 + 0.841621, rel=0.01)


@pytest.mark.parametrize(
    ("sights", "expected"),
    [
        ([sight(1, 3, 0.5, p_equivalent=0.01)], "equivalent"),
        ([sight(1, 3, 0.5, p_equivalent=0.01), sight(1, 9, 0.5, p_equivalent=0.3)], "underpowered"),
        ([sight(1, 9, 0.5, p_equivalent=0.3)], "underpowered"),
        ([sight(7, 9, 0.5, p_equivalent=0.7)], "not supported"),
        ([sight(10, 4, 0.01, p_equivalent=0.99)], "contradicted"),
        ([sight(-10, 4, 0.01, p_equivalent=0.99)], "contradicted"),
    ],
)
def test_rule_of_an_equivalence(sights, expected):
    assert rule_equivalent(sights, 5.0).verdict == expected


def bound(value, low, high):
    return Estimate(value=value, low=low, high=high, n=100, method="wilson")


@pytest.mark.parametrize(
    ("estimate", "at_least", "at_most", "expected"),
    [
        (bound(70, 61, 78), 60, None, "supported"),
        (bound(70, 61, 78), 65, None, "underpowered"),
        (bound(56, 54, 59), 60, None, "contradicted"),
        (bound(70, 61, 78), None, 69, "contradicted"),
        (bound(70, 61, 78), 60, 80, "supported"),
        (bound(70, 61, 78), 60, 75, "underpowered"),
        (bound(70, 61, 78), 70, None, "not supported"),
        (bound(3, 3, 3), None, 3, "supported"),
    ],
)
def test_rule_of_bounds(estimate, at_least, at_most, expected):
    assert rule_bound(estimate, at_least, at_most).verdict == expected


@given(st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=6))
def test_a_conjunction_is_as_strong_as_its_weakest_part(found):
    parts = [Verdict(claim="c", verdict=name, evidence="e", n_needed=7) for name in found]
    whole = conjunction(parts)
    if whole.verdict in ("supported", "equivalent"):
        assert set(found) <= {"supported", "equivalent"}
    else:
        assert whole.verdict in found
    assert (whole.verdict == "contradicted") == ("contradicted" in found)
    assert (whole.n_needed == 7) == (whole.verdict == "underpowered")


# Claims on studies


def rows_of(gains, *, n=60, seed=0, judges=("one",), noise=0.6, empty=()):
    rng = np.random.default_rng(seed)
    rows = []
    for axis in AXES:
        difficulty = rng.normal(0.0, 1.0, n)
        for model, gain in gains.items():
            own = difficulty + gain + rng.normal(0.0, noise, n)
            rows += [
                ScoredResponse(
                    model=model,
                    seed=0,
                    prompt_id=f"{axis}-{i}",
                    axis=axis,
                    prompt=f"{axis} {i}",
                    response="" if (model, i) in empty else f"{model} {i}",
                    scores={judge: float(own[i]) + 0.1 * at for at, judge in enumerate(judges)},
                )
                for i in range(n)
            ]
    return rows


def findings_on(rows, judges=("one",), **others):
    analyses = tuple(
        analyze_judge(rows, LIMITS, judge=judge, base="base", draws=100, axes=PUBLISHED)
        for judge in judges
    )
    return Findings(analyses=analyses, **others)


def verdict_on(rows, findings=None, **claim):
    [found] = verdicts(findings or findings_on(rows), [Claim(**claim)], rows)
    return found


def quality(judge, *below, accuracy=56.0):
    measured = tuple(
        PairAccuracy(
            axis=axis,
            subset="all",
            accuracy=Estimate(
                value=accuracy, low=accuracy - 2, high=accuracy + 2, n=500, method="wilson"
            ),
            ties=0,
        )
        for axis in AXES
    )
    return JudgeQuality(judge=judge, accuracies=measured, below_floor=below)


@pytest.fixture(scope="module")
def gained():
    return rows_of({"base": 0.0, "sft": 1.5, "dpo": 0.7}, judges=("one", "two"))


def test_a_judge_below_the_floor_makes_its_axis_unmeasurable(gained):
    found = findings_on(gained, qualities=(quality("one", "harmless"),))
    harmful = verdict_on(gained, found, metric=("hmr",), better="sft", than=("base",))
    assert harmful.verdict == "unmeasurable"
    assert "56.0" in harmful.evidence.replace("\u00a0", " ")
    both = verdict_on(gained, found, metric=("cas",), better="sft", than=("base",))
    assert both.verdict == "unmeasurable"
    helpful = verdict_on(gained, found, metric=("hpr",), better="sft", than=("base",))
    assert helpful.verdict == "supported"


def test_a_judge_below_the_floor_is_not_asked_where_another_is_above(gained):
    judges = ("one", "two")
    found = findings_on(
        gained, judges, qualities=(quality("one", "harmless", "helpful"), quality("two"))
    )
    verdict = verdict_on(gained, found, metric=("hmr",), better="sft", than=("base",))
    assert verdict.verdict == "supported"
    assert "with two" not in verdict.evidence


def test_a_panel_of_judges_that_are_all_below_the_floor_is_below_it(gained):
    rows = [
        ScoredResponse(**{**vars(r), "scores": {**r.scores, "panel": r.scores["one"]}})
        for r in gained
    ]
    bad = (quality("one", "helpful"), quality("two", "helpful"))
    found = findings_on(rows, ("panel",), qualities=bad)
    assert verdict_on(rows, found, metric=("hpr",), better="sft").verdict == "unmeasurable"
    half = findings_on(rows, ("panel",), qualities=(bad[0], quality("two")))
    assert verdict_on(rows, half, metric=("hpr",), better="sft").verdict != "unmeasurable"


def test_a_finding_that_one_judge_doesnt_share_is_not_supported(gained):
    rows = [
        ScoredResponse(**{**vars(r), "scores": {"one": r.scores["one"], "two": -r.scores["one"]}})
        for r in gained
    ]
    found = findings_on(rows, ("one", "two"))
    verdict = verdict_on(rows, found, metric=("score_helpful",), better="sft", than=("base",))
    assert verdict.verdict == "not supported"
    assert "with two" in verdict.evidence


def test_what_was_not_measured_is_unmeasurable(gained):
    rows = [row for row in gained if row.axis == "helpful"]
    assert verdict_on(rows, metric=("hmr",), better="sft", than=("base",)).verdict == "unmeasurable"
    assert verdict_on(rows, metric=("sd_harmless",), better="sft").verdict == "unmeasurable"
    assert verdict_on(rows, metric=("hmr",), at_least=1.0).verdict == "unmeasurable"


def test_lower_is_higher_turned_round(gained):
    lower = verdict_on(gained, metric=("hmr",), worse="base", than=("sft",))
    higher = verdict_on(gained, metric=("hmr",), better="sft", than=("base",))
    assert (lower.verdict, lower.evidence) == (higher.verdict, higher.evidence)
    assert (
        verdict_on(gained, metric=("cas",), worse="sft", than=("base",)).verdict == "contradicted"
    )


def test_highest_of_several_is_contradicted_by_the_sample_alone():
    rows = rows_of({"base": 0.0, "sft": 0.05, "dpo": 0.1}, n=40, seed=1)
    found = findings_on(rows)
    values = {m.model: m.estimates["score_helpful"].value for m in found.first.models}
    best, *_, worst = sorted(values, key=values.get, reverse=True)
    highest = verdict_on(rows, found, metric=("score_helpful",), better=worst)
    assert highest.verdict == "contradicted"
    assert "the other way round" in highest.evidence
    # Against one model alone a point estimate contradicts nothing.
    alone = verdict_on(rows, found, metric=("score_helpful",), better=worst, than=(best,))
    assert alone.verdict == "not supported"
    leader = verdict_on(rows, found, metric=("score_helpful",), better=best)
    assert leader.verdict in ("underpowered", "supported")
    assert "of resamples" in leader.evidence


def test_a_claim_of_parts_says_each(gained):
    found = verdict_on(gained, metric=("hmr", "hpr"), better="sft", than=("base", "dpo"))
    assert len(found.parts) == 4
    assert {part.verdict for part in found.parts} <= set(VERDICTS)
    assert verdict_on(gained, metric=("hmr",), better="sft", than=("base",)).parts == ()


def test_evidence_holds_the_numbers(gained):
    found = findings_on(gained)
    item = found.first.comparison("hpr", "sft", "base")
    text = verdict_on(gained, found, metric=("hpr",), better="sft", than=("base",)).evidence
    assert f"{item.wins} against {item.losses} discordant of 60" in text.replace("\u00a0", " ")
    assert f"+{item.difference.value:.1f} points" in text
    assert "thresholds" in text


def test_deciding_prompts_are_the_discordant_ones(gained):
    found = findings_on(gained)
    verdict = verdict_on(gained, found, metric=("hpr",), better="dpo", than=("base",))
    scores = {(r.model, r.prompt_id): r.scores["one"] for r in gained if r.axis == "helpful"}
    ids = {i for _, i in scores}
    apart = {i for i in ids if (scores["dpo", i] > 0) != (scores["base", i] > 0)}
    assert set(verdict.prompts) == apart
    sizes = [abs(scores["dpo", i] - scores["base", i]) for i in verdict.prompts]
    assert sizes == sorted(sizes, reverse=True)


def test_without_empty_responses_the_rates_are_those_of_the_rest():
    """Empty responses that score high carry the whole difference; without them none is left."""
    empty = {("sft", i) for i in range(30)}
    rows = [
        ScoredResponse(**{**vars(r), "scores": {"one": 9.0}}) if not r.response else r
        for r in rows_of({"base": 0.0, "sft": 0.0}, n=60, empty=empty, noise=0.1)
    ]
    claim = {"metric": ("hmr",), "better": "sft", "than": ("base",)}
    assert verdict_on(rows, **claim).verdict == "supported"
    rest = verdict_on(rows, without="empty", **claim)
    assert rest.verdict in ("underpowered", "not supported")
    assert "of 30" in rest.evidence.replace("\u00a0", " ")
    cap = verdict_on(rows, without="cap", **claim)
    assert (cap.verdict, "why responses ended" in cap.evidence) == ("unmeasurable", True)


def test_in_sample_claims_are_true_or_false(gained):
    for better, other, expected in (("sft", "base", "supported"), ("base", "sft", "contradicted")):
        found = verdict_on(gained, metric=("hpr",), better=better, than=(other,), in_sample=True)
        assert found.verdict == expected


def test_medians_and_spreads_are_contradicted_when_false_and_need_an_interval_when_true():
    rng = np.random.default_rng(0)
    rows = []
    for model, sd in (("base", 3.0), ("narrow", 1.0), ("alike", 2.9)):
        rows += [
            ScoredResponse(
                model=model, seed=0, prompt_id=f"p{i}", axis="helpful", prompt=f"p{i}",
                response="r", scores={"one": float(x)},
            )
            for i, x in enumerate(rng.normal(0.0, sd, 80))
        ]  # fmt: skip
    found = findings_on(rows)

    def said(better, than):
        return verdict_on(rows, found, metric=("sd_helpful",), better=better, than=(than,)).verdict

    assert said("base", "narrow") == "supported"
    assert said("narrow", "base") == "contradicted"
    scores = {m: np.std([r.scores["one"] for r in rows if r.model == m]) for m in ("base", "alike")}
    wide, less = sorted(scores, key=scores.get, reverse=True)
    assert said(wide, less) == "not supported"
    assert said(less, wide) == "contradicted"


def test_bounds_on_a_judges_accuracy(gained):
    claim = {"metric": ("judge_accuracy_harmless", "judge_accuracy_helpful"), "at_least": 60.0}
    assert verdict_on(gained, **claim).verdict == "unmeasurable"
    low = findings_on(gained, qualities=(quality("one", "harmless", "helpful"),))
    assert verdict_on(gained, low, **claim).verdict == "contradicted"
    high = findings_on(gained, qualities=(quality("one", accuracy=70.0),))
    assert verdict_on(gained, high, **claim).verdict == "supported"


def test_a_model_that_is_not_there_is_refused(gained):
    with pytest.raises(InputError, match="'ppo'"):
        verdict_on(gained, metric=("hmr",), better="ppo", than=("base",))
    with pytest.raises(InputError, match="with itself"):
        verdict_on(gained, metric=("hmr",), better="base", than=("base",))


def test_the_order_of_rows_and_claims_does_not_matter(gained):
    claims = [
        Claim(metric=("hpr",), better="sft", than=("base",)),
        Claim(metric=("median_helpful",), better="dpo", than=("base",)),
    ]
    found = findings_on(gained)
    there = verdicts(found, claims, gained)
    back = verdicts(found, claims[::-1], list(reversed(gained)))
    assert [item.verdict for item in there] == [item.verdict for item in back[::-1]]
