"""Tables: machines read the CSV, people the Markdown, and neither runs anything."""

import csv
import io
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.analysis.results import Thresholds
from alignstudy.data.ratings.folder import JUDGE, read_ratings
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import ScoredResponse
from alignstudy.report.tables.table import Table
from alignstudy.report.tables.write import csv_text, markdown_file, tables_of, write_tables

PAPER = Thresholds(values={"harmless": -3.0, "helpful": -2.0})


@pytest.fixture(scope="module")
def published(paper_dir):
    rows = read_ratings(paper_dir / "responses")
    return Findings(analyses=(analyze_judge(rows, PAPER, judge=JUDGE, base="base", draws=200),))


def read_csv(table):
    return list(csv.DictReader(io.StringIO(csv_text(table))))


def table(*cells):
    columns = tuple(f"c{number}" for number in range(len(cells)))
    return Table.of_values("t", columns, (cells,), caption="T")


def test_metrics_start_with_model_and_rates(published):
    metrics = tables_of(published)[0]
    assert [column.name for column in metrics.in_files[:4]] == ["model", "hmr", "hpr", "cas"]
    rows = read_csv(metrics)
    found = [(r["model"], float(r["hmr"]), float(r["hpr"]), float(r["cas"])) for r in rows]
    assert found == [
        ("base", 42, 22, 32),
        ("sft", 48, 56, 52),
        ("dpo", 36, 46, 41),
        ("sftdpo", 44, 66, 55),
    ]
    assert {(r["n_harmless"], r["n_helpful"]) for r in rows} == {("50", "50")}
    interval = binomtest(21, 50).proportion_ci(method="wilson")
    assert rows[0]["hmr_low"] == f"{100 * interval.low:.6f}"


def test_improvement_is_table_2(published):
    text = markdown_file(tables_of(published)[1])
    assert "| sft | 14.29 | 154.55 | 62.50 | 6.00 | 34.00 | 20.00 |" in text
    assert "| dpo | -14.29 | 109.09 | 28.13 | -6.00 | 24.00 | 9.00 |" in text
    assert "| sftdpo | 4.76 | 200.00 | 71.88 | 2.00 | 44.00 | 23.00 |" in text


def test_scores_are_the_eight_means(published):
    rows = read_csv(tables_of(published)[2])
    assert [f"{float(r['harmless']):.2f}" for r in rows] == ["-3.60", "-3.52", "-3.58", "-3.68"]
    assert [f"{float(r['helpful']):.2f}" for r in rows] == ["-2.89", "-1.32", "-2.35", "-1.15"]


def test_comparisons_hold_one_row_a_test(published):
    rows = read_csv(tables_of(published)[3])
    assert len(rows) == 30
    assert rows[0]["test"] == "exact McNemar"
    assert rows[0]["win_rate"] == "53.0"
    assert rows[0]["family"] == "rates"
    assert (rows[0]["n_needed"], rows[0]["num_clusters"]) == ("1678", "50")
    [small] = [r for r in rows if (r["metric"], r["wins"], r["losses"]) == ("hpr", "23", "1")]
    assert small["p_value"] == f"{binomtest(1, 24).pvalue:.6g}"


def test_thresholds_hold_one_row_a_model_and_threshold(published):
    tables = {table.name: table for table in tables_of(published)}
    rows = read_csv(tables["thresholds"])
    assert len(rows) == 4 * sum(len(sweep.thresholds) for sweep in published.first.sweeps)
    assert {r["leads"] for r in rows} == {"0", "1"}
    assert len(tables["threshold_pairs"].rows) == 12


def test_claims_and_their_parts_have_a_row_each(published):
    part = Verdict(claim="a is higher", verdict="too small to decide", evidence="=1+1", n_needed=7)
    whole = Verdict(claim="best", verdict="too small to decide", evidence="-", parts=(part, part))
    found = Findings(analyses=published.analyses, verdicts=(whole,))
    rows = read_csv(tables_of(found)[-1])
    assert [(r["claim"], r["part"]) for r in rows] == [("best", ""), *[("best", part.claim)] * 2]
    assert rows[1]["n_needed"] == "7"
    assert rows[1]["evidence"] == "'=1+1"


