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
from alignstudy.records.robustness import Power
from alignstudy.report.text.answer import MOST_SENTENCES, answer
from alignstudy.report.text.limitations import limitations
from alignstudy.stats.power.planning import ALPHA


def said(*analyses, **others):
    return answer(Findings(analyses=analyses, **others))


def whole(*analyses, **others):
    found = said(*analyses, **others)
    return " ".join((found.headline, *found.sentences))


PUBLISHED = {"base": 32.0, "sft": 52.0, "dpo": 41.0, "sft_dpo": 55.0}


def published(p_sft=0.69):
    return hand_made(
        PUBLISHED,
        [
            ("sft", "base", 20.0, 0.006),
            ("dpo", "base", 9.0, 0.28),
            ("sft_dpo", "base", 23.0, 0.005),
            ("dpo", "sft", -11.0, 0.2),
            ("sft_dpo", "sft", 3.0, p_sft),
            ("sft_dpo", "dpo", 14.0, 0.02),
        ],
    )


class TestHeadline:
    def test_names_the_leader_and_whom_it_is_not_shown_to_beat(self):
        headline = said(published()).headline
        assert headline.startswith("sft_dpo has the highest CAS (55.0 [50.0, 60.0]")
        assert "its lead over sft is not established" in headline

    def test_says_that_the_lead_is_real_where_it_is(self):
        assert "its lead is a real difference" in said(published(p_sft=0.01)).headline

    def test_models_that_share_the_lead_are_all_named(self):
        found = said(hand_made({"base": 1.0, "sft": 5.0, "dpo": 5.0}, []))
        assert found.headline.startswith("sft and dpo share the highest CAS")

    def test_equal_models_do_not_differ(self):
        found = said(hand_made({"base": 5.0, "sft": 5.0}, [("sft", "base", 0.0, 1.0)]))
        assert found.headline.startswith("No difference: all 2 models have the same CAS")

    def test_one_model_is_compared_with_nothing(self):
        assert "nothing is compared" in said(hand_made({"base": 5.0}, [])).headline

    def test_nothing_measured(self):
        assert "Nothing was measured" in said(hand_made({"base": None}, [])).headline


class TestAgainstBase:
    def test_real_difference(self):
        assert (
            "Compared with base, the CAS of sft_dpo is 23.0 points higher [18.0, 28.0],"
            " p\u00a0=\u00a0.005 after Holm: a real difference."
        ) in said(published()).sentences

    def test_not_shown(self):
        found = hand_made({"base": 50.0, "sft": 52.0}, [("sft", "base", 2.0, 0.6)])
        assert "not shown to be a real difference" in whole(found)

    def test_the_base_leads(self):
        found = hand_made({"base": 60.0, "sft": 52.0}, [("sft", "base", -8.0, 0.01)])
        assert said(found).sentences[0] == "No model has a higher CAS than base."
        assert "a real difference" in said(found).headline

    def test_without_a_base_nothing_is_said_of_it(self):
        found = hand_made({"a": 1.0, "b": 2.0}, [("b", "a", 1.0, 0.5)], base=None)
        assert "Compared with" not in whole(found)

    def test_few_prompts_are_not_tested(self):
        found = hand_made({"base": 50.0, "sft": 90.0}, [("sft", "base", 40.0, None)])
        assert "no test was made" in whole(found)
        assert "real difference" not in whole(found)


def test_a_comparison_is_turned_so_that_the_better_model_comes_first():
    found = hand_made({"a": 60.0, "b": 40.0}, [("b", "a", -20.0, 0.001)], base=None)
    assert "a above b (+20.0 points [15.0, 25.0], p\u00a0=\u00a0.001)" in whole(found)


class TestOpenQuestions:
    def with_power(self, points, p, **changes):
        found = hand_made({"a": 50.0, "b": 50.0 + points}, [("b", "a", points, p)], base=None)
        comparison = replace(found.comparisons[0], **changes)
        return replace(found, comparisons=(comparison,))

    def test_says_how_many_prompts_it_would_take_and_what_can_be_seen(self):
        power = Power(power=11.0, detectable=14.2, n_needed=1087, difference=5.0)
        text = whole(self.with_power(3.0, 0.69, power=power))
        assert "No difference in CAS is shown between b and a (+3.0 points [-2.0, 8.0]" in (
            text.replace("\u2212", "-")
        )
        assert "to see 5.0 points takes 1,087 prompts a set" in text
        assert "14.2 points or more would be seen (80\u00a0% power)" in text

    def test_a_difference_of_nothing_needs_no_number_of_prompts(self):
        power = Power(detectable=14.2)
        text = whole(self.with_power(0.001, 1.0, power=power))
        assert "takes" not in text
        assert "14.2 points or more would be seen" in text

    def test_equivalent_models_are_called_so(self):
        text = whole(self.with_power(1.0, 0.5, p_equivalent=0.01, margin=5.0))
        assert "b and a are equivalent in CAS, within 5.0 points" in text

    def test_a_lead_that_is_real_leaves_no_question(self):
        assert "No difference in CAS is shown" not in whole(self.with_power(30.0, 0.001))


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
        assert "agrees with people on 70.0\u00a0% of pairs [68.0, 72.0] on harmful prompts" in text

    def test_one_that_was_not(self):
        assert "was not measured in this study" in whole(published())

    def test_below_its_floor_it_is_the_first_thing_said(self):
        judge = quality("a/judge", below=("harmless",))
        found = said(published(), qualities=(judge,))
        assert found.headline.startswith("Figures on harmful prompts are stamped: there the judge")
        assert "56.4\u00a0% of pairs [54.4, 58.4], not surely above the floor of 60" in (
            found.headline
        )
        assert "sft_dpo has the highest CAS" in found.headline

    def test_a_panel_is_stamped_only_where_all_its_judges_are(self):
        panel = hand_made(PUBLISHED, [], judge="panel")
        one = quality("one", below=("harmless",))
        assert "stamped" in said(panel, qualities=(one,)).headline
        assert "stamped" not in said(panel, qualities=(one, quality("two"))).headline


