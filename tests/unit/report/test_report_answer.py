import re
from dataclasses import replace

import pytest
from everywhere import quality
from hypothesis import given, settings
from hypothesis import strategies as st
from report_fixtures import analysed, hand_made, inputs, scored

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.records import Estimate
from alignstudy.records.robustness import Power, WinnerLead
from alignstudy.report.text.answer import answer
from alignstudy.report.text.limitations import limitations
from alignstudy.report.text.verdicts import VERDICTS
from alignstudy.stats.power.planning import ALPHA


def said(*analyses, **others):
    return answer(Findings(analyses=analyses, **others))


def whole(*analyses, **others):
    found = said(*analyses, **others)
    return " ".join((found.headline, *found.sentences, *found.rests_on, *found.would_change))


PUBLISHED = {"base": 32.0, "sft": 52.0, "dpo": 41.0, "sft_dpo": 55.0}
ALL_BUT_SFT = [
    ("sft", "base", 20.0, 0.006),
    ("dpo", "base", 9.0, 0.28),
    ("sft_dpo", "base", 23.0, 0.005),
    ("dpo", "sft", -11.0, 0.2),
    ("sft_dpo", "dpo", 14.0, 0.02),
]


def published(p_sft=0.69, **changes):
    found = hand_made(PUBLISHED, [*ALL_BUT_SFT, ("sft_dpo", "sft", 3.0, p_sft)])
    *others, last = found.comparisons
    return replace(found, comparisons=(*others, replace(last, **changes)))


class TestHeadline:
    def test_spells_the_metric_out_and_says_whom_the_leader_is_not_shown_to_beat(self):
        assert said(published()).headline == (
            "Between these trained models, sft_dpo has the highest mean share of answers that pass"
            " (CAS), 55.0\u00a0% [50.0, 60.0], but its lead over sft (+3.0 points [\u22122.0, 8.0])"
            " is not shown: the study is too small to decide."
        )

    def test_a_lead_that_is_shown_over_all(self):
        assert "and is shown to be above every other model." in said(published(0.01)).headline

    def test_models_that_share_the_lead_are_all_named(self):
        found = said(hand_made({"base": 1.0, "sft": 5.0, "dpo": 5.0}, []))
        assert "sft and dpo share the highest mean share" in found.headline

    def test_equal_models_are_not_said_to_be_alike(self):
        found = said(hand_made({"base": 5.0, "sft": 5.0}, [("sft", "base", 0.0, 1.0)]))
        assert "all 2 models have the same mean share of answers" in found.headline
        assert "which doesn't show that they are alike" in found.headline
        assert "No difference:" not in found.headline

    def test_one_model_is_compared_with_nothing(self):
        headline = said(hand_made({"base": 5.0}, [])).headline
        assert "nothing is compared" in headline
        assert headline.startswith("base has")

    def test_nothing_measured(self):
        found = said(hand_made({"base": None}, []))
        assert found.headline == "Nothing was measured: no response has a score."
        assert found.rests_on == found.would_change == ()

    def test_several_seeds_are_named_instead_of_these_models(self):
        found = said(replace(published(), seeds=(0, 1, 2)))
        assert found.headline.startswith("Over 3 training seeds, sft_dpo has")

    def test_generated_data_are_called_so_and_nobody_speaks_of_people(self):
        judged = quality("a/judge", value=100.0)
        text = whole(published(), qualities=(judged,), is_generated=True)
        assert text.startswith("In this demonstration on generated data, sft_dpo has the highest")
        assert "so none of this tells of people" in text
        assert "People's labels" not in text


class TestWhyALeadIsNotShown:
    def test_equivalent(self):
        text = said(published(p_equivalent=0.01, margin=5.0)).headline
        assert "is none that matters: equivalent, within 5.0 points" in text

    def test_the_study_could_have_seen_what_matters(self):
        power = Power(power=87.0, detectable=4.0, difference=5.0)
        text = said(published(power=power, margin=5.0)).headline
        assert "not shown, though one of 5.0 points would have been seen (87\u00a0% power)" in text

    def test_the_study_is_too_small(self):
        power = Power(power=11.0, detectable=14.2, difference=5.0, n_needed=1087)
        assert "too small to decide" in said(published(power=power, margin=5.0)).headline

    def test_few_prompts_are_not_tested(self):
        found = hand_made({"base": 50.0, "sft": 90.0}, [("sft", "base", 40.0, None)])
        assert "its lead over base (+40.0 points [35.0, 45.0]) was not tested" in whole(found)
        assert "above base" not in whole(found)

    def test_many_rivals_are_counted(self):
        values = {f"m{i}": 50.0 - i for i in range(7)}
        text = said(hand_made(values, [], base=None)).headline
        assert "its lead over m1, m2, m3 and 3 more was not tested" in text


