"""Rounds: what samples become, and what each method does in its rounds."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignstudy.dialogue import parse_turns
from alignstudy.methods import ROUND_METHODS, LoRASettings, method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.rounds.drafts import with_drafts
from alignstudy.methods.rounds.round import rounds_of
from alignstudy.methods.rounds.rules import (
    EMPTY,
    EQUAL,
    RANKING,
    RULES,
    TIED,
    TOO_FEW,
    TOO_LONG,
    TRUNCATED,
    UNSCORED,
    Draw,
)
from alignstudy.methods.tpo import TPOSettings
from alignstudy.records import Pair

PROMPT = "\n\nHuman: How are you?\n\nAssistant:"
ROW = Pair(id="a", prompt=PROMPT, chosen=" Well, thanks.", rejected=" Go away.", gold=" Fine.")


def draws(*scored):
    return [Draw(text=text, score=score) for text, score in scored]


def test_a_demonstration_is_preferred_to_the_sample():
    built = RULES["demo_v_sample"](ROW, draws(("So so.", None)))
    assert (built.chosen, built.rejected, built.gold) == (" Well, thanks.", " So so.", None)
    assert RULES["demo_v_sample"](ROW, draws(("Well, thanks.", None))) == EQUAL


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (Draw(text="x", ended=False, score=1), TRUNCATED),
        (Draw(text="", score=1), EMPTY),
        (Draw(text="", fits=False, score=1), TOO_LONG),
    ],
)
@pytest.mark.parametrize("rule", RULES)
def test_what_is_no_sample_is_no_row(rule, draw, reason):
    made = RULES[rule](ROW, [draw])
    if rule == "chosen_of_drafts" and reason != TOO_LONG:
        assert made.chosen == ROW.chosen  # drafts are shown, not learnt
    else:
        assert made == reason


def test_the_best_sample_is_preferred_to_the_worst():
    built = RULES["best_v_worst"](ROW, draws(("b", 0.5), ("c", -2.0), ("a", 3.0), ("d", 1.0)))
    assert (built.prompt, built.chosen, built.rejected) == (PROMPT, " a", " c")
    assert RULES["best_v_worst"](ROW, draws(("a", 1.0), ("a", 1.0))) == TOO_FEW
    assert RULES["best_v_worst"](ROW, draws(("a", 1.0), ("b", 1.0))) == TIED
    assert RULES["best_v_worst"](ROW, draws(("a", None), ("b", None))) == UNSCORED


def test_wins_are_mean_chances_against_all_samples():
    """The authors' table of chances for three samples, by hand."""
    built = RULES["best_v_worst_with_wins"](ROW, draws(("a", 2.0), ("b", 0.0), ("c", -1.0)))

    def chance(gap):
        return 1 / (1 + exp(-gap))

    best = (chance(0) + chance(2) + chance(3)) / 3
    worst = (chance(-3) + chance(-1) + chance(0)) / 3
    assert built.wins == pytest.approx((best, worst), abs=1e-12)


