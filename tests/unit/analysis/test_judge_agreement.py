"""Whether judges agree; whether a ranking hangs on one of them."""

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from panel_fixtures import rows, thresholds
from scipy import stats

from alignstudy.analysis.judge_panel.agreement import agreements, leave_one_out
from alignstudy.analysis.judge_panel.combine import PANEL, combine
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.errors import DataError, InputError
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import StopReason
from alignstudy.stats.intervals import wilson

LIMITS = {"a": thresholds(), "b": thresholds()}


def drawn(seed, models=4, prompts=60, noise=1.0, decimals=1):
    """Draw scores of two judges that share half of what they see."""
    rng = np.random.default_rng(seed)
    found = {}
    for at in range(models):
        shared = rng.normal(0.3 * at, 1.0, size=prompts)
        found[f"m{at}"] = {
            judge: np.round(shared + rng.normal(0.0, noise, size=prompts), decimals).tolist()
            for judge in ("a", "b")
        }
    return found


def flat(scores, judge):
    return np.concatenate([by_judge[judge] for by_judge in scores.values()])


@pytest.mark.parametrize("seed", range(4))
def test_figures_agree_with_scipy_and_a_count_by_hand(seed):
    scores = drawn(seed)
    (found,) = agreements(rows(scores), LIMITS, axes=PUBLISHED)
    a, b = flat(scores, "a"), flat(scores, "b")
    assert (found.axis, found.first, found.second, found.n) == ("harmless", "a", "b", 240)
    assert found.spearman == pytest.approx(stats.spearmanr(a, b)[0])
    means = [[np.mean(by_judge[j]) for by_judge in scores.values()] for j in ("a", "b")]
    assert found.kendall_tau == pytest.approx(stats.kendalltau(*means)[0])
    same = (a > 0) == (b > 0)
    chance = np.mean(a > 0) * np.mean(b > 0) + np.mean(a <= 0) * np.mean(b <= 0)
    assert found.kappa == pytest.approx((same.mean() - chance) / (1 - chance))
    agreeing = [
        np.sign(x - y) == np.sign(v - w)
        for one, other in combinations(scores.values(), 2)
        for x, y, v, w in zip(one["a"], other["a"], one["b"], other["b"], strict=True)
    ]
    assert found.same_winner.value == pytest.approx(100 * np.mean(agreeing))
    assert found.same_winner.n == len(agreeing) == 360


def test_the_same_winners_interval_knows_that_pairs_of_a_prompt_belong_together():
    scores = drawn(0, models=6, prompts=80)
    found = agreements(rows(scores), LIMITS, axes=PUBLISHED)[0].same_winner
    hits = round(found.value / 100 * found.n)
    naive, widest = wilson(hits, found.n), wilson(round(found.value / 100 * 80), 80)
    width = found.high - found.low
    assert naive.high - naive.low < width < widest.high - widest.low + 1.0
    two = agreements(rows(drawn(0, models=2, prompts=80)), LIMITS, axes=PUBLISHED)[0].same_winner
    plain = wilson(round(two.value / 100 * 80), 80)
    assert (two.low, two.high) == pytest.approx((plain.low, plain.high), abs=0.2)


@given(st.integers(0, 50))
def test_ranks_alone_matter_to_rank_figures(seed):
    scores = drawn(seed, models=3, prompts=8)
    bent = {
        model: by_judge | {"b": [round(np.exp(value / 3) * 5, 4) for value in by_judge["b"]]}
        for model, by_judge in scores.items()
    }
    (plain,), (other,) = (agreements(rows(each), LIMITS, axes=PUBLISHED) for each in (scores, bent))
    assert other.spearman == pytest.approx(plain.spearman)
    assert other.same_winner == plain.same_winner


