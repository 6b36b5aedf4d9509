"""Power and sample sizes, against enumeration, simulation, statsmodels and published figures."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference
from statsmodels.stats.power import TTestPower

from alignstudy.errors import MetricError
from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.power.mcnemar_design import RateDesign, mcnemar_detectable, mcnemar_power
from alignstudy.stats.power.mean_design import mean_power
from alignstudy.stats.power.planning import TwoOneSided, joint_power, planned, prompts_for
from alignstudy.stats.power.spread_design import SpreadDesign
from alignstudy.stats.seeds import unit_spread


def enumerated_power(p_win, p_loss, n, alpha=0.05):
    """Every table of wins and losses, by the multinomial distribution."""
    total = 0.0
    for wins in range(n + 1):
        for losses in range(n + 1 - wins):
            if reference.binomtest(wins, wins + losses).pvalue <= alpha if wins + losses else False:
                rest = n - wins - losses
                total += reference.multinomial.pmf(
                    [wins, losses, rest], n, [p_win, p_loss, 1 - p_win - p_loss]
                )
    return total


@pytest.mark.parametrize(
    ("p_win", "p_loss", "n", "alpha"),
    [(0.3, 0.1, 20, 0.05), (0.5, 0.5, 14, 0.05), (0.9, 0.0, 12, 0.01), (0.0, 0.4, 25, 0.2)],
)
def test_mcnemar_power_is_the_sum_over_all_tables(p_win, p_loss, n, alpha):
    expected = enumerated_power(p_win, p_loss, n, alpha)
    assert mcnemar_power(p_win, p_loss, n, alpha=alpha) == pytest.approx(expected, abs=1e-10)


def test_mcnemar_power_of_a_large_study_is_what_simulation_gives():
    rng = np.random.default_rng(3)
    tables = rng.multinomial(1500, [0.17, 0.13, 0.7], size=4000)
    found = np.mean([mcnemar_exact(int(won), int(lost)) <= 0.05 for won, lost, _ in tables])
    assert mcnemar_power(0.17, 0.13, 1500) == pytest.approx(found, abs=0.025)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 400))
def test_mcnemar_power_does_not_care_which_model_is_named_first(wins, losses, n):
    power = mcnemar_power(wins / 100, losses / 100, n)
    assert power == pytest.approx(mcnemar_power(losses / 100, wins / 100, n), abs=1e-12)
    assert 0.0 <= power <= 1.0


@given(st.integers(0, 50), st.integers(1, 600))
def test_without_a_difference_the_exact_test_holds_its_level(half, n):
    assert mcnemar_power(half / 100, half / 100, n) <= 0.05 + 1e-12


def test_power_the_published_study_had():
    assert round(100 * mcnemar_power(8 / 50, 3 / 50, 50)) == 22
    assert round(100 * mcnemar_power(9 / 50, 6 / 50, 50)) == 8


@pytest.mark.parametrize(("points", "connor"), [(5, 940), (10, 234), (15, 103)])
def test_prompts_needed_lie_a_little_above_connors_formula(points, connor):
    """Connor 1987, at a discordance of 30 %: the exact test needs about 1 / difference more."""
    needed = planned(RateDesign(0.3, 50), float(points), alpha=0.05).n_needed
    assert connor < needed <= connor + 3 / (points / 100)
    p_win, p_loss = (0.3 + points / 100) / 2, (0.3 - points / 100) / 2
    assert 0.79 < mcnemar_power(p_win, p_loss, needed) < 0.83


@pytest.mark.parametrize(("alpha", "tests"), [(0.05, 1), (0.05 / 6, 6), (0.05 / 24, 24)])
def test_a_corrected_level_takes_more_prompts(alpha, tests):
    found = planned(RateDesign(0.3, 400), 8.0, alpha=alpha)
    rng = np.random.default_rng(tests)
    drawn = rng.multinomial(found.n_needed, [0.19, 0.11, 0.7], size=4000)
    shown = [mcnemar_exact(int(won), int(lost)) < alpha for won, lost, _ in drawn]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.03)
    assert found.level == alpha
    assert found.n_needed >= planned(RateDesign(0.3, 400), 8.0, alpha=0.05).n_needed


@pytest.mark.parametrize(
    ("discordance", "points"), [(0.25, 20), (0.30, 22), (0.40, 26), (0.50, 29)]
)
def test_detectable_with_fifty_prompts(discordance, points):
    """The smallest whole percentage points with 80 % power."""
    found = mcnemar_detectable(discordance, 50)
    assert math.ceil(100 * found) == points
    enough, less = (
        mcnemar_power((discordance + size) / 2, (discordance - size) / 2, 50)
        for size in (points / 100, points / 100 - 0.01)
    )
    assert enough >= 0.8 > less


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 1.0), st.integers(20, 3000))
def test_detectable_is_where_the_power_crosses(discordance, n):
    found = mcnemar_detectable(discordance, n)
    if found is None:
        assert mcnemar_power(discordance, 0.0, n) < 0.8
        return
    below = max(0.0, found - 1e-4)
    assert mcnemar_power((discordance + found) / 2, (discordance - found) / 2, n) >= 0.8 - 1e-9
    assert mcnemar_power((discordance + below) / 2, (discordance - below) / 2, n) < 0.8


def test_numbers_of_prompts_that_are_not_worth_naming():
    assert planned(RateDesign(0.4, 50), 0.01, alpha=0.05).n_needed is None
    values = np.random.default_rng(0).normal(0.0, 1.0, 50)
    assert planned(SpreadDesign(unit_spread([values])), 1e-4, alpha=0.05).n_needed is None


def test_the_exact_test_can_not_reject_with_five_prompts():
    assert mcnemar_power(1.0, 0.0, 5) == 0.0
    assert mcnemar_power(1.0, 0.0, 6) == 1.0
    assert planned(RateDesign(1.0, 50), 100.0, alpha=0.05).n_needed == 6
    assert planned(RateDesign(1.0, 5), 100.0, alpha=0.05).detectable is None


@pytest.mark.parametrize(("effect", "n"), [(0.2, 50), (0.5, 20), (1.0, 3), (0.05, 1999), (0, 9)])
def test_mean_power_is_statsmodels(effect, n):
    expected = TTestPower().power(effect, n, 0.05, alternative="two-sided")
    assert mean_power(effect, n) == pytest.approx(expected, abs=1e-6)
    assert mean_power(-effect, n) == mean_power(effect, n)


def test_mean_power_goes_over_smoothly_into_the_normal():
    effect = 0.06
    assert mean_power(effect, 2000) == pytest.approx(mean_power(effect, 1999), abs=1.5e-3)
    assert mean_power(9.0, 50) == 1.0


def test_power_and_prompts_of_scores_are_statsmodels():
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 1.2, 60)
    deviation = values.std(ddof=1)
    design = SpreadDesign(unit_spread([values]))
    found = planned(design, 0.4, alpha=0.01)
    expected = TTestPower().power(0.4 / deviation, 60, 0.01)
    assert found.power == pytest.approx(100 * expected, abs=1e-4)
    unit = TTestPower().solve_power(nobs=60, power=0.8, alpha=0.01)
    assert found.detectable == pytest.approx(unit * deviation, rel=1e-4)
    needed = TTestPower().solve_power(0.4 / deviation, power=0.8, alpha=0.01)
    assert found.n_needed == math.ceil(needed)
    scaled = planned(SpreadDesign(unit_spread([100 * values])), 40.0, alpha=0.01)
    assert (scaled.power, scaled.n_needed) == (pytest.approx(found.power), found.n_needed)


def test_power_of_a_mean_over_two_prompt_sets_is_what_simulation_gives():
    rng = np.random.default_rng(5)
    sides = [100.0 * (rng.random(80) < 0.3), 100.0 * (rng.random(120) < 0.5)]
    spread = unit_spread(sides)
    design = SpreadDesign(spread, num_rates=2)
    error = math.sqrt(sides[0].var(ddof=1) / 80 + sides[1].var(ddof=1) / 120) / 2
    assert spread.prompts == pytest.approx(error**2)
    found = np.abs(rng.normal(8.0 / error, 1.0, 100_000)) > reference.norm.ppf(0.975)
    assert design.power(8.0) == pytest.approx(found.mean(), abs=0.02)


def test_rates_that_never_differed_are_not_taken_to_be_certain():
    """A true difference of 5 points makes one prompt in twenty differ at least."""
    none, some = RateDesign(0.0, 50), SpreadDesign(unit_spread([np.zeros(50)]), num_rates=1)
    assert none.power(5.0) == pytest.approx(mcnemar_power(0.05, 0.0, 50))
    assert 0.05 < some.power(5.0) < 0.5
    found = planned(none, 5.0, alpha=0.05)
    share = found.detectable / 100
    assert mcnemar_power(share, 0.0, 50) >= 0.8 > mcnemar_power(share - 1e-4, 0.0, 50)


def test_prompts_for_an_equivalence_are_those_at_which_both_tests_reject():
    rng = np.random.default_rng(7)
    design = TwoOneSided(SpreadDesign(unit_spread([np.tile([1.0, -1.0], 50)])))
    needed = prompts_for([(design, 0.2)], alpha=0.05)
    drawn = rng.normal(size=(4000, needed))
    errors = drawn.std(axis=1, ddof=1) / needed**0.5
    rejected = (0.2 - abs(drawn.mean(axis=1))) / errors > reference.t.ppf(0.95, needed - 1)
    assert 0.77 < rejected.mean() < 0.83


def test_tests_that_must_all_succeed_need_more_prompts():
    one = (RateDesign(0.3, 100), 10.0)
    assert joint_power([one, one], alpha=0.05) == pytest.approx(one[0].power(10.0) ** 2)
    assert prompts_for([one, one], alpha=0.05) > prompts_for([one], alpha=0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mcnemar_power(0.6, 0.5, 10),
        lambda: mcnemar_power(-0.1, 0.5, 10),
        lambda: mcnemar_power(math.nan, 0.5, 10),
        lambda: mcnemar_power(0.2, 0.1, 0),
        lambda: mcnemar_power(0.2, 0.1, 10, alpha=0.0),
        lambda: mcnemar_detectable(1.1, 10),
        lambda: mean_power(math.inf, 10),
        lambda: mean_power(0.3, 1),
    ],
)
def test_undefined_power_is_refused(call):
    with pytest.raises(MetricError) as caught:
        call()
    assert caught.value.hint
