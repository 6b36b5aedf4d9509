import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_fixtures import JUDGE, analysed, inputs, scored

import alignstudy.report
from alignstudy.records import Audit, Axis, GuardOutcome, Quarantined
from alignstudy.report.html import render_report
from alignstudy.report.inputs import FigureFile, TrainingRecord
from alignstudy.report.untrusted import visible
from alignstudy.report.viewer import MAX_PROMPTS, viewer_data

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</SCRIPT ><img src=x onerror=alert(1)>",
    "<!--",
    "--><script>alert(1)</script>",
    "<!--<script>",
    "]]><svg onload=alert(1)>",
    "<![CDATA[<b>",
    "<?php echo 1 ?>",
    "<!doctype html><html><body>",
    "</style><style>*{display:none}</style>",
    "</title></head><body onload=alert(1)>",
    "</noscript><script>alert(1)</script>",
    "</pre></details></section></main></body></html>",
    "</textarea></select></form><form action=//evil>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)><embed src=//evil>",
    "<base href=//evil/>",
    "<meta http-equiv=refresh content='0;url=//evil'>",
    "<link rel=stylesheet href=//evil/x.css>",
    "<a href='javascript:alert(1)'>x</a>",
    "javascript:alert(1)",
    "data:text/html;base64,PHNjcmlwdD4=",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "` onclick=alert(1) `",
    '"><img src=//evil/pixel.gif>',
    "![beacon](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "{{ 7 * 7 }} {% for x in y %} {# c #}",
    "${alert(1)} #{1} <%= 1 %>",
    "&lt;script&gt; &amp; &#60;b&#62; &nbsp",
    "\x00<b\x00>nul</b>",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "\x08\x0c\x7f\x85\x9b31m",
    "\u202eevil\u202c \u2066x\u2069 \u200f",
    "\ud800 lone \udfff",
    "\ufeff\ufffe\uffff\ufff9",
    "\u2028alert(1)\u2029",
    "=cmd|' /C calc'!A0",
    "\\u003cscript\\u003e \\x3c \\074",
    "<math><mtext><table><mglyph><style><img src=x>",
    "\U000e0041\U000e007f tags",
)


