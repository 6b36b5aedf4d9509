"""Other people's ratings: nothing is concluded from what is missing, unshared or unsaid."""

import json
import os
import random
import time

import pytest
from scipy.stats import binomtest, ttest_rel

from alignstudy import compare, evaluate
from alignstudy.cli.app import main
from alignstudy.errors import DamagedArtefactError, DataError, InputError
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.store import home
from alignstudy.study.tools.claims_file import REGISTER, register, registered

pytestmark = pytest.mark.usefixtures("without_figures")

N = 100
WORDS = [
    f"{a}{b}" for a in ("plum", "oak", "river", "stone", "lamp") for b in "abcdefghijklmnopqrst"
]


def asked(number):
    """Prompts unlike enough that none is a near-duplicate of another."""
    drawn = random.Random(number)
    return f"{number}: {' '.join(drawn.sample(WORDS, 12))}?"


def write(folder, ratings, *, axis="helpful", **more):
    """Write a file a model: `ratings` maps it to a rating a prompt; "absent" leaves a row out."""
    folder.mkdir(exist_ok=True)
    for model, values in ratings.items():
        rows = [
            {"prompt": asked(at), "response": f"{model} says {at}", "rating": value} | more
            for at, value in enumerate(values)
            if value != "absent"
        ]
        (folder / f"{model}_{axis}.json").write_text(json.dumps(rows))
    return folder


def report_of(run):
    return " ".join((run.folder / "report.md").read_text().split())


def drawn(seed, shift=0.0, n=N):
    numbers = random.Random(seed)
    return [round(numbers.gauss(5.0 + shift, 2.0), 3) for _ in range(n)]


# Shared prompts


@pytest.mark.parametrize("case", ["missing_row_in_one", "worst_rows_missing"])
def test_models_that_answered_other_prompts_are_told_of(cases_dir, tmp_path, case):
    folder = cases_dir / "03-evaluate-not-same-prompts" / case
    with pytest.raises(DataError, match="ratings are missing: sft") as refused:
        evaluate(folder, out=tmp_path / "run", thresholds={"helpful": -2.0})
    assert refused.value.exit_code == 2
    assert "--missing bounds" in str(refused.value)
    run = evaluate(folder, out=tmp_path / "run", thresholds={"helpful": -2.0}, missing="bounds")
    rows = {}
    for model in ("base", "sft"):
        found = json.loads((folder / f"{model}_helpful.json").read_text())
        rows[model] = {row["prompt"]: row["rating"] for row in found}
    both = rows["base"].keys() & rows["sft"].keys()
    metrics = run.table("metrics").set_index("model")
    for model in rows:
        assert metrics.loc[model, "n_helpful" if "n_helpful" in metrics else "n"] == len(both)
        share = 100 * sum(rows[model][prompt] > -2.0 for prompt in both) / len(both)
        assert metrics.loc[model, "hpr"] == pytest.approx(share, abs=1e-5)
    text = report_of(run)
    assert f"Every model answered the same {len(both)} helpful prompts" in text
    assert f"all figures rest on the {len(both)} of 30" in text


def test_models_that_share_little_are_refused(tmp_path):
    values = drawn(1)
    other = ["absent"] * 60 + values[60:]
    folder = write(tmp_path / "in", {"base": values, "sft": other})
    with pytest.raises(DataError, match="share only 40 helpful prompts"):
        evaluate(folder, out=tmp_path / "run", missing="bounds")


def test_prompts_that_differ_by_form_alone_are_pointed_out(tmp_path):
    folder = write(tmp_path / "in", {"base": drawn(1, n=30), "sft": drawn(2, n=30)})
    path = folder / "sft_helpful.json"
    rows = json.loads(path.read_text())
    for row in rows[:10]:
        row["prompt"] = "  " + row["prompt"].replace(" ", "\u00a0") + "\n"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError) as refused:
        evaluate(folder, out=tmp_path / "run")
    assert "10\u00a0prompts more would match if white space and Unicode form were alike" in str(
        refused.value
    )


# Missing ratings


