"""Many models at once in an analysis: gaps, seeds, lineages, and a declared control."""

import math
from dataclasses import replace

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.comparisons.ranking import _groups
from alignstudy.analysis.results import Thresholds
from alignstudy.errors import InputError
from alignstudy.records import ScoredResponse

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})
GAINS = {"base": -1.5, "sft": 0.0, "dpo": 0.0, "ipo": 0.1, "kto": 0.0, "simpo": 1.6}


def scored(gains=GAINS, *, seeds=(0, 1, 2), n=40, axes=("harmless", "helpful")):
    rng = np.random.default_rng(3)
    rows = []
    for axis in axes:
        hard = rng.normal(0.0, 0.8, n)
        for model, gain in gains.items():
            for seed in seeds if model != "base" else (0,):
                values = hard + gain + rng.normal(0.0, 0.05) + rng.normal(0.0, 0.5, n)
                rows += [
                    ScoredResponse(model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis,
                        prompt=f"{i}", response="r", scores={"j": float(value)})
                    for i, value in enumerate(values)
                ]  # fmt: skip
    return rows


def analysed(rows, **options):
    return analyze_judge(rows, LIMITS, judge="j", base="base", draws=20, **options)


def sets(found):
    return {item.metric: item for item in found.best_sets}


@pytest.fixture(scope="module")
def found():
    return analysed(scored(), control="dpo")


def test_every_metric_has_a_set_that_begins_with_its_best(found):
    assert set(sets(found)) == {"hmr", "hpr", "cas", "score_harmless", "score_helpful"}
    for item in found.best_sets:
        assert item.members == ("simpo",)
        assert item.p_values["simpo"] == 1.0
        assert max(p for name, p in item.p_values.items() if name != "simpo") < 0.05
        assert item.p_any == min(item.p_values.values())
        assert (item.seeds, item.n, item.note) == (3, 40, "")
        assert item.reach > 0.0


def test_a_control_is_held_against_all_others_and_holm_is_over_them(found):
    of_cas = [test for test in found.control_tests if test.metric == "cas"]
    assert [test.model for test in of_cas] == ["base", "sft", "ipo", "kto", "simpo"]
    p = sorted(test.p_value for test in of_cas)
    smallest = min(of_cas, key=lambda test: test.p_value)
    assert smallest.p_holm == pytest.approx(5 * p[0])
    shown = {test.model for test in of_cas if test.is_shown}
    assert shown == {"base", "simpo"}
    # Both rates are one family.
    rates = [test for test in found.control_tests if test.family == "rates"]
    assert len(rates) == 10
    least = min(rates, key=lambda test: test.p_value)
    assert least.p_holm == pytest.approx(10 * least.p_value)
    values = {model.model: model.estimates["cas"].value for model in found.models}
    for test in of_cas:
        assert test.difference.value == pytest.approx(values[test.model] - values["dpo"])
        assert (test.p_value < 0.05) == (not test.difference.low <= 0.0 <= test.difference.high)


def test_without_a_control_nothing_is_held_against_one():
    found = analysed(scored(seeds=(0,)))
    assert (found.control, found.control_tests) == (None, ())
    assert sets(found)["cas"].seeds == 1


def test_where_all_may_be_alike_no_difference_from_the_control_is_shown():
    """The test of all models comes first, whatever a single comparison says."""
    alike = dict.fromkeys(GAINS, 0.0)
    for n in (12, 30):
        found = analysed(scored(alike, seeds=(0,), n=n), control="dpo")
        for test in found.control_tests:
            if sets(found)[test.metric].p_any >= 0.05:
                assert not test.is_shown


def test_a_control_that_is_no_model_is_named():
    with pytest.raises(InputError, match="control 'dpoo' is not among the models"):
        analysed(scored(seeds=(0,)), control="dpoo")


def test_missing_scores_leave_the_prompts_that_all_have():
    rows = [
        replace(row, scores={"j": math.nan})
        if row.model == "kto" and row.seed == 1 and row.prompt_id == "helpful-0"
        else row
        for row in scored()
    ]
    found = analysed(rows)
    assert (sets(found)["hmr"].n, sets(found)["hpr"].n, sets(found)["cas"].n) == (40, 39, 39)
    assert sets(found)["cas"].members == ("simpo",)


def test_too_few_prompts_in_common_make_no_test():
    rows = [row for row in scored() if row.model != "kto" or row.prompt_id[-1] in "05"]
    found = sets(analysed(rows, control="dpo"))["cas"]
    assert set(found.members) == set(GAINS)
    assert (found.p_values, found.p_any, found.reach) == ({}, None, None)
    assert found.note.startswith("no test: 8 prompts")


def test_a_model_without_scores_on_an_axis_is_in_no_set_of_it():
    rows = [row for row in scored() if row.model != "kto" or row.axis == "harmless"]
    found = sets(analysed(rows))
    assert "kto" in found["hmr"].p_values
    assert "kto" not in found["hpr"].p_values
    assert "kto" not in found["cas"].p_values


def test_a_model_without_a_seed_on_both_axes_leaves_their_mean_untold():
    seen = {"harmless": 0, "helpful": 1}
    rows = [row for row in scored() if row.model != "kto" or row.seed == seen[row.axis]]
    found = sets(analysed(rows, control="dpo"))
    assert found["cas"].note.startswith("no test: 0 prompts")
    assert set(found["cas"].members) == set(GAINS)
    assert found["hmr"].members == ("simpo",)


def test_near_duplicates_are_one_prompt():
    clusters = {f"helpful-{i}": f"c{i // 2}" for i in range(40)}
    assert sets(analysed(scored(), clusters=clusters))["hpr"].n == 20


def test_groups_are_of_one_beginning_and_the_same_seeds():
    lineages = {
        "base": (), "sft": (("sft",),), "dpo": (("sft", "dpo"),), "kto": (("kto",),),
        "mean": (("sft", "dpo"), ("orpo",)), "orpo": (("orpo",),),
    }  # fmt: skip
    models = (*lineages, "unknown")
    both = [(True, True)] * 7
    base, sft, dpo, kto, mean, orpo, unknown = _groups(models, lineages, both)
    assert base == -1
    assert sft == dpo == mean == orpo
    assert len({sft, kto, unknown}) == 3
    other = [(True, True), (True, False), *[(True, True)] * 5]
    base, sft, dpo, *_ = _groups(models, lineages, other)
    assert sft != dpo
