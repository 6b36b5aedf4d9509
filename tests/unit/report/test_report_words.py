from dataclasses import replace

import pytest
from everywhere import quality
from report_fixtures import JUDGE, THRESHOLDS, analysed, inputs, scored

from alignstudy.analysis.claims.claims import Verdict
from alignstudy.analysis.findings import Findings
from alignstudy.formatting import (
    duration,
    interval,
    listing,
    number,
    p_in_words,
    p_value,
    plural,
    short,
)
from alignstudy.metrics.axes import PUBLISHED
from alignstudy.records import Audit, Estimate, GuardOutcome, Quarantined
from alignstudy.records.evidence import LeaveOneOut, TrainingRecord
from alignstudy.records.robustness import Power
from alignstudy.report.tables import comparisons, judges, results, robustness, run
from alignstudy.report.text.cautions import cautions, smallest_likely_difference
from alignstudy.report.text.limitations import known_defects, limitations
from alignstudy.report.text.words import study_in_words

AXES = ("harmless", "helpful")

SETTINGS = {
    "study": "s",
    "base": {"path": "facebook/opt-350m", "revision": None, "scratch": None},
    "data": {"source": "Anthropic/hh-rlhf", "train": {"subsets": ["a", "b"], "split": "train"}},
    "methods": {
        "sft": {"method": "sft"},
        "dpo": {"method": "dpo", "dropout": "keep", "reference": "parent", "encoding": "published"},
    },
    "recipes": {"base": [], "sft": ["sft"], "sft_dpo": ["sft", "dpo"]},
    "seeds": [0],
    "generation": {"max_new_tokens": 50, "do_sample": False},
    "judges": [{"name": JUDGE, "path": "OpenAssistant/reward-model-deberta-v3-large-v2"}],
    "thresholds": {"calibrated": False, "harmless": -3.0, "helpful": -2.0},
}


def training(**changes):
    given = {
        "stage": "dpo",
        "recipe": "sft > dpo",
        "method": "dpo",
        "seed": 0,
        "steps": 10,
        "epochs": 1.0,
        "num_tokens": 12345,
        "seconds": 75.0,
        "final_loss": 0.69,
        "curve": (
            {"step": 1, "loss": 0.6931, "implicit_reward_margin": 0.0},
            {"step": 10, "loss": 0.69, "implicit_reward_margin": 0.01},
        ),
    }
    return TrainingRecord(**(given | changes))


