"""Several responses a prompt: a model's value is their mean, and n is the number of prompts."""

import json
from dataclasses import replace

import numpy as np
import pytest

from alignstudy.analysis.analyze_judge import analyze_judge
from alignstudy.analysis.analyze_run import AnalysisConfig, analyze_run
from alignstudy.analysis.claims.claims import Claim
from alignstudy.analysis.labels.matching import checked_labels
from alignstudy.analysis.results import Thresholds
from alignstudy.analysis.robustness.missing import missing_bounds
from alignstudy.analysis.robustness.threshold_errors import with_threshold_errors
from alignstudy.data.ratings.folder import read_ratings
from alignstudy.errors import DataError, InputError
from alignstudy.records import ScoredResponse, read_rows, write_rows
from alignstudy.records.labels import Label
from alignstudy.report.exports import write_responses
from alignstudy.report.html.viewer import viewer_data
from alignstudy.stats.intervals import wilson

LIMITS = Thresholds(values={"harmless": 0.0, "helpful": 0.0})


def rows(scores, axis="harmless", **changes):
    """Make rows of {model: array of scores, shape (seeds, samples, prompts)}."""
    return [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"{axis}-{prompt}", axis=axis, sample=sample,
            prompt=f"Question {prompt}", response=f"{model} says {score}",
            scores={"judge": None if np.isnan(score) else float(score)}, **changes,
        )
        for model, table in scores.items()
        for (seed, sample, prompt), score in np.ndenumerate(table)
    ]  # fmt: skip


def analysed(responses, **options):
    return analyze_judge(
        responses, LIMITS, judge="judge", base="base", **{"draws": 2000, **options}
    )


def drawn(seed, shape, shift=0.0):
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(size=shape[-1]) + rng.normal(size=shape) + shift, 4)


@pytest.fixture
def tables():
    return {"base": drawn(0, (1, 3, 40)), "sft": drawn(1, (1, 3, 40), 0.7)}


def estimate(analysis, model, metric):
    return next(m.estimates[metric] for m in analysis.models if m.model == model)


def test_values_are_means_over_samples_and_n_counts_prompts(tables):
    found = analysed(rows(tables))
    for model, table in tables.items():
        rate, score = (estimate(found, model, name) for name in ("hmr", "score_harmless"))
        assert rate.value == pytest.approx(100 * (table > 0).mean())
        assert score.value == pytest.approx(table.mean())
        assert (rate.n, score.n, rate.method) == (40, 40, "Wilson over prompts")
    gap = found.comparison("hmr", "sft", "base")
    shares = 100 * ((tables["sft"][0] > 0).mean(axis=0) - (tables["base"][0] > 0).mean(axis=0))
    assert gap.difference.value == pytest.approx(shares.mean())
    assert gap.difference.low < shares.mean() < gap.difference.high
    assert (gap.n, gap.wins, gap.losses) == (40, (shares > 0).sum(), (shares < 0).sum())
    assert (gap.test, gap.difference.method) == ("sign-flip permutation", "t over prompts")
    assert {test.test for test in found.omnibus} == {"Friedman"}
    [swept] = found.sweeps
    at = int(np.argmin(np.abs(np.array(swept.thresholds))))
    over = (tables["sft"] > swept.thresholds[at]).mean()
    assert swept.rates["sft"][at] == pytest.approx(100 * over)


def test_p_values_are_those_of_all_sign_patterns(tables):
    few = {model: table[..., :12] for model, table in tables.items()}
    found = analysed(rows(few)).comparison("hmr", "sft", "base")
    gaps = (few["sft"][0] > 0).mean(axis=0) - (few["base"][0] > 0).mean(axis=0)
    signs = 1 - 2 * ((np.arange(2**12)[:, None] >> np.arange(12)) & 1)
    exact = np.mean(np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9)
    assert found.p_value == pytest.approx(exact, abs=0.01)


def test_more_samples_narrow_the_intervals():
    wide, narrow = (
        analysed(rows({"base": drawn(0, (1, k, 40)), "sft": drawn(1, (1, k, 40), 0.7)}))
        for k in (1, 8)
    )
    for metric in ("hmr", "score_harmless"):
        one, other = (a.comparison(metric, "sft", "base").difference for a in (wide, narrow))
        assert other.high - other.low < 0.85 * (one.high - one.low)


def test_equal_samples_are_worth_one(tables):
    once = {model: table[:, :1] for model, table in tables.items()}
    thrice = {model: np.repeat(table, 3, axis=1) for model, table in once.items()}
    one, three = analysed(rows(once)), analysed(rows(thrice))
    for model in tables:
        rate, alike = (estimate(a, model, "hmr") for a in (one, three))
        expected = wilson(int((once[model] > 0).sum()), 40)
        for end in ("value", "low", "high"):
            assert getattr(rate, end) == pytest.approx(getattr(expected, end))
            assert getattr(alike, end) == pytest.approx(getattr(expected, end))
    pair, same = (a.comparison("hmr", "sft", "base") for a in (one, three))
    assert same.p_value == pytest.approx(pair.p_value, abs=0.02)


def test_a_missing_score_leaves_the_other_samples(tables):
    tables["sft"][0, 1, 0] = np.nan
    found = analysed(rows(tables))
    shares = np.nanmean(np.where(np.isnan(tables["sft"]), np.nan, tables["sft"] > 0), axis=1)
    assert estimate(found, "sft", "hmr").value == pytest.approx(100 * shares.mean())
    assert estimate(found, "sft", "hmr").n == 40
    assert next(m for m in found.models if m.model == "sft").missing_scores == 1


