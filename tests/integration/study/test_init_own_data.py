"""From a file of one's own to a study that is sound: `init --data`, then `check`, no edit."""

import json
import re
from pathlib import Path

import methods_fixtures as fx
import pytest
from data_files import DEMONSTRATIONS, PAIRS, bad, good, question, rows_of, write_as, write_jsonl

from alignstudy.cli.app import main

EVERY = PAIRS | DEMONSTRATIONS


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    root = tmp_path_factory.mktemp("base")
    return fx.write_llama(root / "base", tokenizer_from=fx.write_opt(root / "opt"))


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def called(*words):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((said.out + said.err).split())

    return called


def begun(call, data, base, *more):
    """Return the study file that `init` wrote, and what `check` says of it."""
    code, words = call("init", "--data", data, "--base", base, "--judge", "length", *more)
    assert code == 0, words
    written = re.search(r"alignstudy check (.+)$", words)[1]
    text = Path(written).read_text()
    code, words = call("check", written)
    assert code == 0, words
    return text, words


@pytest.mark.parametrize("name", EVERY)
def test_every_shape_becomes_a_sound_study(name, tmp_path, base, call):
    fmt, shape = EVERY[name]
    write_jsonl(tmp_path / "mine.jsonl", rows_of(shape, 60))
    text, words = begun(call, "mine.jsonl", base)
    assert len(text.splitlines()) <= 15
    assert f"read as '{fmt}'" in text
    pairs = name in PAIRS
    assert ("dpo:" in text) == pairs
    said = r"(\d+) to train on, " + (r"(\d+) to calibrate the threshold, " if pairs else "")
    numbers = re.search(r"(\d+) rows: " + said + r"(\d+) to evaluate on", words)
    assert numbers, words
    total, train, *others = map(int, numbers.groups())
    assert total == len(rows_of(shape, 60))
    assert train >= 25
    assert all(number >= 5 for number in others)


def unpaired(count, every=3):
    """One rated response a prompt: of so many one is good."""
    return [
        {"prompt": question(n), "completion": bad(n) if n % every else good(n),
         "label": n % every == 0}
        for n in range(count)
    ]  # fmt: skip


