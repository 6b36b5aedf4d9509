"""The table of all recipes: first where there are many, always a file, and what it says."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from report_fixtures import AXES, THRESHOLDS, inputs

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.findings import Findings
from alignstudy.records import Estimate, ScoredResponse
from alignstudy.records.evidence import Divergence
from alignstudy.records.ranking import RecipeCost
from alignstudy.report.html.page import render_report
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.stored import findings_from_json
from alignstudy.report.tables.ranking import ranking_table
from alignstudy.report.tables.write import csv_text, write_tables
from alignstudy.report.text.answer import answer

GAINS = {"base": -2.5, "sft": -1.4, "dpo": 0.0, "ipo": 0.1, "kto": -0.1, "simpo": 0.12}
SAID = (
    "I think that you could ask a friend to help you with this.",
    "It is best to wait until tomorrow, and then to call them again.",
    "There are many ways to do it; the first one is the easiest for you.",
)


def rows(gains=GAINS, *, seeds=(0, 1, 2), n=60, text=None):
    rng = np.random.default_rng(5)
    return [
        ScoredResponse(model=model, seed=seed, prompt_id=f"{axis}-{i}", axis=axis, prompt=f"{i}",
            response=text or " ".join(SAID[: 1 + (i + seed) % 3]),
            scores={"j": float(value)}, stop_reason="eos", num_tokens=5)
        for axis in AXES
        for hard in [rng.normal(0.0, 0.8, n)]
        for model, gain in gains.items()
        for seed in seeds
        for i, value in enumerate(hard + gain + rng.normal(0.0, 0.5, n))
    ]  # fmt: skip


def findings(given, **options):
    found = analyze_judge(given, THRESHOLDS, judge="j", base="base", draws=20, **options)
    return Findings(analyses=(found,))


@pytest.fixture(scope="module")
def made():
    given = rows()
    return given, findings(given, control="dpo")


COSTS = (
    RecipeCost(model="base", flops=0.0),
    RecipeCost(model="sft", flops=1.5e12),
    RecipeCost(model="simpo", flops=4e12, tuning_flops=9e12),
    RecipeCost(model="dpo", flops=None),
)


def cells(table):
    return {row[0].text: dict(zip(table.heads, row, strict=True)) for row in table.cells}


def test_it_is_sorted_and_says_who_is_among_the_best(made):
    table = ranking_table(made[1], COSTS)
    values = [float(row["CAS"].text) for row in cells(table).values()]
    assert values == sorted(values, reverse=True)
    found = cells(table)
    assert [name for name, row in found.items() if row["Among the best"].text == "yes"] == [
        *made[1].first.best_set(made[1].first.rates[-1]).members
    ]
    assert found["base"]["Among the best"].text == "no"
    assert found["base"]["Among the best"].detail == "p\u00a0<\u00a0.001"
    assert found["base"]["CAS"].kind == ""
    assert found["dpo"]["CAS"].kind == "good"
    assert found["dpo"]["Minus dpo"].text == "control"
    assert found["base"]["Minus dpo"].kind == "bad"


def test_costs_stand_in_it_and_tuning_apart(made):
    found = cells(ranking_table(made[1], COSTS))
    assert found["simpo"]["Training"].text == "4.00\u00a0TFLOP"
    assert found["simpo"]["Training"].detail == "tuning 9.00\u00a0TFLOP"
    assert found["sft"]["Training"].detail == ""
    assert (found["dpo"]["Training"].text, found["dpo"]["Training"].detail) == (
        "\u2013", "not counted whole",
    )  # fmt: skip
    assert "Training" not in ranking_table(made[1]).heads


def test_divergence_and_length_are_means_over_seeds(made):
    def moved(seed, nats):
        value = Estimate(value=nats, low=nats, high=nats, n=5, method="t")
        return Divergence(
            model="sft", seed=seed, kl_per_token=value, kl_per_sequence=value, n=5,
            kl_per_sequence_k3=value, entropy_per_token=value, implicit_accuracy=None,
        )  # fmt: skip

    found = replace(made[1], divergences=(moved(0, 2.0), moved(1, 5.0)))
    row = cells(ranking_table(found))["sft"]
    assert row["KL"].text == "3.5"
    words = [len(each.response.split()) for each in made[0] if each.model == "sft"]
    assert row["Words"].text == f"{np.mean(words):.1f}"
    assert cells(ranking_table(found))["base"]["KL"].text == "\u2013"


def test_its_file_holds_all_of_it(made, tmp_path):
    write_tables(made[1], tmp_path)
    [first, *_] = csv.DictReader(io.StringIO((tmp_path / "ranking.csv").read_text()))
    highest = max(model.estimates["cas"].value for model in made[1].first.models)
    assert float(first["cas"]) == pytest.approx(highest, abs=1e-6)
    assert {"in_set", "p_best", "in_set_hmr", "p_best_hpr", "difference_low", "p_control",
            "p_control_holm", "kl_per_sequence", "mean_words"} <= set(first)  # fmt: skip
    # What it took depends on how often a run was killed; what was found doesn't.
    assert not {"flops", "tuning_flops"} & set(first)
    assert "flops,tuning_flops" in csv_text(ranking_table(made[1], COSTS)).split("\n")[0]
    assert (first["in_set"], first["p_best"]) == ("yes", "1.0")
    assert (tmp_path / "ranking.md").read_text().startswith("All recipes by CAS")


def test_a_report_of_many_opens_with_it_and_one_of_few_does_not(made):
    page = render_report(inputs(made[0], findings=made[1]))
    first = page[page.index("<table>") : page.index("</table>")]
    assert "best first" in first
    few = {name: GAINS[name] for name in list(GAINS)[:5]}
    given = rows(few, seeds=(0,))
    assert "best first" not in render_report(inputs(given, findings=findings(given)))
    text = render_markdown(inputs(made[0], findings=made[1]))
    assert text.index("## All recipes") < text.index("## Metrics")
    assert "## All recipes" not in render_markdown(inputs(given, findings=findings(given)))
    assert ranking_table(findings(given)).rows  # the file is there all the same


def test_the_headline_counts_the_others_that_are_not_distinguishable(made):
    said = answer(made[1])
    best = made[1].first.best_set(made[1].first.rates[-1])
    others = len(best.members) - 1
    assert others >= 1
    assert f"{others} of 5 others" in said.headline
    assert "not distinguishable from it" in said.headline
    assert any("leaves the set of the best" in text for text in said.would_change)
    alone = {**dict.fromkeys(GAINS, 0.0), "simpo": 3.0}
    assert "all 5 others are shown to be below it" in answer(findings(rows(alone))).headline


def test_what_the_note_says_of_one_seed_and_of_the_control(made):
    note = ranking_table(made[1]).note
    assert "over training seeds and prompts" in note
    assert "dpo was declared as the control" in note
    assert "shown for base and sft" in note
    assert "exploration" in note
    once = ranking_table(findings(rows(seeds=(0,)))).note
    assert "between these trained models" in once
    assert "control" not in once


def test_broken_answers_are_said_beside_the_place(made):
    given = [replace(row, response="") if row.model == "simpo" else row for row in made[0]]
    row = cells(ranking_table(findings(given)))["simpo"]
    assert row["Among the best"].detail == "answers are empty"


def test_scores_alone_are_ranked_too(made):
    found = analyze_judge(made[0], replace(THRESHOLDS, values={}), judge="j", base="base", draws=20)
    table = ranking_table(Findings(analyses=(found,)))
    assert table.rows[-1]["model"] == "base"
    assert "score_helpful" in csv_text(table).split("\n")[0]


@pytest.mark.parametrize(
    ("schema", "later"),
    [(4, ("control", "best_sets", "control_tests", "rewards")), (5, ("rewards",))],
)
def test_statistics_of_layouts_before_are_still_read(made, schema, later):
    stored = json.loads(json.dumps(made[1].to_json()))
    assert findings_from_json(stored) == made[1]
    for name in later:
        del stored[name]
    stored["schema"] = schema
    read = findings_from_json(stored)
    assert read.first.comparisons == made[1].first.comparisons
    assert bool(read.first.best_sets) == (schema == 5)
    assert read.rewards == ()
    assert ranking_table(read).rows  # of layout 4 rates, without a set