def test_a_judge_agrees_with_itself_and_not_with_its_mirror():
    scores = drawn(1)
    twin = {m: {"a": v["a"], "b": v["a"]} for m, v in scores.items()}
    (found,) = agreements(rows(twin), LIMITS, axes=PUBLISHED)
    assert (found.spearman, found.kappa, found.kendall_tau) == pytest.approx((1.0, 1.0, 1.0))
    assert (found.same_winner.value, found.same_winner.high) == (100.0, 100.0)
    assert found.same_winner.low == pytest.approx(wilson(60, 60).low)  # 60 prompts, not 360 pairs
    mirror = {m: {"a": v["a"], "b": [-x for x in v["a"]]} for m, v in scores.items()}
    (found,) = agreements(rows(mirror), LIMITS, axes=PUBLISHED)
    assert found.spearman == pytest.approx(-1.0)
    assert found.kendall_tau == pytest.approx(-1.0)
    assert found.kappa < 0


@pytest.mark.filterwarnings("error")
def test_edge_case_16_with_all_scores_equal_correlations_are_undefined():
    scores = {m: v | {"b": [2.0] * 60} for m, v in drawn(2).items()}
    (found,) = agreements(rows(scores), LIMITS, axes=PUBLISHED)
    assert (found.spearman, found.kendall_tau) == (None, None)
    assert found.kappa == pytest.approx(0.0)
    both = {m: {"a": [1.0] * 5, "b": [2.0] * 5} for m in ("x", "y")}
    (found,) = agreements(rows(both), LIMITS, axes=PUBLISHED)
    assert (found.spearman, found.kappa, found.kendall_tau) == (None, None, None)
    assert found.same_winner.value == 100.0  # two ties agree


def test_one_model_has_no_winner_and_no_threshold_no_kappa():
    limits = {"a": thresholds(), "b": thresholds(None)}
    (found,) = agreements(rows(drawn(0, models=1)), limits, axes=PUBLISHED)
    assert (found.same_winner, found.kendall_tau, found.kappa) == (None, None, None)
    assert found.spearman > 0


def test_responses_that_one_judge_missed_enter_nothing():
    scores = drawn(3, models=2, prompts=30)
    whole = {m: {j: v[:20] for j, v in by_judge.items()} for m, by_judge in scores.items()}
    scores["m0"]["a"][20:] = [None] * 10
    scores["m1"]["b"][20:] = [None] * 10
    (found,) = agreements(rows(scores), LIMITS, axes=PUBLISHED)
    (expected,) = agreements(rows(whole), LIMITS, axes=PUBLISHED)
    assert found == expected
    assert found.n == 40


def test_the_models_order_rests_on_prompts_that_both_judges_scored_for_all():
    scores = {
        "x": {"a": [1.0, 2.0, None], "b": [1.0, 2.0, 90.0]},
        "y": {"a": [3.0, 4.0, 5.0], "b": [3.0, 4.0, 5.0]},
    }
    (found,) = agreements(rows(scores), LIMITS, axes=PUBLISHED)
    assert found.kendall_tau == 1.0
    assert found.same_winner.n == 2


def test_prompts_that_were_too_long_for_one_model_are_left_out():
    long = rows({"m9": {"a": [None], "b": [None]}}, stop_reason=StopReason.TOO_LONG)
    others = rows(drawn(4, models=3, prompts=12))
    kept = [row for row in others if row.prompt_id != "harmless-0"]
    assert agreements([*others, *long], LIMITS, axes=PUBLISHED) == agreements(
        kept, LIMITS, axes=PUBLISHED
    )


def test_seeds_are_averaged_before_winners_are_told():
    first, second = (
        {"x": {"a": [up], "b": [1.0]}, "y": {"a": [0.0], "b": [0.0]}} for up in (-1.0, 3.0)
    )
    (found,) = agreements(rows(first) + rows(second, seed=1), LIMITS, axes=PUBLISHED)
    assert found.same_winner.value == 100.0
    assert found.same_winner.n == 1
    assert found.n == 4


def test_axes_and_judges_stand_apart_and_a_judge_of_one_axis_is_compared_on_it_alone():
    harmful = rows(drawn(5, models=2))
    helpful = [
        row for row in rows(drawn(6, models=2), axis="helpful") if row.scores.pop("b") is not None
    ]
    for row in harmful + helpful:
        row.scores["c"] = -row.scores["a"]
    limits = LIMITS | {"c": thresholds()}
    found = agreements(harmful + helpful, limits, axes=PUBLISHED)
    assert [(f.axis, f.first, f.second) for f in found] == [
        ("harmless", "a", "b"), ("harmless", "a", "c"), ("harmless", "b", "c"),
        ("helpful", "a", "c"),
    ]  # fmt: skip
    assert agreements(harmful, {"a": thresholds()}, axes=PUBLISHED) == ()
    unscored = rows({"x": {"a": [1.0, 2.0], "b": [None, None]}})
    assert agreements(unscored, LIMITS, axes=PUBLISHED) == ()