def test_responses_that_were_rated_one_by_one_become_a_sound_study(tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", unpaired(60))
    text, words = begun(call, "mine.jsonl", base)
    assert "rated responses, read as 'kto'" in text
    assert "kto: {rows: rated," in text
    assert "dpo" not in text
    assert "thresholds: {helpful:" in text
    weight = float(re.search(r"desirable_weight: ([\d.]+)", text)[1])
    assert 1 < weight * (1 / 3) / (2 / 3) < 4 / 3
    numbers = re.search(
        r"60 rows: (\d+) to train on, (\d+) to train on one by one, (\d+) to evaluate on", words
    )
    sft, kto, asked = map(int, numbers.groups())
    assert kto + asked == 60
    assert sft == kto // 3 or abs(sft - kto / 3) < 6
    assert re.search(r"data/train/rated ok \d+ of 60 rows|data/train/rated", words)
    assert "examples/kto ok" in words


def test_a_pairwise_loss_on_unpaired_data_is_refused_with_what_to_do(tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", unpaired(60))
    text, _ = begun(call, "mine.jsonl", base)
    Path("mine.yaml").write_text(
        re.sub(r"kto: {rows: rated,.*?, beta: 0.1.*?}", "dpo: {max_length: 64}", text)
        .replace("kto: [kto], sft_kto: [sft, kto]", "dpo: [dpo]")
    )  # fmt: skip
    code, words = call("check", "mine.yaml")
    assert code == 2, words
    assert "has no rejected response" in words
    assert "methods.kto.rows: rated" in words


def test_calibration_without_pairs_says_what_to_do(tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", unpaired(60))
    text, _ = begun(call, "mine.jsonl", base)
    Path("mine.yaml").write_text(re.sub("thresholds: .*", "thresholds: calibrated", text))
    code, words = call("check", "mine.yaml")
    assert code == 2, words
    assert "calibration" in words
    assert "give `thresholds` as numbers" in words


@pytest.mark.parametrize("labels", [(True,), (False,)])
def test_one_kind_of_rating_alone(labels, tmp_path, base, call):
    rows = [{"prompt": question(n), "completion": good(n), "label": labels[0]} for n in range(60)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    if labels[0]:
        text, _ = begun(call, "mine.jsonl", base)
        assert "recipes: {base: [], sft: [sft]}" in text
        Path("mine.yaml").write_text(
            text.replace("sft: {", "kto: {rows: rated, max_length: 64}\n  sft: {").replace(
                "sft: [sft]}", "sft: [sft], kto: [kto]}"
            )
        )
        code, words = call("check", "mine.yaml")
        assert "responses are desirable" in words
        assert "train `sft` on them" in words
    else:
        code, words = call("init", "--data", "mine.jsonl", "--base", base)
        assert "every response is labelled bad" in words
    assert code == 2


@pytest.mark.parametrize("option", ["--base", "--judge"])
def test_a_model_that_is_nowhere_is_refused(option, tmp_path, call):
    write_jsonl(tmp_path / "mine.jsonl", rows_of(EVERY["pairs"][1], 60))
    code, words = call("init", "--data", "mine.jsonl", option, "nowhere")
    assert code == 2
    assert f"the {option[2:]} 'nowhere' isn't there" in words
    assert not (tmp_path / "mine.yaml").exists()


def test_a_study_files_data_is_audited_as_the_study_reads_it(tmp_path, base, call):
    rows = [{"ask": question(n), "answer_good": good(n), "answer_bad": bad(n)} for n in range(60)]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    begun(call, "mine.jsonl", base)
    code, words = call("audit", "mine.yaml")
    assert code == 0, words
    assert "60 rows read, 0 can't be used" in words


@pytest.mark.parametrize("judge", ["rules", "constant", "oa-deberta-v2", "owner/judge"])
@pytest.mark.parametrize("shape", ["pairs", "completion"])
def test_every_judge_makes_a_sound_study(shape, judge, tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", rows_of(EVERY[shape][1], 60))
    code, words = call("init", "--data", "mine.jsonl", "--base", base, "--judge", judge)
    assert code == 0, words
    code, words = call("check", "mine.yaml")
    assert code == 0, words


@pytest.mark.parametrize(
    ("name", "kind"),
    [("my rows.csv", "csv"), ("rows.parquet", "parquet"), ("rows.json", "pretty array"),
     ("r\u00e9ponses.jsonl", "utf-16")],
)  # fmt: skip
def test_every_kind_of_file_becomes_a_sound_study(name, kind, tmp_path, base, call):
    write_as(tmp_path / name, [PAIRS["pairs"][1](n) for n in range(80)], kind)
    text, _ = begun(call, name, base, "--path", "s.yaml")
    assert "read as 'pairs'" in text


def test_columns_by_other_names_are_found(tmp_path, base, call):
    rows = [{"id": n, "user_query": question(n), "answer_good": good(n), "answer_bad": bad(n)}
            for n in range(60)]  # fmt: skip
    write_jsonl(tmp_path / "mine.jsonl", rows)
    text, _ = begun(call, "mine.jsonl", base)
    assert "columns: {prompt: user_query, chosen: answer_good, rejected: answer_bad}" in text


def test_columns_that_mean_nothing_are_named_with_what_to_do(tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", [{"a": "x", "b": "y"}] * 60)
    code, words = call("init", "--data", "mine.jsonl", "--base", base)
    assert code == 2
    assert "columns: a, b" in words
    assert "columns: {prompt: ..., chosen: ..., rejected: ...}" in words
    assert not (tmp_path / "mine.yaml").exists()


def test_texts_and_missing_files_are_refused(tmp_path, base, call):
    write_jsonl(tmp_path / "texts.jsonl", [{"text": f"Text {n}"} for n in range(60)])
    code, words = call("init", "--data", "texts.jsonl", "--base", base)
    assert (code, "plain texts" in words) == (2, True), words
    code, words = call("init", "--data", "data/my-pears.jsonl", "--base", base)
    assert code == 2
    assert "data/my-pears.jsonl" in words
    assert "doesn't exist" in words


def test_a_splits_own_names_are_used(tmp_path, base, call):
    rows = [PAIRS["ultrafeedback_binarized"][1](n) for n in range(120)]
    for split, part in (("train_prefs", rows[:100]), ("test_prefs", rows[100:]),
                        ("train_sft", rows[:50]), ("test_sft", rows[50:60])):  # fmt: skip
        write_as(tmp_path / "uf" / "data" / f"{split}-00000-of-00001.parquet", part, "parquet")
    text, words = begun(call, "uf", base)
    assert "ultrafeedback_binarized" in text
    assert re.search(r"120 rows: \d+ to train on, \d+ to calibrate the threshold, 20 to", words)


def test_nothing_is_written_over(tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", rows_of(PAIRS["pairs"][1], 60))
    (tmp_path / "mine.yaml").write_text("kept")
    code, words = call("init", "--data", "mine.jsonl", "--base", base)
    assert (code, "exists already" in words) == (2, True)
    assert (tmp_path / "mine.yaml").read_text() == "kept"


def test_options_that_would_be_ignored_are_refused(call):
    assert call("init", "--base", "x/y")[0] == 2
    assert call("init", "--data", "x.jsonl", "--preset", "demo")[0] == 2


def test_many_unusable_rows_are_said_loudly(tmp_path, base, call):
    rows = rows_of(PAIRS["pairs"][1], 90) + [{"prompt": None}] * 10
    write_jsonl(tmp_path / "mine.jsonl", rows)
    _, words = begun(call, "mine.jsonl", base)
    assert re.search(r"warning: \d+ of \d+ rows of train can't be used", words), words


def test_mostly_unusable_rows_are_refused_by_check(tmp_path, base, call):
    rows = [{"prompt": question(n), "chosen": good(n), "rejected": bad(n)} for n in range(8)]
    write_jsonl(tmp_path / "half.jsonl", rows + [{"prompt": None}] * 108)
    code, words = call("init", "--data", "half.jsonl", "--base", base, "--judge", "length")
    assert code == 0, words
    code, words = call("check", "half.yaml")
    assert code == 2
    assert "can't be used" in words
    assert "data.max_quarantined" in words


def test_what_init_wrote_holds_for_the_hub_too(tmp_path, call):
    """Nothing is looked at that isn't here; `check` says what is to be fetched."""
    code, _ = call("init", "--data", "owner/preferences", "--path", "hub.yaml")
    assert code == 0
    text = (tmp_path / "hub.yaml").read_text()
    assert "base: HuggingFaceTB/SmolLM2-135M-Instruct" in text
    code, words = call("check", "hub.yaml")
    assert code == 0, words
    assert words.count("to fetch") == 3
    assert json.dumps(text)


@pytest.mark.parametrize(("threshold", "calibrates"), [("threshold: 20", False), ("", True)])
def test_own_axes_calibrate_only_what_has_no_threshold(threshold, calibrates, tmp_path, base, call):
    write_jsonl(tmp_path / "mine.jsonl", rows_of(EVERY["pairs"][1], 60))
    write_jsonl(tmp_path / "asked.jsonl", [{"prompt": f"What is {n}?"} for n in range(12)])
    more = f", {threshold}" if threshold else ""
    (tmp_path / "s.yaml").write_text(
        f"study: s\nbase: {base}\ndata: mine.jsonl\nmethods: {{sft: {{max_length: 64}}}}\n"
        "recipes: {base: [], sft: [sft]}\njudges: [length]\ngeneration: {max_new_tokens: 8}\n"
        f"axes:\n  brevity: {{prompts: {{file: asked.jsonl}}{more}}}\n"
    )
    code, words = call("check", "s.yaml")
    assert code == 0, words
    assert ("to calibrate the threshold" in words) == calibrates
