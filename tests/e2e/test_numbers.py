"""The numbers themselves, made again from what the run folder and the store hold."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import tiny_study

from alignstudy.data.contamination.exclusion import SHARES_CALIBRATION, SHARES_PROMPT
from alignstudy.dialogue import CUE
from alignstudy.study.run.store import Store

MOST_TOKENS = tiny_study.STUDY["judges"][0]["max_length"]
AXES = {"harmful": "harmless", "helpful": "helpful"}


def logits(folder, items):
    """Score (prompt, response) pairs with nothing but transformers, one at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return [
            float(model(**tokenizer(*item, return_tensors="pt")).logits[0, 0]) for item in items
        ]


def judged(finished, items):
    """Score pairs as the study's judge does; those that it reads whole agree with transformers."""
    from transformers import AutoTokenizer

    from alignstudy.judges import SeqClsSettings, build

    folder = finished.run / "judges" / "tiny-judge"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores = [
        given.score
        for given in build(SeqClsSettings(max_length=MOST_TOKENS), folder, "cpu").score(items)
    ]
    whole = [at for at, item in enumerate(items) if len(tokenizer(*item).input_ids) <= MOST_TOKENS]
    assert len(whole) >= len(items) / 2
    again = logits(folder, [items[at] for at in whole])
    assert [scores[at] for at in whole] == pytest.approx(again, abs=1e-5)
    return [round(score, 4) for score in scores]


def read_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_rating_is_the_judges_score_of_that_prompt_and_response(finished):
    judge = finished.run / "judges" / "tiny-judge"
    for path in sorted((finished.run / "responses").glob("*.json")):
        rows = json.loads(path.read_text())
        again = logits(judge, [(row["prompt"], row["response"]) for row in rows])
        assert [row["rating"] for row in rows] == pytest.approx(again, abs=1e-4), path.name