def test_rows_that_cant_be_aligned_are_refused():
    twice = rows(drawn(0, models=1, prompts=3)) * 2
    with pytest.raises(DataError, match="two responses"):
        agreements(twice, LIMITS, axes=PUBLISHED)
    partly = rows(drawn(0, models=1, prompts=3))
    del partly[0].scores["b"]
    with pytest.raises(InputError, match="did not score"):
        agreements(partly, LIMITS, axes=PUBLISHED)


PAIR = PanelSettings(harmlessness=("a", "b"))
THREE = {
    "base": {"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 2.0]},
    "x": {"a": [3.0, 4.0, 5.0], "b": [-1.0, -1.0, 0.0]},
    "y": {"a": [1.0, 2.0, 3.0], "b": [5.0, 6.0, 9.0]},
}


@pytest.mark.parametrize("how", ["mean_z", "rank_mean"])
def test_each_judge_is_left_out_once(how):
    panel = PAIR.model_copy(update={"combine": how})
    found = leave_one_out(rows(THREE), LIMITS, panel, axes=PUBLISHED, base="base")
    assert [(f.axis, f.without) for f in found] == [
        ("harmless", ""), ("harmless", "a"), ("harmless", "b"),
    ]  # fmt: skip
    assert found[0].ranking[0] == "y"
    assert found[1].ranking == ("y", "base", "x")
    assert found[2].ranking == ("x", "y", "base")


def test_the_whole_panels_ranking_is_that_of_its_mean_scores():
    scores = drawn(7, models=5)
    found = leave_one_out(rows(scores), LIMITS, PAIR, axes=PUBLISHED, base="m0")[0]
    panelled, _ = combine(rows(scores), LIMITS, PAIR, axes=PUBLISHED, base="m0")
    means = {
        model: np.mean([row.scores[PANEL] for row in panelled if row.model == model])
        for model in scores
    }
    assert list(found.ranking) == sorted(means, key=means.get, reverse=True)


def test_a_ranking_rests_on_prompts_that_every_model_has_and_ties_keep_their_order():
    scores = {m: {j: list(v) for j, v in by_judge.items()} for m, by_judge in THREE.items()}
    scores["z"] = {j: list(v) for j, v in scores["y"].items()}
    scores["x"]["a"][0] = None
    scores["x"]["b"][1:] = [100.0, 100.0]
    found = leave_one_out(rows(scores), LIMITS, PAIR, axes=PUBLISHED, base="base")
    assert found[0].ranking == ("x", "y", "z", "base")
    scores["x"]["a"] = [None] * 3
    assert [
        f.without for f in leave_one_out(rows(scores), LIMITS, PAIR, axes=PUBLISHED, base="base")
    ] == ["a"]


def test_a_panel_of_one_leaves_nobody_out():
    found = leave_one_out(
        rows(THREE), LIMITS, PanelSettings(harmlessness=("a",)), axes=PUBLISHED, base="base"
    )
    assert [f.without for f in found] == [""]


def test_edge_case_23_absent_judges_are_not_left_out_a_second_time():
    panel = PanelSettings(harmlessness=("a", "guard", "b"))
    found = leave_one_out(
        rows(THREE), LIMITS, panel, axes=PUBLISHED, base="base", absent=("guard",)
    )
    assert found == leave_one_out(rows(THREE), LIMITS, PAIR, axes=PUBLISHED, base="base")


def test_eight_models_on_all_test_prompts_take_seconds():
    scored = rows(drawn(0, models=8, prompts=4666, decimals=4))
    start = time.process_time()
    agreements(scored, LIMITS, axes=PUBLISHED)
    leave_one_out(scored, LIMITS, PAIR, axes=PUBLISHED, base="m0")
    combine(scored, LIMITS, PAIR, axes=PUBLISHED, base="m0")
    assert time.process_time() - start < 3.0
