from dataclasses import replace

import pytest
from everywhere import everywhere, parsed, quality
from markdown_it import MarkdownIt
from report_fixtures import JUDGE, analysed, inputs, scored

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.tables.table import Cell, Column, Table, numeric
from alignstudy.report.tables.write import markdown_table
from alignstudy.report.text.answer import answer
from alignstudy.report.untrusted import inert

MARKDOWN = MarkdownIt("commonmark").enable("table")


def text_of(markdown):
    return " ".join("".join(parsed(MARKDOWN.render(markdown)).text).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everywhere(tmp_path_factory.mktemp("none") / "not-read.png")


def test_it_opens_with_the_answer():
    given = inputs(scored(n=30))
    found = answer(given.findings)
    lines = render_markdown(given).splitlines()
    assert lines[0] == "# a-study"
    assert text_of(lines[2]) == found.headline.replace("\u00a0", " ")
    said = text_of(render_markdown(given))
    for sentence in found.sentences:
        assert sentence.replace("\u00a0", " ") in said


def test_it_holds_no_prompt_and_no_response():
    rows = scored(text="a text that nobody wrote twice")
    assert "nobody wrote" not in render_markdown(inputs(rows))


def test_no_figure_is_read(whole):
    assert render_markdown(whole)


def test_headings_come_in_order(whole):
    titles = [line for line in render_markdown(whole).splitlines() if line.startswith("## ")]
    assert titles == [
        "## What it rests on",
        "## What would change it",
        "## Claims",
        "## Metrics",
        "## Differences between models",
        "## What the judges are worth",
        "## Did the reward mean anything?",
        "## Form of the responses",
        "## What training did",
        "## Warnings",
        "## What these figures can't say",
    ]


def test_sections_without_anything_are_left_out():
    made = render_markdown(inputs())
    assert "## Claims" not in made
    assert "## What the judges are worth" not in made


def test_tables_are_tables_of_the_numbers_in_the_analysis():
    given = inputs()
    html = MARKDOWN.render(render_markdown(given))
    for model in given.findings.first.models:
        value, low, high = (
            f"{x:.1f}"
            for x in (
                model.estimates["hpr"].value,
                model.estimates["hpr"].low,
                model.estimates["hpr"].high,
            )
        )
        assert f">{value} [{low}, {high}]</td>" in html


def test_every_row_has_as_many_cells_as_its_head(whole):
    for block in render_markdown(whole).split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in rows}) <= 1


def test_a_partial_run_and_a_judge_below_its_floor_are_stamped():
    findings = Findings(
        analyses=(analysed(scored()),), qualities=(quality(JUDGE, below=("helpful",)),)
    )
    made = render_markdown(inputs(findings=findings, partial="half of it"))
    assert made.splitlines()[2] == "> **Partial: half of it. Figures are of what is there.**"
    assert "On helpful prompts nothing can be said" in made
    assert "HpR (judge below floor)" in made


def test_verdicts_are_set_off_and_name_what_they_would_need():
    verdict = Verdict(claim="a > b", verdict="too small to decide", evidence="e", n_needed=1087)
    findings = Findings(analyses=(analysed(scored()),), verdicts=(verdict,))
    assert "| a &gt; b | **too small to decide** | e | \u2013 | 1,087 |" in render_markdown(
        inputs(findings=findings)
    )


def test_the_same_inputs_give_the_same_text_and_one_last_newline():
    made = render_markdown(inputs())
    assert made == render_markdown(inputs())
    assert made.endswith("\n")
    assert not made.endswith("\n\n")


class TestInert:
    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("sft_dpo", "sft_dpo"),
            ("_x_", r"\_x\_"),
            ("55.0 [45.0, \u22121.5]", "55.0 [45.0, \u22121.5]"),
            ("[1, 2](x)", r"\[1, 2\](x)"),
            ("a | b", r"a \| b"),
            ("+3.0 points", "+3.0 points"),
            ("- item", r"\- item"),
            ("1. item", r"1\. item"),
            ("a\nb", "a b"),
            ("http://x", "http`://`x"),
            ("\x1b[0m", r"\[U+001B\]\[0m"),
        ],
    )
    def test_writes_what_reads_the_same(self, text, written):
        assert inert(text) == written

    def test_a_cell_with_a_pipe_stays_one_cell(self):
        columns = (Column("a|b", lambda row: Cell(row, "|")), numeric("n", len))
        table = Table(columns=columns, rows=("x|y",))
        html = MARKDOWN.render("\n".join(markdown_table(table)))
        assert html.count("<td") == 2
        assert "x|y |" in html
        assert 'style="text-align:right"' in html


def test_two_judges_are_both_in_the_answer():
    rows = [replace(row, scores=row.scores | {"second": 0.0}) for row in scored()]
    both = (analysed(rows), analysed(rows, judge="second"))
    assert "By the judge second all models" in render_markdown(
        inputs(rows, findings=Findings(analyses=both))
    )