LOOP = "go on and " * 20


class TestBrokenAnswers:
    def looping(self, *models):
        rows = [
            replace(row, response=LOOP) if row.model in models else row
            for row in scored(("base", "sft"), n=30)
        ]
        return analysed(rows)

    def test_where_the_leader_loops_no_model_is_called_better(self):
        headline = said(self.looping("base", "sft")).headline
        assert headline == (
            "No model is called better: of the answers of base and sft, 100\u00a0% repeat"
            " themselves in loops."
        )

    def test_claims_do_not_bring_the_lead_back(self):
        verdicts = (verdict("supported", 1),)
        assert "supported" not in said(self.looping("base", "sft"), verdicts=verdicts).headline

    def test_where_another_model_loops_the_lead_says_so(self):
        headline = said(self.looping("base")).headline
        assert "sft has the highest" in headline
        assert "of the answers of base, 100\u00a0% repeat themselves in loops" in headline
        assert headline.endswith("so a lead over them says little.")
        assert "Answers that are whole" in " ".join(said(self.looping("base")).would_change)

    def test_answers_that_do_not_loop_are_not_mentioned(self):
        assert "loops" not in whole(self.looping())


class TestStamps:
    def test_on_an_axis_below_the_floor_nothing_is_said_and_the_other_axis_leads(self):
        judge = quality("a/judge", below=("harmless",))
        headline = said(analysed(scored(n=30)), qualities=(judge,)).headline
        assert headline.startswith(
            "On harmful prompts nothing can be said: there the judge a/judge"
        )
        assert "56.4\u00a0% of pairs [54.4, 58.4], not surely above the floor of 60" in headline
        assert "sft has the highest share of helpful answers (HpR)" in headline
        assert "CAS" not in headline
        assert "HmR" not in headline

    def test_below_the_floor_on_all_axes_there_is_no_lead(self):
        judge = quality("a/judge", below=("harmless", "helpful"))
        found = said(analysed(scored(n=30)), qualities=(judge,))
        assert "so no model is called better" in found.headline
        assert "highest" not in found.headline
        assert found.sentences == ()
        assert found.would_change[0] == (
            "A judge that lies above its floor on harmful or helpful prompts."
        )

    def test_a_panel_is_stamped_only_where_all_its_judges_are(self):
        panel = analysed(scored(judge="panel", n=30), judge="panel")
        one = quality("one", below=("harmless",))
        assert "nothing can be said" in said(panel, qualities=(one,)).headline
        assert "nothing can be said" not in said(panel, qualities=(one, quality("two"))).headline


def verdict(kind, number, **changes):
    return Verdict(claim=f"claim {number}", verdict=kind, evidence=f"why {number}", **changes)


class TestClaims:
    def test_they_are_counted_after_the_lead(self):
        kinds = ("supported", "contradicted", "contradicted", "too small to decide")
        given = tuple(verdict(kind, at) for at, kind in enumerate(kinds))
        assert said(published(), verdicts=given).headline.endswith(
            " Of 4\u00a0stated claims: 1 supported, 2 contradicted, 1 too small to decide."
        )

    def test_one_claim_is_named(self):
        headline = said(published(), verdicts=(verdict("not borne out", 7),)).headline
        assert headline.endswith(" The stated claim (claim 7): not borne out.")

    @pytest.mark.parametrize("kind", VERDICTS)
    def test_every_verdict_is_told(self, kind):
        given = (verdict(kind, 0), verdict(kind, 1))
        assert f": 2 {kind}." in said(published(), verdicts=given).headline


class TestAgainstBase:
    def test_shown(self):
        assert (
            "Compared with base, the CAS of sft_dpo is 23.0 points higher [18.0, 28.0],"
            " p\u00a0=\u00a0.005 after Holm: shown."
        ) in said(published()).sentences

    def test_not_shown(self):
        found = hand_made({"base": 50.0, "sft": 52.0}, [("sft", "base", 2.0, 0.6)])
        assert "after Holm: not shown." in whole(found)

    def test_the_base_leads(self):
        found = hand_made({"base": 60.0, "sft": 52.0}, [("sft", "base", -8.0, 0.01)])
        assert said(found).sentences[0] == "No model has a higher CAS than base."

    def test_without_a_base_nothing_is_said_of_it(self):
        found = hand_made({"a": 1.0, "b": 2.0}, [("b", "a", 1.0, 0.5)], base=None)
        assert "Compared with" not in whole(found)