@given(
    st.lists(st.tuples(st.text("ab", max_size=3), st.floats(-9, 9)), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_laws_of_ranking(scored, ended):
    given = [
        Draw(text=text, score=score, ended=end)
        for (text, score), end in zip(scored, ended, strict=False)
    ]
    sound = [draw for draw in given if draw.ended and draw.text]
    best = RULES["best_of_n"](ROW, given)
    if not sound:
        assert best in (TRUNCATED, EMPTY)
        return
    first = {}
    for draw in sound:
        first.setdefault(draw.text, draw.score)  # a judge gives one text one score
    assert first[best.chosen.strip()] == max(first.values())
    assert best.rejected is None
    gold = RULES["gold_of_n"](ROW, given)
    assert (gold.chosen, gold.rejected, gold.gold) == (ROW.chosen, ROW.rejected, best.chosen)
    pair = RULES["best_v_worst_with_wins"](ROW, given)
    if not isinstance(pair, str):
        assert first[pair.chosen.strip()] > first[pair.rejected.strip()]
        assert 0 <= pair.wins[1] <= pair.wins[0] <= 1
        apart = first[pair.chosen.strip()] - first[pair.rejected.strip()]
        assert apart < 1e-9 or pair.wins[1] < pair.wins[0]  # nearer ones win alike, as rounded


def test_drafts_stand_in_the_last_turn_and_add_none():
    asked = "\n\nHuman: Hello\n\nAssistant: Hi\n\nHuman: Why?\n\nAssistant:"
    shown = with_drafts(asked, ["One.\n\nHuman: two", "", "Three"])
    before, after = parse_turns(asked), parse_turns(shown)
    assert [turn.role for turn in after] == [turn.role for turn in before]
    assert after[:2] == before[:2]
    assert after[2].text.startswith("Why?\n")
    assert after[2].text.endswith("\n1. One. Human: two\n2. \n3. Three")
    assert shown.endswith("\n\nAssistant:")


def test_every_round_method_says_what_it_is_and_trains():
    for name in ROUND_METHODS:
        settings = ROUND_METHODS.load(name)()
        assert settings.method == name
        for one in rounds_of(settings):
            assert one.rule in {"", *RULES}
            assert method_of(one.training).rows in ("demonstrations", "pairs")
        assert method_of(settings).settings == settings.rounds[0].training


def rounds(name, **options):
    return ROUND_METHODS.load(name)(**options).rounds


def test_one_round_of_spin_and_one_part_of_irft_are_the_same():
    assert rounds("spin", iterations=1, learning_rate=1e-4) == rounds(
        "irft", iterations=1, learning_rate=1e-4
    )


def test_one_part_of_sdpo_is_dpo():
    options = {"beta": 0.3, "loss_type": "ipo", "learning_rate": 1e-4, "max_steps": 7}
    (one,) = rounds("sdpo", slices=1, **options)
    assert one.training == DPOSettings(**options)
    assert (one.rule, one.slice, one.reference) == ("", (0, 1), "last")


def test_spin_has_its_authors_rounds():
    found = rounds("spin", betas=[0.1, 0.1, 5.0], learning_rates=[5e-7, 5e-7, 1e-7])
    assert [one.training.beta for one in found] == [0.1, 0.1, 5.0]
    assert [one.training.learning_rate for one in found] == [5e-7, 5e-7, 1e-7]
    assert [one.keeps_last for one in found] == [False, True, True]
    assert all(one.rule == "demo_v_sample" and one.reference == "last" for one in found)
    with pytest.raises(ValidationError, match="2 betas for 3 iterations"):
        ROUND_METHODS.load("spin")(betas=[0.1, 5.0])


def test_rft_learns_a_reward_and_then_a_policy_on_it():
    (one,) = rounds("rft", max_length=300, precision="fp32", lora=LoRASettings(lora_dropout=0.0))
    assert (one.rule, one.samples, one.slice, one.reference) == (
        "demo_v_sample",
        1,
        (0, 1),
        "start",
    )
    learnt = one.reward_model
    assert (learnt.method, learnt.loss_on, learnt.input) == ("reward_model", "positions", "chat")
    assert (learnt.max_length, learnt.precision, learnt.lora) == (300, "fp32", None)
    assert learnt.effective_batch_size == 16
    assert (one.training.method, one.training.beta, one.training.lora.r) == ("rloo", 0.05, 8)
    two = rounds("rft", iterations=2, reward_model={"learning_rate": 1e-3, "loss_on": "end"})
    assert [each.slice for each in two] == [(0, 2), (1, 2)]
    assert {each.reward_model.learning_rate for each in two} == {1e-3}
    assert {each.training.learning_rate for each in two} == {1e-6}
    (ppo,) = rounds("rft", policy="ppo", beta=0.02)
    assert (ppo.training.method, ppo.training.beta, ppo.training.num_generations) == (
        "ppo",
        0.02,
        4,
    )
    wrongs = (
        {"rewarded_by": ["judge"]},
        {"reward_model": {"input": "pair"}},
        {"policy": "ppo", "precision": "fp16"},
    )
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            ROUND_METHODS.load("rft")(**wrong)


def test_iterative_dpo_keeps_the_first_reference_unless_asked():
    assert {one.reference for one in rounds("iterative_dpo")} == {"start"}
    assert {one.reference for one in rounds("iterative_dpo", reference="last")} == {"last"}
    assert [one.slice for one in rounds("iterative_dpo")] == [(0, 3), (1, 3), (2, 3)]
    assert [one.slice for one in rounds("iterative_dpo", prompts="all")] == [(0, 1)] * 3
    (one, *_) = rounds("iterative_dpo", loss_type="simpo", iterations=1)
    assert (one.training.loss_type, one.training.beta) == (("simpo",), 2.0)


def test_what_trains_inside_a_round_is_checked_with_the_study():
    with pytest.raises(ValidationError, match="irft_linear needs max_steps"):
        ROUND_METHODS.load("irft")(link="linear")
    with pytest.raises(ValidationError, match="ranked_by is ignored with answer: chosen"):
        ROUND_METHODS.load("aft")(ranked_by="judge")


def test_tpo_samples_its_gold_where_it_is_asked_to():
    (plain,) = rounds_of(TPOSettings())
    assert (plain.rule, plain.training) == ("", TPOSettings())
    (one,) = rounds_of(TPOSettings(gold={"best_of": 5, "by": "judge", "temperature": 0.7}))
    assert (one.rule, one.samples, one.ranked_by) == ("gold_of_n", 5, "judge")
    assert (one.sampling.temperature, one.training) == (0.7, TPOSettings())
    assert one.rule in RANKING