class TestStudyInWords:
    def test_says_what_was_compared_on_what_and_how(self):
        rows = scored(("base", "sft", "sft_dpo"))
        text = " ".join(study_in_words(inputs(rows, settings=SETTINGS, protocol="paper")))
        for part in (
            "3\u00a0models are compared: base (not trained further), sft and sft_dpo (sft, then"
            " dpo).",
            "The base is facebook/opt-350m.",
            "Preference data: Anthropic/hh-rlhf: a and b (split train).",
            "12\u00a0harmful prompts and 12\u00a0helpful prompts",
            "by greedy decoding with at most 50 new tokens",
            f"The judge is {JUDGE} (OpenAssistant/reward-model-deberta-v3-large-v2).",
            "counts as harmless if its score is above \u22121 (given)",
            "protocol: paper",
        ):
            assert part in text

    def test_models_that_were_not_trained_here_have_their_origin(self):
        recipes = {"base": [], "mine": {"from": "../mine"}, "theirs": {"from": "a/b"}}
        found = inputs(
            scored(("base", "mine", "theirs"), seeds=(0, 1)),
            settings=SETTINGS | {"recipes": recipes | {"sft": ["sft"]}},
            provenance={
                "sources": {"recipe/mine": "0123456789abcdef0123", "recipe/theirs": "commit:fe12"}
            },
        )
        text = " ".join(study_in_words(found))
        assert "mine (not trained here: ../mine, sha256 0123456789abcdef)" in text
        assert "theirs (not trained here: a/b at commit fe12)" in text
        assert "Each recipe but mine and theirs was trained with 2 seeds." in text
        assert "mine and theirs were not trained here" in " ".join(limitations(found))
        alone = replace(found, settings=SETTINGS | {"recipes": recipes})
        assert "Nothing was trained: 2 seeds are" in " ".join(study_in_words(alone))

    def test_a_servers_responses_are_said_to_be_its_own(self):
        served = SETTINGS | {"generation": SETTINGS["generation"] | {"engine": "openai"}}
        found = inputs(scored(), settings=served)
        said = " ".join(limitations(found))
        assert "made by a server, by greedy decoding" in " ".join(study_in_words(found))
        assert "written by a server, which was held against each model on a few prompts" in said
        assert "by a server" not in " ".join(limitations(inputs(scored(), settings=SETTINGS)))

    def test_a_study_from_scratch(self):
        changed = SETTINGS | {
            "base": {"path": None, "scratch": {"architecture": {"model_type": "opt"}}},
            "data": {"source": "world"},
            "judges": [{"name": JUDGE, "train": {"architecture": {"model_type": "deberta-v2"}}}],
        }
        text = " ".join(study_in_words(inputs(settings=changed, protocol="rigorous")))
        assert "a small opt model, pretrained from scratch in this study" in text
        assert "a small world of dialogues that alignstudy generates" in text
        assert "a small deberta-v2 model, trained for this study on pairs" in text
        assert "protocol: rigorous" in text

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"base": None, "data": None, "recipes": None, "generation": None, "judges": None},
        ],
    )
    def test_what_is_not_known_is_left_unsaid(self, settings):
        text = " ".join(study_in_words(inputs(settings=settings)))
        assert text.startswith("2\u00a0models are compared: base and sft.")
        assert "None" not in text

    def test_says_how_judges_were_tried_out_and_what_was_claimed(self):
        verdicts = (Verdict(claim="c", verdict="supported", evidence=""),)
        findings = Findings(
            analyses=(analysed(scored()),), verdicts=verdicts, qualities=(quality(JUDGE),)
        )
        text = " ".join(study_in_words(inputs(findings=findings)))
        assert "200\u00a0pairs on harmful prompts and 200\u00a0pairs on helpful prompts" in text
        assert "below 60\u00a0% agreement its figures are stamped" in text
        assert "1\u00a0claim was stated before the figures were made" in text

    def test_a_panel_is_put_together_from_its_judges(self):
        rows = [replace(row, scores={"panel": 0.0, "one": 1.0, "two": 2.0}) for row in scored()]
        analyses = tuple(analysed(rows, judge=name) for name in ("panel", "one", "two"))
        text = " ".join(study_in_words(inputs(rows, findings=Findings(analyses=analyses))))
        assert "The judges are one and two. The panel puts their scores together" in text
        alone = Findings(analyses=analyses[:1], qualities=(quality("one"), quality("two")))
        assert "The judges are one and two." in " ".join(
            study_in_words(inputs(rows, findings=alone))
        )


class TestKnownDefects:
    def names(self, settings, *, num_prompts=50):
        return {defect.name for defect in known_defects(settings, num_prompts=num_prompts)}

    def test_the_published_study_has_them_all(self):
        assert self.names({}) == self.names(SETTINGS)
        assert len(self.names({})) == 15

    @pytest.mark.parametrize(
        ("change", "gone"),
        [
            ({"generation": {"max_new_tokens": 256}}, "Responses are capped at 50 tokens"),
            ({"thresholds": {"calibrated": True}}, "Thresholds are set by hand"),
            ({"judges": [{"name": "mine"}]}, "The judge was trained on the same preferences"),
            ({"seeds": [0, 1, 2]}, "One training seed"),
            ({"methods": {"dpo": {"encoding": "published"}}}, "Dropout stays on in DPO"),
        ],
    )
    def test_a_setting_that_avoids_one_is_believed(self, change, gone):
        assert self.names({}) - self.names(SETTINGS | change) == {gone}

    def test_pairs_encoded_for_what_is_asked_have_no_published_faults(self):
        changed = {"methods": {"dpo": {"dropout": "keep", "reference": "parent"}}}
        gone = self.names({}) - self.names(SETTINGS | changed)
        assert gone == {
            "DPO learns other prompts than are asked",
            "DPO reads texts without their beginning",
            "Rows that say nothing are trained on",
        }

    def test_many_prompts_are_not_few(self):
        assert self.names({}) - self.names({}, num_prompts=500) == {"Few prompts"}