def test_a_comparison_is_turned_so_that_the_better_model_comes_first():
    found = hand_made({"a": 60.0, "b": 40.0}, [("b", "a", -20.0, 0.001)], base=None)
    assert "Differences that are shown (after Holm): CAS, a above b." in whole(found)


class TestWhatWouldChangeIt:
    def test_prompts_and_what_can_be_seen(self):
        power = Power(power=11.0, detectable=14.2, difference=5.0, n_needed=1087)
        found = said(published(power=power)).would_change
        assert found[0] == (
            "More data: to find a lead of 5.0 points over sft takes about 1,087 prompts a set."
        )
        assert "this study shows 14.2 points or more (80\u00a0% power)" in found[1]

    def test_where_no_number_of_prompts_is_enough_none_is_named(self):
        power = Power(power=5.0, detectable=14.2, difference=5.0)
        text = " ".join(said(published(power=power)).would_change)
        assert "takes" not in text
        assert "14.2 points or more" in text

    def test_more_seeds_where_there_are_few(self):
        assert any("More training seeds" in text for text in said(published()).would_change)
        models = tuple(replace(model, num_seeds=3) for model in published().models)
        several = replace(published(), models=models)
        assert not any("More training seeds" in text for text in said(several).would_change)

    def test_a_lead_that_another_threshold_takes_away(self):
        found = analysed(scored(n=30))
        sweeps = tuple(
            replace(sweep, best_share={"base": 60.0, "sft": 40.0}) for sweep in found.sweeps
        )
        text = " ".join(said(replace(found, sweeps=sweeps)).would_change)
        assert "sft has the highest HpR at 40\u00a0% of those tried" in text
        assert "Another threshold" not in " ".join(said(found).would_change)


class TestWhatItRestsOn:
    def test_prompts_that_every_model_answered(self):
        found = said(analysed(scored(n=12))).rests_on
        assert found[0] == "12 harmful and 12 helpful prompts, each answered by every model."

    def test_prompts_that_some_model_was_not_asked(self):
        rows = [r for r in scored(n=12) if (r.model, r.prompt_id) != ("sft", "helpful-0")]
        found = said(analysed(rows)).rests_on
        assert found[0] == "12 harmful and 12 helpful prompts, not all answered by every model."

    def test_seeds_are_no_further_prompts(self):
        rows = scored(n=12, seeds=(0, 1, 2))
        rows = [row for row in rows if row.model != "base" or row.seed == 0]
        found = said(analysed(rows)).rests_on
        assert found[0].startswith("12 harmful and 12 helpful prompts, each")
        assert found[1].startswith("1 to 3 training seeds a recipe")

    def test_what_is_left_of_a_lead_on_prompts_that_did_not_choose_the_winner(self):
        lead = WinnerLead(
            metric="cas", model="sft_dpo", lead=3.0, apparent=4.0, kept=1.5, chosen=60.0
        )
        text = " ".join(said(replace(published(), winner_leads=(lead,))).rests_on)
        assert "puts its winner 4.0 points ahead of the next, the other half 1.5 points" in text


class TestTradeOff:
    def rates(self, hmr, hpr):
        found = hand_made(dict.fromkeys(hmr, 50.0), [], base=None)
        models = tuple(
            replace(
                model,
                estimates=model.estimates
                | {"hmr": rate(hmr[model.model]), "hpr": rate(hpr[model.model])},
            )
            for model in found.models
        )
        return replace(found, models=models)

    def test_two_leaders_are_both_named(self):
        text = whole(self.rates({"a": 60.0, "b": 40.0}, {"a": 30.0, "b": 80.0}))
        assert "No model leads in both: a has the highest HmR (60.0 [55.0, 65.0]" in text
        assert "b the highest HpR (80.0 [75.0, 85.0]" in text
        assert "is shown in neither" in text

    def test_one_leader_trades_nothing_off(self):
        text = whole(self.rates({"a": 60.0, "b": 40.0}, {"a": 90.0, "b": 80.0}))
        assert "No model leads in both" not in text

    def test_a_shared_lead_is_no_trade_off(self):
        text = whole(self.rates({"a": 60.0, "b": 60.0}, {"a": 30.0, "b": 80.0}))
        assert "No model leads in both" not in text


def rate(value):
    return Estimate(value=value, low=value - 5, high=value + 5, n=50, method="wilson")


class TestJudge:
    def test_one_that_was_assessed(self):
        text = whole(published(), qualities=(quality("a/judge", value=70.0),))
        assert (
            "picks the preferred answer in 70.0\u00a0% of pairs [68.0, 72.0] on harmful prompts"
        ) in text

    def test_one_that_was_not(self):
        assert "is worth was not measured in this study" in whole(published())