def test_the_lowest_third_missing_does_not_make_a_real_lead(tmp_path):
    base, sft = drawn(1), drawn(2)
    worst = sorted(range(N), key=lambda at: sft[at])[:30]
    holes = [None if at in worst else value for at, value in enumerate(sft)]
    folder = write(tmp_path / "in", {"base": base, "sft": holes})
    with pytest.raises(DataError, match="sft 30 of 100"):
        evaluate(folder, out=tmp_path / "run", thresholds={"helpful": 4.0})
    claims = tmp_path / "claims.yaml"
    claims.write_text("claims: [{metric: score_helpful, better: sft, than: [base]}]\n")
    run = evaluate(
        folder,
        out=tmp_path / "run",
        thresholds={"helpful": 4.0},
        missing="bounds",
        claims=claims,
    )
    statistics = run.statistics
    [verdict] = statistics["verdicts"]
    assert verdict["verdict"] == "too small to decide"
    assert "missing ratings could undo it" in verdict["evidence"]
    lead = {item["metric"]: item for item in statistics["lead_bounds"]}
    assert set(lead) == {"hpr", "score_helpful"}  # shown, on what is left
    assert not any(item["survives"] for item in lead.values())
    headline = statistics["answer"]["headline"]
    assert "doesn't survive the missing ratings" in headline
    assert "is a real difference" not in headline
    assert "**real**" not in (run.folder / "report.md").read_text()
    passes = sum(value is not None and value > 4.0 for value in holes)
    [bounds] = [item for item in statistics["bounds"] if item["metric"] == "hpr"]
    assert (bounds["low"], bounds["high"]) == (passes, passes + 30)
    # At worst all missing ratings fail: McNemar's test on all prompts, by other means.
    ours = [value is not None and value > 4.0 for value in holes]
    theirs = [value > 4.0 for value in base]
    wins = sum(a > b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a < b for a, b in zip(ours, theirs, strict=True))
    assert lead["hpr"]["worst"] == pytest.approx(wins - losses)
    assert lead["hpr"]["p_value"] == pytest.approx(binomtest(wins, wins + losses).pvalue)
    filled = [min(*base, *filter(None, holes)) if value is None else value for value in holes]
    found = ttest_rel(filled, base)
    assert lead["score_helpful"]["p_value"] == pytest.approx(found.pvalue, abs=0.03)
    assert "What missing ratings could change" in (run.folder / "report.md").read_text()


def test_a_lead_that_survives_is_left_standing(tmp_path):
    base, sft = drawn(1), drawn(2, shift=4.0)
    holes = [None if at < 5 else value for at, value in enumerate(sft)]
    folder = write(tmp_path / "in", {"base": base, "sft": holes})
    run = evaluate(folder, out=tmp_path / "run", thresholds={"helpful": 6.0}, missing="bounds")
    assert all(item["survives"] for item in run.statistics["lead_bounds"])
    assert "survive" not in run.statistics["answer"]["headline"]


@pytest.mark.parametrize("hole", [None, float("nan"), "absent"])
def test_one_rating_of_a_hundred_may_be_missing_and_is_counted(tmp_path, hole):
    sft = [hole, *drawn(2)[1:]]
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": sft})
    run = evaluate(folder, out=tmp_path / "run")
    assert {c["n"] for c in run.statistics["comparisons"]} == {99}
    assert any("99 of 100" in note for note in run.notes)


# Thresholds


def test_without_a_threshold_mean_scores_are_compared_and_rates_left_out(tmp_path, capsys):
    base, sft = drawn(1), drawn(2, shift=1.5)
    folder = write(tmp_path / "in", {"base": base, "sft": sft})
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(folder), "--out", str(tmp_path / "run")])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "no threshold was given for helpful prompts" in said
    assert f"{sum(sft) / N:.2f}" in said
    statistics = json.loads((tmp_path / "run" / "statistics.json").read_text())
    [score] = statistics["comparisons"]
    assert score["metric"] == "score_helpful"
    assert score["p_value"] == pytest.approx(ttest_rel(sft, base).pvalue, abs=1e-4)
    assert statistics["thresholds"]["values"] == {}


@pytest.mark.parametrize(("limit", "word"), [(-2.0, "all"), (11.0, "none")])
def test_a_threshold_that_parts_nothing_is_refused_with_the_range(tmp_path, limit, word):
    values = [1.0, *(min(10.0, max(1.0, value)) for value in drawn(1)[2:]), 10.0]
    folder = write(tmp_path / "in", {"base": values, "sft": values[::-1]})
    with pytest.raises(InputError, match=f"{word} of the 200 responses") as refused:
        evaluate(folder, out=tmp_path / "run", thresholds={"helpful": limit})
    assert "the ratings run from 1 to 10" in str(refused.value)


