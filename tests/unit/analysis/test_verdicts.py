"""The rule of verdicts: every branch, several judges, judges below the floor, claims of parts."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import VERDICTS, Claim
from alignstudy.analysis.claims.rule import Evidence, Part, conjunction, levels_of, rulings
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import InputError
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.evidence import JudgeQuality, PairAccuracy
from alignstudy.stats.multiplicity import holm
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.spread import Spread

AXES = ("harmless", "helpful")

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})


def seen(value, half, p_for, p_against=1.0, *, boundary=0.0, judge="one", p_within=None, sd=1.0):
    """Evidence of a difference; its design has a standard error of `sd` on 100 prompts."""
    gap = Estimate(value=value, low=value - half, high=value + half, n=100, method="tango")
    spread = Spread(value=value, prompts=sd**2, df_prompts=99.0, seeds=0.0, df_seeds=1.0, units=100)
    return Evidence(
        judge=judge,
        estimate=gap,
        holds=value > boundary,
        shows=gap.low > boundary,
        p_for=p_for,
        p_against=p_against,
        p_within=p_within,
        design=SpreadDesign(spread),
    )


def part(*evidence, **others):
    return Part(evidence=evidence, **{"interest": 5.0, **others})


# The rule


SHOWN, REJECTED = seen(10, 5, 0.01), seen(-10, 5, 1.0, 0.01)
OPEN, OPEN_SMALL = seen(1, 3, 0.5), seen(1, 30, 0.5, sd=15.0)
REVERSED = seen(-2, 8, 1.0, 0.6, sd=4.0)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part(SHOWN)], "supported"),
        ([part(seen(10, 12, 0.01, sd=6.0))], "too small to decide"),  # its interval holds 0
        ([part(REJECTED)], "contradicted"),
        # What is not shown tells by the study's size, not by the sign of the difference.
        ([part(OPEN)], "no difference of interest shown"),
        ([part(seen(-1, 3, 1.0, 0.5))], "no difference of interest shown"),
        ([part(OPEN_SMALL)], "too small to decide"),
        ([part(seen(-1, 30, 1.0, 0.5, sd=15.0))], "too small to decide"),
        ([part(seen(-1, 30, None, None, sd=15.0))], "too small to decide"),
        ([part(OPEN, interest=None)], "too small to decide"),
        # Every judge has to agree; two that show the opposite measure nothing.
        ([part(SHOWN, SHOWN)], "supported"),
        ([part(SHOWN, OPEN)], "no difference of interest shown"),
        ([part(SHOWN, OPEN_SMALL)], "too small to decide"),
        ([part(REJECTED, OPEN)], "no difference of interest shown"),
        ([part(SHOWN, REJECTED)], "unmeasurable"),
        ([part(seen(10, 5, 0.0), seen(-10, 5, 1.0, 0.0))], "unmeasurable"),
        # A margin: what is rejected may be shown to lie within it.
        ([part(seen(1, 2, 1.0, 0.001, boundary=5.0, p_within=0.001))], "equivalent"),
        ([part(seen(1, 7, 1.0, 0.04, boundary=5.0, p_within=0.2))], "contradicted"),
        # Parts: all must be shown, one that is rejected is enough.
        ([part(SHOWN), part(SHOWN)], "supported"),
        ([part(SHOWN), part(OPEN)], "no difference of interest shown"),
        ([part(SHOWN), part(REJECTED)], "contradicted"),
        ([part(SHOWN), part(seen(-10, 9, 1.0, 0.03))], "no difference of interest shown"),
        ([part(SHOWN), Part()], "unmeasurable"),
        ([part(REJECTED), Part()], "contradicted"),
        ([part(SHOWN), part(seen(1, 2, 1.0, 0.001, p_within=0.001))], "contradicted"),
        # Descriptions that are false in the sample, which the data don't reject.
        ([part(REVERSED, is_description=True), part(SHOWN)], "not borne out"),
        ([part(REJECTED, is_description=True)], "contradicted"),
        ([part(OPEN_SMALL, is_description=True)], "too small to decide"),
        ([part(REVERSED, in_sample=True)], "not borne out"),
        ([part(OPEN_SMALL, in_sample=True)], "supported"),
    ],
)
def test_rule_of_a_claim(parts, expected):
    [ruling] = rulings([parts])
    assert ruling.verdict == expected
    assert len(ruling.parts) == len(parts)


@pytest.mark.parametrize(
    ("p_for", "p_against", "expected"),
    [
        (0.01, 1.0, "equivalent"),
        (0.3, 1.0, "too small to decide"),
        (0.99, 0.02, "contradicted"),
    ],
)
def test_rule_of_an_equivalence(p_for, p_against, expected):
    evidence = replace(seen(1, 3, p_for, p_against), shows=True)
    [ruling] = rulings([[part(evidence, is_equivalence=True)]])
    assert ruling.verdict == expected


def test_claims_are_corrected_for_one_another():
    """Holm: 0.01, 0.02 and 0.03 are shown one after the other only where 0.05 / 3 lets them."""
    one, two, three = (part(seen(10, 5, p)) for p in (0.01, 0.02, 0.03))
    first, second, third = rulings([[one], [two], [three]])
    assert [r.verdict for r in (first, second, third)] == ["supported"] * 3
    assert [round(r.p_holm, 12) for r in (first, second, third)] == [0.03, 0.04, 0.04]
    alone = rulings([[part(seen(10, 5, 0.02))], [part(seen(10, 5, 0.03))], [one, two, three]])
    assert [r.verdict for r in alone] == ["no difference of interest shown"] * 3
    assert {r.level for r in alone} == {0.05 / 3}


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_levels_are_those_of_holms_procedure(p_values):
    levels = levels_of(p_values)
    rejected = [p < level for p, level in zip(p_values, levels, strict=True)]
    assert rejected == [p < 0.05 for p in holm(p_values)]
    assert max(levels) <= 0.05
    # What is left over is judged at the level at which the procedure stopped.
    kept = {level for level, out in zip(levels, rejected, strict=True) if not out}
    assert kept <= {0.05 / (len(p_values) - sum(rejected))} if kept else True


def test_claims_without_a_test_cost_the_others_nothing():
    described = part(seen(3, 1, 0.5), in_sample=True)
    first, second, third = rulings([[part(seen(10, 5, 0.04))], [described], [Part()]])
    assert (first.verdict, first.p_holm) == ("supported", 0.04)
    assert (second.p_value, third.p_value) == (None, None)


def test_prompts_needed_are_for_the_smallest_difference_of_interest_at_the_claims_level():
    claims = [[part(OPEN_SMALL)] for _ in range(4)]
    ruling = rulings(claims)[0]
    assert ruling.level == 0.05 / 4
    error = 15.0 * np.sqrt(100 / ruling.n_needed)
    z = NormalDist().inv_cdf
    assert 5.0 / error == pytest.approx(z(1 - 0.05 / 8) + z(0.8), rel=0.01)
    assert ruling.power < 10.0


def test_a_claim_of_parts_is_as_strong_as_its_weakest():
    for name in VERDICTS:
        whole = conjunction(["supported", name], is_equivalence=False)
        if name == "equivalent":
            assert whole == "contradicted"
        else:
            assert whole == name
    assert conjunction(["equivalent"], is_equivalence=False) == "equivalent"
    assert conjunction(["equivalent", "equivalent"], is_equivalence=True) == "equivalent"
    assert conjunction(["unmeasurable", "contradicted"], is_equivalence=False) == "contradicted"
    assert conjunction(["not borne out", "too small to decide"], is_equivalence=False) == (
        "not borne out"
    )


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


def test_judges_that_show_the_opposite_measure_nothing(gained):
    rows = [
        ScoredResponse(**{**vars(r), "scores": {"one": r.scores["one"], "two": -r.scores["one"]}})
        for r in gained
    ]
    found = findings_on(rows, ("one", "two"))
    verdict = verdict_on(rows, found, metric=("score_helpful",), better="sft", than=("base",))
    assert verdict.verdict == "unmeasurable"
    assert "with two" in verdict.evidence
    assert "opposite" in verdict.evidence


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


def test_highest_of_several_is_not_contradicted_by_the_sample_alone():
    rows = rows_of({"base": 0.0, "sft": 0.05, "dpo": 0.1}, n=40, seed=1)
    found = findings_on(rows)
    values = {m.model: m.estimates["score_helpful"].value for m in found.first.models}
    best, *_, worst = sorted(values, key=values.get, reverse=True)
    highest = verdict_on(rows, found, metric=("score_helpful",), better=worst)
    assert highest.verdict == "not borne out"
    assert "of resamples" in highest.evidence
    # Against one model alone a difference that is not shown is just that.
    alone = verdict_on(rows, found, metric=("score_helpful",), better=worst, than=(best,))
    assert alone.verdict in ("too small to decide", "no difference of interest shown")
    leader = verdict_on(rows, found, metric=("score_helpful",), better=best)
    assert leader.verdict == alone.verdict
    far = rows_of({"base": 0.0, "sft": 1.5, "dpo": 0.1}, n=80, seed=1)
    assert verdict_on(far, metric=("score_helpful",), better="base").verdict == "contradicted"


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
    assert rest.verdict == "too small to decide"
    assert "of 30" in rest.evidence.replace("\u00a0", " ")
    cap = verdict_on(rows, without="cap", **claim)
    assert (cap.verdict, "why responses ended" in cap.evidence) == ("unmeasurable", True)


def test_in_sample_claims_are_true_or_false(gained):
    for better, other, expected in (("sft", "base", "supported"), ("base", "sft", "not borne out")):
        found = verdict_on(gained, metric=("hpr",), better=better, than=(other,), in_sample=True)
        assert found.verdict == expected


def test_medians_and_spreads_are_judged_by_their_intervals():
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
    assert said(wide, less) in ("too small to decide", "no difference of interest shown")
    assert said(less, wide) == "not borne out"


def test_bounds_on_a_judges_accuracy(gained):
    claim = {"metric": ("judge_accuracy_harmless", "judge_accuracy_helpful"), "at_least": 60.0}
    assert verdict_on(gained, **claim).verdict == "unmeasurable"
    low = findings_on(gained, qualities=(quality("one", "harmless", "helpful"),))
    # 56 % of 500 pairs: false here, and not rejected after correction for two axes.
    assert verdict_on(gained, low, **claim).verdict == "not borne out"
    poor = findings_on(gained, qualities=(quality("one", accuracy=50.0),))
    assert verdict_on(gained, poor, **claim).verdict == "contradicted"
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
