"""What each figure shows: its data against the study's, and the marks against the data."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from plot_fixtures import (
    RATES,
    agreement,
    comparison,
    data,
    divergence,
    draw,
    estimate,
    quality,
    row,
)

from alignstudy.metrics.axes import HELPFUL
from alignstudy.plots.base import NothingToShow
from alignstudy.plots.comparisons.tradeoff import resampled_rates
from alignstudy.plots.models.hygiene import share_text
from alignstudy.plots.scores.length_scores import groups_by_length
from alignstudy.plots.scores.score_histograms import _edges
from alignstudy.records import Estimate
from alignstudy.records.evidence import JudgeQuality, ProbeShift
from alignstudy.records.robustness import Sweep
from alignstudy.stats.power.mcnemar_design import mcnemar_detectable

AXES = ("harmless", "helpful")


def written(axes):
    return [text.get_text() for text in axes.texts]


def test_rates_data_are_the_estimates():
    given = data()
    rows = draw("rates", given).data
    assert [(r["metric"], r["model"], r["value"]) for r in rows] == [
        (metric, model, found.value)
        for metric, rate in zip(RATES, given.analysis.rates, strict=True)
        for model, found in zip(given.models, given.estimates(rate), strict=True)
    ]


def test_differences_are_those_to_the_base():
    made = data().analysis.comparisons
    other = comparison("hmr", "dpo", "sft")
    rows = draw("differences", data(comparisons=[*made, other])).data
    assert {r["reference"] for r in rows} == {"base"}
    assert len(rows) == len(made)


@pytest.mark.parametrize(("p_holm", "shown"), [(None, False), (0.05, False), (0.049, True)])
def test_a_difference_is_shown_only_where_its_corrected_p_value_is_small(p_holm, shown):
    made = [comparison("cas", "sft", "base", p_holm=p_holm)]
    [found] = draw("differences", data(("base", "sft"), comparisons=made)).data
    assert (found["p_corrected"], found["shown"]) == (p_holm, shown)


class TestTradeoff:
    def test_resampled_rates_are_those_of_prompts_drawn_one_by_one(self):
        rng = np.random.default_rng(0)
        passed = np.array([0.0, 0.5, 1.0, 1.0, np.nan, 0.5, 1.0, 0.0])
        there = passed[~np.isnan(passed)]
        slow = 100 * there[rng.integers(0, 7, (20_000, 7))].mean(axis=1)
        fast = resampled_rates(passed, rng, draws=20_000)
        assert fast.mean() == pytest.approx(slow.mean(), abs=0.6)
        assert fast.std() == pytest.approx(slow.std(), rel=0.03)
        shares = [np.mean(np.isclose(draws, 100 * 4.5 / 7)) for draws in (slow, fast)]
        assert shares[0] == pytest.approx(shares[1], abs=0.015)

    def test_an_ellipse_is_as_wide_as_the_standard_error_of_a_rate(self):
        given = data(n=400)
        for r in draw("tradeoff", given).data:
            passed = given.by_prompt(HELPFUL, r["model"], passed=True)
            share = passed.mean()
            assert r["sd_x"] == pytest.approx(100 * math.sqrt(share * (1 - share) / 400), rel=0.05)
            assert abs(r["correlation"]) < 0.08

    def test_dominated_models_are_those_that_another_beats(self):
        rates = {"a": (50, 50), "b": (40, 60), "c": (40, 50), "d": (50, 50), "e": (30, 59)}
        estimates = {
            metric: {model: estimate(pair[place]) for model, pair in rates.items()}
            for place, metric in enumerate(("hpr", "hmr"))
        }
        rows = draw("tradeoff", data(tuple(rates), estimates=estimates)).data
        assert {r["model"] for r in rows if r["dominated"]} == {"c", "e"}

    def test_a_model_without_one_of_the_rates_is_left_out(self):
        estimates = {"hmr": dict.fromkeys(("base", "dpo"), estimate(50))}
        assert [r["model"] for r in draw("tradeoff", data(estimates=estimates)).data] == [
            "base",
            "dpo",
        ]

    def test_ticks_stay_within_0_and_100(self):
        estimates = {m: dict.fromkeys(("base", "sft", "dpo"), estimate(100)) for m in RATES}
        axes = draw("tradeoff", data(score=1.0, estimates=estimates)).figure.axes[0]
        assert max(axes.get_xticks()) == 100
        assert axes.get_xlim()[1] - axes.get_xlim()[0] >= 20


class TestThresholdCurves:
    def test_data_are_the_sweep(self):
        given = data()
        rows = draw("threshold_curves", given).data
        found = {(r["axis"], r["model"], r["threshold"]): (r["rate"], r["leads"]) for r in rows}
        expected = {
            (str(sweep.axis), model, threshold): (
                sweep.rates[model][i],
                sweep.rates[model][i] == max(rates[i] for rates in sweep.rates.values()),
            )
            for sweep in given.analysis.sweeps
            for model in given.models
            for i, threshold in enumerate(sweep.thresholds)
        }
        assert found == expected

    def test_the_strip_joins_neighbouring_thresholds_and_no_others(self):
        leaders = (("base",), ("base", "sft"), ("sft",), ("base",))
        flat = {model: (50.0,) * 4 for model in ("base", "sft")}
        sweep = Sweep(
            axis="helpful",
            thresholds=(0.0, 1.0, 2.0, 4.0),
            rates=flat,
            low=flat,
            high=flat,
            leaders=leaders,
            best_share={},
            num_rankings=1,
            pairs=(),
        )
        plot = draw("threshold_curves", data(("base", "sft"), sweeps=[sweep]))
        strip = plot.figure.axes[3]
        boxes = [c.get_paths()[0].get_extents() for c in strip.collections if c.get_array() is None]
        spans = sorted((round(b.y0), b.x0, b.x1) for b in boxes if b.height > 0.5)
        assert spans == [(0, 0.0, 1.5), (0, 3.0, 4.0), (1, 0.5, 3.0)]
        assert "1 distinct ranking at 4 thresholds" in plot.caption

    def test_a_line_stands_at_the_studys_threshold(self):
        axes = draw("threshold_curves", data()).figure.axes[1]
        assert 0.2 in [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2]


class TestPairedScores:
    def test_prompts_are_paired_by_id_and_those_without_both_are_left_out(self):
        rows = [
            row("base", "a", 1.0),
            row("base", "b", 2.0),
            row("base", "c", 3.0),
            row("sft", "b", 5.0, seed=0),
            row("sft", "b", 6.0, seed=1),
            row("sft", "a", 0.0),
            row("sft", "c", None),
        ]
        shown = draw("paired_scores", data(("base", "sft"), responses=rows, sweeps=())).data
        assert [(r["prompt_id"], r["reference_score"], r["model_score"]) for r in shown] == [
            ("a", 1.0, 0.0),
            ("b", 2.0, 5.5),
        ]

    def test_a_panel_counts_the_prompts_above_and_below_the_diagonal(self):
        given = data(("base", "sft"), n=37)
        plot = draw("paired_scores", given)
        for axes, axis in zip(plot.figure.axes, ("harmless", "helpful"), strict=True):
            pairs = [r for r in plot.data if r["axis"] == axis]
            above = sum(r["model_score"] > r["reference_score"] for r in pairs)
            assert written(axes) == [f"\u25b2 {above}", f"\u25bc {37 - above}"]

    def test_ties_count_on_neither_side(self):
        axes = draw("paired_scores", data(("base", "sft"), score=1.0)).figure.axes[0]
        assert written(axes) == ["\u25b2 0", "\u25bc 0"]

    def test_many_points_are_one_picture_within_an_svg(self):
        few, many = (draw("paired_scores", data(("base", "sft"), n=n)) for n in (20, 1_600))
        for plot, expected in ((few, False), (many, True)):
            cloud = max(plot.figure.axes[0].lines, key=lambda line: len(line.get_xdata()))
            assert bool(cloud.get_rasterized()) is expected


class TestScoreDistributions:
    @pytest.mark.parametrize("n", [7, 3_000])
    def test_a_curve_is_the_share_of_scores_up_to_each_point(self, n):
        plot = draw("score_distributions", data(("base",), n=n))
        scores = np.array([r["score"] for r in plot.data if r["axis"] == "harmless"])
        xs, ys = plot.figure.axes[0].lines[0].get_data()
        assert len(xs) <= 501
        assert (xs[0], ys[0]) == (scores.min(), 0.0)
        assert (xs[-1], ys[-1]) == (scores.max(), 100.0)
        for x, y in zip(xs[1:], ys[1:], strict=True):
            assert y == pytest.approx(100 * (scores <= x).mean())

    def test_data_are_the_scores_of_this_judge_only(self):
        rows = [row(prompt=str(i), score=score) for i, score in enumerate((1.0, None, 3.0))]
        plot = draw("score_distributions", data(("base",), responses=rows))
        assert [r["score"] for r in plot.data] == [1.0, 3.0]


class TestLengthScores:
    def test_every_response_is_marked_by_how_it_ended(self):
        rows = [
            row(prompt=str(i), text="x" * 3, stop=stop)
            for i, stop in enumerate(("eos", "cap", None, "stop_string"))
        ]
        plot = draw("length_scores", data(("base",), responses=rows))
        assert [(r["characters"], r["end"]) for r in plot.data] == [
            (3, "ended by itself"),
            (3, "cut off at the cap"),
            (3, "end not known"),
            (3, "ended by itself"),
        ]
        assert "How 1 responses ended was not recorded" in plot.caption

    @given(st.lists(st.integers(0, 40), min_size=1, max_size=200))
    def test_groups_part_the_responses_by_length(self, lengths):
        lengths = np.array(lengths)
        groups = groups_by_length(lengths)
        assert sorted(np.concatenate(groups)) == list(range(len(lengths)))
        assert 1 <= len(groups) <= 10
        for shorter, longer in pairwise(groups):
            assert lengths[shorter].max() < lengths[longer].min()

    def test_the_line_runs_through_the_medians_of_the_groups(self):
        rows = [row(prompt=str(i), score=float(i // 10), text="x" * i) for i in range(20)]
        axes = draw("length_scores", data(("base",), responses=rows)).figure.axes[0]
        line = next(line for line in axes.lines if line.get_marker() == "D")
        assert line.get_xdata().tolist() == [4.5, 14.5]
        assert line.get_ydata().tolist() == [0.0, 1.0]


class TestJudges:
    def test_reliability_is_given_from_the_least_to_the_most_sure(self):
        plot = draw("judge_reliability", data())
        first = [r for r in plot.data if (r["judge"], r["axis"]) == ("j", "harmless")]
        assert [r["predicted"] for r in first] == pytest.approx([0.1, 0.5, 0.9])

    def test_a_bin_with_more_pairs_has_a_larger_marker(self):
        axes = draw("judge_reliability", data()).figure.axes[0]
        sizes = [line.get_markersize() for line in axes.lines if len(line.get_xdata()) == 1][:3]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]

    @pytest.mark.parametrize("turned", [False, True])
    def test_correlations_stand_right_of_the_diagonal_and_kappas_left(self, turned):
        pair = agreement("b", "a") if turned else agreement("a", "b")
        axes = draw("judge_agreement", data(agreements=(agreement("a", "c"), pair))).figure.axes[1]
        shown = {text.get_position(): text.get_text() for text in axes.texts}
        assert (shown[1, 0] if not turned else shown[2, 0]) == "0.50"
        assert (shown[0, 1] if not turned else shown[0, 2]) == "0.25"

    def test_an_undefined_agreement_is_no_number(self):
        pair = agreement("a", "b", spearman=-0.001, kappa=None)
        axes = draw("judge_agreement", data(agreements=[pair])).figure.axes[1]
        assert {text.get_text() for text in axes.texts} == {"0.00", "?"}

    def test_a_probe_whose_interval_holds_0_has_an_open_marker(self):
        probes = tuple(
            ProbeShift(
                probe=name, axis="helpful", shift=shift, flipped=None, passed=None
            )
            for name, shift in (("empty", estimate(-9.0)), ("echo", estimate(1.0)))
        )  # fmt: skip
        judge = JudgeQuality(judge="j", probes=probes)
        axes = draw("judge_controls", data(qualities=[judge])).figure.axes[1]
        faces = {
            tuple(line.get_ydata()): to_hex(line.get_markerfacecolor())
            for line in axes.lines
            if len(line.get_xdata()) == 1
        }
        assert faces[(1,)] == "#ffffff"
        assert faces[(0,)] != "#ffffff"

    def test_a_judge_without_probes_takes_no_panel(self):
        import random

        judges = [JudgeQuality(judge="bare"), quality("j", random.Random(0))]
        assert len(draw("judge_controls", data(qualities=judges)).figure.axes) == 2


class TestHygiene:
    @pytest.mark.parametrize(
        ("percent", "text"),
        [
            (None, "?"),
            (0.0, "0"),
            (0.2, "<1"),
            (0.5, "<1"),
            (0.6, "1"),
            (37.5, "38"),
            (99.5, ">99"),
            (100.0, "100"),
        ],
    )
    def test_shares_are_written_so_that_few_is_not_none(self, percent, text):
        assert share_text(percent) == text

    def test_every_share_is_in_the_data_and_in_the_picture(self):
        plot = draw("hygiene", data(("base",)))
        assert len(plot.data) == 2 * 10
        assert written(plot.figure.axes[0])[:5] == ["0", "?", "38", "<1", "100"]

    def test_a_bar_is_as_long_as_its_share(self):
        axes = draw("hygiene", data(("base",))).figure.axes[0]
        bars = next(c for c in axes.collections if isinstance(c, PolyCollection))
        widths = [path.get_extents().width for path in bars.get_paths()]
        assert widths[2] / widths[4] == pytest.approx(0.375)


class TestDivergence:
    def test_the_base_stands_at_0_and_others_at_the_root(self):
        found = [divergence("base", 0, None), divergence("sft", 0, 4.0, half=3.0)]
        rows = draw("divergence", data(("base", "sft"), divergences=found)).data
        roots = {r["model"]: (r["root_kl_low"], r["root_kl"], r["root_kl_high"]) for r in rows}
        assert roots == {
            "base": (0.0, 0.0, 0.0),
            "sft": pytest.approx((1.0, 2.0, math.sqrt(7.0))),
        }

    def test_an_estimate_below_0_is_drawn_at_0_and_the_caption_says_so(self):
        plot = draw(
            "divergence", data(("base", "sft"), divergences=[divergence("sft", 0, -0.2, half=0.1)])
        )
        assert {r["root_kl"] for r in plot.data} == {0.0}
        assert "below 0 is drawn at 0" in plot.caption

    def test_each_seed_has_its_own_mean_score_and_no_interval(self):
        rows = [row("base", "a", float(seed), seed=seed) for seed in (1, 2)]
        given = data(
            ("base",), responses=rows, divergences=[divergence("base", s, None) for s in (1, 2)]
        )
        plot = draw("divergence", given)
        assert [(r["seed"], r["score"], r["score_low"]) for r in plot.data] == [
            (1, 1.0, None),
            (2, 2.0, None),
        ]
        assert "Open markers: one training seed of several" in plot.caption

    def test_a_model_that_is_not_in_the_study_is_left_out(self):
        with pytest.raises(NothingToShow):
            draw("divergence", data(divergences=[divergence("other", 0, 1.0)]))


def test_win_rates_are_mirrored_for_the_other_model():
    rate = Estimate(value=30.0, low=20.0, high=45.0, n=50, method="wilson")
    item = comparison("score_helpful", "sft", "base", rate=rate)
    axes = draw("win_rates", data(("base", "sft"), comparisons=[item])).figure.axes[1]
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(0, 1): "30*\n[20, 45]", (1, 0): "70*\n[55, 80]"}


class TestPowerCurve:
    def test_the_curve_is_that_of_the_test_at_the_discordance_that_was_seen(self):
        given = data(("base", "sft"), n=60)
        rows = [r for r in draw("power_curve", given).data if r["axis"] == "helpful"]
        base, sft = (given.by_prompt(HELPFUL, m, passed=True) for m in ("base", "sft"))
        assert len({r["discordance"] for r in rows}) == 1
        assert rows[0]["discordance"] == pytest.approx((base != sft).mean())
        assert [r["prompts"] for r in rows if r["this_study"]] == [60]
        for r in rows:
            share = mcnemar_detectable(r["discordance"], r["prompts"])
            assert r["detectable"] == pytest.approx(100 * share)
        assert rows[0]["observed"] == pytest.approx(abs(100 * (sft.mean() - base.mean())))

    def test_more_prompts_find_smaller_differences(self):
        rows = [r for r in draw("power_curve", data(n=60)).data if r["model"] == "dpo"]
        for axis in AXES:
            found = [r["detectable"] for r in rows if r["axis"] == axis]
            assert found == sorted(found, reverse=True)

    def test_published_sizes_give_the_published_detectable_differences(self):
        """At n = 50: 23 and 26 points at discordances .3 and .4, as the re-analysis found."""
        scores = {"base": [0.0] * 50, "sft": [1.0] * 10 + [0.0] * 40}
        scores["base"][45:] = [1.0] * 5
        rows = [
            row(model, str(i), score)
            for model, found in scores.items()
            for i, score in enumerate(found)
        ]
        given = data(("base", "sft"), responses=rows, thresholds=(None, 0.5))
        here = [r for r in draw("power_curve", given).data if r["this_study"]]
        assert [round(r["discordance"], 2) for r in here] == [0.3]
        assert here[0]["detectable"] == pytest.approx(22.5, abs=1.0)


def test_histograms_count_every_score_once():
    totals = {}
    for r in draw("score_histograms", data(n=33)).data:
        key = r["axis"], r["model"]
        totals[key] = totals.get(key, 0) + r["responses"]
    assert set(totals.values()) == {33}


def test_histogram_of_equal_scores_has_one_bin():
    assert _edges([2.0, 2.0]) == [1.5, 2.5]


def test_training_curves_leave_out_what_is_not_finite():
    rows = draw("training_curves", data()).data
    steps = [r["step"] for r in rows if r["training"] == "sft" and r["quantity"] == "loss"]
    assert steps == [1, 2]