def verdict(kind, number, **changes):
    return Verdict(claim=f"claim {number}", verdict=kind, evidence=f"why {number}", **changes)


class TestClaims:
    def test_the_headline_says_who_leads_and_verdicts_are_counted(self):
        kinds = ("supported", "contradicted", "contradicted", "too small to decide")
        given = tuple(verdict(kind, at) for at, kind in enumerate(kinds))
        found = said(published(), verdicts=given)
        assert found.headline.startswith("sft_dpo has the highest CAS")
        assert found.sentences[0] == (
            "Of 4\u00a0claims that were stated, 1 is supported, 2 contradicted and 1 too small"
            " to decide."
        )

    def test_all_alike(self):
        given = tuple(verdict("supported", at) for at in range(3))
        assert said(published(), verdicts=given).sentences[0] == (
            "All 3\u00a0claims that were stated are supported."
        )

    def test_one_claim_is_named(self):
        first, *_ = said(
            published(), verdicts=(verdict("no difference of interest shown", 7),)
        ).sentences
        assert first == "The claim that was stated (claim 7) is no difference of interest shown."

    def test_what_is_not_shown_says_what_it_would_take(self):
        text = whole(published(), verdicts=(verdict("too small to decide", 1, n_needed=1087),))
        assert "Too small to decide: claim 1 (why 1; it would take 1,087 prompts a set)." in text

    def test_many_claims_are_counted_not_recited(self):
        given = tuple(verdict("supported", at) for at in range(9))
        found = said(published(), verdicts=given)
        assert found.sentences[1] == (
            "Supported: claim 0 (why 0); claim 1 (why 1); and 7 more, in the table of claims."
        )

    def test_verdicts_follow_the_claims_not_a_fixed_text(self):
        one = whole(published(), verdicts=(verdict("supported", 1), verdict("contradicted", 2)))
        two = whole(published(), verdicts=(verdict("contradicted", 1), verdict("supported", 2)))
        assert "Supported: claim 1" in one
        assert "Contradicted: claim 1" in two


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.parametrize("num_claims", [0, 1, 12])
def test_it_stays_short_whatever_there_is_to_say(stamped, num_claims):
    kinds = ("supported", "contradicted", "too small to decide", "equivalent", "unmeasurable")
    given = tuple(verdict(kinds[at % 5], at) for at in range(num_claims))
    below = ("harmless",) if stamped else ()
    models = ("base", "sft", "dpo", "x")
    found = said(
        analysed(scored(models, n=30)), verdicts=given, qualities=(quality("a/judge", below=below),)
    )
    count = len(found.sentences) + (2 if stamped else 1)
    assert 3 <= count <= MOST_SENTENCES


def test_a_constant_judge_shows_no_difference():
    text = whole(analysed(scored(score=0.5)))
    assert "No difference: all 2 models have the same CAS" in text
    assert "real difference" not in text
    assert "above base" not in text


def test_a_judge_that_prefers_sft_shows_it():
    text = whole(analysed(scored(n=30)))
    assert "sft has the highest CAS" in text
    assert "a real difference" in text


def test_several_seeds_need_no_warning_of_one():
    assert "one training run" in " ".join(limitations(inputs()))
    several = limitations(inputs(scored(seeds=(0, 1))))
    assert "one training run" not in " ".join(several)
    assert "estimated from 2 seeds" in " ".join(several)


class TestOtherJudges:
    def test_one_that_agrees(self):
        other = hand_made({"base": 10.0, "sft_dpo": 20.0}, [], judge="other")
        assert "the judge other agrees on who leads" in whole(published(), other)

    def test_one_that_puts_a_model_first_where_the_leading_judge_puts_none(self):
        """All share the first place: nobody leads, with whom one could disagree."""
        first = hand_made({"base": 20.0, "sft": 20.0}, [])
        text = whole(first, hand_made({"base": 10.0, "sft": 20.0}, [], judge="other"))
        assert "by the judge other sft has the highest CAS" in text
        assert "does not agree" not in text

    def test_one_that_does_not(self):
        other = hand_made({"base": 10.0, "sft": 20.0}, [], judge="other")
        assert "the judge other does not agree on who leads" in whole(published(), other)
        assert "sft has the highest CAS" in whole(published(), other)

    def test_one_that_tells_nothing_apart(self):
        other = hand_made({"base": 10.0, "sft": 10.0}, [], judge="other")
        assert "by the judge other all models have the same CAS" in whole(published(), other)

    def test_one_that_measured_nothing(self):
        other = hand_made({"base": None}, [], judge="other")
        assert "the judge other gave no CAS" in whole(published(), other)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(0, 100), min_size=2, max_size=5),
    p_values=st.lists(st.none() | st.floats(0, 1), min_size=10, max_size=10),
)
def test_nothing_is_called_real_unless_a_test_says_so(values, p_values):
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
        assert not re.search(r"(?<!be )a real difference|\bm\d above m\d", text)
    leader = max(points, key=points.get)
    if len({round(value, 9) for value in values}) == len(values):
        assert text.startswith(leader)


@pytest.mark.parametrize("models", [("base",), ("base", "sft"), ("base", "sft", "dpo", "x")])
def test_every_sentence_ends_and_holds_no_gap(models):
    found = said(analysed(scored(models)))
    for sentence in (found.headline, *found.sentences):
        assert sentence.endswith(".")
        assert "  " not in sentence
        assert "None" not in sentence
        assert "nan" not in sentence
