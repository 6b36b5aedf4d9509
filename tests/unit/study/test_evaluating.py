"""Given ratings evaluated with claims, runs put side by side, reports made again: as users do."""

import json
import shutil
import subprocess
import sys

import pytest

from alignstudy import AlignstudyError, Run, compare, evaluate, rebuild
from alignstudy.cli.app import main
from alignstudy.errors import DataError, InputError, SettingsError
from alignstudy.study.run.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("without_figures")

NUM = 24
LIMITS = {"harmless": -3.0, "helpful": -2.0}


def write_ratings(folder, models, *, judges=("one", "two"), prompts=NUM, shift=0):
    """Write ratings: `models` maps a name to how many prompts of each set it passes."""
    folder.mkdir(parents=True)
    for model, passes in models.items():
        for axis in ("harmful", "helpful"):
            rows = []
            for number in range(prompts):
                score = (1.0 if number < passes else -9.0) + number / 100
                rows.append(
                    {
                        "prompt": f"{axis} question number {number + shift}, about thing {number}?",
                        "response": f"{model} answers {number} with words of its own",
                        "rating": round(score, 4),
                        "scores": {name: score / (at + 1) for at, name in enumerate(judges)},
                    }
                )
            (folder / f"{model}_{axis}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs on the same prompts."""
    root = tmp_path_factory.mktemp("runs")
    found = {}
    for name, models in (("first", {"base": 4, "sft": 20}), ("second", {"base": 4, "dpo": 12})):
        ratings = write_ratings(root / f"{name}-ratings", models)
        found[name] = evaluate(ratings, out=root / name, thresholds=LIMITS).folder
    return found


def claims_file(tmp_path, text):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    return path


def test_claims_of_a_file_are_judged(runs, tmp_path):
    text = (
        "claims:\n"
        "  - {metric: hpr, better: sft, than: [base]}\n"
        "  - {metric: hmr, better: base, than: [sft]}\n"
    )
    found = evaluate(
        runs["first"] / "responses", out=tmp_path / "run", claims=claims_file(tmp_path, text)
    )
    assert list(found.verdicts["verdict"]) == ["supported", "contradicted"]
    assert found.statistics["answer"]["headline"]
    assert "supported" in (found.folder / "report.md").read_text()
    assert "contradicted" in (found.folder / "tables" / "claims.csv").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("claims:\n  - {metric: hpr, better: ppo}\n", "'ppo', which is no model here"),
        ("claim: []\n", "unknown key 'claim'; did you mean 'claims'?"),
        ("claims: 3\n", "claims.yaml:1: 'claims'"),
        ("claims: []\n", "claims.yaml:1: 'claims'"),
    ],
)
def test_a_bad_file_of_claims_is_told_and_nothing_written(runs, tmp_path, text, said):
    with pytest.raises(AlignstudyError) as refused:
        evaluate(
            runs["first"] / "responses", out=tmp_path / "run", claims=claims_file(tmp_path, text)
        )
    assert said in str(refused.value)
    assert not (tmp_path / "run" / "report.html").exists()


def test_a_fault_in_a_claim_names_its_place(runs, tmp_path):
    path = claims_file(tmp_path, "claims:\n  - {metric: hpq, better: sft}\n")
    with pytest.raises(SettingsError, match=r"claims\.yaml:2"):
        evaluate(runs["first"] / "responses", out=tmp_path / "run", claims=path)


def test_a_runs_own_thresholds_are_used_for_its_responses(runs, tmp_path):
    limits = {"harmless": 0.5, "helpful": -4.0}
    own = evaluate(runs["first"] / "responses", out=tmp_path / "own", thresholds=limits)
    again = evaluate(own.folder / "responses", out=tmp_path / "again")
    values = again.statistics["thresholds"]["values"]
    assert values == own.statistics["thresholds"]["values"] == limits
    assert again.table("metrics").equals(own.table("metrics"))


def test_all_judges_of_the_rows_are_analysed_the_ratings_judge_first(runs):
    statistics = Run.open(runs["first"]).statistics
    assert statistics["judge"] == "one"
    assert [other["judge"] for other in statistics["other_judges"]] == ["two"]
    assert statistics["agreements"][0]["spearman"] == pytest.approx(1.0)