class TestCautions:
    def test_a_guard_that_did_not_pass_comes_first(self):
        guard = GuardOutcome(guard="dropout_off", passed=False, detail="dropout 0.1")
        found = cautions(inputs(training=(training(guards=(guard,)),)))
        assert found[0] == "Guard dropout_off did not pass in sft > dpo: dropout 0.1."

    def test_a_guard_that_passed_is_no_caution(self):
        guard = GuardOutcome(guard="reference_is_parent", passed=True, detail="ln 2")
        found = cautions(inputs(training=(training(guards=(guard,)),)))
        assert not [text for text in found if "reference_is_parent" in text]

    def test_a_dpo_that_did_not_move(self):
        assert any("hardly moved" in text for text in cautions(inputs(training=(training(),))))
        moved = training(final_loss=0.4)
        assert not any("hardly moved" in text for text in cautions(inputs(training=(moved,))))

    def test_responses_cut_at_the_cap_more_in_one_model(self):
        rows = [replace(r, stop_reason="cap") if r.model == "sft" else r for r in scored()]
        text = " ".join(cautions(inputs(rows)))
        assert "100.0 points apart" in text

    def test_equal_shares_at_the_cap_are_no_difference(self):
        rows = [replace(row, stop_reason="cap") for row in scored()]
        assert "points apart" not in " ".join(cautions(inputs(rows)))

    def test_responses_that_run_on(self):
        rows = [replace(row, response="yes\n\nHuman: and?") for row in scored()]
        assert "run on into a further turn: base 100.0" not in " ".join(cautions(inputs(rows)))
        assert "run on into a further turn: base 100\u00a0%" in " ".join(cautions(inputs(rows)))

    def test_thresholds_that_were_given(self):
        assert any("not calibrated" in text for text in cautions(inputs()))
        origin = {axis: "calibrated on 200 pairs" for axis in AXES}
        rows = scored()
        analysis = analysed(rows, thresholds=replace(THRESHOLDS, origin=origin))
        found = cautions(inputs(rows, findings=Findings(analyses=(analysis,))))
        assert not any("not calibrated" in text for text in found)

    def test_a_judge_at_chance(self):
        row = {"axis": "harmless", "judge": "x", "balanced_accuracy": 0.55, "n": 100}
        assert any("hardly" in t or "only 55" in t for t in cautions(inputs(calibrations=(row,))))
        good = row | {"balanced_accuracy": 0.9}
        assert not any("chance" in text for text in cautions(inputs(calibrations=(good,))))

    def test_power_is_said_for_few_prompts_only(self):
        assert any("unlikely to be shown" in text for text in cautions(inputs(scored(n=50))))
        assert not any("unlikely" in text for text in cautions(inputs(scored(n=300))))
        assert not any("unlikely" in text for text in cautions(inputs(scored(n=5))))

    def test_notes_become_sentences_and_appear_once(self):
        rows = scored()
        analysis = replace(analysed(rows), notes=("sft: 3 lost", "many are cut", "many are cut"))
        found = cautions(
            inputs(rows, findings=Findings(analyses=(analysis,)), warnings=("a warning!",))
        )
        assert "sft: 3 lost." in found
        assert found.count("Many are cut.") == 1
        assert "A warning!" in found

    def test_a_judge_that_rewards_length(self):
        findings = Findings(analyses=(analysed(scored()),), qualities=(quality("x"),))
        text = " ".join(cautions(inputs(findings=findings)))
        assert "longer response in 80\u00a0% of pairs; it is preferred in 50\u00a0%" in text
        assert "x: a score changes by up to 0.01" in text

    def test_many_unusable_rows(self):
        bad = tuple(Quarantined(file="f", line=i, reason="empty") for i in range(5))
        audit = Audit(part="train", read=100, used=95, quarantined=bad)
        assert any("5 of 100 rows of train" in text for text in cautions(inputs(audits=(audit,))))


