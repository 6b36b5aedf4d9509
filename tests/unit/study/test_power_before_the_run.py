"""The power of stated claims before a run, against simulation of what it assumes."""

import numpy as np
import pytest

from alignstudy.stats.mcnemar import mcnemar_exact
from alignstudy.stats.power.pooled_design import PooledDesign
from alignstudy.stats.seeds import difference_spread
from alignstudy.stats.spread import Spread
from alignstudy.study.settings.study import StudySettings
from alignstudy.study.tools.power import (
    DISCORDANCE,
    SEED_SDS,
    control_prospect,
    prospects,
    prospects_in_words,
)

BASE = {
    "study": "s",
    "base": "gpt2",
    "data": {"source": "rows.jsonl"},
    "methods": {"sft": {"method": "sft"}, "dpo": {"method": "dpo"}},
    "recipes": {"base": [], "sft": ["sft"], "dpo": ["dpo"]},
    "judges": [{"name": "rules", "use": "rules"}],
    "prompts": {"harmful": {"n": 400}, "helpful": {"n": 400}},
}


def settings(claims, seeds=(0,), **others):
    return StudySettings.model_validate({**BASE, "claims": claims, "seeds": list(seeds), **others})


def claim(metric, better="sft", than="base", **others):
    return {"metric": metric, "better": better, "than": [than], **others}


@pytest.fixture
def sizes():
    return {"harmless": 400, "helpful": 400}


@pytest.mark.parametrize("num_claims", [1, 6])
def test_power_of_a_rate_is_what_simulation_gives(num_claims, sizes):
    asked = [claim("hmr")] + [claim("hpr", better="dpo")] * (num_claims - 1)
    [first, *_], waiting = prospects(settings(asked), sizes)
    rng = np.random.default_rng(num_claims)
    wins, losses = (DISCORDANCE + 0.05) / 2, (DISCORDANCE - 0.05) / 2
    drawn = rng.multinomial(400, [wins, losses, 1 - DISCORDANCE], size=3000)
    shown = [mcnemar_exact(int(won), int(lost)) < 0.05 / num_claims for won, lost, _ in drawn]
    assert first.power == pytest.approx(np.mean(shown), abs=0.025)
    assert waiting == []
    assert first.prompts > 900


@pytest.mark.parametrize("seeds", [3, 5])
def test_power_over_seeds_is_what_simulation_of_the_assumed_spread_gives(seeds, sizes):
    """Scores: variance 1 of a difference, a quarter each model's own chance in each seed."""
    [found], _ = prospects(
        settings([claim("score_harmless", better="dpo", than="sft")], seeds=range(seeds)), sizes
    )
    rng = np.random.default_rng(seeds)
    shown = 0
    for _ in range(1500):
        tables = []
        for gain in (0.2, 0.0):
            stable = rng.normal(0.0, 0.5, 400) + gain
            moved = rng.normal(0.0, SEED_SDS, (seeds, 1))
            tables.append(stable + moved + rng.normal(0.0, 0.5, (seeds, 400)))
        shown += difference_spread([tuple(tables)]).p_value() < 0.05
    assert found.power == pytest.approx(shown / 1500, abs=0.05)


def test_all_parts_of_a_claim_have_to_be_shown(sizes):
    [one], _ = prospects(settings([claim("hmr")]), sizes)
    [three], _ = prospects(settings([claim(["hmr", "hpr", "cas"])]), sizes)
    assert three.power < one.power
    assert "3 parts" in three.about


def test_claims_of_one_form_are_told_together_and_what_waits_is_counted(sizes):
    asked = [
        claim("hmr"),
        claim("hmr", better="dpo"),
        claim("median_harmless"),
        {"metric": "hpr", "at_least": 60.0},
    ]
    said = list(prospects_in_words(settings(asked), sizes))
    assert [state for state, _ in said] == ["low", "ok", "ok"]
    assert said[0][1].startswith("2\u00a0claims on HmR: a true 5 points would be shown")
    assert "2\u00a0claims can be planned only once there are scores" in said[1][1]
    assert "corrected for 4\u00a0stated claims" in said[2][1]


def test_two_seeds_can_not_carry_a_corrected_claim():
    sizes = {"harmless": 8000, "helpful": 8000}
    asked = [claim("hmr", better="dpo", than="sft")] * 4
    [two], _ = prospects(settings(asked, seeds=(0, 1)), sizes)
    [five], _ = prospects(settings(asked, seeds=range(5)), sizes)
    assert two.power < 0.05 < 0.5 < five.power
    assert two.prompts is None
    assert 5 < two.seeds < 10
    assert "seeds" in two.in_words


def test_nothing_is_said_without_claims_or_prompts(sizes):
    assert list(prospects_in_words(settings([]), sizes)) == []
    assert list(prospects_in_words(settings([claim("hmr")]), {"harmless": 0, "helpful": 3})) == []


def test_an_equivalence_is_planned_at_no_difference(sizes):
    asked = [claim("hmr", relation="equivalent", margin=5.0)]
    [found], _ = prospects(settings(asked), sizes)
    rng = np.random.default_rng(4)
    drawn = rng.normal(0.0, np.sqrt(DISCORDANCE / 400), 4000)
    error = np.sqrt(DISCORDANCE / 400)
    assert found.power == pytest.approx(np.mean(0.05 - abs(drawn) > 1.6449 * error), abs=0.03)
    assert "equivalence within 5 points" in found.difference


@pytest.mark.parametrize(("seeds", "seed_sd", "alpha"), [(3, 2.0, 0.05 / 7), (2, 1.0, 0.05)])
def test_power_against_the_control_is_what_simulation_gives(seeds, seed_sd, alpha):
    """Eight unrelated recipes: the pooled variance, or a recipe's own where that is larger."""
    prompt, chance, models, lead = 1.0, 0.8, 8, 6.0
    rng = np.random.default_rng(seeds)
    design = PooledDesign(
        units=400, seeds=seeds, prompt=prompt, chance=chance, seed=seed_sd**2, trainings=2,
        pool=models,
    )  # fmt: skip
    shown, studies = 0, 2000
    for _ in range(studies):
        moved = rng.normal(0.0, np.hypot(seed_sd, np.sqrt(chance)), (models, seeds))
        own = moved.var(axis=1, ddof=1)
        parts = np.maximum(own, own.mean())[:2] / seeds
        gap = lead + rng.normal(0.0, np.sqrt(prompt)) + moved[0].mean() - moved[1].mean()
        by_prompts = prompt + 2 * chance / seeds
        spread = Spread(value=gap, prompts=by_prompts, df_prompts=399.0, seeds=float(parts.sum()),
                        df_seeds=float(models * (seeds - 1)))  # fmt: skip
        shown += abs(gap) > spread.half_width(alpha)
    assert design.power(lead, alpha=alpha) == pytest.approx(shown / studies, abs=0.03)


def test_a_control_is_planned_without_any_claim(sizes):
    asked = settings([], seeds=(0, 1, 2), control="base")
    power, corrected = prospects_in_words(asked, sizes)
    assert "2\u00a0comparisons with base in CAS: a true 5 points would be shown" in power[1]
    assert "corrected for 2\u00a0comparisons" in corrected[1]
    large = {axis: 4000 for axis in sizes}
    assert control_prospect(asked, large).power > control_prospect(asked, sizes).power
    once = settings([], control="sft", margins={"rates": 3.0})
    assert 0.0 < control_prospect(once, sizes).power < 1.0
