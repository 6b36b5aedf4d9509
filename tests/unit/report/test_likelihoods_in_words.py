"""What the report says of likelihoods, held against the probe's own numbers."""

import re
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plot_fixtures import data, probed, trainings
from report_fixtures import inputs
from scipy.stats import binomtest

from alignstudy.plots.models.likelihoods import curves, draw
from alignstudy.records.evidence import TrainingRecord
from alignstudy.report.html.sections import sections
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.tables.likelihoods import likelihoods_table
from alignstudy.report.text.cautions import cautions
from alignstudy.report.text.likelihoods import likelihoods_in_words

NAMES = ("dpo", "sft > dpo", "kto", "simpo")


def record(recipe="dpo", seed=0, steps=3, **changes):
    given_ = {"stage": recipe, "method": "dpo", "epochs": 1.0, "num_tokens": 1, "seconds": 1.0,
              "final_loss": 0.5, "probe": probed()}  # fmt: skip
    return TrainingRecord(recipe=recipe, seed=seed, steps=steps, **given_ | changes)


@st.composite
def studies(draw_):
    """Trainings whose chosen responses move by any amount, in any share of pairs."""
    parts = draw_(st.sampled_from([("train", "held_out"), ("train",)]))
    pairs = draw_(st.sampled_from([4, 32, 200]))
    made = []
    for name in NAMES[: draw_(st.integers(1, 4))]:
        for seed in range(draw_(st.integers(1, 3))):
            gain = draw_(st.floats(-5, 5))
            probe = probed(gain, parts=parts, pairs=pairs, fell=draw_(st.floats(0, 1)))
            turn = draw_(st.sampled_from([1, -1]))
            moved = [row | {"margin_change": turn * row["margin_change"]} for row in probe]
            made.append(record(name, seed, probe=tuple(moved)))
    return made


def plain(text):
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(studies())
def test_every_recipe_is_in_the_one_sentence_that_is_true_of_it(training):
    said = [plain(sentence) for sentence in likelihoods_in_words(training)]
    assert said
    part = training[0].probe[-1]["part"]  # held-out ones where there are any
    for name in {item.recipe for item in training}:
        ends = [item.probed[part][1] for item in training if item.recipe == name]
        gain, share = (fmean(end[key] for end in ends) for key in ("chosen_change", "chosen_fell"))
        margin, pairs = fmean(end["margin_change"] for end in ends), ends[0]["pairs"]
        words = re.compile(rf"(?:in|,|and) {re.escape(name)}(?= \(|,|\.| and| is open)")
        [sentence] = [each for each in said if words.search(each)]
        if "less likely" in sentence:
            assert gain < 0
            assert share > 0.5
            figures = f"{name} ({gain:.1f} nats; {100 * share:.0f} % of {pairs} "
            assert figures.replace("-0.0 ", "0.0 ") in sentence
            assert ("likelihood displacement" in sentence) == (margin > 0)
        elif "is open" not in sentence:
            assert gain > 0
            assert share < 0.5
        hits = round(share * pairs)
        if hits == pytest.approx(share * pairs):
            low, high = binomtest(hits, pairs).proportion_ci(method="wilson")
            settled = (low > 0.5 and gain < 0) or (high < 0.5 and gain > 0)
            assert ("is open" in sentence) == (not settled)
    kind = "held-out pairs" if part == "held_out" else "training pairs"
    assert all(kind in each for each in said if "less likely" in each)


def test_it_stands_where_training_is_described():
    found = inputs(training=(record(), record("sft", probe=())))
    [sentence] = likelihoods_in_words(found.training)
    assert plain(sentence) == (
        "Chosen responses became less likely in dpo (-3.0 nats; 75 % of 32 held-out pairs),"
        " rejected ones even less: likelihood displacement."
    )
    assert sections(found)["training"].items[0].table.note == sentence
    assert "## What training did" in render_markdown(found)
    without = inputs(training=(record("sft", probe=()),))
    assert sections(without)["training"].items[0].table.note == ""
    assert "What training did" not in render_markdown(without)


@pytest.mark.parametrize(("gain", "warned"), [(-2.9, False), (-3.1, True)])
def test_a_collapse_is_a_warning(gain, warned):
    found = [text for text in cautions(inputs(training=(record(probe=probed(gain)),)))
             if "less likely by" in text]  # fmt: skip
    assert len(found) == warned
    assert all("dpo made chosen responses less likely by 3.1 nats a token" in t for t in found)


def test_the_table_has_a_row_for_each_training_and_part():
    table = likelihoods_table([record(), record(seed=1, probe=probed(parts=("train",))),
                               record("sft", probe=())])  # fmt: skip
    assert [[cell.text for cell in row][:3] for row in table.cells] == [
        ["dpo", "32 trained on", "\u22123.00"],
        ["dpo", "32 held out", "\u22123.00"],
        ["dpo", "32 trained on", "\u22123.00"],
    ]
    last = dict(zip(table.heads, (cell.text for cell in table.cells[0]), strict=True))
    assert last["Chosen fell, %"] == "75.0"
    assert (last["Neither, at the start, %"], last["Neither, %"]) == ("60.0", "93.3")


def test_the_figures_points_are_means_over_seeds():
    two = [record(probe=probed(-0.2)), record(seed=1, probe=probed(-0.4))]
    rows = curves([*two, record("sft", probe=())])
    found = {(r["pairs_of"], r["quantity"], r["step"]): r for r in rows}
    last = found["held_out", "chosen_gain", 3]
    assert last["value"] == pytest.approx(-0.3)
    assert (last["seeds"], last["share"], last["pairs"]) == (2, 100, 32)
    assert found["train", "rejected_gain", 3]["value"] == pytest.approx(-0.6)
    assert found["train", "chosen_fell", 1]["value"] == pytest.approx(75)
    assert ("train", "chosen_fell", 0) not in found
    assert found["train", "unseen_mass", 0]["value"] == pytest.approx(60)


def test_a_figure_without_unseen_mass_says_so():
    lines = tuple(row | {"unseen_mass": None} for row in probed())
    plot = draw(data(training=[*trainings(), record(probe=lines)][-1:]))
    assert {row["quantity"] for row in plot.data} == {"chosen_gain", "rejected_gain", "chosen_fell"}
    assert any(text.get_text() == "not measured" for text in plot.figure.axes[3].texts)