@pytest.mark.parametrize(("n", "points"), [(940, 5), (234, 10), (103, 15)])
def test_smallest_likely_difference_agrees_with_published_sample_sizes(n, points):
    assert smallest_likely_difference(n) == pytest.approx(points, abs=0.12)


class TestTables:
    def cells(self, table):
        return [[cell.text for cell in row] for row in table.cells]

    def test_every_row_has_a_cell_for_every_column(self):
        given = inputs(training=(training(),), audits=(Audit(part="train", read=2, used=2),))
        analysis = given.analyses[0]
        for table in (
            results.rates_table(given.findings, analysis),
            results.scores_table(given.findings, analysis),
            results.improvement_table(analysis),
            comparisons.comparisons_table(analysis, comparisons.mean_first(analysis)),
            comparisons.comparisons_table(analysis, analysis.scores),
            results.hygiene_table(analysis),
            results.wording_table(analysis),
            robustness.thresholds_table(given.analyses),
            run.records_table(({"a": 1}, {"b": "x", "a": None}), title="t"),
            run.costs_table(({"stage": "a", "seconds": 75.0}, {"tokens": 3})),
            run.audit_table(given.audits),
            run.training_table(given.training),
            run.facts_table({"a": {"b": [1, 2], "c": [{"d": None}]}}, "Fact", title="t"),
        ):
            assert table.rows
            assert {len(row) for row in table.cells} == {len(table.heads)}

    def test_an_axis_that_was_not_measured(self):
        rows = [row for row in scored() if row.axis == "helpful"]
        analysis = analysed(rows, axes=PUBLISHED)
        table = results.rates_table(Findings(analyses=(analysis,)), analysis)
        assert table.heads == ("Model", "HpR", "n")
        assert table.cells[0][1].detail.startswith("[")

    def test_training(self):
        row = self.cells(run.training_table([training(counts={"rows": 1200})]))[0]
        assert row == ["sft > dpo", "0", "10", "1", "12,345", "1\u00a0min 15\u00a0s", "0.6900",
                       "rows: 1,200"]  # fmt: skip

    def test_reasons_are_counted_with_their_first_row(self):
        bad = tuple(Quarantined(file="f.jsonl", line=i, reason="empty") for i in (7, 9))
        audit = Audit(part="train", read=9, used=6, quarantined=bad, excluded={"overlaps": 1})
        assert self.cells(run.exclusions_table([audit])) == [
            ["train", "can't be used", "empty", "2", "f.jsonl:7"],
            ["train", "left out on purpose", "overlaps", "1", ""],
        ]

    def test_a_comparison_without_a_test_is_said_to_be_untested(self):
        analysis = analysed(scored(n=3))
        table = comparisons.comparisons_table(analysis, [analysis.metric("cas")])
        assert {row[6].text for row in table.cells} == {"not\u00a0tested"}

    def test_what_a_comparison_would_need(self):
        analysis = analysed(scored(("base", "sft"), n=30))
        power = Power(power=11.0, detectable=14.2, n_needed=1087)
        changed = replace(analysis.comparisons[0], metric="cas", p_holm=0.5, power=power)
        changed_too = replace(analysis, comparisons=(changed,))
        cells = comparisons.comparisons_table(changed_too, [analysis.metric("cas")]).cells[0]
        assert (cells[6].text, cells[6].kind) == ("not\u00a0shown", "open")
        assert (cells[9].text, cells[9].detail) == ("1,087", "\u2265\u00a014.2 seen")

    def test_times_are_written_for_people(self):
        table = run.costs_table(({"stage": "train", "seconds": 7500.0, "tokens": 12345},))
        assert table.heads == ("Stage", "Time", "Tokens")
        assert self.cells(table) == [["train", "2\u00a0h 5\u00a0min", "12,345"]]

    def test_a_judge_below_its_floor(self):
        judged = quality("j", below=("harmless",))
        rows = judges.accuracy_table((judged,)).cells
        assert [(row[1].text, row[5].text, row[5].kind) for row in rows] == [
            ("harmful", "below floor", "bad"),
            ("helpful", "above floor", "good"),
        ]

    def test_leaving_a_judge_out(self):
        rankings = [
            LeaveOneOut(axis="helpful", without=name, ranking=order)
            for name, order in (
                ("", ("a", "b", "c")),
                ("x", ("a", "b", "c")),
                ("y", ("a", "c", "b")),
                ("z", ("b", "a", "c")),
            )
        ]
        rows = judges.leave_one_out_table(rankings).cells
        assert [row[3].text for row in rows[1:]] == [
            "same order", "same leader, other order", "another leader",
        ]  # fmt: skip

    def test_tables_of_robustness_hold_what_the_analysis_found(self):
        analysis = analysed(scored(("base", "sft", "dpo"), n=30))
        pairs = robustness.pair_sweeps_table(analysis)
        assert len(pairs.rows) == sum(len(sweep.pairs) for sweep in analysis.sweeps) == 6
        leads = robustness.sweeps_table(analysis)
        assert len(leads.rows) == 6
        adjusted = robustness.adjusted_table(analysis)
        assert len(adjusted.rows) == sum(len(item.adjusted) for item in analysis.lengths)
        assert all(row[2].text != "\u2013" for row in adjusted.cells)
        tests = results.omnibus_table(analysis)
        assert len(tests.rows) == len(analysis.omnibus) > 0
        several = analysed(scored(seeds=(0, 1)))
        spreads = robustness.seeds_table(several)
        assert len(spreads.rows) == len(several.seed_spreads) > 0

    def test_parts_of_a_claim_follow_it(self):
        part = Verdict(claim="p", verdict="contradicted", evidence="")
        whole = Verdict(claim="w", verdict="contradicted", evidence="e", parts=(part,))
        rows = comparisons.verdicts_table((whole,)).cells
        assert [row[0].text for row in rows] == ["w", "part: p"]
        assert {row[1].kind for row in rows} == {"bad"}


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "digits", "text"),
        [(1.25, 1, "1.2"), (-0.04, 1, "0.0"), (-3, 2, "\u22123.00"), (12345, 0, "12,345"),
         (None, 1, "\u2013")],
    )  # fmt: skip
    def test_number(self, value, digits, text):
        assert number(value, digits) == text

    def test_sign(self):
        assert number(3, 1, signed=True) == "+3.0"
        assert number(-0.001, 1, signed=True) == "+0.0"

    def test_short(self):
        assert [short(v, 2) for v in (100, 1.5, -2)] == ["100", "1.5", "\u22122"]

    @pytest.mark.parametrize(
        ("p", "text"),
        [(0.0004, "<.001"), (0.005, ".005"), (0.0999, ".100"), (0.69, ".69"), (1.0, "1"),
         (0.9999, "1"), (None, "\u2013")],
    )  # fmt: skip
    def test_p_value(self, p, text):
        assert p_value(p) == text

    def test_p_in_words(self):
        assert p_in_words(0.00001) == "p\u00a0<\u00a0.001"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(1.23, "1.2 s"), (48, "48 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
    )
    def test_duration(self, seconds, text):
        assert duration(seconds).replace("\u00a0", " ") == text

    def test_listing_and_plural(self):
        assert [listing(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
        assert plural(1, "row") == "1\u00a0row"
        assert plural(2, "row") == "2\u00a0rows"


def test_values_that_are_all_alike_have_no_interval_of_no_width():
    alike = Estimate(value=1.0, low=1.0, high=1.0, n=40, method="no spread")
    assert interval(alike, 2) == "[no interval]"
    assert interval(Estimate(value=1.0, low=0.9, high=1.2, n=40, method="BCa"), 1) == "[0.9, 1.2]"
