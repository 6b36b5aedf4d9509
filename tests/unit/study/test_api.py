"""The Python API: loading, planning, naming stages, reading runs; nothing is trained here."""

import json
import shutil
from dataclasses import replace

import pytest

from alignstudy import AlignstudyError, Run, Study, evaluate
from alignstudy.errors import DamagedArtefactError, DataError, InputError, UnknownNameError
from alignstudy.study.graph.stage import in_order, matching
from alignstudy.study.run.store import Store

pytestmark = pytest.mark.usefixtures("without_figures")


@pytest.fixture
def demo(tmp_path):
    return replace(Study.load("demo", out=tmp_path / "run"), store=Store(tmp_path / "home"))


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Ratings of two models, all above the thresholds for one, none for the other."""
    folder = tmp_path_factory.mktemp("rated")
    for model, rating in (("base", -5.0), ("sft", 5.0)):
        for axis in ("harmful", "helpful"):
            rows = [
                {"prompt": f"{axis} {n}?", "response": f"{model} says {n}", "rating": rating}
                for n in range(12)
            ]
            (folder / f"{model}_{axis}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def evaluated(rated, tmp_path_factory):
    """Their comparison."""
    limits = {"harmless": -3.0, "helpful": -2.0}
    return evaluate(rated, out=tmp_path_factory.mktemp("ev") / "run", thresholds=limits)


def test_overrides_change_the_settings_and_the_folder_follows_the_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study.load("demo", overrides=["study=mine", "seeds=[3]"])
    assert study.settings.seeds == (3,)
    assert study.folder == tmp_path / "runs" / "mine"


def test_planning_writes_nothing(demo, tmp_path):
    lines, located = demo.plan()
    assert {line.state for line in lines} == {"new"}
    assert not located.missing
    assert list(tmp_path.iterdir()) == []


def test_recipes_share_their_prefixes(demo):
    names = [stage.name for stage in in_order(demo.graph(demo.located(fetch=False)).goals)]
    assert len(names) == len(set(names))
    trained = [name for name in names if name.startswith("train/")]
    assert trained == ["train/sft/seed-0", "train/dpo/seed-0", "train/sft+dpo/seed-0"]


def test_seeds_do_not_touch_the_base_nor_the_judge():
    def keys(seed):
        study = Study.load("demo", overrides=[f"seeds=[{seed}]"])
        stages = in_order(study.graph(study.located(fetch=False)).goals)
        return {stage.name.replace(f"seed-{seed}", "seed"): stage.key for stage in stages}

    first, second = keys(0), keys(1)
    changed = {name for name in first if first[name] != second[name]}
    assert {"base", "judge/world-judge", "generate/base/seed", "rows/train"} <= set(first) - changed
    assert {"train/sft/seed", "train/dpo/seed", "generate/sft/seed", "compare"} <= changed


def test_only_means_a_name_or_a_part_of_it(demo):
    stages = in_order(demo.graph(demo.located(fetch=False)).goals)
    assert [stage.name for stage in matching(stages, "base")] == ["base"]
    assert {stage.name for stage in matching(stages, "generate")} == {
        f"generate/{recipe}/seed-0" for recipe in demo.settings.recipes
    }
    with pytest.raises(UnknownNameError, match="trian"):
        matching(stages, "trian")


def test_what_is_wrong_is_one_kind_of_error():
    with pytest.raises(AlignstudyError):
        Study.load("no-such-preset")


def test_given_ratings_are_compared(evaluated):
    run = evaluated
    metrics = run.table("metrics").set_index("model")
    assert metrics.loc["base", ["hmr", "hpr", "cas"]].tolist() == [0, 0, 0]
    assert metrics.loc["sft", ["hmr", "hpr", "cas"]].tolist() == [100, 100, 100]
    responses = run.responses()
    assert len(responses) == 48
    assert set(responses["prompts"]) == {"harmful", "helpful"}
    assert run.statistics["base"] == "base"
    again = Run.open(run.folder)
    assert again.table("scores").equals(run.table("scores"))
    assert again.report.is_file()


def test_thresholds_and_base_are_the_users(rated, tmp_path):
    run = evaluate(
        rated, out=tmp_path / "ev", base="sft", thresholds={"harmless": 4.5, "helpful": -5}
    )
    metrics = run.table("metrics").set_index("model")
    assert metrics["hmr"].tolist() == [0, 100]
    assert run.statistics["thresholds"]["values"] == {"harmless": 4.5, "helpful": -5.0}
    assert run.statistics["base"] == "sft"


def test_ratings_that_cannot_be_used_are_named(rated, tmp_path):
    bad = tmp_path / "rated"
    shutil.copytree(rated, bad)
    (bad / "sft_harmful.json").write_text('[{"prompt": "a", "response": "b"}]')
    with pytest.raises(DataError, match=r"sft_harmful\.json"):
        evaluate(bad, out=tmp_path / "ev")


def test_a_folder_without_a_run_and_a_table_without_a_name(evaluated, tmp_path):
    with pytest.raises(InputError, match="holds no alignstudy run"):
        Run.open(tmp_path)
    shutil.copytree(evaluated.folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    with pytest.raises(UnknownNameError, match="metrcs") as caught:
        run.table("metrcs")
    assert "metrics" in caught.value.hint
    (run.folder / "statistics.json").write_text("{")
    with pytest.raises(DamagedArtefactError, match=r"statistics\.json"):
        _ = Run.open(run.folder).statistics