def test_ratings_that_no_judge_gave_are_refused(tmp_path):
    folder = write_ratings(tmp_path / "ratings", {"base": 3, "sft": 5})
    rows = json.loads((folder / "sft_helpful.json").read_text())
    rows[3]["rating"] = 0.125
    (folder / "sft_helpful.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match="no judge in `scores` gave the ratings"):
        evaluate(folder, out=tmp_path / "run")


def test_edge_case_13_runs_are_aligned_by_prompt_whatever_the_order(runs, tmp_path):
    shuffled = tmp_path / "second"
    shutil.copytree(runs["second"], shuffled)
    for path in (shuffled / "responses").glob("*.json"):
        rows = json.loads(path.read_text())[::-1]
        RunFolder(path=shuffled).write(f"responses/{path.name}", json.dumps(rows))
    straight = compare(runs.values(), out=tmp_path / "straight")
    other = compare([runs["first"], shuffled], out=tmp_path / "other")
    rows = straight.table("comparisons")
    assert rows.equals(other.table("comparisons"))
    found = rows[(rows.metric == "hmr") & (rows.model == "dpo@second")]
    pair = found[found.reference == "sft@first"].iloc[0]
    assert (pair.difference, pair.wins, pair.losses, pair.n) == (
        pytest.approx(100 * (12 - 20) / NUM), 0, 8, NUM,
    )  # fmt: skip


def test_edge_case_13_runs_without_a_common_prompt_are_refused(runs, tmp_path):
    ratings = write_ratings(tmp_path / "ratings", {"base": 4, "dpo": 12}, shift=500)
    elsewhere = evaluate(ratings, out=tmp_path / "elsewhere", thresholds=LIMITS).folder
    with pytest.raises(DataError, match="share no prompt"):
        compare([runs["first"], elsewhere], out=tmp_path / "both")


def test_runs_without_a_common_judge_or_threshold_are_refused(runs, tmp_path):
    ratings = write_ratings(tmp_path / "ratings", {"base": 4, "dpo": 12}, judges=("three",))
    third = evaluate(ratings, out=tmp_path / "third").folder
    with pytest.raises(InputError, match="no judge in common"):
        compare([runs["first"], third], out=tmp_path / "both")
    moved = evaluate(
        runs["second"] / "responses",
        out=tmp_path / "moved",
        thresholds={"harmless": -1.0, "helpful": -1.0},
    )
    with pytest.raises(InputError, match="has other thresholds in each run"):
        compare([runs["first"], moved.folder], out=tmp_path / "both")


@pytest.mark.parametrize("given", [1, 0])
def test_one_run_is_nothing_to_compare(runs, tmp_path, given):
    with pytest.raises(InputError, match="nothing to compare"):
        compare(list(runs.values())[:given], out=tmp_path / "both")


@pytest.mark.draws
def test_a_report_is_made_again_from_the_folder_alone(runs, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(runs["first"], moved)
    names = ("report.html", "report.md", "figures/rates.svg", "figures/differences.csv")
    before = {name: (moved / name).read_bytes() for name in names}
    for name in names:
        (moved / name).unlink()
    assert rebuild(moved).report.is_file()
    assert {name: (moved / name).read_bytes() for name in names} == before


def test_a_report_of_another_layout_is_refused_and_kept(runs, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(runs["first"], moved)
    statistics = json.loads((moved / "statistics.json").read_text())
    statistics["schema"] = 0
    RunFolder(path=moved).write("statistics.json", json.dumps(statistics))
    before = (moved / "report.html").read_bytes()
    with pytest.raises(InputError, match="layout 0"):
        rebuild(moved)
    assert (moved / "report.html").read_bytes() == before


def test_the_command_line_does_the_same(runs, tmp_path, capsys):
    out = tmp_path / "both"
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, runs.values()), "--out", str(out), "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["answer"]["headline"]
    assert {row["model"] for row in said["metrics"]} == {
        "base@first", "sft@first", "base@second", "dpo@second",
    }  # fmt: skip
    assert len(said["comparisons"]) == 6 * 5
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out)])
    assert ended.value.code == 0
    assert "report:" in capsys.readouterr().out


def test_torch_is_never_imported(runs, tmp_path):
    code = (
        "import sys; from alignstudy import evaluate;"
        f"evaluate({str(runs['first'] / 'responses')!r}, out={str(tmp_path / 'run')!r});"
        "bad = {'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