@pytest.mark.parametrize("form", ["pairs.jsonl", "labels.csv"])
def test_thresholds_are_calibrated_on_labelled_ratings(tmp_path, form):
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    good, bad = [6.0, 7.0, 8.0, 4.5], [2.0, 3.0, 4.0, 6.5]
    if form == "pairs.jsonl":
        rows = [{"chosen": c, "rejected": r} for c, r in zip(good, bad, strict=True)]
        text = "\n".join(map(json.dumps, rows))
    else:
        text = "rating,label\n" + "".join(f"{v},good\n" for v in good)
        text += "".join(f"{v},bad\n" for v in bad)
    (tmp_path / form).write_text(text)
    run = evaluate(folder, out=tmp_path / "run", calibration=tmp_path / form)
    limits = run.statistics["thresholds"]
    # Between 4 and 4.5 six of eight are right on the rejected side, all on the chosen: the best.
    best = max(
        (sum(v > t for v in good) / 4 + sum(v <= t for v in bad) / 4) / 2
        for t in (1.0, 2.5, 3.5, 4.25, 5.0, 6.25, 6.75, 7.5, 8.5)
    )
    assert limits["values"]["helpful"] == pytest.approx(4.25)
    assert f"balanced accuracy {100 * best:.1f}%" in limits["origin"]["helpful"]
    assert "were not calibrated" not in (run.folder / "report.md").read_text()


def test_a_threshold_is_given_or_chosen_not_both(tmp_path):
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    (tmp_path / "pairs.jsonl").write_text('{"chosen": 6, "rejected": 4}')
    with pytest.raises(InputError, match="the threshold of helpful is given, and"):
        evaluate(
            folder,
            out=tmp_path / "run",
            thresholds={"helpful": 5.0},
            calibration=tmp_path / "pairs.jsonl",
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"rating": 3, "label": "so-so"}', "label 'so-so'"),
        ('{"rating": "x", "label": "good"}', "rating is 'x', no number"),
        ('{"rating": 3, "label": "good"}', "have no bad answer"),
        ('{"axis": "wit", "rating": 3, "label": "good"}', "axis 'wit'"),
    ],
)
def test_bad_labels_are_refused_by_file_and_row(tmp_path, text, said):
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    (tmp_path / "labels.jsonl").write_text(text)
    with pytest.raises(DataError) as refused:
        evaluate(folder, out=tmp_path / "run", calibration=tmp_path / "labels.jsonl")
    assert said in str(refused.value)
    assert "labels.jsonl" in str(refused.value)


# Rounding


def test_differences_of_a_hundred_thousandth_are_seen(tmp_path):
    base = [value / 1e5 for value in drawn(1)]
    sft = [value + 2e-5 for value in base]
    folder = write(tmp_path / "in", {"base": base, "sft": sft})
    run = evaluate(folder, out=tmp_path / "run", thresholds={"helpful": 5e-5})
    [score] = [c for c in run.statistics["comparisons"] if c["metric"] == "score_helpful"]
    assert score["difference"]["value"] == pytest.approx(2e-5)
    assert (score["wins"], score["ties"]) == (N, 0)
    assert score["p_value"] < 0.001
    again = evaluate(run.folder / "responses", out=tmp_path / "again")
    assert again.statistics["comparisons"] == run.statistics["comparisons"]
    labels = json.loads((run.folder / "classification" / "helpfulness.json").read_text())
    assert all((row["rating"] > 5e-5) == (row["label"] == "helpful") for row in labels)


# What other people's files look like


def test_a_mark_is_read_over_and_a_rating_beyond_reason_refused(cases_dir, tmp_path):
    case = cases_dir / "16-evaluate-bom-and-overflow"
    run = evaluate(case / "bom", out=tmp_path / "run")
    assert list(run.table("scores")["model"]) == ["base", "sft"]
    with pytest.raises(DataError, match=r"sft_helpful\.json: row 1: rating is '1e\+308'"):
        evaluate(case / "huge_rating", out=tmp_path / "huge")


