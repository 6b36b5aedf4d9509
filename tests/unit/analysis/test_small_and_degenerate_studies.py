"""Cases at the edge of evaluation, each with what has to happen."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.claims.verdicts import verdicts
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import DataError
from alignstudy.records import ScoredResponse
from alignstudy.report.tables.write import csv_text, markdown_file, tables_of

AXES = ("harmless", "helpful")

LIMITS = Thresholds(values={"harmless": -3.0, "helpful": -2.0})


def rows_of(model, scores, *, axis="harmless", response=None):
    return [
        ScoredResponse(
            model=model,
            seed=0,
            prompt_id=f"{axis}-{number}",
            axis=axis,
            prompt=f"{axis} prompt {number}",
            response=f"{model} {number}" if response is None else response,
            scores={"judge": score},
        )
        for number, score in enumerate(scores)
    ]


def analysed(rows, **others):
    given = {"judge": "judge", "base": None, "draws": 200} | others
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = analyze_judge(rows, LIMITS, **given)
    findings = Findings(analyses=(found,))
    # Whatever the case: plain JSON without NaN, and tables.
    json.dumps(findings.to_json(), allow_nan=False)
    assert all(csv_text(table) and markdown_file(table) for table in tables_of(findings))
    return found


def verdict_on(rows, found, **claim):
    [verdict] = verdicts(Findings(analyses=(found,)), [Claim(**claim)], rows)
    return verdict


# Different prompt sets


def test_edge_case_13_prompt_sets_that_differ_are_aligned_by_id_and_paired_on_what_is_shared():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(-3, 2, 30), rng.normal(-3, 2, 25)
    rows = rows_of("a", ours) + list(reversed(rows_of("b", theirs)))
    found = analysed(rows)
    rate = found.comparison("hmr", "b", "a")
    passed = (np.round(ours[:25], 4) > -3, np.round(theirs, 4) > -3)
    assert rate.n == 25
    assert (rate.wins, rate.losses) == (
        int((passed[1] & ~passed[0]).sum()),
        int((passed[0] & ~passed[1]).sum()),
    )
    assert [figures.estimates["hmr"].n for figures in found.models] == [30, 25]
    assert {item.n for item in found.omnibus} == {25}
    assert any("(a 30, b 25)" in note for note in found.notes)
    assert found.best_shares == {}


def test_edge_case_13_an_empty_intersection_is_an_error_not_nan():
    other = [
        replace(row, model="b", prompt_id=f"x-{row.prompt_id}") for row in rows_of("a", [1.0] * 12)
    ]
    with pytest.raises(DataError, match="share no scored harmful prompt") as error:
        analysed(rows_of("a", [1.0] * 12) + other)
    assert "same prompts" in error.value.hint


# Scores without spread, rates at the end, no discordant pairs


@pytest.mark.parametrize(
    ("score", "rate", "ends"), [(-5.0, 0.0, (0.0, 7.1)), (1.0, 100.0, (92.9, 100.0))]
)
def test_edge_case_16_rates_of_0_and_100_percent_have_wilson_intervals(score, rate, ends):
    rows = rows_of("a", [score] * 50) + rows_of("b", [score] * 50)
    found = analysed(rows)
    hmr = found.models[0].estimates["hmr"]
    assert (hmr.value, hmr.low, hmr.high) == pytest.approx((rate, *ends), abs=0.05)


def test_edge_case_16_all_scores_equal_leave_tests_at_one_and_correlations_undefined():
    rows = [row for axis in AXES for model in "ab" for row in rows_of(model, [0.5] * 20, axis=axis)]
    found = analysed(rows)
    for item in found.comparisons:
        assert (item.difference.value, item.p_value, item.p_holm) == (0.0, 1.0, 1.0)
        assert item.ties == item.n
        assert item.effect_size is None
    assert {item.p_value for item in found.omnibus} == {None}
    assert all(item.note.startswith("no test") for item in found.omnibus)
    assert all(item.rank_correlation is None and item.within is None for item in found.lengths)
    assert found.best_shares["cas"] == {"a": 50.0, "b": 50.0}
    assert found.sweeps[0].best_share == {"a": 50.0, "b": 50.0}
    assert any("all harmful scores are equal" in note for note in found.notes)


def test_edge_case_16_zero_discordant_pairs_give_p_1_and_an_interval_of_some_width():
    scores = [-5.0, -1.0] * 20
    rows = [row for axis in AXES for model in "ab" for row in rows_of(model, scores, axis=axis)]
    found = analysed(rows)
    for metric in ("hmr", "cas"):
        item = found.comparison(metric, "b", "a")
        assert item.p_value == 1.0
        assert item.difference.low < 0.0 < item.difference.high
    verdict = verdict_on(rows, found, metric=("hmr",), better="b", than=("a",))
    assert verdict.verdict == "too small to decide"


def test_edge_case_16_a_margin_is_undefined_where_the_base_has_no_spread():
    rows = rows_of("base", [0.5] * 20) + rows_of("sft", np.linspace(0, 1, 20))
    item = analysed(rows, base="base").comparison("score_harmless", "sft", "base")
    assert (item.margin, item.p_equivalent) == (None, None)


# Few prompts, one model


def test_edge_case_17_under_ten_prompts_there_are_figures_and_reasons_but_no_tests():
    rows = rows_of("a", [-1.0] * 9) + rows_of("b", [-5.0] * 9)
    found = analysed(rows)
    assert found.models[0].estimates["hmr"].value == 100.0
    for item in found.comparisons:
        assert (item.p_value, item.p_holm, item.p_sign, item.power) == (None, None, None, None)
        assert "9 paired prompts" in item.note
    assert all("9 prompts" in item.note for item in found.omnibus)
    assert {pair.shown_share for sweep in found.sweeps for pair in sweep.pairs} == {0.0}
    verdict = verdict_on(rows, found, metric=("hmr",), better="a", than=("b",))
    assert (verdict.verdict, verdict.n_needed) == ("too small to decide", None)
    assert "9 paired prompts" in verdict.evidence


def test_edge_case_17_one_prompt_is_enough_for_figures():
    found = analysed(rows_of("a", [-1.0]) + rows_of("b", [-5.0]))
    assert found.comparison("hmr", "b", "a").difference.value == -100.0
    assert found.comparison("score_harmless", "b", "a").effect_size is None


def test_edge_case_17_one_model_has_no_comparison_and_its_claims_nothing_to_stand_on():
    rows = rows_of("a", [-1.0, -4.0] * 10)
    found = analysed(rows)
    assert (found.comparisons, found.omnibus, found.best_shares) == ((), (), {})
    verdict = verdict_on(rows, found, metric=("hmr",), better="a")
    assert verdict.verdict == "unmeasurable"
    bound = verdict_on(rows, found, metric=("hmr",), at_least=10.0)
    assert bound.verdict == "supported"


# A score on the threshold


def test_edge_case_18_a_score_on_the_threshold_follows_the_stated_rule_and_is_counted():
    rows = rows_of("a", [-3.0, -2.9999, -3.0001, -3.00004] * 5)
    strict = analysed(rows)
    assert strict.models[0].estimates["hmr"].value == 25.0
    assert any("10 harmful scores equal the threshold -3 (not counted)" in n for n in strict.notes)
    inclusive = analyze_judge(
        rows, replace(LIMITS, inclusive=True), judge="judge", base=None, draws=50,
        sweep={"harmless": [-3.0]},
    )  # fmt: skip
    assert inclusive.models[0].estimates["hmr"].value == 75.0
    assert inclusive.sweeps[0].rates["a"] == (75.0,)
    assert any("10 harmful scores equal the threshold -3 (counted)" in n for n in inclusive.notes)


# Identical responses


def test_edge_case_19_identical_responses_are_ties_and_a_twin_is_named():
    rng = np.random.default_rng(3)
    scores = rng.normal(-3, 1, 40)
    twin = [replace(row, model="b") for row in rows_of("a", scores)]
    rows = rows_of("a", scores) + twin
    found = analysed(rows)
    item = found.comparison("score_harmless", "b", "a")
    assert (item.ties, item.win_rate, item.p_value, item.p_sign) == (40, 50.0, 1.0, 1.0)
    assert any("same response to 40 of 40" in note for note in found.notes)
    verdict = verdict_on(rows, found, metric=("score_harmless",), better="b", than=("a",))
    assert verdict.verdict == "too small to decide"


def test_edge_case_19_ties_do_not_enter_mcnemars_test():
    scores = [-1.0] * 6 + [-5.0] * 2 + [-1.0] * 100
    other = [-5.0] * 6 + [-1.0] * 2 + [-1.0] * 100
    few = analysed(rows_of("a", scores[:30]) + rows_of("b", other[:30]))
    many = analysed(rows_of("a", scores) + rows_of("b", other))
    p_values = [found.comparison("hmr", "b", "a").p_value for found in (few, many)]
    assert p_values[0] == pytest.approx(p_values[1])


# Missing scores


@pytest.mark.parametrize("bad", [None, math.nan, -math.inf])
def test_edge_case_07_a_missing_score_leaves_that_item_out_and_over_1_percent_is_incomplete(bad):
    rng = np.random.default_rng(1)
    rows = rows_of("a", [bad, *rng.normal(-3, 1, 19)]) + rows_of("b", rng.normal(-3, 1, 20))
    found = analysed(rows)
    assert [figures.missing_scores for figures in found.models] == [1, 0]
    assert found.comparison("hmr", "b", "a").n == 19
    assert any("incomplete" in note for note in found.notes)


def test_edge_case_07_a_model_that_the_judge_never_scored_has_no_figures():
    rows = rows_of("a", [-1.0, -4.0] * 10) + rows_of("b", [None] * 20)
    found = analysed(rows)
    assert found.models[1].estimates.get("hmr") is None
    assert found.comparisons == ()
    verdict = verdict_on(rows, found, metric=("hmr",), better="a", than=("b",))
    assert verdict.verdict == "unmeasurable"
