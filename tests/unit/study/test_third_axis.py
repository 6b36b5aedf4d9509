"""An axis is data: a third set of prompts goes through everything that knows two."""

import csv
import json

import pytest

from alignstudy import Study, evaluate
from alignstudy.errors import InputError, SettingsError
from alignstudy.study.settings.load import load_settings

LIMITS = {"harmless": -3.0, "helpful": -2.0, "honesty": -2.5}
AXES = {"harmful": "harmless", "helpful": "helpful", "honesty": "honesty"}
CLAIMS = """claims:
  - {metric: pass_honesty, better: sft, than: [base]}
  - {metric: [hmr, hpr, pass_honesty, cas, score_honesty], better: sft}
  - {metric: median_honesty, at_least: -10}
"""
LISTED = """
axes:
  harmlessness: {prompts: {n: 12}, threshold: -1}
  helpfulness: {prompts: {n: 12}, threshold: 0}
  honesty: {prompts: {file: HONEST}, judge: length, threshold: 30}
"""


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three") / "ratings"
    folder.mkdir()
    for place, model in enumerate(("base", "sft", "dpo")):
        for prompts in AXES:
            rows = [
                {
                    "prompt": f"{prompts} {number}?",
                    "response": f"{model} says {number}",
                    "rating": (number * 7 + place * (3 + len(prompts))) % 11 - 7.5,
                }
                for number in range(20)
            ]
            (folder / f"{model}_{prompts}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def run(ratings):
    claims = ratings.parent / "claims.yaml"
    claims.write_text(CLAIMS)
    return evaluate(ratings, out=ratings.parent / "run", thresholds=LIMITS, claims=claims)


def test_rates_scores_and_their_mean_are_in_the_tables(run):
    rows = run.table("metrics").to_dict("records")
    for row in rows:
        rates = [row["hmr"], row["hpr"], row["pass_honesty"]]
        assert row["cas"] == pytest.approx(sum(rates) / 3, abs=1e-5)
        assert row["n_honesty"] == 20
        assert row["pass_honesty_low"] < row["pass_honesty"] < row["pass_honesty_high"]
    assert {"honesty", "honesty_low", "honesty_high"} <= set(run.table("scores").columns)


def test_pairs_are_compared_in_one_family_of_rates(run):
    found = run.statistics["comparisons"]
    assert {item["metric"] for item in found} == {
        "hmr", "hpr", "pass_honesty", "cas", "score_harmless", "score_helpful", "score_honesty",
    }  # fmt: skip
    rates = [item for item in found if item["family"] == "rates"]
    assert {item["metric"] for item in rates} == {"hmr", "hpr", "pass_honesty"}
    [cas, *_] = [item for item in found if item["metric"] == "cas"]
    assert cas["n"] == 60


def test_claims_sweeps_and_best_shares_know_it(run):
    one, several, bounds = run.statistics["verdicts"]
    assert one["claim"] == "sft is higher than base in pass rate on honesty prompts"
    assert len(several["parts"]) == 5 * 2
    assert bounds["verdict"] == "supported"
    assert [sweep["axis"] for sweep in run.statistics["sweeps"]] == list(AXES.values())
    assert "pass_honesty" in run.statistics["best_shares"]


def test_files_are_named_by_it(run):
    rows = json.loads((run.folder / "classification" / "honesty.json").read_text())
    assert {row["label"] for row in rows} == {"passed", "failed"}
    assert (run.folder / "responses" / "sft_honesty.json").is_file()


def test_every_figure_of_axes_shows_it(run):
    for name in ("rates", "mean_scores", "differences", "win_rates", "threshold_curves",
                 "score_distributions", "hygiene", "tradeoff", "power_curve"):  # fmt: skip
        with (run.folder / "figures" / f"{name}.csv").open(newline="") as file:
            assert any("honesty" in cell for row in csv.reader(file) for cell in row), name


def test_the_report_speaks_of_it(run):
    for name in ("report.md", "report.html"):
        text = " ".join((run.folder / name).read_text().split())
        assert "20 honesty prompts" in text
        assert "Pass rate on honesty prompts" in text


@pytest.mark.e2e
def test_its_responses_can_be_evaluated_again(run, tmp_path):
    again = evaluate(run.folder / "responses", out=tmp_path / "again")
    assert again.table("metrics").equals(run.table("metrics"))


def test_one_axis_alone_has_no_mean_of_rates(ratings, tmp_path):
    for path in ratings.glob("*_honesty.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    alone = evaluate(tmp_path, out=tmp_path / "run", thresholds={"honesty": -2.5})
    columns = list(alone.table("metrics").columns)
    assert columns == [
        "model", "pass_honesty", "pass_honesty_low", "pass_honesty_high", "n_honesty",
    ]  # fmt: skip


def test_a_threshold_of_an_axis_that_is_not_there_is_refused(ratings, tmp_path):
    with pytest.raises(InputError, match="'honest'"):
        evaluate(ratings, out=tmp_path / "run", thresholds={"honest": 1.0})


class TestSettings:
    @pytest.fixture
    def write(self, tmp_path):
        (tmp_path / "honest.jsonl").write_text('{"prompt": "Is it so?"}\n{"prompt": "Was it?"}\n')

        def write(listed=LISTED, **more):
            study = {
                "study": "three", "base": "owner/model", "data": "{source: world}",
                "judges": "[{use: constant}, {use: length}]", "methods": "{sft: {}}",
                "recipes": "{base: [], sft: [sft]}", **more,
            }  # fmt: skip
            path = tmp_path / "study.yaml"
            text = "".join(f"{key}: {value}\n" for key, value in study.items()) + listed
            path.write_text(text.replace("HONEST", str(tmp_path / "honest.jsonl")))
            return path

        return write

    def test_the_long_form_lists_axes_each_with_its_judge_and_threshold(self, write):
        _, settings = load_settings(str(write()))
        assert [axis.name for axis in settings.tested] == list(AXES.values())
        first, second = settings.judges
        assert settings.limits_of(first) == {"harmless": -1.0, "helpful": 0.0, "honesty": None}
        assert settings.limits_of(second)["honesty"] == 30.0
        assert settings.leading.members("honesty") == ("length",)
        assert settings.leading.members("harmless") == ("constant",)
        published = settings.asked.sets[settings.tested[0]]
        assert (published.subsets, published.n) == (("harmless-base",), 12)

    def test_prompts_of_the_file_are_a_source_of_the_study(self, write, tmp_path):
        study = Study.load(write(), out=tmp_path / "run")
        found = study.graph(study.located(fetch=False)).prompts
        assert set(found.files) == {"honesty"}

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (("judge: length", "judge: lenght"), "'axes.honesty.judge': is not in `judges`"),
            (("{file: HONEST}", "{n: 3}"), "'axes.honesty.prompts': must say where they are"),
            (("threshold: 30", "threshold: calibrated"), "calibrated needs pairs"),
            (("threshold: 30", "threshold: 30, metric: hmr"), "two axes have the same metric"),
            (("threshold: 30", "threshold: 30, metric: cas"), "is no pass rate"),
            (("threshold: 30", "treshold: 30"), "did you mean 'threshold'?"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_where_it_stands(self, write, change, said):
        with pytest.raises(SettingsError) as caught:
            load_settings(str(write(LISTED.replace(*change))))
        assert said in str(caught.value)

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"thresholds": "{harmles: -3}"}, "'thresholds.harmles'"),
            ({"calibration": "{honsty: [x]}"}, "did you mean 'honesty'?"),
            ({"validation": "{honsty: [x]}"}, "'validation.honsty'"),
            ({"prompts": "{harmful: {n: 3}}"}, "`axes` does too"),
            ({"claims": "[{metric: pass_honsty, better: sft}]"}, "did you mean 'pass_honesty'?"),
        ],
    )
    def test_axes_are_checked_wherever_they_are_named(self, write, more, said):
        with pytest.raises(SettingsError) as caught:
            load_settings(str(write(**more)))
        assert said in str(caught.value)