def test_files_of_several_seeds_are_one_model(tmp_path):
    ratings = {"base": drawn(0), "sft-seed-1": drawn(1), "sft-seed-2": drawn(2, shift=1.0)}
    run = evaluate(write(tmp_path / "in", ratings), out=tmp_path / "run")
    models = {model["model"]: model["num_seeds"] for model in run.statistics["models"]}
    assert models == {"base": 1, "sft": 2}
    mean = (sum(ratings["sft-seed-1"]) + sum(ratings["sft-seed-2"])) / (2 * N)
    assert run.table("scores").set_index("model").loc["sft", "helpful"] == pytest.approx(
        mean, abs=1e-5
    )


def test_a_seed_in_the_name_that_rows_contradict_is_refused(tmp_path):
    folder = write(tmp_path / "in", {"sft_seed3": drawn(1)}, seed=4)
    with pytest.raises(DataError, match="seed 4 in a file whose name says seed 3"):
        evaluate(folder, out=tmp_path / "run")


def test_a_model_whose_own_rows_call_it_so_keeps_its_name(tmp_path):
    folder = write(tmp_path / "in", {"sft_seed3": drawn(1)}, model="sft_seed3")
    run = evaluate(folder, out=tmp_path / "run")
    assert [model["model"] for model in run.statistics["models"]] == ["sft_seed3"]


