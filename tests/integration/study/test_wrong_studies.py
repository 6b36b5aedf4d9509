"""Wrong study files: each refused by `check`, with its line, the cause and what to do."""

import json
from functools import partial

import architectures
import methods_fixtures as fx
import pytest

from alignstudy.cli.app import main

STUDY = """\
study: wrong
base: {base}
data: {{source: {data}}}
prompts: {{helpful: {{subsets: [], n: 4}}, harmful: null}}
validation: null
diagnostics: null
thresholds: {{helpful: 3}}
judges: [{{use: length}}]
template: auto
generation: {{max_new_tokens: 8}}
methods:
  sft: {{max_length: 64}}
  dpo: {{max_length: 64, lora: {{r: 2}}}}
recipes: {{base: [], sft: [sft], dpo: [dpo]}}
"""


OTHERS = {
    "mostly-broken": lambda n, row: row if n % 3 == 0 else {"prompt": None},
    "one-dialogue": lambda _, row: row | {"prompt": "The same?"},
    "demonstrations": lambda _, row: {"prompt": row["prompt"], "completion": row["chosen"]},
    "texts": lambda _, row: {"text": row["prompt"]},
    "questions": lambda _, row: {"ask": row["prompt"]},
}
"""Other files of rows, each made of sound ones: name -> row by number and sound row."""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("wrong")
    base = fx.write_llama(root / "base", tokenizer_from=fx.write_opt(root / "opt"))
    fx.write_scratch(root / "judge-without-weights", "deberta-v2")
    architectures.write_architecture(root / "moe", "Mixtral", tokenizer_from=base)
    rows = [
        {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in fx.make_pairs(120)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, made in OTHERS.items():
        lines = (json.dumps(made(n, row)) for n, row in enumerate(rows))
        (root / f"{name}.jsonl").write_text("\n".join(lines))
    (root / "one.jsonl").write_text(json.dumps(rows[0]))
    (root / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (root / "broken.jinja").write_text("{% for %}")
    return root


@pytest.fixture
def checked(places, tmp_path, monkeypatch, capsys):
    """Check the study, one of its lines replaced; return exit code, words and line."""
    return partial(_checked, places, tmp_path, monkeypatch, capsys)


def _checked(places, tmp_path, monkeypatch, capsys, line="", text="", study=STUDY):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    study = study.format(base=places / "base", data=places / "pairs.jsonl")
    lines = study.splitlines()
    at = next((n for n, each in enumerate(lines) if line and each.startswith(line)), None)
    if at is not None:
        lines[at] = text.format(places=places)
    path = tmp_path / "study.yaml"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((said.out + said.err).split()), at


def test_the_study_itself_is_sound(checked):
    code, words, _ = checked()
    assert (code, "settings are sound" in words) == (0, True), words
    assert "Human: and Assistant: tags" in words
    assert "</s> (2)" in words


WRONG = [
    ("  dpo:", "  dpo: {{max_length: 64, lora: {{r: 2, target_modules: [q_prj]}}}}",
     ["'methods.dpo.lora.target_modules'", "unknown layer 'q_prj'", "did you mean 'q_proj'?"]),
    ("  dpo:", "  dpo: {{max_length: 64, lora: {{target_modules: [lm_head]}}}}",
     ["'methods.dpo.lora.target_modules'", "model's head or its embedding", "name layers"]),
    ("  sft:", "  sft: {{max_length: 4096}}",
     ["'methods.sft.max_length'", "is 4096, and the base reads 128 tokens"]),
    ("  sft:", "  sft: {{max_length: 64, router_aux_loss_coef: 0.01}}",
     ["'methods.sft.router_aux_loss_coef'", "no mixture of experts"]),
    ("  sft:", "  sft: {{max_length: 64, precision: fp16}}",
     ["'methods.sft.precision'", "fp16 needs a GPU", "set fp32, or auto"]),
    ("generation:", "generation: {{max_new_tokens: 128}}",
     ["'generation.max_new_tokens'", "is 128, and the base reads 128", "no prompt has room"]),
    ("  sft:", "  sft: {{learning_rate: 2e5}}",
     ["'methods.sft.learning_rate'", "less than or equal to 1", "not 200000"]),
    ("judges:", "judges: [{{path: {places}/judge-without-weights}}]",
     ["'judges[0]'", "no weights"]),
    ("judges:", "judges: [{{path: {places}/nowhere}}]", ["nowhere"]),
    ("base:", "base: {places}/nowhere", ["nowhere"]),
    ("base:", "base: {places}/judge-without-weights", ["'base'"]),
    ("template:", "template: chat", ["no chat template", "use template: hh or none"]),
    ("template:", "template: {places}/gone.jinja", ["gone.jinja can't be read", "Jinja template"]),
    ("template:", "template: {places}/broken.jinja", ["chat template refuses", "template: hh"]),
    ("  dpo:", "  dpo: {{loss_type: simpo, reference: start}}",
     ["'methods.dpo'", "reference is ignored by simpo"]),
    ("  dpo:", "  kto: {{per_device_train_batch_size: 1}}",
     ["'methods.kto'", "per_device_train_batch_size 4 or more"]),
    ("  dpo:", "  dpo: {{simpo_gamma: 1.5}}",
     ["'methods.dpo'", "simpo_gamma is ignored by sigmoid", "it has a meaning in simpo"]),
    ("  dpo:", "  dpo: {{loss_type: simppo}}", ["unknown loss 'simppo'", "did you mean 'simpo'?"]),
    ("prompts:", "prompts: {{helpful: {{subsets: [], n: 4, keywords: [zebra]}}, harmful: null}}",
     ["no usable prompt", "keywords"]),
    ("recipes:", "recipes: {{base: [], sft: [sft], dpo: [simpo]}}",
     ["'recipes.dpo'", "names method 'simpo'"]),
]  # fmt: skip


WRONG_DATA = [
    ("data:", "data: {{source: {places}/pairs.jsonl, columns: {{prompt: question}}}}",
     ["'data.columns'", "no row has a column 'question'", "there are chosen, prompt, rejected"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, columns: {{promt: prompt}}}}",
     ["'data.columns'", "'promt' is no column of any format", "did you mean 'prompt'?"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, format: jsonl}}",
     ["'data.format'", "unknown format", "known: auto", "not 'jsonl'"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, format: hh}}",
     ["'data.source'", "no usable row", "doesn't begin with a Human turn", "name the format"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, split: train}}",
     ["unknown key 'data.split'", "did you mean 'data.train.split'?"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, train: {{split: trian}}}}",
     ["'data.train'", "no split 'trian'", "parted into train and test"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, revision: main}}",
     ["'data.source'", "is a local path, and has no revision", "drop the revision"]),
    ("data:", "data: {{source: {places}/pears.jsonl}}",
     ["'data.source'", "pears.jsonl' doesn't exist", "name a folder or file"]),
    ("data:", "data: [{places}/pairs.jsonl, {places}/one.jsonl]",
     ["'data' must be a section of keys", "source"]),
    ("data:", "data: {{source: {places}/mostly-broken.jsonl}}",
     ["'data.source'", "% of the rows of train can't be used", "data.max_quarantined: 0.7"]),
    ("data:", "data: {{source: {places}/one-dialogue.jsonl}}",
     ["'data.source'", "no row falls to train", "more dialogues"]),
    ("data:", "data: {{source: {places}/picture.png}}",
     ["'data.source'", "a picture", "no rows can be read of it"]),
    ("data:", "data: {{source: {places}/texts.jsonl}}",
     ["'data.source'", "a plain text, where responses to prompts are needed"]),
    ("data:", "data: {{source: {places}/demonstrations.jsonl}}",
     ["demonstrations", "rejected"]),
    ("data:", "data: {{source: world, columns: {{prompt: question}}}}",
     ["'data.columns'", "has no meaning for the generated world"]),
    ("prompts:", "prompts: {{helpful: {{file: {places}/questions.jsonl}}, harmful: null}}",
     ["'prompts.helpful.file'", "no prompt: it is text, or a list of turns"]),
    ("prompts:", "prompts: {{axes: helpful}}", ["'prompts.axes'", "not 'helpful'"]),
    ("prompts:", "prompts: {{axes: null}}", ["'prompts.axes'"]),
    ("data:", "data: {{source: '~nobody-here/pairs.jsonl'}}",
     ["'data.source'", "'~nobody-here/pairs.jsonl' doesn't exist"]),
    ("data:", "data: ''", ["'data'", "at least 1 character"]),
    ("data:", "data: {{source: {places}/pairs.jsonl, train: {{subsets: 3}}}}",
     ["the study has a fault", "'data.train.subsets'", "valid list, not 3"]),
    ("validation:", "calibration: 5", ["the study has a fault", "'calibration' must be a section"]),
    ("thresholds:", "thresholds: {{helpful: [1]}}", ["'thresholds'", "is a number, not [1]"]),
    ("judges:", "judges: [python]", ["'judges[0].call' is missing"]),
    ("prompts:", "prompts: {{helpful: {{subsets: [code]}}, harmful: null}}",
     ["'prompts'", "no subset 'code'", "there: train", "correct `subsets`"]),
    ("thresholds:", "thresholds: callibrated",
     ["'thresholds'", "are `calibrated`, or a number for each axis"]),
    ("thresholds:", "thresholds: {{helpful: high}}",
     ["'thresholds'", "the threshold of 'helpful' is a number, not 'high'"]),
    ("diagnostics:", "seed: 0", ["unknown key 'seed'", "did you mean 'seeds'?"]),
    ("thresholds:", "calibration: {{helpful: [], split: tset}}",
     ["'calibration'", "no split 'tset'", "or give `thresholds` as numbers"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "text", "parts"), WRONG + WRONG_DATA, ids=[text for _, text, _ in WRONG + WRONG_DATA]
)
def test_a_wrong_study_is_refused_before_anything_runs(line, text, parts, checked, tmp_path):
    code, words, at = checked(line, text)
    assert code in (2, 3, 5), words
    for part in parts:
        assert part in words
    if any(part.startswith("'") for part in parts):
        assert f"study.yaml:{at + 1}" in words
    assert "hint:" in words
    assert "Traceback" not in words
    assert not list((tmp_path / "home").glob("artefacts/train*"))