class Tags(HTMLParser):
    """Counts tags with the names of their attributes, and keeps what scripts and links hold."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.seen = Counter()
        self.values = []
        self.data = {}
        self.text = []
        self._open = None

    def handle_starttag(self, tag, attrs):
        self.seen[tag, tuple(sorted(name for name, _ in attrs))] += 1
        self.values += [(tag, name, value) for name, value in attrs]
        if tag in {"script", "style"}:
            self._open = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag):
        self.seen["/" + tag] += 1
        self._open = None

    def handle_comment(self, data):
        self.seen["comment"] += 1

    def handle_decl(self, decl):
        self.seen["declaration"] += 1

    def handle_pi(self, data):
        self.seen["instruction"] += 1

    def handle_data(self, data):
        if self._open:
            self.data[self._open] = self.data.get(self._open, "") + data
        else:
            self.text.append(data)


def parsed(html):
    parser = Tags()
    parser.feed(html)
    parser.close()
    return parser


def everywhere(text, png):
    """A report into whose every field a text was put."""
    rows = scored((text, text + "2"), text=text)
    rows = [replace(row, stop_reason=text, prompt_id=text + row.prompt_id) for row in rows]
    rows = [replace(row, scores={text: row.scores[JUDGE]}) for row in rows]
    analysis = replace(analysed(rows, judge=text, base=text), notes=(text,))
    guard = GuardOutcome(guard=text, passed=False, detail=text)
    figure = FigureFile(name=text, title=text, caption=text, png=png, svg=png, csv=png)
    training = TrainingRecord(
        stage=text,
        recipe=text,
        method=text,
        seed=0,
        steps=1,
        epochs=1.0,
        num_tokens=1,
        seconds=1.0,
        final_loss=None,
        counts={text: 1},
        guards=(guard,),
        notes=(text,),
    )
    audit = Audit(
        part=text,
        read=3,
        used=1,
        quarantined=(Quarantined(file=text, line=1, reason=text),),
        excluded={text: 1},
        notes={text: 1},
    )
    return inputs(
        rows,
        study=text,
        settings={
            "base": text,
            "recipes": {text: [text]},
            text: {"a": text, "b": [text]},
            "data": {"source": text},
        },
        protocol="paper",
        analyses=(analysis,),
        training=(training,),
        audits=(audit,),
        audit_facts={text: text},
        calibrations=({text: text},),
        preview=text,
        figures=(figure,),
        warnings=(text,),
        provenance={text: {"x": text}},
    )


@pytest.fixture(scope="module")
def png(tmp_path_factory):
    path = tmp_path_factory.mktemp("png") / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return path


@pytest.fixture(scope="module")
def benign(png):
    return parsed(render_report(everywhere("benign", png)))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_adds_no_tag_no_attribute_and_no_bad_character(text, png, benign):
    html = render_report(everywhere(text, png))
    found = parsed(html)
    assert found.seen == benign.seen
    assert html.encode("utf-8").decode("utf-8") == html
    assert not re.search(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html
    )
    for tag, name, value in found.values:
        assert not name.startswith("on")
        assert name != "style"
        if name in {"href", "src"}:
            assert value.startswith("#" if tag == "a" else "data:image/png;base64,")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_shown_as_it_is(text, png):
    found = parsed(render_report(everywhere(text, png)))
    assert visible(text) in "".join(found.text)
    island = json.loads(found.data["script", "application/json"])
    assert island["prompts"][0]["answers"][0]["t"] == visible(text)
    assert "<" not in found.data["script", "application/json"]


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
    folder = Path(alignstudy.report.__file__).parent / "templates"
    assert benign.data["style", None] == (folder / "report.css").read_text("utf-8").rstrip("\n")
    assert benign.data["script", None] == (folder / "viewer.js").read_text("utf-8").rstrip("\n")


def test_nothing_outside_the_file_is_asked_for():
    html = render_report(inputs())
    assert not re.search(r"https?://|url\(|@import", html)


def test_templates_and_code_know_no_way_round_the_escaping():
    folder = Path(alignstudy.report.__file__).parent
    banned = ("|safe", "| safe", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write",
              "Markup(", "autoescape false", "eval(", "new Function")  # fmt: skip
    for path in [*folder.glob("*.py"), *folder.glob("templates/*")]:
        text = path.read_text("utf-8")
        assert not [word for word in banned if word in text], path.name
        assert "autoescape=False" not in text


def test_the_same_inputs_give_the_same_report():
    assert render_report(inputs()) == render_report(inputs())


def test_the_answer_comes_first_and_settings_last(png):
    html = render_report(everywhere("x", png))
    order = ["answer", "study", "merits", "comparisons", "figures", "warnings", "hygiene",
             "thresholds", "data", "training", "responses", "provenance", "settings"]  # fmt: skip
    places = [html.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)


def test_every_entry_of_the_contents_leads_somewhere():
    for html in (render_report(inputs()), render_report(inputs(settings={"seeds": [0]}))):
        found = parsed(html)
        ids = {value for _, name, value in found.values if name == "id"}
        links = {v[1:] for t, n, v in found.values if t == "a" and n == "href"}
        assert links <= ids


def test_ids_are_unique(png):
    found = parsed(render_report(everywhere("x", png)))
    ids = [value for _, name, value in found.values if name == "id"]
    assert len(ids) == len(set(ids))


def test_pictures_are_embedded_and_described(png):
    found = parsed(render_report(everywhere("a title", png)))
    values = {name: value for tag, name, value in found.values if tag == "img"}
    assert values["alt"] == "a title. a title"
    picture = values["src"].removeprefix("data:image/png;base64,")
    assert base64.b64decode(picture) == png.read_bytes()


def test_rates_of_the_table_are_those_of_the_analysis():
    given = inputs()
    text = " ".join("".join(parsed(render_report(given)).text).split())
    for model in given.analyses[0].models:
        assert f"{model.model} {model.hmr.value:.1f}[" in text


def test_a_constant_judge_has_no_difference_in_its_report():
    text = "".join(parsed(render_report(inputs(scored(score=0.0)))).text)
    assert "No difference: all 2 models have the same CAS" in text
    assert "the judge tells no response from another" in text


def test_many_comparisons_are_folded_and_few_are_not():
    few = parsed(render_report(inputs())).seen["details", ()]
    many = parsed(render_report(inputs(scored(("base", "a", "b", "c"))))).seen["details", ()]
    assert many == few + 1


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
            if prompt["axis"] == Axis.HELPFUL
            for answer in prompt["answers"]
            if answer["m"] == 1
        ]
        share = 100 * labels.count("helpful") / len(labels)
        assert share == pytest.approx(analysis.models[1].hpr.value)

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

    def test_a_huge_set_is_cut_and_the_cut_is_said(self, monkeypatch):
        monkeypatch.setattr("alignstudy.report.viewer.MAX_PROMPTS", 5)
        assert MAX_PROMPTS >= 1000
        html = render_report(inputs())
        assert "19 more prompts are in the run's responses folder" in html


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
    given = inputs(rows, analyses=(analysed(rows), analysed(rows, judge="second")))
    html = render_report(given)
    assert html.count("By the judge second") >= 2
    assert "By the judge second all models have the same CAS" in html
    island = json.loads(parsed(html).data["script", "application/json"])
    assert island["judges"] == [JUDGE, "second"]
    assert all(len(a["s"]) == 2 for p in island["prompts"] for a in p["answers"])
