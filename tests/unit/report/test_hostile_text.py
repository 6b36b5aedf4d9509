"""A corpus of hostile strings stays text: in the page, in Markdown, in CSV, in a terminal."""

import csv
import io
import json
import re

import pytest
from everywhere import MARK, everywhere, parsed
from hostile_strings import FORMULAS, HOSTILE
from markdown_it import MarkdownIt
from report_fixtures import analysed, scored
from rich.console import Console

from alignstudy.analysis.findings import Findings
from alignstudy.cli.console import safe
from alignstudy.report.figures import write_figures
from alignstudy.report.html.page import render_report
from alignstudy.report.markdown.page import render_markdown
from alignstudy.report.tables.table import Table
from alignstudy.report.tables.write import csv_text
from alignstudy.report.untrusted import inert, visible

BAD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
IDS = range(len(HOSTILE))


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return path


@pytest.fixture(scope="module")
def benign(png):
    return parsed(render_report(everywhere(png)))


def without_classes(seen):
    """Count tags; a cell of a table has a class or not by the length of its text.

    How many terms are explained depends on the words, and is left out: an `abbr` with a title.
    """
    counts = {}
    for key, amount in seen.items():
        if key in {("abbr", ("tabindex", "title")), "/abbr"}:
            continue
        name = ("td", ()) if isinstance(key, tuple) and key[0] == "td" else key
        counts[name] = counts.get(name, 0) + amount
    return counts


def test_the_corpus_is_large_and_holds_no_string_twice():
    assert len(HOSTILE) == len(set(HOSTILE)) >= 100


@pytest.mark.e2e
@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_in_html_it_adds_no_tag_no_attribute_and_no_bad_character(text, png, benign):
    html = render_report(everywhere(png, text))
    found = parsed(html)
    assert without_classes(found.seen) == without_classes(benign.seen)
    assert html.encode("utf-8").decode("utf-8") == html
    assert not BAD.search(html)
    for tag, name, value in found.values:
        assert not name.startswith("on")
        assert name != "style"
        if name in {"href", "src"}:
            assert value.startswith("#" if tag == "a" else "data:image/png;base64,")
    assert visible(text) in "".join(found.text)
    island = json.loads(found.data["script", "application/json"])
    assert island["prompts"][0]["answers"][0]["t"] == visible(text)
    assert "<" not in found.data["script", "application/json"]


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def blocks(text):
    """Return the kinds of all blocks and spans of a Markdown text, but text itself, and code."""
    kinds = []
    for token in MARKDOWN.parse(text):
        kinds.append((token.type, token.tag))
        kinds += [
            (child.type, child.tag)
            for child in token.children or ()
            if child.type not in {"text", "code_inline", "text_special"}
        ]
    return kinds


@pytest.fixture(scope="module")
def benign_blocks(png):
    return blocks(render_markdown(everywhere(png)))


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_in_markdown_it_adds_no_block_no_link_and_no_markup(text, png, benign_blocks):
    made = render_markdown(everywhere(png, text))
    assert not BAD.search(made)
    assert blocks(made) == benign_blocks
    assert made.encode("utf-8").decode("utf-8") == made


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_in_markdown_it_reads_as_it_was_written(text):
    html = MARKDOWN.render(inert(text))
    page = parsed(html)
    assert set(page.seen) <= {("p", ()), "/p", ("code", ()), "/code"}
    assert "".join(page.text).strip() == " ".join(visible(text).split())


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_what_renderers_turn_into_links_by_themselves_is_broken_up(text):
    """Bare addresses, mentions and references stand in no text outside a code span."""
    spans = [
        child.content
        for token in MARKDOWN.parse(inert(text))
        for child in token.children or ()
        if child.type in {"text", "text_special"}
    ]
    for span in spans:
        assert not re.search(r"://|\bwww\.|@|mailto:", span)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_in_csv_it_stays_one_cell_that_no_spreadsheet_runs(text):
    table = Table.of_values("t", ("model", "n"), ((text, 1), ("next", 2)), caption="t")
    written = csv_text(table)
    rows = list(csv.reader(io.StringIO(written)))
    assert [len(row) for row in rows] == [2, 2, 2]
    assert not rows[1][0].lstrip().startswith(("=", "+", "-", "@"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", written)


@pytest.mark.e2e
def test_in_the_data_of_figures_it_is_no_formula(tmp_path):
    models = ("base", *FORMULAS[:4])
    rows = scored(models)
    figures = write_figures(Findings(analyses=(analysed(rows),)), rows, (), tmp_path)
    texts = []
    for figure in figures:
        with figure.csv.open(encoding="utf-8", newline="") as file:
            texts += [cell for row in csv.reader(file) for cell in row]
    assert any(FORMULAS[0] in cell for cell in texts)
    for cell in texts:
        if cell.lstrip().startswith(("=", "+", "-", "@")):
            float(cell)


@pytest.mark.parametrize("text", HOSTILE, ids=IDS)
def test_in_a_terminal_it_prints_without_controls_or_markup(text):
    file = io.StringIO()
    Console(file=file, force_terminal=True, highlight=False, soft_wrap=True).print(safe(text))
    printed = file.getvalue()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", printed)
    printed.encode("utf-8")
    plain = "".join(character for character in text if character.isascii() and character.isalnum())
    shown = "".join(c for c in printed if c.isascii() and c.isalnum())
    assert all(c in shown for c in set(plain))


def test_the_mark_stands_in_every_kind_of_place(benign):
    """The report that the corpus goes through has all sections, else it would prove little."""
    ids = {value for tag, name, value in benign.values if tag == "section" and name == "id"}
    assert ids >= {
        "claims", "comparisons", "responses", "judges", "hygiene", "robustness", "limitations",
        "methods", "training", "data", "cost", "provenance", "gallery",
    }  # fmt: skip
    assert "".join(benign.text).count(MARK) > 150
