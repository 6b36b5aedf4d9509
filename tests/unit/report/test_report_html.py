import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from everywhere import everywhere, parsed, quality
from report_fixtures import JUDGE, analysed, inputs, scored

import alignstudy.report.html
from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.report.html.page import render_report
from alignstudy.report.html.viewer import viewer_data
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
        "answer", "merits", "comparisons", "trade-off", "claims", "judges", "hygiene",
        "thresholds", "length", "omnibus", "policy", "training", "data", "responses", "cost",
        "provenance", "limitations", "gallery",
    ]  # fmt: skip


def test_sections_without_anything_in_them_are_left_out():
    html = render_report(inputs())
    there = sections_of(html)
    assert there[:3] == ["answer", "merits", "comparisons"]
    for name in ("claims", "judges", "policy", "training", "cost", "trade-off", "gallery"):
        assert name not in there
        assert f'href="#{name}"' not in html


def test_figures_stand_in_the_sections_they_belong_to(png):
    html = render_report(everywhere(png))
    for figure, section in (("tradeoff", "trade-off"), ("rates", "merits"), ("hygiene", "hygiene")):
        part = html[html.index(f'<section id="{section}"') :].split("</section>", 1)[0]
        assert "<figure" in part, figure
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
    assert "No difference: all 2 models have the same CAS" in text
    assert "the judge tells no response from another" in text


def test_long_tables_are_folded():
    html = render_report(inputs(scored(("base", "a", "b", "c", "d"))))
    assert "<summary>Paired comparisons of rates (30 rows)</summary>" in html
    assert "<summary>Paired comparisons of rates" not in render_report(inputs())


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
    assert html.count("By the judge second") >= 2
    assert "by the judge second all models have the same CAS" in html
    island = json.loads(parsed(html).data["script", "application/json"])
    assert island["judges"] == [JUDGE, "second"]
    assert all(len(a["s"]) == 2 for p in island["prompts"] for a in p["answers"])
