"""The report in a real browser: filters, search, links, blur, speed, hostile text, no request."""

import os
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from everywhere import everywhere
from hostile_strings import HOSTILE
from report_fixtures import JUDGE, analysed, inputs

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.metrics.axes import axis_named
from alignstudy.records import ScoredResponse
from alignstudy.report.html.page import render_report

AXES = ("harmless", "helpful")

pytestmark = pytest.mark.e2e

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
MODELS = ("base", "sft", "dpo", "sft_dpo")
WORDS = ("the", "a", "of", "to", "and", "in", "that", "is", "was", "for", "on", "with", "as", "by")
NO_PICTURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM} (set CHROMIUM)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A page with all that it did which a report must not do."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(**options)
        self.requests, self.dialogs, self.problems = [], [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: (self.dialogs.append(dialog), dialog.dismiss()))
        self.page.on("console", lambda said: self.problems.append(said.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def open(self, path, fragment="", *, browse=True):
        """Open a report, and in it the fold of all responses."""
        self.page.goto("about:blank")
        self.page.goto(f"file://{path}{fragment}")
        if browse:
            self.page.locator("#browse").evaluate("fold => { fold.open = true; }")
        return self.page

    def names(self):
        return self.page.locator("#cards h3").all_text_contents()

    def found(self):
        return self.page.locator("#found").inner_text()

    def choose(self, **choices):
        for name, value in choices.items():
            self.page.locator(f"#{name}").select_option(value)


@pytest.fixture
def watched(browser):
    made = Watched(browser, viewport={"width": 1280, "height": 900})
    yield made
    outside = [url for url in made.requests if not url.startswith(("file:", "data:", "about:"))]
    made.page.close()
    assert not outside
    assert not made.dialogs
    assert not made.problems


def written(rng, num_words):
    return " ".join(rng.choice(WORDS) for _ in range(num_words))


def responses(num_prompts, *, num_words=12):
    """Rows with two judges; base scores lowest; every fifth of base is cut at the limit."""
    rng = random.Random(1)
    rows = []
    for place, model in enumerate(MODELS):
        for axis in AXES:
            for i in range(num_prompts):
                text = written(rng, num_words)
                rows.append(
                    ScoredResponse(
                        model=model, seed=0, prompt_id=f"{axis}-{i}", axis=axis,
                        prompt=f"Human: question {i} of {axis_named(axis).prompts}\n\nAssistant:",
                        response=f"reply{i}x {text}",
                        raw_response=f"reply{i}x {text}" + ("\n\nHuman: more" if i == 3 else ""),
                        scores={JUDGE: place - 1.5 + rng.gauss(0, 1), "length": rng.gauss(0, 1)},
                        num_tokens=num_words,
                        stop_reason="cap" if model == "base" and i % 5 == 0 else "eos",
                    )
                )  # fmt: skip
    return rows


def report(path, rows, **changes):
    analyses = tuple(analysed(rows, judge=judge) for judge in (JUDGE, "length"))
    verdict = Verdict(
        claim="sft is better than base", verdict="supported", evidence="e",
        prompts=("helpful-13", "harmless-2"),
    )  # fmt: skip
    findings = Findings(analyses=analyses, verdicts=(verdict,))
    path.write_text(render_report(inputs(rows, findings=findings, **changes)), "utf-8")
    return path


@pytest.fixture(scope="module")
def rows():
    return responses(25)


@pytest.fixture(scope="module")
def small(tmp_path_factory, rows):
    return report(tmp_path_factory.mktemp("report") / "report.html", rows)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "large.html"
    return report(path, responses(625, num_words=60))


def passes(row):
    return row.scores[JUDGE] > (-1.0 if row.axis == "harmless" else 0.0)


def prompts_where(rows, holds):
    by_prompt = {}
    for row in rows:
        by_prompt.setdefault((row.axis, row.prompt_id), {})[row.model] = row
    return sum(1 for found in by_prompt.values() if holds(found))


class TestFilters:
    def test_axis(self, watched, small):
        watched.open(small)
        watched.choose(axis="helpful")
        assert watched.found() == "25 of 50 prompts"
        assert all(name.startswith("Helpful") for name in watched.names())

    def test_discordant_pair(self, watched, small, rows):
        watched.open(small)
        watched.choose(a="0", b="3", show="pair")
        expected = prompts_where(rows, lambda p: passes(p["base"]) != passes(p["sft_dpo"]))
        assert 0 < expected < 50
        assert watched.found() == f"{expected} of 50 prompts"

    def test_judges_disagree(self, watched, small, rows):
        watched.open(small)
        watched.choose(show="judges")

        def differ(found):
            return any(
                passes(row) != (row.scores["length"] > (-1.0 if row.axis == "harmless" else 0.0))
                for row in found.values()
            )

        assert watched.found() == f"{prompts_where(rows, differ)} of 50 prompts"

    def test_flag(self, watched, small):
        watched.open(small)
        watched.choose(flag="cap")
        assert watched.found() == "10 of 50 prompts"

    def test_near_the_threshold_says_how_near(self, watched, small, rows):
        watched.open(small)
        watched.choose(show="near")
        assert 0 < int(watched.found().split()[0]) < 50
        assert "Near: within 0.25" in watched.page.locator("#near-note").inner_text()

    def test_text_beyond_what_was_judged(self, watched, small):
        page = watched.open(small)
        watched.choose(show="beyond", axis="helpful")
        assert watched.names() == ["Helpful 4"]
        assert "the judged text ends here" in page.locator("#cards").text_content()

    def test_largest_difference_comes_first(self, watched, small, rows):
        watched.open(small)
        watched.choose(a="0", b="3", order="gap")
        scores = {}
        for row in rows:
            scores.setdefault((row.axis, row.prompt_id), {})[row.model] = row.scores[JUDGE]
        gaps = {key: abs(found["base"] - found["sft_dpo"]) for key, found in scores.items()}
        axis, name = max(gaps, key=gaps.get)
        number = int(name.split("-")[1]) + 1
        assert watched.names()[0] == f"{axis_named(axis).prompts.capitalize()} {number}"

    def test_search_finds_words_of_responses_in_any_case(self, watched, small):
        page = watched.open(small)
        page.locator("#search").fill("REPLY17X")
        page.locator("#found", has_text=re.compile("^2 of")).wait_for()
        assert watched.names() == ["Harmful 18", "Helpful 18"]

    def test_hiding_a_model_takes_its_column_away(self, watched, small):
        page = watched.open(small)
        assert page.locator("#cards article").first.locator("h4").count() == 4
        page.locator("#columns input").nth(2).uncheck()
        assert page.locator("#cards article").first.locator("h4").all_text_contents() == [
            "base", "sft", "sft_dpo",
        ]  # fmt: skip

    def test_reset_undoes_everything(self, watched, small):
        page = watched.open(small)
        watched.choose(axis="helpful", flag="cap")
        page.locator("#columns input").nth(2).uncheck()
        page.locator("#reset").click()
        assert watched.found() == "50 of 50 prompts"
        assert page.locator("#cards article").first.locator("h4").count() == 4


class TestLinks:
    def test_a_view_can_be_shared_by_its_address(self, watched, small):
        page = watched.open(small)
        watched.choose(axis="helpful", a="1", b="3", show="pair", order="gap")
        page.locator("#search").fill("the")
        page.wait_for_url("**q=the**")  # not by a script that waits: the report forbids `eval`
        names, found, fragment = watched.names(), watched.found(), page.evaluate("location.hash")
        watched.open(small, fragment)
        assert (watched.names(), watched.found()) == (names, found)
        assert page.locator("#a").input_value() == "1"

    def test_a_sample_opens_by_its_link_whatever_page_it_is_on(self, watched, small):
        page = watched.open(small, "#sample=helpful/helpful-21")
        assert page.locator(".card.target h3").text_content() == "Helpful 22"
        assert page.locator(".card.target").evaluate("box => box === document.activeElement")
        top = page.locator(".card.target").evaluate("box => box.getBoundingClientRect().top")
        assert 0 <= top < 900

    def test_a_claim_leads_to_the_prompt_that_decides(self, watched, small):
        page = watched.open(small, browse=False)
        page.locator("#claims a", has_text="Helpful 14").first.click()
        page.wait_for_selector(".card.target")
        assert page.locator(".card.target h3").text_content() == "Helpful 14"

    def test_a_comparison_leads_to_its_discordant_prompts(self, watched, small, rows):
        page = watched.open(small, browse=False)
        page.locator("#comparisons summary", has_text="All comparisons of rates").click()
        page.locator("#comparisons tr", has_text="HpR").locator("a").first.click()
        page.wait_for_url(re.compile(r"#samples\?"))
        assert page.locator("#show").input_value() == "pair"
        assert page.locator("#axis").input_value() == "helpful"
        shown = [page.locator(f"#{box} option:checked").inner_text() for box in ("a", "b")]
        assert sorted(shown) == ["base", "sft"]

    def test_a_link_to_a_prompt_that_is_not_there_says_so(self, watched, small):
        watched.open(small, "#sample=helpful/nothing%zz")
        assert "not among the 50" in watched.found()

    @pytest.mark.parametrize(
        "fragment",
        ["#samples?a=nobody&show=__proto__&page=-3", "#samples?hide=x,99&q=%", "#samples?&&==",
         "#samples?show=constructor&order=toString&page=1e9", "#sample=", "#samples"],
    )  # fmt: skip
    def test_an_address_that_makes_no_sense_breaks_nothing(self, watched, small, fragment):
        watched.open(small, fragment)
        assert watched.page.locator("#viewer").is_visible()


class TestBlur:
    def test_edge_case_29_harmful_text_is_blurred_until_asked_for(self, watched, small):
        page = watched.open(small)
        card = page.locator("#cards article").first
        veiled = card.locator(".veiled").first
        assert card.locator("h3").text_content().startswith("Harmful")
        assert veiled.evaluate("box => getComputedStyle(box).filter") == "blur(7px)"
        assert veiled.evaluate("box => box.inert")
        assert card.locator(".badge").first.is_visible()
        card.locator("button.show").click()
        assert veiled.evaluate("box => getComputedStyle(box).filter") == "none"
        assert not veiled.evaluate("box => box.inert")
        assert card.locator("button.show").count() == 0
        others = page.locator("#cards article").nth(1).locator(".veiled").first
        assert others.evaluate("box => getComputedStyle(box).filter") == "blur(7px)"

    def test_a_link_to_a_harmful_sample_does_not_unblur_it(self, watched, small):
        page = watched.open(small, "#sample=harmless/harmless-2")
        assert page.locator(".card.target .veiled").first.evaluate("box => box.inert")

    def test_all_can_be_shown_at_once(self, watched, small):
        page = watched.open(small)
        page.locator("#reveal").check()
        assert page.locator(".blurred").count() == 0

    def test_helpful_text_is_not_blurred(self, watched, small):
        watched.open(small)
        watched.choose(axis="helpful")
        assert watched.page.locator(".blurred").count() == 0


class TestKeyboard:
    def test_j_and_k_go_from_prompt_to_prompt_and_over_pages(self, watched, small):
        page = watched.open(small, "#samples?axis=helpful")
        focused = "document.activeElement.querySelector('h3')?.textContent"
        for _ in range(11):
            page.keyboard.press("j")
        assert page.evaluate(focused) == "Helpful 11"
        page.keyboard.press("k")
        assert page.evaluate(focused) == "Helpful 10"

    def test_slash_searches_and_letters_typed_there_move_nothing(self, watched, small):
        page = watched.open(small, "#samples")
        page.keyboard.press("/")
        page.keyboard.type("jk/")
        assert page.locator("#search").input_value() == "jk/"

    def test_everything_can_be_reached_by_tab_and_shows_its_focus(self, watched, small):
        page = watched.open(small, "#samples?axis=helpful")
        page.locator("#axis").focus()
        seen = []
        for _ in range(16):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.type"))
            width = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
            assert width == "3px"
        order = ["show", "flag", "a", "b", "order", "search", "checkbox", "reveal", "reset"]
        assert [name for name in dict.fromkeys(seen) if name in order] == order

    def test_the_first_tab_skips_to_the_answer(self, watched, small):
        page = watched.open(small, browse=False)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#answer"

    def test_terms_are_explained_at_the_focus(self, watched, small):
        page = watched.open(small, browse=False)
        page.locator(".headline abbr").first.focus()
        assert page.evaluate("document.activeElement.textContent") == "CAS"
        shown = "getComputedStyle(document.activeElement, '::after').content"
        assert "Mean share of answers that pass" in page.evaluate(shown)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.title") != ""
        assert page.locator(".headline abbr").first.evaluate(
            "term => getComputedStyle(term, '::after').content"
        ) in {"none", "normal"}

    def test_a_link_opens_the_fold_it_leads_into(self, watched, small):
        page = watched.open(small, browse=False)
        assert not page.locator("#methods details").evaluate("fold => fold.open")
        page.locator(".contents a", has_text="How it was done").click()
        page.wait_for_selector("#methods details[open]")


class TestLayout:
    @pytest.mark.parametrize("width", [390, 768, 1280])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_the_page_never_scrolls_sideways(self, browser, small, width, scheme):
        seen = Watched(browser, viewport={"width": width, "height": 844}, color_scheme=scheme)
        page = seen.open(small)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        # An explanation at the edge of the page must not widen it.
        for term in page.locator("main abbr:visible").all():
            term.focus()
            assert page.evaluate("document.documentElement.scrollWidth") == width
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != (
            "rgb(255, 255, 255)"
        )
        assert dark == (scheme == "dark")
        page.close()

    def test_wide_tables_scroll_within_themselves(self, browser, small):
        seen = Watched(browser, viewport={"width": 390, "height": 844})
        page = seen.open(small)
        box = page.locator("#comparisons .scroll").first
        assert box.evaluate("box => box.scrollWidth > box.clientWidth")
        page.close()

    def test_paper_has_no_controls_and_only_the_folds_that_were_opened(self, watched, small):
        page = watched.open(small, browse=False)
        opened = page.locator("#comparisons > details").first
        opened.locator("summary").click()
        page.emulate_media(media="print")
        for hidden in (".contents", "#controls", ".pager", "#methods details", "#browse"):
            assert not page.locator(hidden).first.is_visible()
        assert opened.locator("table").is_visible()
        assert page.locator(".headline").is_visible()


class TestFiveThousandResponses:
    def test_it_opens_within_three_seconds(self, watched, large):
        started = time.perf_counter()
        watched.open(large)
        watched.page.wait_for_selector("#cards article")
        assert time.perf_counter() - started < 3
        assert watched.found() == "1250 of 1250 prompts"
        assert watched.page.locator("#cards article").count() == 10

    def test_filters_answer_within_three_tenths_of_a_second(self, watched, large):
        page = watched.open(large)
        for name, value in (
            ("show", "pair"), ("order", "gap"), ("flag", "cap"), ("show", "near"),
            ("show", "judges"), ("axis", "helpful"),
        ):  # fmt: skip
            assert fastest(page, FILTER, [name, value]) < 300

    def test_a_keystroke_in_the_search_costs_less_than_a_tenth(self, watched, large):
        page = watched.open(large)
        for words in ("r", "re", "reply", "reply61", "reply612x", "the of", "zzz"):
            assert fastest(page, SEARCH, words) < 100


FILTER = """([id, value]) => {
  const box = document.getElementById(id);
  box.value = value;
  const start = performance.now();
  box.dispatchEvent(new Event("change"));
  void document.body.offsetHeight;
  return performance.now() - start;
}"""
SEARCH = """async (words) => {
  const box = document.getElementById("search");
  box.value = words;
  const seen = new Promise((done) => new MutationObserver((_, self) => {
    self.disconnect();
    done();
  }).observe(document.getElementById("found"), { childList: true }));
  const start = performance.now();
  box.dispatchEvent(new Event("input"));
  await seen;
  void document.body.offsetHeight;
  return performance.now() - start - 60;
}"""
"""The script waits 60 ms for the next keystroke before it searches."""


def fastest(page, script, argument):
    """Return the least of three times in milliseconds: what else the machine does is not meant."""
    return min(page.evaluate(script, argument) for _ in range(3))


def test_hostile_text_runs_nothing_adds_nothing_and_asks_for_nothing(watched, tmp_path):
    """All strings at once: as models, prompts, responses, claims, warnings, names of figures."""
    picture = tmp_path / "a.png"
    picture.write_bytes(NO_PICTURE)
    count = "Object.fromEntries([...document.querySelectorAll('*')].reduce((m, e) =>"
    count += " m.set(e.localName, (m.get(e.localName) || 0) + 1), new Map()))"
    counts = []
    for name, text in (("benign", "b"), ("hostile", "")):
        given = everywhere(picture, text or "".join(HOSTILE))
        strings = HOSTILE if not text else tuple(f"b{at}" for at in range(len(HOSTILE)))
        rows = [
            replace(given.responses[0], prompt_id=string, response=string, prompt=string,
                    axis="helpful", raw_response=None)
            for string in strings
        ]  # fmt: skip
        rows += [row for row in given.responses if row.axis == "harmless"][:1]
        path = tmp_path / f"{name}.html"
        path.write_text(render_report(replace(given, responses=tuple(rows))), "utf-8")
        page = watched.open(path)
        page.wait_for_selector("#cards article")
        counts.append(page.evaluate(f"({count})"))
        page.locator("#reveal").check()
        while page.locator("#next").is_enabled():
            page.locator("#next").click()
        names = page.evaluate("[...document.querySelectorAll('#cards *')].map((e) => e.localName)")
        assert set(names) <= {"article", "header", "h3", "h4", "span", "a", "div", "p", "b",
                              "section", "details", "summary"}  # fmt: skip
    benign, hostile = ({k: v for k, v in found.items() if k not in CARDS} for found in counts)
    assert benign == hostile
    outside = watched.page.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
    assert all(name.startswith("data:") for name in outside)


CARDS = {"p", "b", "span", "div", "details", "summary", "abbr"}
"""Elements that the viewer makes as many of as a text has turns; and terms, by the words."""


def test_a_prompt_with_a_hostile_id_can_be_linked_to(watched, tmp_path, rows):
    odd = "a/b?c#d&e=%20<x>\u202e\x00"
    changed = [replace(r, prompt_id=odd) if r.prompt_id == "helpful-7" else r for r in rows]
    path = report(tmp_path / "odd.html", changed)
    shown = odd.replace("\u202e", "[U+202E]").replace("\x00", "[U+0000]")
    page = watched.open(path, f"#sample=helpful/{quote(shown, safe='')}")
    assert page.locator(".card.target h3").text_content() == "Helpful 8"