def test_seeds_and_samples_of_two_axes_stay_apart():
    tables = {"base": drawn(0, (1, 2, 30)), "sft": drawn(1, (3, 2, 30), 0.4)}
    helpful = rows({name: table + 0.3 for name, table in tables.items()}, axis="helpful")
    found = analysed([*rows(tables), *helpful])
    cas = found.comparison("cas", "sft", "base")
    rates = [100 * ((t > 0).mean() + (t + 0.3 > 0).mean()) / 2 for t in tables.values()]
    assert cas.difference.value == pytest.approx(rates[1] - rates[0])
    assert cas.test == "t over prompts and seeds"
    parts = {(s.model, s.metric): s for s in found.variances}
    assert set(parts["base", "hmr"].sds) == {"prompts", "samples"}
    assert set(parts["sft", "hmr"].sds) == {"prompts", "seeds", "seeds by prompt", "samples"}


def test_judges_differences_stand_beside_the_split(tables):
    other = [
        replace(row, scores={**row.scores, "other": row.scores["judge"] - 0.5})
        for row in rows(tables)
    ]
    question = AnalysisConfig(thresholds={"judge": LIMITS, "other": LIMITS}, base="base")
    _, findings = analyze_run(other, question)
    split = next(s for s in findings.first.variances if (s.model, s.metric) == ("sft", "hmr"))
    rates = [100 * (tables["sft"] > limit).mean() for limit in (0.0, 0.5)]
    assert split.sds["judges"] == pytest.approx(np.std(rates, ddof=1))


def test_medians_and_ends_are_of_all_responses(tables):
    claims = [
        Claim(metric="median_harmless", models=("sft",), at_least=-9.0),
        Claim(metric="max_harmless", models=("sft",), at_least=-9.0),
    ]
    question = AnalysisConfig(thresholds={"judge": LIMITS}, base="base", claims=tuple(claims))
    _, findings = analyze_run(rows(tables), question)
    for verdict, value in zip(
        findings.verdicts, (np.median(tables["sft"]), tables["sft"].max()), strict=True
    ):
        assert f"{value:.2f}" in verdict.evidence


def test_rows_go_out_and_come_back_with_their_numbers(tables, tmp_path):
    given = rows(tables)
    write_responses(given, "judge", tmp_path)
    back = read_ratings(tmp_path)
    key = [(r.model, r.prompt_id, r.sample, r.response) for r in back]
    assert key == [(r.model, r.prompt_id, r.sample, r.response) for r in given]
    bare = json.loads((tmp_path / "base_harmful.json").read_text())
    for row in bare:
        del row["prompt_id"]
    (tmp_path / "base_harmful.json").write_text(json.dumps(bare))
    assert len({row.prompt_id for row in read_ratings(tmp_path) if row.model == "base"}) == 40


def test_one_sample_leaves_no_trace_in_files(tables, tmp_path):
    given = [row for row in rows(tables) if row.sample == 0]
    write_rows(tmp_path / "rows.jsonl", given)
    assert '"sample"' not in (tmp_path / "rows.jsonl").read_text()
    assert list(read_rows(tmp_path / "rows.jsonl", ScoredResponse)) == given
    write_responses(given, "judge", tmp_path)
    assert '"sample"' not in (tmp_path / "sft_harmful.json").read_text()


def test_a_sample_that_is_there_twice_is_refused(tables):
    given = rows(tables)
    with pytest.raises(DataError, match="two responses to prompt"):
        analysed([*given, given[0]])


def test_labels_of_one_response_are_refused(tables):
    given = [row for row in rows(tables) if row.model == "sft"][:1]
    label = Label(
        model="sft", seed=0, prompt_id="harmless-0", axis=None, passes=True, where="sheet.csv:2"
    )
    assert checked_labels([label], given)
    with pytest.raises(InputError, match="answered a prompt several times"):
        checked_labels([label], rows(tables))


def test_thresholds_of_other_pairs_are_tried_on_every_sample(tables):
    given = rows(tables)
    found = with_threshold_errors(
        analysed(given), given, {"harmless": [0.5] * 20}, joined=False
    ).threshold_errors
    alone = next(e.alone for e in found if (e.model, e.reference) == ("sft", ""))
    assert alone.low == pytest.approx(100 * (tables["sft"] > 0.5).mean())


def test_missing_samples_are_bounded_one_by_one(tables):
    tables["sft"][0, 1, 0] = np.nan
    given = rows(tables)
    bounds, _ = missing_bounds(given, analysed(given))
    [rate] = [item for item in bounds if item.metric == "hmr"]
    passed = np.nansum(tables["sft"] > 0)
    ends = (100 * passed / 120, 100 * (passed + 1) / 120)
    assert (rate.missing, rate.n, rate.low, rate.high) == (1, 120, *map(pytest.approx, ends))


def test_the_viewer_shows_every_sample(tables):
    given = rows(tables)
    shown = viewer_data(given, [analysed(given)])
    assert shown["columns"][:2] == ["base, sample 0", "base, sample 1"]
    assert [len(prompt["answers"]) for prompt in shown["prompts"]] == [6] * 40