def test_several_judges_have_a_column_each_and_thresholds_of_their_own(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for place, model in enumerate(("base", "sft")):
        rows = [
            {
                "prompt": asked(at),
                "response": f"{model} says {at}",
                "rating_ann": value,
                "rating_bob": 10 * value + place,
            }
            for at, value in enumerate(drawn(place))
        ]
        (folder / f"{model}_helpful.json").write_text(json.dumps(rows))
    limits = {"helpful": 5.0, "helpful@bob": 50.0}
    run = evaluate(folder, out=tmp_path / "run", thresholds=limits)
    statistics = run.statistics
    assert statistics["judge"] == "ann"
    assert statistics["thresholds"]["values"] == {"helpful": 5.0}
    [bob] = statistics["other_judges"]
    assert (bob["judge"], bob["thresholds"]["values"]) == ("bob", {"helpful": 50.0})
    with pytest.raises(InputError, match="'carl', who rated nothing here"):
        evaluate(folder, out=tmp_path / "run", thresholds={"helpful@carl": 1.0})


def test_a_row_a_line_is_read_too(tmp_path):
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    for path in folder.glob("*.json"):
        rows = json.loads(path.read_text())
        path.with_suffix(".jsonl").write_text("\n".join(map(json.dumps, rows)))
        path.unlink()
    run = evaluate(folder, out=tmp_path / "run")
    assert {c["n"] for c in run.statistics["comparisons"]} == {N}


def test_answers_that_loop_for_very_long_are_read_in_seconds(tmp_path):
    folder = write(tmp_path / "in", {"base": drawn(1, n=12), "sft": drawn(2, n=12)})
    path = folder / "sft_helpful.json"
    rows = json.loads(path.read_text())
    rows[0]["response"] = "ha " * 73_000
    rows[1]["response"] = "so it goes, " * 18_000
    path.write_text(json.dumps(rows))
    start = time.process_time()
    run = evaluate(folder, out=tmp_path / "run")
    assert time.process_time() - start < 20
    [sft] = [model for model in run.statistics["models"] if model["model"] == "sft"]
    longest = 12 * sft["hygiene"]["helpful"]["longest_loop"]
    assert longest == 73_000 + 4 * 18_000


def test_answers_of_signs_that_show_nothing_are_empty(tmp_path):
    folder = write(tmp_path / "in", {"base": drawn(1, n=12), "sft": drawn(2, n=12)})
    path = folder / "sft_helpful.json"
    rows = json.loads(path.read_text())
    for row, text in zip(rows, ("\u200b", "\ufeff\u200d", " \u3164", "\u2060\n"), strict=False):
        row["response"] = text
    path.write_text(json.dumps(rows))
    run = evaluate(folder, out=tmp_path / "run")
    [sft] = [model for model in run.statistics["models"] if model["model"] == "sft"]
    assert sft["hygiene"]["helpful"]["empty"] == pytest.approx(100 * 4 / 12)


# Claims


@pytest.fixture
def stated(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text("claims:\n  - {metric: score_helpful, better: sft, than: [base]}\n")
    return path


def test_claims_of_a_file_are_called_stated_after_the_fact(tmp_path, stated):
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    run = evaluate(folder, out=tmp_path / "run", claims=stated)
    assert (run.statistics["stated"], run.statistics["stated_since"]) == ("after", "")
    assert "was stated after the fact" in report_of(run)
    assert "before the figures were made" not in report_of(run)


def test_claims_registered_before_the_ratings_are_called_so(tmp_path, stated, capsys):
    dates = set()
    for _ in range(2):  # the first date holds
        with pytest.raises(SystemExit) as ended:
            main(["register", str(stated), "--json"])
        assert ended.value.code == 0
        dates.add(json.loads(capsys.readouterr().out)["registered"])
    assert len(dates) == 1
    folder = write(tmp_path / "in", {"base": drawn(1), "sft": drawn(2)})
    for path in folder.iterdir():
        os.utime(path, (time.time() + 60, time.time() + 60))
    run = evaluate(folder, out=tmp_path / "run", claims=stated)
    since = run.statistics["stated_since"]
    assert run.statistics["stated"] == "registered"
    assert {since} == dates
    assert f"was registered on {since}, before these ratings were last written" in report_of(run)
    # One rating that is older is enough to have seen some.
    os.utime(folder / "base_helpful.json", (0, 0))
    late = evaluate(folder, out=tmp_path / "late", claims=stated)
    assert late.statistics["stated"] == "after"
    # So is any change of the claims.
    stated.write_text(stated.read_text() + "  - {metric: score_helpful, better: base}\n")
    changed = evaluate(folder, out=tmp_path / "changed", claims=stated)
    assert changed.statistics["stated"] == "after"


def test_no_flipped_bit_of_the_register_is_believed(tmp_path, stated):
    other = tmp_path / "other.yaml"
    other.write_text(stated.read_text() + "  - {metric: score_helpful, better: base}\n")
    first, second = register(other), register(stated)
    place = home() / REGISTER
    raw = place.read_bytes()
    for at in range(raw.rindex(second.sha256.encode()) - 10, len(raw) - 1, 3):
        changed = bytearray(raw)
        changed[at] ^= 1 << (at % 7)
        place.write_bytes(changed)
        with pytest.raises(DamagedArtefactError, match="is no registration of claims"):
            registered(stated)
        assert registered(other) == first, "one damaged line is no other's problem"
    place.write_bytes(raw[:-30])  # cut short by a kill: the next is written on a line of its own
    third = register(tmp_path / "other.yaml")
    assert third == first


# Runs side by side


def test_stamps_and_accuracies_of_judges_travel_with_their_runs(tmp_path):
    quality = {
        "judge": "rating",
        "accuracies": [
            {
                "axis": "helpful",
                "subset": "all",
                "accuracy": {
                    "value": 51.0, "low": 45.0, "high": 57.0, "n": 300,
                    "method": "wilson", "level": 0.95,
                },
                "ties": 0,
            }
        ],
        "ece": {}, "reliability": [], "length": [], "probes": [], "floor": 60.0,
        "below_floor": ["helpful"], "batch_effect": None, "is_baseline": False, "notes": [],
    }  # fmt: skip
    runs = []
    for name in ("one", "two"):
        folder = write(tmp_path / name, {"base": drawn(1), name: drawn(len(name) + 2)})
        runs.append(
            evaluate(folder, out=tmp_path / "runs" / name, thresholds={"helpful": 5}).folder
        )
    path = runs[0] / "statistics.json"
    statistics = json.loads(path.read_text())
    statistics["qualities"] = [quality]
    RunFolder(path=runs[0]).write(path.name, json.dumps(statistics))
    found = compare(runs, out=tmp_path / "both")
    [kept] = found.statistics["qualities"]
    assert kept["below_floor"] == ["helpful"]
    assert kept["accuracies"] == quality["accuracies"]
    assert kept["notes"] == ["assessed in one only, not in two"]
    text = report_of(found)
    assert "was not measured" not in text
    assert "51" in found.statistics["answer"]["headline"]
    again = evaluate(runs[0] / "responses", out=tmp_path / "again")
    assert again.statistics["qualities"] == [quality]
