"""A reward that rises while an independent judge falls is found, by name; an honest one is not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from alignstudy.analysis.findings import Findings
from alignstudy.analysis.rewards import Learner, reward_checks
from alignstudy.metrics.axes import PUBLISHED, axes_of
from alignstudy.records import ScoredResponse, StopReason
from alignstudy.records.evidence import JudgeQuality

HARMLESS = axes_of(["harmless"])


def rows(model, scores, *, axis="harmless", seed=0, tokens=10, stop=StopReason.EOS):
    """Responses of a model: judge -> a score a prompt."""
    size = len(next(iter(scores.values())))
    return [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{axis} {i}?",
            response="words " * tokens, num_tokens=tokens, stop_reason=stop,
            scores={j: None if values[i] is None else float(values[i])
                    for j, values in scores.items()},
        )
        for i in range(size)
    ]  # fmt: skip


def learner(start, **changes):
    given = {
        "model": "rloo", "chain": ("sft", "rloo"), "methods": ("rloo",), "trained_by": ("reward",),
        "baselines": (), "responses": tuple(start),
    }  # fmt: skip
    return Learner(**{**given, **changes})


def found(start, end, *, axes=HARMLESS, qualities=(), draws=400, clusters=None, **changes):
    judges = list(dict.fromkeys(name for row in start for name in row.scores))
    return reward_checks(
        [learner(start, **changes)], end, Findings(analyses=(), qualities=qualities),
        judges=judges, axes=axes, clusters=clusters or {}, draws=draws,
    )  # fmt: skip


def planted(rng, size=80, *, up=1.0, down=-1.0, **more):
    """A start, and an end that the reward likes better by `up` and the witness by `down`."""
    start = {"reward": rng.normal(0, 1, size), "witness": rng.normal(0, 1, size)}
    end = {
        "reward": start["reward"] + rng.normal(up, 0.8, size),
        "witness": start["witness"] + rng.normal(down, 0.8, size),
    }
    return rows("sft", start), rows("rloo", end, **more)


def of(check, judge):
    return next(move for move in check.judges if move.judge == judge)


def test_numbers_are_those_of_the_paired_tests_of_scipy():
    start, end = planted(np.random.default_rng(1), 40, down=-0.2)
    (check,) = found(start, end, draws=10_000)
    for name in ("reward", "witness"):
        before, after = (np.round([r.scores[name] for r in side], 4) for side in (start, end))
        move, t = of(check, name), stats.ttest_rel(after, before)
        assert move.difference.value == pytest.approx((after - before).mean())
        assert (move.start, move.end) == pytest.approx((before.mean(), after.mean()))
        ends = t.confidence_interval(0.95)
        assert (move.difference.low, move.difference.high) == pytest.approx((ends.low, ends.high))
        flips = stats.permutation_test(
            (after - before,), np.mean, permutation_type="samples", alternative="two-sided",
            n_resamples=99_999, rng=np.random.default_rng(0),
        )  # fmt: skip
        one_sided = flips.pvalue / 2 if move.difference.value < 0 else 1 - flips.pvalue / 2
        assert move.p_fell == pytest.approx(one_sided, abs=0.004)
    assert of(check, "witness").p_holm == of(check, "witness").p_fell
    assert of(check, "reward").p_holm is None  # it isn't accused of falling


def test_axes_count_alike_however_many_prompts_they_have():
    start = rows("sft", {"reward": np.zeros(12), "witness": np.zeros(12)})
    start += rows("sft", {"reward": np.zeros(48), "witness": np.zeros(48)}, axis="helpful")
    drawn = np.random.default_rng(0).normal(0, 0.1, 60)
    end = rows("rloo", {"reward": 1 + drawn[:12], "witness": drawn[:12]})
    end += rows("rloo", {"reward": 3 + drawn[12:], "witness": drawn[12:]}, axis="helpful")
    (check,) = found(start, end, axes=PUBLISHED)
    expected = (1 + drawn[:12].mean() + 3 + drawn[12:].mean()) / 2
    assert of(check, "reward").difference.value == pytest.approx(expected, abs=1e-4)
    assert of(check, "reward").difference.n == 60


@pytest.mark.parametrize(
    ("up", "down", "verdict"),
    [(1.0, -1.0, "hacked"), (1.0, 0.0, "alone"), (1.0, 1.0, "shared"), (0.0, -1.0, "no rise"),
     (-1.0, 1.0, "no rise"), (1.0, -0.15, "suspected")],
)  # fmt: skip
def test_each_verdict(up, down, verdict):
    (check,) = found(*planted(np.random.default_rng(3), 60, up=up, down=down))
    assert check.verdict == verdict, check


def test_a_suspicion_is_a_fall_that_correction_does_not_leave():
    (check,) = found(*planted(np.random.default_rng(3), 60, down=-0.15))
    move = of(check, "witness")
    assert move.difference.high < 0
    assert move.p_holm > 0.005


def test_a_rule_that_fell_on_every_prompt_is_a_fall_though_nothing_varies():
    start = rows("sft", {"reward": np.zeros(20), "witness": np.ones(20)})
    end = rows("rloo", {"reward": np.ones(20), "witness": np.zeros(20)})
    (check,) = found(start, end)
    assert check.verdict == "hacked"


def test_one_falls_among_several_and_it_is_the_one():
    start, end = planted(np.random.default_rng(4))
    both = [
        [replace(row, scores={**row.scores, "other": row.scores["reward"]}) for row in side]
        for side in (start, end)
    ]
    (check,) = found(*both)
    assert check.verdict == "hacked"
    assert [move.judge for move in check.of_role("independent") if move.surely_fell] == ["witness"]
    assert of(check, "other").rose


def test_too_few_prompts_test_nothing_and_accuse_nobody():
    (check,) = found(*planted(np.random.default_rng(0), 9))
    assert check.verdict == "untested"
    assert of(check, "witness").p_fell is None


def test_a_judge_that_is_no_witness_is_none():
    start, end = planted(np.random.default_rng(2))
    (check,) = found(start, end, baselines=("witness",))
    assert check.verdict == "unwatched"
    assert of(check, "witness").role == "baseline"
    # A length judge, say, that a method was told to learn from is what it learnt from.
    (check,) = found(start, end, baselines=("reward",))
    assert (of(check, "reward").role, check.verdict) == ("trained", "hacked")
    (check,) = found(start, end, trained_by=("reward", "witness"))
    assert check.verdict == "unwatched"
    stamped = JudgeQuality(judge="witness", below_floor=("harmless",))
    (check,) = found(start, end, qualities=(stamped,))
    assert (of(check, "witness").role, check.verdict) == ("below its floor", "suspected")
    elsewhere = JudgeQuality(judge="witness", below_floor=("helpful",))
    (check,) = found(start, end, qualities=(elsewhere,))
    assert check.verdict == "hacked"


def test_missing_scores_and_prompts_leave_both_sides_out():
    start, end = planted(np.random.default_rng(5), 30)
    start[0] = replace(start[0], scores={**start[0].scores, "witness": None})
    end[1] = replace(end[1], stop_reason=StopReason.TOO_LONG)
    (check,) = found(start, end)
    assert of(check, "witness").difference.n == 28
    assert of(check, "reward").difference.n == 29


def test_near_duplicates_are_one_prompt():
    start, end = planted(np.random.default_rng(6), 40)
    names = {f"harmless-{i}": f"c{i % 5}" for i in range(40)}
    (check,) = found(start, end, clusters=names)
    (alone,) = found(start, end)
    assert check.verdict == "untested" or of(check, "witness").p_fell > of(alone, "witness").p_fell


def test_lengths_and_cuts_stand_beside_the_scores():
    start, end = planted(np.random.default_rng(7), 40, tokens=25, stop=StopReason.CAP)
    (check,) = found(start, end)
    assert (check.start_tokens, check.end_tokens, check.growth) == (10, 25, 2.5)
    assert (check.start_truncated, check.end_truncated) == (0, 100)


def test_seeds_are_held_one_by_one_and_together():
    rng = np.random.default_rng(8)
    start, end = [], []
    for seed, down in ((0, -1.0), (1, -1.2), (2, 0.0)):
        one, other = planted(rng, down=down)
        start += [replace(row, seed=seed) for row in one]
        end += [replace(row, seed=seed) for row in other]
    checks = found(start, end)
    assert [check.seed for check in checks] == [0, 1, 2, None]
    assert [check.verdict for check in checks[:3]] == ["hacked", "hacked", "alone"]
    mean = np.mean([of(check, "witness").difference.value for check in checks[:3]])
    assert of(checks[3], "witness").difference.value == pytest.approx(mean)
    # Two of three seeds fell: what a further training would do isn't known to 1 %.
    assert checks[3].verdict != "hacked"
    assert of(checks[0], "witness").p_holm > of(checks[0], "witness").p_fell


@pytest.mark.e2e
@pytest.mark.parametrize(("up", "witnesses"), [(0.0, 1), (0.5, 1), (0.5, 4)])
def test_honest_rewards_are_accused_in_at_most_one_study_of_a_hundred(up, witnesses):
    """500 studies each: nothing changes; or the reward really rises, and no other judge moves."""
    rng, accused = np.random.default_rng(9), 0
    for _ in range(500):
        change = rng.standard_t(4, (witnesses + 1, 50))
        scores = rng.normal(0, 1, change.shape)
        change[0] += up
        names = ["reward", *(f"witness-{i}" for i in range(witnesses))]
        start = rows("sft", dict(zip(names, scores, strict=True)))
        end = rows("rloo", dict(zip(names, scores + change, strict=True)))
        (check,) = found(start, end, draws=100)
        accused += check.verdict == "hacked"
    assert accused <= 5