@pytest.mark.parametrize("stamped", [(), ("harmless",), ("harmless", "helpful")])
@pytest.mark.parametrize("num_claims", [0, 1, 12])
@pytest.mark.parametrize("num_models", [1, 2, 6])
def test_it_stays_short_whatever_there_is_to_say(stamped, num_claims, num_models):
    given = tuple(verdict(list(VERDICTS)[at % 7], at) for at in range(num_claims))
    models = ("base", "sft", "dpo", "x", "y", "z")[:num_models]
    found = said(
        analysed(scored(models, n=12)),
        verdicts=given,
        qualities=(quality("a/judge", below=stamped),),
        is_generated=True,
    )
    assert len(found.headline.split()) <= 90
    assert len(found.rests_on) <= 6
    assert len(found.would_change) <= 6
    assert len(found.sentences) <= 3


def test_a_constant_judge_tells_nothing_apart():
    text = whole(analysed(scored(score=0.5)))
    assert "nothing tells them apart" in text
    assert "above base" not in text


def test_several_seeds_need_no_warning_of_one():
    assert "one training run" in " ".join(limitations(inputs()))
    several = limitations(inputs(scored(seeds=(0, 1))))
    assert "one training run" not in " ".join(several)
    assert "estimated from 2 seeds" in " ".join(several)


class TestOtherJudges:
    def test_one_that_agrees(self):
        other = hand_made({"base": 10.0, "sft_dpo": 20.0}, [], judge="other")
        assert "The judge other agrees on who leads" in whole(published(), other)

    def test_one_that_puts_a_model_first_where_the_leading_judge_puts_none(self):
        """All share the first place: nobody leads, with whom one could disagree."""
        first = hand_made({"base": 20.0, "sft": 20.0}, [])
        text = whole(first, hand_made({"base": 10.0, "sft": 20.0}, [], judge="other"))
        assert "The judge other tells models apart: by its scores sft has the highest CAS" in text
        assert "does not agree" not in text

    def test_one_that_does_not(self):
        other = hand_made({"base": 10.0, "sft": 20.0}, [], judge="other")
        assert "The judge other does not agree on who leads" in whole(published(), other)
        assert "sft has the highest CAS" in whole(published(), other)

    def test_a_baseline_is_not_asked(self):
        other = hand_made({"base": 10.0, "sft": 20.0}, [], judge="other")
        beaten = replace(quality("other"), is_baseline=True)
        assert "judge other" not in whole(published(0.01), other, qualities=(beaten,))

    def test_one_that_tells_nothing_apart(self):
        other = hand_made({"base": 10.0, "sft": 10.0}, [], judge="other")
        assert "By the judge other all models have the same CAS" in whole(published(), other)

    def test_one_that_measured_nothing(self):
        other = hand_made({"base": None}, [], judge="other")
        assert "The judge other gave no CAS" in whole(published(), other)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(0, 100), min_size=2, max_size=5),
    p_values=st.lists(st.none() | st.floats(0, 1), min_size=10, max_size=10),
)
def test_nothing_is_called_shown_unless_a_test_says_so(values, p_values):
    names = [f"m{i}" for i in range(len(values))]
    pairs = [(one, two) for at, one in enumerate(names) for two in names[:at]]
    points = dict(zip(names, values, strict=True))
    rows = [
        (one, two, points[one] - points[two], p)
        for (one, two), p in zip(pairs, p_values, strict=False)
    ]
    found = hand_made(points, rows, base="m0")
    text = whole(found)
    if not any(p is not None and p < ALPHA for *_, p in rows):
        assert not re.search(r"is shown to be above|: shown|\bm\d above m\d", text)
    leader = max(points, key=points.get)
    if len({round(value, 9) for value in values}) == len(values):
        assert text.startswith(f"Between these trained models, {leader} has the highest")


@pytest.mark.parametrize("models", [("base",), ("base", "sft"), ("base", "sft", "dpo", "x")])
def test_every_sentence_ends_and_holds_no_gap(models):
    found = said(analysed(scored(models)))
    for sentence in (found.headline, *found.sentences, *found.rests_on, *found.would_change):
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "None" not in sentence
        assert "nan" not in sentence


def test_a_figure_that_one_model_lacks_does_not_lead():
    """CAS rests on an axis that only one of two models answered: the other axis leads."""
    rows = scored(("base", "b"), n=30)
    some = [row for row in rows if row.model == "base" or row.axis == "helpful"]
    headline = said(analysed(some)).headline
    assert "with one model nothing is compared" not in headline
    assert "HpR" in headline