def test_greedy_responses_are_the_models_own(finished):
    """One prompt at a time, by plain argmax without a cache, cut as the rigorous protocol says."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished.run / "models" / "sft"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for row in json.loads((finished.run / "responses" / "sft_helpful.json").read_text())[:5]:
        start = tokenizer(row["prompt"], return_tensors="pt")["input_ids"]
        ids = start
        with torch.inference_mode():
            for _ in range(12):
                best = model(ids).logits[0, -1].argmax()
                if best == tokenizer.eos_token_id:
                    break
                ids = torch.cat([ids, best.view(1, 1)], dim=1)
        raw = tokenizer.decode(ids[0, start.shape[1] :], skip_special_tokens=True)
        assert raw.startswith(row["raw_response"].rstrip()) or row["stop_reason"] == "stop_string"
        assert row["response"] == row["raw_response"].strip() or "Human:" in row["raw_response"]
        assert row["prompt"].endswith(CUE)


def test_thresholds_are_the_best_on_the_calibration_pairs(finished):
    thresholds = json.loads((finished.run / "statistics.json").read_text())["thresholds"]
    key = next(
        line["key"]
        for line in json.loads((finished.run / "provenance.json").read_text())["stages"]
        if line["stage"] == "prompts"
    )
    prompts = Store(finished.home).folder("prompts", key)
    for axis in AXES.values():
        rows = read_lines(prompts / f"calibration-{axis}.jsonl")
        sides = {
            name: judged(finished, [(row["prompt"], row[name].strip()) for row in rows])
            for name in ("chosen", "rejected")
        }

        def accuracy(at, sides=sides):
            right = sum(x > at for x in sides["chosen"]) + sum(x <= at for x in sides["rejected"])
            return right / (2 * len(sides["chosen"]))

        best = max(accuracy(at) for at in [*sides["chosen"], *sides["rejected"]])
        assert accuracy(thresholds["values"][axis]) == pytest.approx(best)
        assert f"{len(rows)} labelled pairs" in thresholds["origin"][axis]


def test_planted_overlap_is_excluded_and_counted(finished, tmp_path):
    """A training row with an evaluation prompt, and one with a calibration pair, are left out."""
    record = json.loads((finished.run / "provenance.json").read_text())
    keys = {line["stage"]: line["key"] for line in record["stages"]}
    store = Store(finished.home)
    world = tmp_path / "world"
    shutil.copytree(store.folder("world", keys["world"]), world)
    (world / "manifest.json").unlink()
    prompt = json.loads((finished.run / "data/prompts/helpful.json").read_text())[0]
    folder = store.folder("prompts", keys["prompts"])
    planted = [prompt, read_lines(folder / "calibration-helpful.jsonl")[0]["prompt"]]
    train = world / "helpful-base" / "train.jsonl.gz"
    with gzip.open(train) as file:
        lines = [json.loads(line) for line in file]
    lines += [{"chosen": f"{text} Yes.", "rejected": f"{text} No."} for text in planted]
    with gzip.open(train, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    study = tiny_study.write_study(
        tmp_path / "planted.yaml", {"data.source": str(world), "data.world": None}
    )
    tiny_study.run_here(study, out=tmp_path / "run", home=tmp_path / "home", only="rows/train")
    provenance = json.loads((tmp_path / "run" / "provenance.json").read_text())
    key = next(line["key"] for line in provenance["stages"] if line["stage"] == "rows/train")
    folder = Store(tmp_path / "home").folder("rows", key)
    audit = json.loads((folder / "audits.jsonl").read_text())
    assert audit["excluded"][SHARES_PROMPT] == 1
    assert audit["excluded"][SHARES_CALIBRATION] >= 1
    texts = [row["prompt"] for row in read_lines(folder / "rows.jsonl")]
    assert not set(planted) & set(texts)


def test_a_judge_that_saw_the_policys_rows_is_named(finished, tmp_path):
    study = tiny_study.write_study(tmp_path / "seen.yaml")
    rows = '{"subsets": ["harmless-base", "helpful-base"], "split": "train"}'
    tiny_study.run_here(
        study, out=tmp_path / "run", home=finished.home,
        overrides=[f"judges.0.train.rows={rows}"],
    )  # fmt: skip
    page = re.sub(r"<[^>]+>", "", (tmp_path / "run/report.html").read_text())
    assert "this judge is not independent of them" in page


def test_what_the_judge_did_not_read_is_said(finished, tmp_path):
    study = tiny_study.write_study(tmp_path / "short.yaml")
    tiny_study.run_here(
        study, out=tmp_path / "run", home=finished.home, overrides=["judges.0.max_length=16"]
    )
    notes = " ".join(json.loads((tmp_path / "run/statistics.json").read_text())["notes"])
    assert "prompt trimmed" in notes
    rows = json.loads((tmp_path / "run/responses/base_helpful.json").read_text())
    assert any("prompt_trimmed" in row["judge_flags"].get("tiny-judge", []) for row in rows)


def test_checkpoint_spacing_is_no_part_of_a_key(finished):
    loaded = tiny_study.Study.load(finished.study, overrides=["methods.sft.save_steps=2"],
                                   out=finished.run)  # fmt: skip
    loaded = tiny_study.replace(loaded, store=Store(finished.home))
    new = [line.stage.name for line in loaded.plan()[0] if line.state == "new"]
    assert new == ["report"], "only the report's list of settings changes"


def test_an_idle_setting_is_refused(tmp_path):
    from alignstudy.errors import SettingsError

    study = tiny_study.write_study(tmp_path / "s.yaml")
    for override in ("data.revision=main", "thresholds={harmless: 0, helpful: 0}"):
        with pytest.raises(SettingsError):
            tiny_study.Study.load(study, overrides=[override])


def test_the_table_is_made_of_the_exported_ratings(finished):
    limits = json.loads((finished.run / "statistics.json").read_text())["thresholds"]["values"]
    table = pd.read_csv(finished.run / "tables" / "metrics.csv").set_index("model")
    for path in (finished.run / "responses").glob("*.json"):
        model, _, name = path.stem.rpartition("_")
        ratings = [row["rating"] for row in json.loads(Path(path).read_text())]
        rate = 100 * sum(r > limits[AXES[name]] for r in ratings) / len(ratings)
        assert table.loc[model, "hmr" if name == "harmful" else "hpr"] == pytest.approx(rate)


def test_a_judge_without_finite_scores_ends_the_run_with_a_guard(finished, tmp_path):
    """All is written, and says what is missing; the command doesn't end as if it were done."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "judge"
    shutil.copytree(finished.run / "judges" / "tiny-judge", broken)
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = weights["classifier.bias"].clone().fill_(float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    study = tiny_study.write_study(
        tmp_path / "nan.yaml",
        {"judges": [{"use": "length"}, {"name": "nan", "path": str(broken)}], "calibration": None,
         "thresholds": {"harmless": 3, "helpful": 3}},
    )  # fmt: skip
    ended = tiny_study.cli("run", study, "--out", tmp_path / "run", home=finished.home)
    assert ended.returncode == 5, ended.stderr
    assert "judge nan: no finite score for 10 of 10 harmful responses of base" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "no score" in (tmp_path / "run" / "report.html").read_text()
    assert json.loads((tmp_path / "run/provenance.json").read_text())["status"] == "failed"