def test_with_several_judges_their_figures_stand_side_by_side(published):
    other = replace(published.first, judge="other")
    found = Findings(analyses=(published.first, other))
    [judges] = [table for table in tables_of(found) if table.name == "judges"]
    assert [row["judge"] for row in read_csv(judges)] == ["rating"] * 20 + ["other"] * 20


def test_files_are_written_as_csv_and_markdown(published, tmp_path):
    written = write_tables(published, tmp_path / "tables")
    assert {path.name for path in written} == {
        f"{name}.{ending}"
        for name in (
            "metrics",
            "ranking",
            "improvement",
            "scores",
            "comparisons",
            "omnibus",
            "thresholds",
            "threshold_pairs",
            "best",
            "lengths",
            "sensitivities",
        )
        for ending in ("csv", "md")
    }
    assert all(path.read_text(encoding="utf-8") for path in written)
    assert b"\r" not in written[0].read_bytes()


def test_an_undefined_figure_is_an_empty_cell():
    row = ScoredResponse(
        model="a",
        seed=0,
        prompt_id="1",
        axis="harmless",
        prompt="p",
        response="r",
        scores={"judge": 0.0},
    )
    found = analyze_judge([row], PAPER, judge="judge", base=None, draws=10, axes=PUBLISHED)
    metrics, improvement, *_ = tables_of(Findings(analyses=(found,)))
    assert read_csv(metrics)[0]["hpr"] == ""
    assert "| a | 100.00 | - | - |" in markdown_file(metrics)
    assert not improvement.rows
    assert csv_text(improvement).startswith("model,")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", " =1"])
def test_csv_text_is_never_a_formula(text):
    [[cell]] = list(csv.reader(io.StringIO(csv_text(table(text)))))[1:]
    assert cell.startswith("'")


def test_csv_numbers_are_never_text():
    assert csv_text(table(-14.2857142857, -3, 1e-7, None)).splitlines()[1] == "-14.285714,-3,0.0,"
    assert csv_text(table(-0.0)).splitlines()[1] == "0.0"
    tiny = Table.of_values("t", ("p_value",), ((2.98023e-06,),), caption="T")
    assert csv_text(tiny).splitlines()[1] == "2.98023e-06"


def test_csv_text_comes_back_whole():
    text = 'a, "quoted"; b'
    assert list(csv.reader(io.StringIO(csv_text(table(text)))))[1] == [text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("a\nb\x1b[31m\x00", r"a b\[U+001B\]\[31m\[U+0000\]"),
        ("![x](http://e.org/y)", r"\!\[x\](http`://`e.org/y)"),
        ("<script>", "&lt;script&gt;"),
        ("\u202eabc", r"\[U+202E\]abc"),
        ("sft_dpo", "sft_dpo"),
    ],
)
def test_markdown_cells_are_inert(text, shown):
    lines = markdown_file(table(text)).splitlines()
    assert lines[-1] == f"| {shown} |"
    assert len(lines) == 5


def test_markdown_rounds_half_away_from_zero():
    last = markdown_file(table(28.125, -28.125, -0.001, 7)).splitlines()[-1]
    assert last == "| 28.13 | -28.13 | 0.00 | 7 |"


def test_a_lone_surrogate_does_not_stop_the_files(tmp_path):
    row = ScoredResponse(
        model="\ud800",
        seed=0,
        prompt_id="1",
        axis="harmless",
        prompt="p",
        response="r",
        scores={"judge": 0.0},
    )
    found = analyze_judge([row], PAPER, judge="judge", base=None, draws=10)
    assert len(write_tables(Findings(analyses=(found,)), tmp_path)) >= 8
