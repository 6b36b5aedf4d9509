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
from alignstudy.stats.power.mcnemar_design import mcnemar_detectable, mcnemar_n, mcnemar_power
from alignstudy.stats.power.mean_design import mean_n, mean_power
from alignstudy.stats.power.planning import crossing
from alignstudy.stats.power.power import mean_power_of, rate_power, stratified_power

# Wins and losses of 50 in the published study, and the paired prompts that 80 % power needs.
PUBLISHED = [(8, 3, 171), (5, 10, 234), (5, 11, 173), (9, 6, 652), (6, 8, 1372), (11, 10, 8239)]


def differences(wins, losses, n=50):
    return 100.0 * np.array([1.0] * wins + [-1.0] * losses + [0.0] * (n - wins - losses))


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


@pytest.mark.parametrize(("wins", "losses", "needed"), PUBLISHED)
def test_prompts_that_the_published_differences_need(wins, losses, needed):
    assert mcnemar_n(wins / 50, losses / 50) == needed
    assert mcnemar_n(losses / 50, wins / 50) == needed
    assert rate_power(wins, losses, 50).n_needed == needed


@pytest.mark.parametrize(("points", "needed"), [(5, 940), (10, 234), (15, 103)])
def test_rule_of_thumb_at_discordance_of_30_percent(points, needed):
    assert mcnemar_n((0.3 + points / 100) / 2, (0.3 - points / 100) / 2) == needed


@pytest.mark.parametrize(("wins", "losses", "needed"), PUBLISHED)
def test_exact_sample_size_is_where_the_exact_power_crosses(wins, losses, needed):
    p_win, p_loss = wins / 50, losses / 50
    exact = crossing(lambda n: mcnemar_power(p_win, p_loss, n) >= 0.8, start=needed)
    assert mcnemar_power(p_win, p_loss, exact) >= 0.8 > mcnemar_power(p_win, p_loss, exact - 1)
    # Connor's formula lies below it by about one over the difference.
    assert needed < exact <= needed + 3 / abs(p_win - p_loss)


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


def test_sample_sizes_that_are_not_worth_naming():
    assert mcnemar_n(0.2, 0.2) is None
    assert mcnemar_n(0.2, 0.19999) is None
    assert mean_n(0.0) is None
    assert mean_n(1e-6) is None


def test_the_exact_test_can_not_reject_with_five_prompts():
    assert mcnemar_power(1.0, 0.0, 5) == 0.0
    assert mcnemar_power(1.0, 0.0, 6) == 1.0
    assert mcnemar_n(1.0, 0.0) == 6
    assert rate_power(50, 0, 50).n_needed == 6


@pytest.mark.parametrize(("effect", "n"), [(0.2, 50), (0.5, 20), (1.0, 3), (0.05, 1999), (0, 9)])
def test_mean_power_is_statsmodels(effect, n):
    expected = TTestPower().power(effect, n, 0.05, alternative="two-sided")
    assert mean_power(effect, n) == pytest.approx(expected, abs=1e-6)
    assert mean_power(-effect, n) == mean_power(effect, n)


def test_mean_power_goes_over_smoothly_into_the_normal():
    effect = 0.06
    assert mean_power(effect, 2000) == pytest.approx(mean_power(effect, 1999), abs=1.5e-3)
    assert mean_power(9.0, 50) == 1.0


@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5, 1.5])
def test_mean_n_is_statsmodels(effect):
    expected = TTestPower().solve_power(effect, power=0.8, alpha=0.05)
    found = mean_n(effect)
    # From 2,000 prompts on the normal distribution stands in for t.
    assert found == math.ceil(expected) or (expected > 2000 and abs(found - expected) <= 3)
    assert mean_power(effect, found) >= 0.8


