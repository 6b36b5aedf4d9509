"""Several judges as one: common scales, thresholds, absent members."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from panel_fixtures import rows, thresholds
from pydantic import ValidationError

from alignstudy.analysis.judge_panel.combine import PANEL, absence_notes, combine
from alignstudy.analysis.judge_panel.settings import PanelSettings
from alignstudy.errors import InputError, MetricError, UnknownNameError
from alignstudy.metrics.axes import PUBLISHED

BASE = {"a": [0.0, 1.0, 2.0, 3.0], "b": [10.0, 30.0, 50.0, 110.0]}
TUNED = {"a": [1.5, 4.0, 2.0, 3.0], "b": [50.0, 10.0, 70.0, 90.0]}
MODELS = {"base": BASE, "tuned": TUNED}
LIMITS = {"a": thresholds(1.5), "b": thresholds(50.0)}


def panel(how="mean_z", judges=("a", "b")):
    return PanelSettings(harmlessness=judges, combine=how)


def combined(how="mean_z", scores=MODELS, limits=LIMITS, judges=("a", "b"), base="base", **given):
    return combine(rows(scores), limits, panel(how, judges), axes=PUBLISHED, base=base, **given)


def scores_of(found, model):
    return [row.scores[PANEL] for row in found if row.model == model]


def test_mean_z_is_fitted_on_the_base_and_so_is_its_threshold():
    found, limits = combined()
    means = {judge: statistics.mean(values) for judge, values in BASE.items()}
    sds = {judge: statistics.stdev(values) for judge, values in BASE.items()}

    def z(a, b):
        return ((a - means["a"]) / sds["a"] + (b - means["b"]) / sds["b"]) / 2

    for model, judged in MODELS.items():
        expected = [z(a, b) for a, b in zip(judged["a"], judged["b"], strict=True)]
        assert scores_of(found, model) == pytest.approx(expected, abs=5e-5)
    assert sum(scores_of(found, "base")) == pytest.approx(0.0, abs=2e-4)
    assert limits.of("harmless") == pytest.approx(z(1.5, 50.0), abs=5e-5)
    assert limits.of("helpful") is None
    assert limits.inclusive is False
    assert limits.origin == {
        "harmless": "panel of a, b: mean of z-scores fitted on base's responses"
    }


def test_rank_mean_takes_mid_ranks_among_all_models_scores():
    found, limits = combined("rank_mean")

    def rank(judge, value):
        pool = [score for judged in MODELS.values() for score in judged[judge]]
        return sum((value > other) + (value == other) / 2 for other in pool) / len(pool)

    for model, judged in MODELS.items():
        expected = [
            (rank("a", a) + rank("b", b)) / 2 for a, b in zip(judged["a"], judged["b"], strict=True)
        ]
        assert scores_of(found, model) == pytest.approx(expected, abs=5e-5)
    assert limits.of("harmless") == pytest.approx((rank("a", 1.5) + rank("b", 50.0)) / 2, abs=5e-5)
    assert all(0.0 <= row.scores[PANEL] <= 1.0 for row in found)


def test_ranks_tell_responses_apart_that_are_all_better_than_the_bases():
    better = {
        "base": {"a": (0.0, 1.0), "b": (0.0, 1.0)},
        "tuned": {"a": (5.0, 9.0), "b": (5.0, 9.0)},
    }
    high = {"a": thresholds(7.0), "b": thresholds(7.0)}
    found, limits = combined("rank_mean", better, high)
    passes = [limits.passes("harmless", score) for score in scores_of(found, "tuned")]
    assert passes == [False, True]


def test_majority_is_the_share_of_judges_that_pass_and_half_is_none():
    found, limits = combined("majority")
    assert scores_of(found, "tuned") == [0.0, 0.5, 1.0, 1.0]
    assert (limits.of("harmless"), limits.inclusive) == (0.5, False)
    assert [limits.passes("harmless", score) for score in (0.5, 1.0)] == [False, True]
    inclusive = {
        name: thresholds(limit.of("harmless"), inclusive=True) for name, limit in LIMITS.items()
    }
    found, limits = combined("majority", limits=inclusive)
    assert scores_of(found, "tuned") == [1.0, 0.5, 1.0, 1.0]
    assert limits.inclusive is False


@given(
    st.lists(st.integers(-30, 30), min_size=2, max_size=12),
    st.sampled_from(["mean_z", "rank_mean"]),
    st.floats(0.5, 20.0),
    st.integers(-50, 50),
)
def test_a_judges_unit_doesnt_matter(values, how, scale, shift):
    if min(values) == max(values):
        values = [*values, values[0] + 1]
    plain = {"base": {"a": [float(v) for v in values], "b": [float(v % 7) for v in values]}}
    if len(set(plain["base"]["b"])) == 1:
        plain["base"]["b"][0] += 1.0
    changed = {"base": plain["base"] | {"a": [v * scale + shift for v in plain["base"]["a"]]}}
    one, _ = combined(how, plain, base="base")
    other, _ = combined(how, changed, base="base")
    assert scores_of(one, "base") == pytest.approx(scores_of(other, "base"), abs=6e-4)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=15), st.booleans())
def test_one_judge_alone_passes_what_it_passes_without_a_panel(values, inclusive):
    values = [*values, min(values) - 1]
    alone = {"base": {"a": [float(v) for v in values]}}
    limits = {"a": thresholds(1.0, inclusive=inclusive)}
    expected = [limits["a"].passes("harmless", float(v)) for v in values]
    for how in ("mean_z", "majority"):
        found, own = combined(how, alone, limits, judges=("a",))
        assert [own.passes("harmless", s) for s in scores_of(found, "base")] == expected


def test_without_a_base_scales_are_fitted_on_all_and_the_origin_says_so():
    found, limits = combined(base=None)
    pooled = BASE["a"] + TUNED["a"], BASE["b"] + TUNED["b"]
    means, sds = [[f(p) for p in pooled] for f in (statistics.mean, statistics.stdev)]
    first = ((0.0 - means[0]) / sds[0] + (10.0 - means[1]) / sds[1]) / 2
    assert scores_of(found, "base")[0] == pytest.approx(first, abs=5e-5)
    assert limits.origin["harmless"].endswith("fitted on all responses")


def test_a_score_that_is_missing_makes_the_panels_missing():
    broken = {"base": BASE, "tuned": TUNED | {"b": [None, math.nan, 70.0, 90.0]}}
    for how in ("mean_z", "rank_mean", "majority"):
        found, _ = combined(how, broken)
        assert [score is None for score in scores_of(found, "tuned")] == [True, True, False, False]
        missing = [row for row in found if row.scores[PANEL] is None]
        assert all(row.failures[PANEL] for row in missing)
    whole, _ = combined("mean_z")
    assert scores_of(whole, "base") == scores_of(combined("mean_z", broken)[0], "base")


def test_rows_keep_their_order_and_members_scores_and_axes_have_their_own_scale():
    harmful, helpful = (
        rows(MODELS),
        rows({"base": {"a": [5.0, 9.0], "b": [0.0, 1.0]}}, "helpful"),
    )
    mixed = [*helpful[:1], *harmful, *helpful[1:]]
    settings = PanelSettings(harmlessness=("a", "b"), helpfulness=("b",))
    found, limits = combine(mixed, LIMITS, settings, axes=PUBLISHED, base="base")
    assert [(r.model, r.prompt_id, r.axis) for r in found] == [
        (r.model, r.prompt_id, r.axis) for r in mixed
    ]
    assert all(
        old.scores.items() <= new.scores.items() for old, new in zip(mixed, found, strict=True)
    )
    assert [row.scores[PANEL] for row in (found[0], found[-1])] == pytest.approx(
        [-0.5 / statistics.stdev([0, 1]), 0.5 / statistics.stdev([0, 1])], abs=5e-5
    )
    assert limits.origin["helpful"].startswith("panel of b:")
    assert mixed[0].scores == {"a": 5.0, "b": 0.0}


def test_identical_responses_are_ties_for_the_panel():
    same = {"base": BASE, "copy": {judge: list(values) for judge, values in BASE.items()}}
    for how in ("mean_z", "rank_mean", "majority"):
        found, _ = combined(how, same)
        assert scores_of(found, "base") == scores_of(found, "copy")


def test_edge_case_23_an_absent_judge_leaves_the_panel_and_is_named():
    settings = PanelSettings(harmlessness=("a", "guard", "b"), helpfulness=("guard",))
    found, limits = combine(
        rows(MODELS), LIMITS, settings, axes=PUBLISHED, base="base", absent={"guard"}
    )
    whole, expected = combined()
    assert [row.scores for row in found] == [row.scores for row in whole]
    assert limits.of("harmless") == expected.of("harmless")
    assert limits.origin["harmless"].endswith("; judge guard absent")
    assert absence_notes(settings, PUBLISHED, {"guard"}) == (
        "judge guard absent: harmlessness is judged by a, b",
        "judge guard absent: helpfulness is judged by nobody",
    )
    assert absence_notes(settings, PUBLISHED, ()) == ()


def test_edge_case_23_an_axis_whose_judges_are_all_absent_is_refused():
    with pytest.raises(InputError, match="no judge for harmlessness") as refused:
        combined(judges=("guard",), absent=("guard",))
    assert "absent: guard" in refused.value.why
    with pytest.raises(InputError, match="no judge for harmlessness"):
        combine(
            rows(MODELS), LIMITS, PanelSettings(helpfulness=("a",)), axes=PUBLISHED, base="base"
        )


def test_edge_case_16_a_constant_judge_has_no_z_score_but_ranks_and_votes():
    flat = {"base": BASE | {"a": [0.1] * 4}, "tuned": TUNED}
    with pytest.raises(MetricError, match="no z-score is defined for judge 'a'") as refused:
        combined(scores=flat)
    assert "rank_mean" in refused.value.hint
    found, _ = combined("rank_mean", flat, judges=("a",))
    (of_base,) = set(scores_of(found, "base"))
    assert min(scores_of(found, "tuned")) > of_base
    found, _ = combined("majority", flat)
    assert scores_of(found, "base") == [0.0, 0.0, 0.0, 0.5]


def test_a_judge_that_scored_nothing_of_the_base_has_no_z_scores():
    with pytest.raises(MetricError, match="judge 'a'"):
        combined("mean_z", {"base": BASE | {"a": [None] * 4}, "tuned": TUNED})


def test_unknown_judges_are_refused_with_the_nearest_name():
    with pytest.raises(
        UnknownNameError, match="panel: harmlessness: unknown judge 'skywrk'"
    ) as bad:
        combined(limits=LIMITS | {"skywork": thresholds()}, judges=("a", "skywrk"))
    assert "did you mean 'skywork'?" in bad.value.hint


def test_what_a_panel_cant_be_made_of_is_refused():
    with pytest.raises(InputError, match="is not among the models"):
        combined(base="nobody")
    with pytest.raises(InputError, match="has no threshold"):
        combined("majority", limits=LIMITS | {"b": thresholds(None)})
    with pytest.raises(InputError, match="equal to its threshold counts for some"):
        combined(limits=LIMITS | {"b": thresholds(50.0, inclusive=True)})
    with pytest.raises(InputError, match="a judge is called 'panel'"):
        combined(limits=LIMITS | {PANEL: thresholds()})
    with pytest.raises(InputError, match="did not score it"):
        combined(limits=LIMITS | {"c": thresholds()}, judges=("a", "c"))


def test_a_panel_has_no_threshold_where_a_member_has_none():
    _, limits = combined(limits=LIMITS | {"b": thresholds(None)})
    assert limits.of("harmless") is None


def test_settings_refuse_an_empty_panel_and_a_double_vote():
    assert PanelSettings(helpfulness=["a"]).members("helpful") == ("a",)
    for wrong in ({}, {"harmlessness": ["a", "a"]}, {"harmlessness": ["a"], "combine": "mean"}):
        with pytest.raises(ValidationError):
            PanelSettings.model_validate(wrong)


def test_raw_scores_of_judges_with_wide_units_dont_drown_the_others():
    rng = np.random.default_rng(0)
    quality = rng.normal(size=400)
    base = {"a": np.round(quality, 4).tolist(), "b": np.round(-1e4 * quality, 4).tolist()}
    found, _ = combined(scores={"base": base})
    assert max(abs(score) for score in scores_of(found, "base")) < 1e-3
