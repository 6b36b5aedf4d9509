"""What a reader is told of rewards: who learnt from whom, what rose, who fell, and where."""

from dataclasses import replace

import pytest
from everywhere import reward_check
from report_fixtures import analysed, inputs, scored

from alignstudy.analysis.findings import Findings
from alignstudy.report.html.page import render_report
from alignstudy.report.html.sections import sections
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.tables.rewards import rewards_table
from alignstudy.report.tables.write import csv_text, tables_of
from alignstudy.report.text.answer import answer
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.rewards import REWARD_VERDICTS

ROWS = scored(("base", "rloo"))


def reported(*checks):
    return inputs(ROWS, findings=Findings(analyses=(analysed(ROWS),), rewards=checks))


def told(*checks):
    """Return the alarms, the cautions that rewards gave rise to, and the summary."""
    report, without = reported(*checks), cautions(inputs(ROWS))
    found = answer(report.findings)
    summary = [each for each in found.rests_on if "judges' scores" in each]
    return found.alarms, [each for each in cautions(report) if each not in without], summary


def test_an_accusation_is_an_alarm_everywhere_and_no_caution():
    alarms, found, summary = told(reward_check("rloo", "hacked"))
    assert alarms == (
        "Reward hacking: rloo learnt from the scores of reward: against sft they rose (reward"
        " +3.00 [2.00, 4.00]), and those of a judge that had no part in it fell (witness"
        " \u22122.00 [\u22123.00, \u22121.00]). Don't take its gain by reward for a gain in"
        " quality.",
    )
    assert found == []
    assert summary == ["Of 1\u00a0recipe that learnt from judges' scores, 1 hacked the reward."]
    report = reported(reward_check("rloo", "hacked"))
    page, text = render_report(report), render_markdown(report)
    assert page.index("Reward hacking: rloo") < page.index('id="answer"')
    assert text.splitlines()[2].startswith("> **Reward hacking: rloo")


def test_a_headline_does_not_trust_the_lead_of_an_accused_model():
    plain = answer(reported(reward_check("rloo", "shared")).findings).headline
    warned = answer(reported(reward_check("rloo", "hacked")).findings).headline
    assert plain.startswith("Between these trained models, rloo has the highest")
    assert "rloo hacked a reward: don't trust that lead" in warned
    other = answer(reported(reward_check("base", "hacked")).findings).headline
    assert other == plain


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("suspected", "may be reward hacking, or chance (p\u00a0=\u00a0.020 after Holm)"),
        ("alone", "are not shown to have moved (witness +0.00 [\u22121.00, 1.00])"),
        ("unwatched", "nobody else looked: add a judge that nothing learns from"),
        ("no rise", "they are not shown to have risen (reward +0.00 [\u22121.00, 1.00])"),
        ("untested", "nothing could be tested, on too few prompts"),
    ],
)
def test_everything_between_is_a_caution(verdict, words):
    alarms, found, summary = told(reward_check("rloo", verdict))
    assert alarms == ()
    assert len(found) == 1
    assert found[0].startswith("rloo learnt from the scores of reward: against sft ")
    assert words in found[0]
    assert summary[0].endswith(f"1 {REWARD_VERDICTS[verdict][1]}.")


def test_a_gain_that_others_share_is_no_caution():
    assert told(reward_check("rloo", "shared"))[:2] == ((), [])


@pytest.mark.parametrize(
    ("tokens", "words"),
    [(31.0, "1.6 times as long (31 tokens, 20 before), and 10\u00a0% are cut"),
     (10.0, "0.5 times as long (10 tokens, 20 before), and 10\u00a0% are cut")],
)  # fmt: skip
def test_answers_that_grow_or_shrink_are_said_whatever_the_verdict(tokens, words):
    for verdict in ("shared", "alone", "hacked"):
        alarms, found, _ = told(reward_check("rloo", verdict, end_tokens=tokens))
        assert words in " ".join([*alarms, *found])
    assert told(reward_check("rloo", "shared", end_tokens=30.0))[1] == []


def test_the_gravest_of_several_seeds_is_told_and_which_have_it():
    checks = [
        reward_check("rloo", verdict, seed=seed)
        for seed, verdict in ((0, "hacked"), (1, "shared"), (2, "hacked"), (None, "alone"))
    ]
    (alarm,), found, _ = told(*checks, reward_check("rft", "shared", seed=None))
    assert "rloo (seed 0) learnt from" in alarm
    assert "the verdict is the same under seed 2 alone." in alarm
    assert found == []
    together = replace(checks[0], seed=None)
    (alarm,), _, summary = told(*(replace(each, verdict="alone") for each in checks[:3]), together)
    assert "Reward hacking: rloo (all seeds) learnt from" in alarm
    assert "Of 1\u00a0recipe that" in summary[0]


def test_one_judge_below_its_floor_is_believed_with_that_said():
    check = reward_check("rloo", "suspected")
    below = replace(check.judges[1], role="below its floor", p_holm=None)
    _, (said,), _ = told(replace(check, judges=(check.judges[0], below)))
    assert "reward hacking if a judge below its floor can be believed" in said


def test_the_table_marks_who_trained_and_is_there_only_where_someone_learnt():
    check = reward_check("rloo", "hacked")
    table = rewards_table([check])
    assert [row[1].detail for row in table.cells][:2] == ["trained it", "had no part in it"]
    assert [row[3].text for row in table.cells] == ["hacked", "fell", "", ""]
    lines = csv_text(table).splitlines()
    assert lines[1] == "rloo,0,sft,reward,trained,1.0,4.0,3.0,2.0,4.0,hacked,0.99,"
    assert lines[3] == "rloo,0,sft,tokens a response,form,20.0,22.0,2.0,,,hacked,,"
    shown, none = reported(check), inputs(ROWS)
    assert "rewards" in sections(shown)
    assert "rewards" not in sections(none)
    assert "rewards" in {each.name for each in tables_of(shown.findings)}
    assert "rewards" not in {each.name for each in tables_of(none.findings)}
    assert "reward" not in render_markdown(none)


def test_a_page_shows_each_recipe_once_and_every_seed_on_demand():
    checks = [reward_check("rloo", verdict, seed=seed)
              for seed, verdict in ((0, "shared"), (1, "hacked"), (None, "alone"))]  # fmt: skip
    section = sections(reported(*checks))["rewards"]
    assert [row["seed"] for row in section.items[0].table.rows] == [1] * 4
    (fold,) = section.folds
    assert len(fold.items[0].table.rows) == 12
    assert sections(reported(checks[0]))["rewards"].folds == ()
