"""Thresholds, length, seeds and omnibus tests on studies of any shape."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import InputError
from alignstudy.records import ScoredResponse
from alignstudy.stats.intervals import wilson

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})


def rows_of(model, scores, *, axis="helpful", seed=0, words=None):
    return [
        ScoredResponse(
            model=model,
            seed=seed,
            prompt_id=f"{axis}-{number}",
            axis=axis,
            prompt=f"{axis} prompt {number}",
            response="word " * (words[number] if words is not None else 3) + str(number),
            scores={"judge": float(score)},
        )
        for number, score in enumerate(scores)
    ]


def analysed(rows, **others):
    return analyze_judge(rows, LIMITS, **({"judge": "judge", "base": None, "draws": 300} | others))


def test_the_default_grid_is_61_thresholds_between_the_outer_quantiles():
    scores = np.random.default_rng(0).normal(-3.0, 2.0, 400)
    [sweep] = analysed(rows_of("a", scores)).sweeps
    low, high = np.quantile(np.round(scores, 4), [0.025, 0.975])
    assert len(sweep.thresholds) == 61
    assert sweep.thresholds[0] == round(low, 2)
    assert sweep.thresholds[-1] == round(high, 2)
    assert all(round(step, 2) == step for step in sweep.thresholds)


def test_a_judge_with_a_small_unit_gets_a_finer_grid():
    scores = np.random.default_rng(0).normal(0.5, 0.02, 100)
    [sweep] = analysed(rows_of("a", scores)).sweeps
    assert len(sweep.thresholds) == 61
    assert sweep.thresholds[-1] - sweep.thresholds[0] < 0.1


@pytest.mark.parametrize("grid", [[], [1.0, 0.0], [0.0, 0.0], [float("nan")]])
def test_a_grid_that_is_no_ascending_list_of_numbers_is_refused(grid):
    with pytest.raises(InputError, match="ascending"):
        analysed(rows_of("a", range(12)), sweep={"helpful": grid})


@given(
    scores=st.lists(st.lists(st.integers(-3, 3), min_size=12, max_size=12), min_size=2, max_size=4),
    grid=st.lists(st.integers(-4, 4), min_size=1, max_size=6, unique=True).map(sorted),
    inclusive=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_a_sweep_is_what_counting_gives(scores, grid, inclusive):
    rows = [row for at, own in enumerate(scores) for row in rows_of(f"m{at}", own)]
    limits = replace(LIMITS, inclusive=inclusive)
    [sweep] = analyze_judge(
        rows, limits, judge="judge", base=None, draws=20, sweep={"helpful": grid}
    ).sweeps
    for at, own in enumerate(scores):
        counts = [sum(s >= g if inclusive else s > g for s in own) for g in grid]
        assert sweep.rates[f"m{at}"] == pytest.approx([100 * c / 12 for c in counts])
        assert sweep.low[f"m{at}"] == pytest.approx([wilson(c, 12).low for c in counts])
    assert sum(sweep.best_share.values()) == pytest.approx(100.0)
    for at, leaders in enumerate(sweep.leaders):
        top = max(rates[at] for rates in sweep.rates.values())
        assert set(leaders) == {m for m, rates in sweep.rates.items() if rates[at] == top}
    assert 1 <= sweep.num_rankings <= len(grid)
    for pair in sweep.pairs:
        gaps = np.array(sweep.rates[pair.model]) - np.array(sweep.rates[pair.reference])
        assert pair.better_share == pytest.approx(100 * np.mean(gaps > 1e-6))
        assert pair.worse_share == pytest.approx(100 * np.mean(gaps < -1e-6))


def test_a_sweep_over_seeds_averages_them_and_tests_by_sign_flips():
    rng = np.random.default_rng(3)
    easy = rng.normal(0.0, 1.0, 60)
    rows = []
    for seed in range(3):
        rows += rows_of("a", easy + rng.normal(0, 0.3, 60), seed=seed)
        rows += rows_of("b", easy + 1.2 + rng.normal(0, 0.3, 60), seed=seed)
    found = analysed(rows, sweep={"helpful": [-0.5, 0.0, 0.5]})
    [sweep] = found.sweeps
    for model in found.models:
        assert sweep.rates[model.model][1] == pytest.approx(model.estimates["hpr"].value)
        assert sweep.low[model.model][1] < model.estimates["hpr"].value < sweep.high[model.model][1]
    [pair] = sweep.pairs
    assert (pair.better_share, pair.shown_share) == (100.0, 100.0)


def test_what_is_shown_at_a_threshold_respects_clusters():
    scores = {"a": [-1.0] * 5 + [1.0] * 5, "b": [1.0] * 9 + [-1.0]}
    rows = [row for m, s in scores.items() for row in rows_of(m, np.repeat(s, 10))]
    clusters = {f"helpful-{i}": str(i // 10) for i in range(100)}
    grid = {"helpful": [0.0]}
    blind, wise = analysed(rows, sweep=grid), analysed(rows, sweep=grid, clusters=clusters)
    assert blind.sweeps[0].pairs[0].shown_share == 100.0
    assert wise.sweeps[0].pairs[0].shown_share == 0.0
    width = [f.sweeps[0].high["a"][0] - f.sweeps[0].low["a"][0] for f in (blind, wise)]
    assert width[1] > 2 * width[0]


def test_length_explains_a_difference_that_is_all_length():
    rng = np.random.default_rng(1)
    short, long = rng.integers(3, 40, 80), rng.integers(23, 60, 80)
    rows = rows_of("a", 0.1 * short + rng.normal(0, 0.2, 80), words=short)
    rows += rows_of("b", 0.1 * long + rng.normal(0, 0.2, 80), words=long)
    found = analysed(rows)
    [length] = found.lengths
    assert length.rank_correlation > 0.9
    [(model, reference, gap)] = length.adjusted
    assert (model, reference) == ("b", "a")
    plain = found.comparison("score_helpful", "b", "a").difference
    assert plain.low > 1.0
    assert gap.low < 0.0 < gap.high
    chars = [np.array([len(r.response) for r in rows if r.model == m]) for m in "ab"]
    scores = [np.array([round(r.scores["judge"], 4) for r in rows if r.model == m]) for m in "ab"]
    line = stats.linregress(chars[1] - chars[0], scores[1] - scores[0])
    assert gap.value == pytest.approx(line.intercept)


def test_the_base_is_the_reference_of_sweeps_and_lengths_too():
    rng = np.random.default_rng(2)
    words = rng.integers(3, 9, (2, 20))
    rows = rows_of("sft", rng.normal(size=20), words=words[0])
    rows += rows_of("base", rng.normal(size=20), words=words[1])
    found = analysed(rows, base="base")
    assert [(p.model, p.reference) for p in found.sweeps[0].pairs] == [("sft", "base")]
    assert [pair[:2] for pair in found.lengths[0].adjusted] == [("sft", "base")]


def test_one_seed_of_one_model_is_no_spread():
    rng = np.random.default_rng(0)
    rows = rows_of("base", rng.normal(size=20))
    rows += [r for seed in (0, 1) for r in rows_of("sft", rng.normal(size=20), seed=seed)]
    found = analysed(rows, base="base")
    assert {item.model for item in found.seed_spreads} == {"sft"}
    gap = found.comparison("score_helpful", "sft", "base").difference
    assert gap.method == "t over prompts and seeds"
    assert gap.low < gap.value < gap.high


def test_an_omnibus_test_over_seeds_is_friedmans_of_their_means():
    rng = np.random.default_rng(5)
    tables = rng.normal(size=(3, 2, 25)) + np.array([0.0, 0.5, 1.0])[:, None, None]
    rows = [
        row
        for at, model in enumerate("abc")
        for seed in (0, 1)
        for row in rows_of(model, tables[at, seed], seed=seed)
    ]
    found = {item.metric: item for item in analysed(rows).omnibus}
    means = np.round(tables, 4).mean(axis=1)
    assert found["score_helpful"].p_value == pytest.approx(stats.friedmanchisquare(*means).pvalue)
    assert found["hpr"].test == "Friedman"


@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), min_size=12, max_size=30))
@settings(max_examples=30, deadline=None)
def test_swapping_two_models_turns_every_comparison_round(pairs):
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    there = analysed(rows_of("x", theirs) + rows_of("y", ours), draws=20)
    back = analysed(rows_of("y", ours) + rows_of("x", theirs), draws=20)
    for item in there.comparisons:
        other = back.comparison(item.metric, "x", "y")
        assert other.difference.value == pytest.approx(-item.difference.value)
        assert (other.wins, other.losses) == (item.losses, item.wins)
        assert other.win_interval.value == pytest.approx(100 - item.win_interval.value)
        assert (other.power is None) == (item.power is None)
        if item.power is not None and other.margin == item.margin:
            assert other.power.n_needed == item.power.n_needed
        if item.metric == "hpr":
            assert other.difference.low == pytest.approx(-item.difference.high, abs=1e-9)
            assert other.p_value == item.p_value
