"""Logs of lm-evaluation-harness and Inspect: what real ones hold, counted here by other means."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from scipy.stats import binomtest

from alignstudy import evaluate
from alignstudy.data.ratings.read import read_rated
from alignstudy.errors import DataError, EnvironmentFault, InputError

pytestmark = pytest.mark.usefixtures("without_figures")

LOGS = Path(__file__).resolve().parents[2] / "fixtures" / "logs"
HARNESS = LOGS / "harness" / "logs"


@pytest.fixture(scope="module")
def inspected(tmp_path_factory):
    """The logs of Inspect, unpacked."""
    folder = tmp_path_factory.mktemp("inspect") / "logs"
    shutil.copytree(LOGS / "inspect" / "logs", folder)
    for path in folder.rglob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    return folder


def harness_values(task, metric):
    """Model -> document -> value, by reading the lines as they are."""
    found = {}
    for path in HARNESS.rglob(f"samples_{task}_*.jsonl"):
        model = path.parent.name.removeprefix("models__")
        rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        found[model] = {row["doc_id"]: row[metric] for row in rows}
    return found


def inspect_samples(folder, task):
    """Model -> samples, by reading archives and files as they are."""
    zstandard = pytest.importorskip("zstandard")
    found = {}
    [packed] = folder.rglob(f"*_{task}_*.eval")
    whole = packed.read_bytes()
    samples = []
    with zipfile.ZipFile(packed) as archive:
        for info in archive.infolist():
            if info.filename.startswith("samples/"):
                at = whole.index(b"\x28\xb5\x2f\xfd", info.header_offset)
                unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(whole[at:])
                samples.append(json.loads(unpacked))
    found["small"] = samples
    [plain] = folder.rglob(f"*_{task}_*.json")
    found["large"] = json.loads(plain.read_text(encoding="utf-8"))["samples"]
    return found


def mcnemar(first, second):
    wins = sum(first[key] > second[key] for key in first)
    losses = sum(first[key] < second[key] for key in first)
    return wins, losses, float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


@pytest.fixture(scope="module")
def harness_run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())
        return evaluate(HARNESS, out=tmp_path_factory.mktemp("harness") / "run")


def test_rates_of_the_harness_are_its_own(harness_run):
    metrics = harness_run.table("metrics").set_index("model")
    for model in ("tiny-a", "tiny-b"):
        [path] = (HARNESS / f"models__{model}").glob("results_*.json")
        own = json.loads(path.read_text())["results"]
        rates = metrics.loc[model]
        assert rates["pass_tiny-sums"] == pytest.approx(100 * own["tiny_sums"]["acc,none"])
        assert rates["pass_tiny-tales"] == pytest.approx(100 * own["tiny_tales"]["has_upper,none"])


@pytest.mark.parametrize(("task", "metric"), [("tiny_sums", "acc"), ("tiny_tales", "has_upper")])
def test_pairs_of_the_harness_are_tested_document_by_document(harness_run, task, metric):
    values = harness_values(task, metric)
    wins, losses, p = mcnemar(values["tiny-b"], values["tiny-a"])
    axis = task.replace("_", "-")
    [found] = [c for c in harness_run.statistics["comparisons"] if c["metric"] == f"pass_{axis}"]
    if (found["model"], found["reference"]) == ("tiny-a", "tiny-b"):
        wins, losses = losses, wins
    assert (found["wins"], found["losses"], found["n"]) == (wins, losses, len(values["tiny-a"]))
    assert found["p_value"] == pytest.approx(p)


def test_any_metric_of_the_harness_can_be_taken_each_an_axis(tmp_path):
    found = evaluate(
        HARNESS, out=tmp_path / "run", metrics=["letters", "tiny_sums=acc_norm", "acc"]
    )
    letters = harness_values("tiny_tales", "letters")
    scores = found.table("scores").set_index("model")
    assert set(found.statistics["thresholds"]["values"]) == {"tiny-sums-acc-norm", "tiny-sums-acc"}
    for model, values in letters.items():
        mean = sum(values.values()) / len(values)
        assert scores.loc[model, "tiny-tales"] == pytest.approx(mean, abs=1e-6)


def test_a_metric_that_no_log_has_is_refused_with_those_that_they_have(tmp_path):
    with pytest.raises(InputError, match="no task has the metric 'f1'") as refused:
        evaluate(HARNESS, out=tmp_path / "run", metrics=["f1"])
    assert "tiny_tales: has_upper, letters" in str(refused.value)


def test_a_metric_that_is_better_the_lower_has_its_sign_turned(tmp_path):
    shutil.copytree(HARNESS, tmp_path / "logs")
    for path in (tmp_path / "logs").rglob("results_*.json"):
        text = json.loads(path.read_text())
        text["higher_is_better"]["tiny_tales"]["letters"] = False
        path.write_text(json.dumps(text))
    rated = read_rated([tmp_path / "logs"], ["tiny_tales=letters"])
    scores = [row.scores["log"] for row in rated.rows if row.axis == "tiny-tales"]
    assert max(scores) <= 0 > min(scores)
    assert any("sign is turned" in note for note in rated.notes)


def test_documents_that_differ_are_not_compared(tmp_path):
    shutil.copytree(HARNESS, tmp_path / "logs")
    [path] = (tmp_path / "logs" / "models__tiny-b").glob("samples_tiny_sums_*")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows[:20]:
        row["doc_hash"] = "0" * 64
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match="share only 10 tiny-sums prompts"):
        evaluate(tmp_path / "logs", out=tmp_path / "run", missing="bounds")


def test_results_without_samples_are_refused_with_what_to_do(tmp_path):
    [path] = (HARNESS / "models__tiny-a").glob("results_*.json")
    shutil.copy(path, tmp_path / path.name)
    with pytest.raises(DataError, match="no samples beside it") as refused:
        evaluate(tmp_path, out=tmp_path / "run")
    assert "--log_samples" in str(refused.value)


def test_rates_and_tests_of_inspect_are_those_of_its_samples(inspected, tmp_path):
    samples = inspect_samples(inspected, "arithmetic")
    values = {
        model: {each["id"]: each["scores"]["right"]["value"] == "C" for each in found}
        for model, found in samples.items()
    }
    run = evaluate(inspected, out=tmp_path / "run", base="small")
    metrics = run.table("metrics").set_index("model")
    for model, right in values.items():
        rate = 100 * sum(right.values()) / len(right)
        assert metrics.loc[model, "pass_arithmetic"] == pytest.approx(rate)
    wins, losses, p = mcnemar(values["large"], values["small"])
    [found] = [c for c in run.statistics["comparisons"] if c["metric"] == "pass_arithmetic"]
    assert (found["wins"], found["losses"]) == (wins, losses)
    assert found["p_value"] == pytest.approx(p)


@pytest.mark.parametrize(("metric", "one"), [("brief", "C"), ("quality", None)])
def test_epochs_of_inspect_are_averaged_prompt_by_prompt(inspected, tmp_path, metric, one):
    samples = inspect_samples(inspected, "style")
    run = evaluate(inspected, out=tmp_path / "run", metrics=[metric])
    scores = run.table("scores").set_index("model")
    for model, found in samples.items():
        values = [each["scores"][metric]["value"] for each in found]
        numbers = [value == one for value in values] if one else values
        assert scores.loc[model, "style"] == pytest.approx(sum(numbers) / len(numbers), abs=1e-6)
    assert "style" not in run.statistics["thresholds"]["values"]
    assert {c["n"] for c in run.statistics["comparisons"] if c["metric"] == "score_style"} == {10}
    assert any("up to 2 answers to one prompt are averaged" in note for note in run.notes)


def test_logs_of_both_programs_stand_side_by_side(inspected, tmp_path):
    run = evaluate([HARNESS, inspected], out=tmp_path / "run")
    assert [axis["name"] for axis in run.statistics["axes"]] == [
        "tiny-sums", "tiny-tales", "arithmetic", "style",
    ]  # fmt: skip
    text = (run.folder / "report.md").read_text()
    assert "was asked no arithmetic prompt" in text
    assert "Every model answered the same" not in text


def test_answers_are_what_was_generated_or_the_likeliest_choice():
    rows = read_rated([HARNESS]).rows
    [path] = (HARNESS / "models__tiny-a").glob("samples_tiny_sums_*")
    first = json.loads(path.read_text(encoding="utf-8").split("\n", 1)[0])
    likely = max(first["resps"], key=lambda answer: float(answer[0][0]))
    choice = first["arguments"][f"gen_args_{first['resps'].index(likely)}"]["arg_1"]
    found = next(row for row in rows if row.model == "tiny-a" and row.prompt == "0 + 0 =")
    assert found.response == choice


def test_a_damaged_archive_is_refused(inspected, tmp_path):
    pytest.importorskip("zstandard")
    [path] = inspected.rglob("*_arithmetic_*.eval")
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        sample = next(i for i in archive.infolist() if i.filename.startswith("samples/"))
    whole[sample.header_offset + sample.compress_size // 2] ^= 1
    (tmp_path / "bad.eval").write_bytes(whole)
    (tmp_path / "no.eval").write_text("no archive")
    for name in ("bad.eval", "no.eval"):
        with pytest.raises(DataError, match="no sound zip archive"):
            read_rated([tmp_path / name])


def test_without_the_library_it_is_said_how_to_install_it(inspected, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr("alignstudy.data.ratings.inspect_logs.importlib.import_module", missing)
    with pytest.raises(EnvironmentFault, match="zstd") as refused:
        read_rated([inspected / "small"])
    assert "alignstudy[logs]" in str(refused.value)


def test_what_is_neither_ratings_nor_a_log_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(InputError, match="neither a folder of ratings nor a log"):
        read_rated([tmp_path / "notes.txt"])
    with pytest.raises(InputError, match="no such file or folder"):
        read_rated([tmp_path / "absent"])
    with pytest.raises(InputError, match="nothing to evaluate"):
        read_rated([])