def test_all_faults_of_the_models_are_told_at_once(checked):
    study = STUDY.replace("max_new_tokens: 8", "max_new_tokens: 500").replace(
        "lora: {{r: 2}}", "lora: {{r: 2, target_modules: [nothing]}}"
    ).replace("sft: {{max_length: 64}}", "sft: {{max_length: 400}}")  # fmt: skip
    code, words, _ = checked(study=study)
    assert code == 2
    assert "3 faults in the study" in words


def test_a_disk_that_is_too_small_is_refused(checked, monkeypatch):
    from alignstudy.study.cost import estimate

    monkeypatch.setattr(estimate, "_free_disk", lambda _: 1000)
    code, words, _ = checked()
    assert code == 3
    assert "the disk is too small" in words
    assert "ALIGNSTUDY_HOME" in words


def test_prompts_that_leave_no_room_are_told(checked):
    study = STUDY.replace("max_new_tokens: 8", "max_new_tokens: 115")
    code, words, _ = checked(study=study)
    assert code == 0, words
    assert "4 of 4 prompts are too long for the base and 115 new tokens" in words
    assert "lower generation.max_new_tokens" in words


def test_a_judge_of_a_kind_that_needs_no_settings_may_be_a_bare_name(checked):
    code, words, _ = checked("judges:", "judges: [length]")
    assert code == 0, words


def test_settings_far_from_all_that_is_known_to_be_good_are_told(checked):
    line = "  dpo: {{max_length: 64, loss_type: sppo_hard, beta: 0.1}}"
    code, words, _ = checked("  dpo:", line)
    assert code == 0, words
    assert "methods.dpo: sppo_hard: beta is 0.1; found good was 0.001 (arXiv 2405.00675" in words
