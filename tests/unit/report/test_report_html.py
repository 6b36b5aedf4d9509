import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from everywhere import everywhere, parsed, quality
from report_fixtures import JUDGE, analysed, inputs, scored

import alignstudy.report.html
from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.records.evidence import TrainingRecord
from alignstudy.report.html.page import render_report
from alignstudy.report.html.sections import FOLDED, TOP
from alignstudy.report.html.viewer import viewer_data
from alignstudy.report.text.glossary import GLOSSARY, Explained, glossary_page
from alignstudy.report.untrusted import visible


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return path


@pytest.fixture(scope="module")
def benign(png):
    return parsed(render_report(everywhere(png)))


def test_style_and_script_are_admitted_by_their_hashes_and_nothing_else_is(benign):
    policy = next(v for t, n, v in benign.values if t == "meta" and n == "content" and "src" in v)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for rule, key in (("style-src", ("style", None)), ("script-src", ("script", None))):
        digest = base64.b64encode(hashlib.sha256(benign.data[key].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_style_and_script_are_the_files_of_the_package(benign):
    folder = Path(alignstudy.report.html.__file__).parent / "templates"
    assert benign.data["style", None] == (folder / "report.css").read_text("utf-8").rstrip("\n")
    assert benign.data["script", None] == (folder / "viewer.js").read_text("utf-8").rstrip("\n")


def test_nothing_outside_the_file_is_asked_for():
    html = render_report(inputs())
    assert not re.search(r"https?://|url\(|@import", html)


def test_templates_and_code_know_no_way_round_the_escaping():
    folder = Path(alignstudy.report.html.__file__).parents[1]
    banned = ("|safe", "| safe", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
              "Markup(", "autoescape false", "eval(", "new Function")  # fmt: skip
    for path in [
        path for path in folder.rglob("*") if path.suffix in {".py", ".html", ".css", ".js"}
    ]:
        text = path.read_text("utf-8")
        assert not [word for word in banned if word in text], path.name
        assert "autoescape=False" not in text


def test_the_same_inputs_give_the_same_report():
    assert render_report(inputs()) == render_report(inputs())


def sections_of(html):
    return re.findall(r'<section id="([^"]+)"', html)


def test_sections_come_in_the_order_that_readers_ask_questions(png):
    assert sections_of(render_report(everywhere(png))) == [
        "answer", "claims", "comparisons", "responses", "judges", "rewards", "hygiene",
        "robustness", "limitations", "methods", "training", "data", "cost", "provenance", "gallery",
    ]  # fmt: skip


def test_sections_without_anything_in_them_are_left_out():
    html = render_report(inputs())
    there = sections_of(html)
    assert there[:3] == ["answer", "comparisons", "responses"]
    for name in ("claims", "judges", "training", "data", "cost", "provenance", "gallery"):
        assert name not in there
        assert f'href="#{name}"' not in html


def test_figures_stand_in_the_sections_they_belong_to(png):
    html = render_report(everywhere(png))
    for figure, section in (
        ("rates", "answer"),
        ("differences", "comparisons"),
        ("tradeoff", "comparisons"),
        ("hygiene", "hygiene"),
        ("divergence", "robustness"),
    ):
        part = html[html.index(f'<section id="{section}"') :].split("</section>", 1)[0]
        assert f'<figure id="figure-{figure}"' in part, figure
    gallery = html[html.index('<section id="gallery"') :].split("</section>", 1)[0]
    assert gallery.count("<figure") == 1


class TestStamps:
    def test_a_run_that_is_not_whole_says_so_before_everything_else(self):
        html = render_report(inputs(partial="2 of 5 models are missing"))
        assert html.index("Partial: 2 of 5 models are missing.") < html.index('id="answer"')
        assert "Partial" not in render_report(inputs())

    def test_a_judge_below_its_floor_is_stamped_on_the_axis_it_fails_and_no_other(self):
        findings = Findings(
            analyses=(analysed(scored()),), qualities=(quality(JUDGE, below=("harmless",)),)
        )
        html = render_report(inputs(findings=findings))
        assert "HmR (judge below floor)" in html
        assert "CAS (judge below floor)" in html
        assert "HpR (judge below floor)" not in html
        part = html[html.index('<section id="comparisons"') :].split("</section>", 1)[0]
        assert 'class="stamp"' in part

    def test_a_judge_above_its_floor_is_not_stamped(self):
        findings = Findings(analyses=(analysed(scored()),), qualities=(quality(JUDGE),))
        html = render_report(inputs(findings=findings))
        assert 'class="stamp"' not in html
        assert "above floor" in html


def test_claims_lead_to_the_prompts_that_decide():
    verdict = Verdict(
        claim="sft > base", verdict="supported", evidence="e", prompts=("helpful-3", "gone")
    )
    findings = Findings(analyses=(analysed(scored()),), verdicts=(verdict,))
    html = render_report(inputs(findings=findings))
    assert '<a class="to" href="#sample=helpful/helpful-3">Helpful 4</a>' in html
    assert "gone" not in html
    assert '<span class="verdict good">supported</span>' in html


def test_every_entry_of_the_contents_leads_somewhere():
    for html in (render_report(inputs()), render_report(inputs(settings={"seeds": [0]}))):
        found = parsed(html)
        ids = {value for _, name, value in found.values if name == "id"}
        links = {v[1:] for t, n, v in found.values if t == "a" and n == "href"}
        assert {link for link in links if not link.startswith("sample")} <= ids


def test_ids_are_unique(png):
    found = parsed(render_report(everywhere(png, "x")))
    ids = [value for _, name, value in found.values if name == "id"]
    assert len(ids) == len(set(ids))


def test_pictures_are_embedded_and_described(png):
    found = parsed(render_report(everywhere(png, "a title")))
    values = {name: value for tag, name, value in found.values if tag == "img"}
    assert values["alt"] == "a title. a title"
    picture = values["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(picture) == png.read_bytes()


def test_rates_of_the_table_are_those_of_the_analysis():
    given = inputs()
    text = " ".join("".join(parsed(render_report(given)).text).split())
    for model in given.analyses[0].models:
        assert f"{model.model} {model.estimates['hmr'].value:.1f}[" in text


def test_a_constant_judge_has_no_difference_in_its_report():
    text = "".join(parsed(render_report(inputs(scored(score=0.0)))).text)
    assert "nothing tells them apart here" in text
    assert "the judge tells no response from another" in text


def test_long_tables_are_folded():
    html = render_report(inputs(scored(("base", "a", "b", "c", "d"))))
    assert "<summary>All comparisons of rates (30 rows)</summary>" in html
    many = scored(("base", *"abcdef"), n=10)
    html = render_report(inputs(many))
    part = html[html.index("Models compared in") :].split("</table>", 1)[0]
    assert part.count("<tr>") == 1 + TOP
    assert "(21 rows)</summary>" in html


def test_without_javascript_prompts_are_still_there():
    html = render_report(inputs())
    fallback = html[html.index("<noscript>") : html.index("</noscript>")]
    assert "first 20 of 24 prompts" in fallback
    assert "answer 0 of sft" in fallback


class TestViewer:
    def test_holds_every_prompt_with_every_response(self):
        rows = scored(("base", "sft", "dpo"), n=11)
        data = viewer_data(rows, [analysed(rows)])
        assert data["columns"] == ["base", "sft", "dpo"]
        assert len(data["prompts"]) == 22
        assert all([a["m"] for a in p["answers"]] == [0, 1, 2] for p in data["prompts"])
        assert [p["name"] for p in data["prompts"]][:2] == ["Harmful 1", "Harmful 2"]

    def test_labels_say_what_the_rates_count(self):
        rows = scored()
        analysis = analysed(rows)
        data = viewer_data(rows, [analysis])
        labels = [
            answer["l"][0]
            for prompt in data["prompts"]
            if prompt["axis"] == "helpful"
            for answer in prompt["answers"]
            if answer["m"] == 1
        ]
        share = 100 * labels.count("helpful") / len(labels)
        assert share == pytest.approx(analysis.models[1].estimates["hpr"].value)

    def test_seeds_are_columns_where_there_are_several(self):
        rows = scored(seeds=(0, 1))
        columns = viewer_data(rows, [analysed(rows)])["columns"]
        assert columns == ["base, seed 0", "base, seed 1", "sft, seed 0", "sft, seed 1"]

    def test_a_missing_score_stays_missing(self):
        rows = scored()
        rows[0] = replace(rows[0], scores={JUDGE: None})
        first = viewer_data(rows, [analysed(rows)])["prompts"][0]["answers"][0]
        assert first["s"] == [None]
        assert first["l"] == [""]

    def test_the_same_id_on_both_axes_is_two_prompts(self):
        rows = [replace(row, prompt_id=row.prompt_id.split("-")[1]) for row in scored()]
        assert len(viewer_data(rows, [analysed(rows)])["prompts"]) == 24

    def test_a_huge_set_is_cut_evenly_and_the_cut_is_said(self, monkeypatch):
        monkeypatch.setattr("alignstudy.report.html.viewer.MAX_RESPONSES", 12)
        html = render_report(inputs())
        assert "18 more prompts are in the run's responses folder" in html
        rows = scored()
        kept = viewer_data(rows, [analysed(rows)])["prompts"]
        assert [p["axis"] for p in kept] == ["harmless"] * 3 + ["helpful"] * 3

    def test_an_axis_with_few_prompts_leaves_room_to_the_other(self, monkeypatch):
        monkeypatch.setattr("alignstudy.report.html.viewer.MAX_RESPONSES", 12)
        rows = [r for r in scored() if r.axis == "helpful" or r.prompt_id == "harmless-0"]
        kept = viewer_data(rows, [analysed(rows)])["prompts"]
        assert [p["axis"] for p in kept] == ["harmless"] + ["helpful"] * 5

    def test_prompts_that_something_links_to_are_kept(self, monkeypatch):
        monkeypatch.setattr("alignstudy.report.html.viewer.MAX_RESPONSES", 12)
        rows = scored()
        kept = viewer_data(rows, [analysed(rows)], first={"helpful-11"})["prompts"]
        assert [p["id"] for p in kept if p["axis"] == "helpful"] == [
            "helpful-0", "helpful-1", "helpful-11",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("judged", "raw", "found"),
        [
            ("yes", None, {}),
            ("yes", " yes\n", {}),
            ("yes", " yes\n\nHuman: and?", {"x": "\n\nHuman: and?"}),
            ("yes", "Assistant: yes", {"w": "Assistant: yes"}),
            ("yes", "no", {"w": "no"}),
            ("", "\n\nHuman: hm", {"x": "\n\nHuman: hm"}),
        ],
    )
    def test_what_was_generated_beyond_the_judged_text_is_told_apart(self, judged, raw, found):
        rows = scored()
        rows[0] = replace(rows[0], response=judged, raw_response=raw)
        answer = viewer_data(rows, [analysed(rows)])["prompts"][0]["answers"][0]
        assert {key: answer[key] for key in ("x", "w") if key in answer} == found
        assert answer["t"] == judged

    def test_flags_are_those_of_the_table_of_hygiene(self):
        rows = scored()
        rows[0] = replace(rows[0], response=" ", stop_reason="cap")
        data = viewer_data(rows, [analysed(rows)])
        names = [flag["name"] for flag in data["flags"]]
        found = {names[place] for place in data["prompts"][0]["answers"][0]["f"]}
        assert found >= {"empty", "cap"}
        assert data["prompts"][1]["answers"][0]["f"] == []

    def test_near_is_a_quarter_of_a_unit_or_of_a_narrow_judges_spread(self):
        wide = [replace(r, scores={JUDGE: 10.0 * i}) for i, r in enumerate(scored())]
        narrow = [replace(r, scores={JUDGE: 0.2 * (i % 2)}) for i, r in enumerate(scored())]
        assert viewer_data(wide, [analysed(wide)])["near"]["harmless"] == [0.25]
        assert viewer_data(narrow, [analysed(narrow)])["near"]["harmless"] == [0.025]

    def test_remarks_of_judges_are_kept(self):
        rows = scored()
        rows[0] = replace(
            rows[0], flags={JUDGE: ("prompt_trimmed",)}, failures={JUDGE: "not finite"}
        )
        answer = viewer_data(rows, [analysed(rows)])["prompts"][0]["answers"][0]
        assert answer["j"] == [
            f"{JUDGE} read a shortened prompt",
            f"{JUDGE} gave no score: not finite",
        ]


class TestVisible:
    def test_leaves_ordinary_text_of_any_language_alone(self):
        text = "tab\tline\n\u4f60\u597d \u0645\u0631\u062d\u0628\u0627 e\u0301"
        text += " \U0001f468\u200d\U0001f469\u200d\U0001f467"
        assert visible(text) == text

    def test_writes_hidden_characters_as_their_code(self):
        assert visible("a\x00b\u202ec\ud800\r") == "a[U+0000]b[U+202E]c[U+D800][U+000D]"

    def test_windows_line_ends_are_line_ends(self):
        assert visible("a\r\nb") == "a\nb"


def test_two_judges_each_have_their_tables():
    rows = [replace(row, scores=row.scores | {"second": 0.0}) for row in scored()]
    both = (analysed(rows), analysed(rows, judge="second"))
    given = inputs(rows, findings=Findings(analyses=both))
    html = render_report(given)
    assert html.count("<summary>By the judge second</summary>") == 2
    text = "".join(parsed(html).text)
    assert "By the judge second all models have the same CAS" in text
    island = json.loads(parsed(html).data["script", "application/json"])
    assert island["judges"] == [JUDGE, "second"]
    assert all(len(a["s"]) == 2 for p in island["prompts"] for a in p["answers"])


class Shown(HTMLParser):
    """Collects what a reader sees who opens nothing: no closed fold, script, style, fallback."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self._open = [], []

    def handle_starttag(self, tag, attrs):
        if tag in {"details", "script", "style", "noscript", "summary", "title"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data):
        inside = [tag for tag in self._open if tag != "summary"]
        if not inside or (inside == ["details"] and "summary" in self._open):
            self.text.append(data)


def shown_of(html):
    parser = Shown()
    parser.feed(html)
    return "".join(parser.text)


def test_what_is_shown_leaves_out_closed_folds_and_scripts():
    html = "<p>a</p><details><summary>b</summary><p>c</p></details><script>d</script>e"
    assert shown_of(html) == "abe"


class TestReadInFiveMinutes:
    @pytest.fixture(scope="class")
    def large(self, png):
        """Four models, two judges, claims with parts, every figure."""
        rows = [
            replace(row, scores=row.scores | {"second": row.scores[JUDGE]})
            for row in scored(("base", "sft", "dpo", "sft_dpo"), n=40)
        ]
        part = Verdict(claim="a part", verdict="too small to decide", evidence="why; " * 30)
        verdicts = tuple(
            Verdict(claim=f"sft is better than base, {at}", verdict="supported",
                    evidence="+2.0 points [1.0, 3.0]; " * 9, parts=(part,) * 4)
            for at in range(6)
        )  # fmt: skip
        findings = Findings(
            analyses=(analysed(rows), analysed(rows, judge="second")),
            verdicts=verdicts,
            qualities=(quality(JUDGE), quality("second")),
        )
        given = everywhere(png, "a sentence of some words")
        return render_report(replace(given, findings=findings, responses=tuple(rows)))

    def test_a_reader_who_opens_nothing_reads_at_most_2_500_words(self, large):
        assert 500 < len(shown_of(large).split()) <= 2_500

    def test_claims_comparisons_judges_and_hygiene_are_not_folded(self, large):
        text = shown_of(large)
        for title in (
            "Claims that were stated, and what the data say",
            "Models compared in mean share of answers that pass (CAS)",
            "How often each judge picks the preferred answer",
            "Shares of responses that are not well-formed",
        ):
            assert title in text

    def test_provenance_cost_audit_and_methods_are_folded_whole(self, large):
        for name in FOLDED:
            part = large[large.index(f'<section id="{name}"') :].split("</section>", 1)[0]
            assert part.split("\n", 1)[1].strip().startswith("<details>")
            assert part.strip().endswith("</details>")
        assert "benignmark" not in shown_of(large)

    def test_the_first_screen_says_what_the_answer_rests_on_and_what_would_change_it(self, large):
        answer = large[large.index('<section id="answer"') :].split("</section>", 1)[0]
        order = ('class="headline"', "<figure", "What it rests on", "What would change it")
        places = [answer.index(mark) for mark in order]
        assert places == sorted(places)

    def test_the_first_prompt_of_an_unveiled_axis_is_shown_and_no_veiled_one(self, large):
        text = shown_of(large)
        assert "answer 0 of sft_dpo" in text
        assert "Helpful 1" in text
        assert "Harmful 1" not in text


class TestTermsAreExplainedWhereTheyStand:
    def abbreviations(self, html, section):
        part = html[html.index(f'<section id="{section}"') :].split("</section>", 1)[0]
        return re.findall(r'<abbr tabindex="0" title="([^"]+)">([^<]+)</abbr>', part)

    def test_every_section_explains_its_own(self):
        html = render_report(inputs())
        for section in ("answer", "comparisons"):
            found = {word: meaning for meaning, word in self.abbreviations(html, section)}
            assert found["CAS"] == GLOSSARY["CAS"]
        assert "Holm" in {word for _, word in self.abbreviations(html, "comparisons")}

    def test_once_a_section(self):
        words = [word for _, word in self.abbreviations(render_report(inputs()), "comparisons")]
        assert len(words) == len(set(words))

    def test_the_page_of_the_glossary_is_made_of_the_same_words(self):
        page = Path(__file__).parents[3] / "docs" / "glossary.md"
        assert page.read_text("utf-8") == glossary_page()

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("HmR", ["HmR"]),
            ("hmr of base-x and databases", []),
            ("p (Holm), and p again", ["p", "Holm"]),
            ("Two judges, one margin", ["judges", "margin"]),
            ("no difference of interest shown", ["no difference of interest shown"]),
            ("", []),
        ],
    )
    def test_terms_are_whole_words(self, text, found):
        pieces = Explained()(text)
        assert "".join(piece.text for piece in pieces) == text
        assert [piece.text for piece in pieces if piece.meaning] == found


@pytest.mark.parametrize("axis", ["harmless", "helpful"])
def test_a_study_of_one_axis_has_no_dead_column(axis):
    rows = [row for row in scored() if row.axis == axis]
    html = render_report(inputs(rows))
    assert "<small>not measured" not in html
    other = {"harmless": "HpR", "helpful": "HmR"}[axis]
    assert not re.search(rf"\b({other}|CAS)\b", shown_of(html))


def test_colours_mean_direction():
    html = render_report(inputs(scored(("base", "sft", "low"), n=30)))
    assert '<span class="verdict good">higher</span>' in html
    turned = analysed(scored(("base", "sft"), n=30), base="sft")
    html = render_report(inputs(scored(n=30), findings=Findings(analyses=(turned,))))
    assert '<span class="verdict bad">lower</span>' in html
    assert ">real<" not in html


def test_no_key_of_a_record_is_shown_as_it_is(png):
    counts = {"rows": 7, "too_long": 2, "truncated": 0, "same_when_cut": 1}
    record = TrainingRecord(
        stage="train/dpo", recipe="dpo", method="dpo", seed=0, steps=1, epochs=1.0, num_tokens=1,
        seconds=1.0, final_loss=None, counts=counts,
    )  # fmt: skip
    facts = {"train": {"chosen_longer": 0.6, "words": {"p95": 3.0}}}
    html = render_report(inputs(training=(record,), audit_facts=facts))
    text = "".join(parsed(html).text)
    assert "left out as too long: 2; left out: chosen and rejected are the same when cut: 1" in text
    assert "train: share of pairs whose chosen answer is longer" in text
    assert not re.search(r"too_long|same_when_cut|chosen_longer|\bp95\b|truncated", text)