def test_prompts_that_the_published_cas_needs():
    """SFT against SFT+DPO: 6/8 on harmful, 8/3 on helpful prompts: 3 points, p = 0.69."""
    power = stratified_power([differences(6, 8), differences(8, 3)])
    assert power.n_needed == 1087
    assert 13.9 <= power.detectable <= 17
    assert power.power == pytest.approx(9.2, abs=0.1)


def test_stratified_power_is_what_simulation_gives():
    rng = np.random.default_rng(5)
    harmful, helpful = rng.normal(0.1, 1.0, 80), rng.normal(0.3, 2.0, 120)
    power = stratified_power([harmful, helpful])
    centre = (harmful.mean() + helpful.mean()) / 2
    error = math.sqrt(harmful.var(ddof=1) / 80 + helpful.var(ddof=1) / 120) / 2
    found = np.abs(rng.normal(centre / error, 1.0, 100_000)) > reference.norm.ppf(0.975)
    assert power.power == pytest.approx(100 * found.mean(), abs=0.6)
    again = np.abs(rng.normal(power.detectable / error, 1.0, 100_000)) > reference.norm.ppf(0.975)
    assert again.mean() == pytest.approx(0.8, abs=0.006)


def test_mean_power_of_differences():
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 1.2, 60)
    power = mean_power_of(values)
    effect = values.mean() / values.std(ddof=1)
    assert power.power == pytest.approx(100 * TTestPower().power(effect, 60, 0.05), abs=1e-4)
    unit = TTestPower().solve_power(nobs=60, power=0.8, alpha=0.05)
    assert power.detectable == pytest.approx(unit * values.std(ddof=1), rel=1e-4)
    assert power.n_needed == math.ceil(TTestPower().solve_power(effect, power=0.8, alpha=0.05))
    # Swapping the models changes nothing; neither does the unit.
    swapped, scaled = mean_power_of(-values), mean_power_of(100 * values)
    assert swapped == power
    assert (scaled.power, scaled.n_needed) == (pytest.approx(power.power), power.n_needed)
    assert scaled.detectable == pytest.approx(100 * power.detectable)


def test_rate_power_where_too_few_prompts_differ():
    """One discordant prompt: even with all on one side there would be nothing to find."""
    assert mcnemar_detectable(1 / 50, 50) is None
    power = rate_power(1, 0, 50)
    share = power.detectable / 100
    assert mcnemar_power(share, 0.0, 50) >= 0.8 > mcnemar_power(share - 1e-4, 0.0, 50)
    nothing = rate_power(0, 0, 50)
    assert (nothing.power, nothing.n_needed) == (0.0, None)
    assert nothing.detectable == power.detectable


def test_differences_that_are_all_alike():
    assert mean_power_of(np.zeros(20)).power == 0.0
    assert mean_power_of(np.zeros(20)).n_needed is None
    assert mean_power_of(np.full(20, 0.1)).power == 100.0
    assert stratified_power([np.zeros(9), np.zeros(9)]).n_needed is None


@pytest.mark.parametrize(
    "call",
    [
        lambda: mcnemar_power(0.6, 0.5, 10),
        lambda: mcnemar_power(-0.1, 0.5, 10),
        lambda: mcnemar_power(math.nan, 0.5, 10),
        lambda: mcnemar_power(0.2, 0.1, 0),
        lambda: mcnemar_power(0.2, 0.1, 10, alpha=0.0),
        lambda: mcnemar_n(0.9, 0.2),
        lambda: mcnemar_detectable(1.1, 10),
        lambda: mean_power(math.inf, 10),
        lambda: mean_power(0.3, 1),
        lambda: mean_n(math.nan),
        lambda: rate_power(4, 7, 10),
        lambda: rate_power(1, 1, 5),
        lambda: mean_power_of(np.array([1.0])),
        lambda: mean_power_of(np.array([1.0, math.nan])),
        lambda: stratified_power([]),
        lambda: stratified_power([np.ones(3), np.ones(1)]),
    ],
)
def test_undefined_power_is_refused(call):
    with pytest.raises(MetricError) as caught:
        call()
    assert caught.value.hint
