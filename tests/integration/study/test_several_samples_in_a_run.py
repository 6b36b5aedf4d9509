"""A study whose models answer each prompt several times, from training to report and comparison."""

import json

import pytest
import tiny_study
from models_fixtures import write_opt_like_hub

from alignstudy import compare
from alignstudy.data.ratings.folder import read_ratings

CHANGES = {
    "workers": 1,  # one that has torch imported already
    "recipes": {"base": [], "sft": ["sft"]},
    "methods": {"sft": {**tiny_study.TRAINING, "max_steps": 2}},
    "judges": [{"use": "length"}],
    "thresholds": {"harmless": 5.0, "helpful": 5.0},
    "calibration": None,
    "validation": None,
    "diagnostics": None,
    "generation": {"max_new_tokens": 6, "do_sample": True},
    "claims": [{"metric": "hpr", "better": "sft", "than": ["base"]}],
}
SEVERAL = ("generation.num_samples=3",)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("without_figures")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs that share a home: one sample a prompt, and three."""
    folder = tmp_path_factory.mktemp("samples")
    write_opt_like_hub(folder / "base", std=0.2)
    file = tiny_study.write_study(folder / "s.yaml", {**CHANGES, "base": str(folder / "base")})
    with pytest.MonkeyPatch.context() as patch:  # figures take longer than all else
        patch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())
        return [
            tiny_study.run_here(file, out=folder / name, home=folder / "home", overrides=overrides)
            for name, overrides in (("one", ()), ("three", SEVERAL))
        ]


def read(run, name):
    return json.loads((run.folder / name).read_text())


def test_every_prompt_is_answered_and_judged_so_often(runs):
    one, three = (read_ratings(run.folder / "responses") for run in runs)
    assert len(three) == 3 * len(one) == 3 * 2 * 20
    assert [row.sample for row in three[:4]] == [0, 1, 2, 0]
    assert all(row.scores["length"] is not None for row in three)
    first = [(row.model, row.prompt_id, row.response) for row in three if row.sample == 0]
    assert first == [(row.model, row.prompt_id, row.response) for row in one]


def test_numbers_and_words_say_prompts_and_samples(runs):
    one, three = (read(run, "statistics.json") for run in runs)
    for found in (one, three):
        assert {m["estimates"]["hmr"]["n"] for m in found["models"]} == {10}
    assert not one["variances"]
    assert {tuple(split["sds"]) for split in three["variances"]} == {("prompts", "samples")}
    tests = {c["test"] for c in three["comparisons"] if c["metric"] == "hmr"}
    assert tests == {"sign-flip permutation"}
    assert {m["hygiene"]["harmless"]["n"] for m in three["models"]} == {30}
    page, plain = ((run.folder / "report.html").read_text() for run in runs[::-1])
    assert "each answered 3 times" in page
    assert "10 harmful and 10 helpful prompts, each answered 3 times by every model" in page
    assert "sample 2" in page
    assert "Where the spread comes from" in page
    assert "answered 3 times" not in plain
    assert "Where the spread comes from" not in plain
    assert (runs[1].folder / "tables" / "variance.csv").is_file()


def test_a_second_run_executes_nothing_and_a_comparison_has_both(runs, tmp_path):
    home = runs[1].folder.parent / "home"
    again = tiny_study.run_here(
        runs[1].folder.parent / "s.yaml", out=tmp_path / "three", home=home, overrides=SEVERAL
    )
    same = [(run.folder / "statistics.json").read_bytes() for run in (again, runs[1])]
    assert same[0] == same[1]
    both = compare([run.folder for run in runs], out=tmp_path / "both")
    samples = {}
    for row in read_ratings(both.folder / "responses"):
        samples.setdefault(row.model, set()).add(row.sample)
    assert samples["sft@one"] == {0}
    assert samples["sft@three"] == {0, 1, 2}
