"""Existing models in a study file: what `check` refuses, and studies that train nothing."""

import json
import shutil
from functools import partial

import existing_models as have
import methods_fixtures as fx
import pytest
import tiny_study

from alignstudy.cli.app import main
from alignstudy.errors import InputError
from alignstudy.study.settings.load import load_settings, resolved_yaml

STUDY = """\
study: mine
base: {places}/base
data: {{source: {places}/pairs.jsonl}}
prompts: {{helpful: {{subsets: [], n: 4}}, harmful: null}}
validation: null
diagnostics: {{n: 2, draws: 100}}
thresholds: {{helpful: 3}}
judges: [{{use: length}}]
template: auto
generation: {{max_new_tokens: 8}}
recipes:
  base: []
  near: {{from: {places}/near}}
  mine: {{from: {places}/mine}}
"""
RECIPE = "  mine:"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("existing")
    base = fx.write_llama(root / "base", tokenizer_from=fx.write_opt(root / "opt"))
    shutil.copytree(base, root / "near")
    have.change_weights(root / "near")
    have.write_chat_model(root / "mine")
    have.write_chat_model(root / "short", context=8)
    fx.write_scratch(root / "encoder", "deberta-v2")
    classifier(base, root / "classifier")
    for name, file in {"bare": "model.safetensors", "nameless": "config.json"}.items():
        shutil.copytree(base, root / name)
        (root / name / file).unlink()
    (root / "adapter").mkdir()
    (root / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    (root / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    rows = [
        {"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in fx.make_pairs(120)
    ]
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def classifier(base, folder):
    """Write a classifier of a body whose head a language model would tie to its embedding."""
    import transformers

    shutil.copytree(base, folder)
    config = transformers.AutoConfig.from_pretrained(base)
    config.num_labels, config.tie_word_embeddings = 1, True
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)


def write(places, folder, *, line="", text="", more=""):
    """Write the study with one of its lines replaced; return its path and that line's number."""
    lines = STUDY.format(places=places).splitlines()
    at = next((n for n, each in enumerate(lines) if line and each.startswith(line)), -1)
    if line:
        lines[at] = text.format(places=places)
    path = folder / "study.yaml"
    path.write_text("\n".join(lines) + "\n" + more.format(places=places))
    return path, at + 1


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Run a verb of the command line; return exit code and words."""
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return partial(_said, capsys)


def _said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    found = capsys.readouterr()
    return int(ended.value.code or 0), " ".join((found.out + found.err).split())


WRONG = [
    ("  mine: {{from: ./nowhere}}", ["'recipes.mine.from'", "'./nowhere' doesn't exist"]),
    ("  mine: {{from: {places}/bare}}", ["'recipes.mine.from'", "holds no weights"]),
    ("  mine: {{from: {places}/nameless}}", ["'recipes.mine.from'", "has no config.json"]),
    ("  mine: {{from: {places}/classifier}}",
     ["'recipes.mine.from'", "LlamaForSequenceClassification, which is no language model"]),
    ("  mine: {{from: {places}/adapter}}", ["'recipes.mine.from'", "is an adapter", "merge it"]),
    ("  mine: {{from: {places}/short}}",
     ["'recipes.mine.from'", "reads 8 tokens in all", "max_new_tokens is 8: no prompt has room"]),
    ("  mine: {{from: {places}/mine, revision: main}}",
     ["'recipes.mine.from'", "local path, and has no revision"]),
    ("  mine: [sft, {{from: {places}/mine}}]", ["'recipes.mine'", "and not both"]),
    ("  mine: {{from: {places}/mine, methods: [sft]}}", ["'recipes.mine'", "and not both"]),
    ("  mine: {{from: {places}/mine, revison: a}}",
     ["unknown key 'recipes.mine.revison'", "did you mean 'revision'?"]),
    ("  mine: {{frm: {places}/mine}}", ["'recipes.mine.frm'", "did you mean 'from'?"]),
    ("  mine: {{from: {places}/base}}", ["'recipes.mine.from'", "is the base: write `[]`"]),
    ("  mine: {{from: {places}/near}}", ["'recipes'", "two recipes are the same"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "parts"), WRONG, ids=[text for text, _ in WRONG])
def test_check_refuses_with_line_cause_and_hint(text, parts, places, tmp_path, said):
    path, line = write(places, tmp_path, line=RECIPE, text=text)
    code, words = said("check", path)
    assert code == 2, words
    for part in parts:
        assert part in words
    assert f"study.yaml:{line}" in words or "'recipes':" in words
    assert "hint:" in words
    assert "Traceback" not in words


def test_an_encoder_is_no_language_model(places, tmp_path, said):
    (places / "encoder" / "model.safetensors").touch()
    path, line = write(places, tmp_path, line=RECIPE, text="  mine: {{from: {places}/encoder}}")
    code, words = said("check", path)
    assert code == 2
    assert f"study.yaml:{line}: 'recipes.mine.from'" in words


def test_a_run_without_a_check_refuses_a_classifier_too(places, tmp_path):
    text = "  mine: {{from: {places}/classifier}}"
    path, _ = write(places, tmp_path, line=RECIPE, text=text)
    with pytest.raises(InputError, match="no language model"):
        tiny_study.run_here(path, out=tmp_path / "run", home=tmp_path / "home")


def test_all_faults_are_told_at_once(places, tmp_path, said):
    more = "  a: {{from: ./nowhere}}\n  b: {{from: {places}/bare}}\n  c: {{from: ./gone}}\n"
    path, _ = write(places, tmp_path, line="base:", text="base: ./no-base", more=more)
    code, words = said("check", path)
    assert code == 2
    assert "4 faults in the study" in words
    for key in ("base", "recipes.a.from", "recipes.b.from", "recipes.c.from"):
        assert f"'{key}'" in words


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("seeds: [0, 1]\n", "'seeds': nothing is trained and nothing is sampled"),
        ("methods: {{sft: {{}}}}\n", "'methods.sft': is in no recipe"),
    ],
)
def test_what_nothing_would_read_is_refused(more, fault, places, tmp_path, said):
    path, _ = write(places, tmp_path, more=more)
    code, words = said("check", path)
    assert (code, fault in words) == (2, True), words


def test_a_hub_id_is_listed_to_fetch(places, tmp_path, said):
    text = "  mine: {{from: owner/name, revision: v1}}"
    path, _ = write(places, tmp_path, line=RECIPE, text=text)
    code, words = said("check", path)
    assert (code, "owner/name@v1 from the hub" in words) == (0, True), words
    code, words = said("plan", path)
    assert "fetch owner/name@v1 from the hub" in words
    assert "import/mine" in words
    code, words = said("run", path, "--offline")
    assert code == 3
    assert "model 'owner/name' is not on this machine" in words


@pytest.mark.usefixtures("without_figures")
def test_a_hub_id_is_pinned_to_its_commit(places, tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    commit, hub = "c" * 40, tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    shutil.copytree(places / "near", hub / "models--owner--name" / "snapshots" / commit)
    (hub / "models--owner--name" / "refs").mkdir()
    (hub / "models--owner--name" / "refs" / "v1").write_text(commit)
    text = "  mine: {{from: owner/name, revision: v1}}"
    path, _ = write(places, tmp_path, line=RECIPE, text=text)
    run = tmp_path / "run"
    tiny_study.run_here(path, out=run, home=tmp_path / "home")
    record = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    assert record["sources"]["recipe/mine"]["commit"] == commit
    page = (run / "report.md").read_text(encoding="utf-8").replace("\\", "")
    assert f"mine (not trained here: owner/name at commit {commit})" in page


def test_set_names_one_and_it_survives_being_written_out(places, tmp_path):
    path, _ = write(places, tmp_path)
    _, settings = load_settings(str(path), ["recipes.mine.from=a/b", "recipes.mine.revision=v1"])
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(resolved_yaml(settings))
    assert "from: a/b" in resolved.read_text()
    assert load_settings(str(resolved))[1] == settings


@pytest.mark.usefixtures("without_figures")
def test_a_study_that_trains_nothing(places, tmp_path, said):
    path, _ = write(places, tmp_path)
    code, words = said("check", path)
    assert (code, "settings are sound" in words) == (0, True), words
    assert "For mine, prompts are written by the tokenizer's own chat template" in words
    run, home = tmp_path / "run", tmp_path / "home"
    made = tiny_study.run_here(path, out=run, home=home)
    assert {"base", "import/near", "import/mine", "compare", "report"} <= {*made.executed}
    assert tiny_study.run_here(path, out=run, home=home).executed == ()
    found = json.loads((run / "statistics.json").read_text(encoding="utf-8"))
    moved = {each["model"]: each for each in found["divergences"]}
    assert moved["near"]["kl_per_token"]["value"] > 0  # one vocabulary: measured
    assert moved["near"]["note"] == ""
    assert moved["mine"]["kl_per_token"] is None
    page = (run / "report.md").read_text(encoding="utf-8")
    assert "near (not trained here:" in page.replace("\\", "")
    assert (run / "report.html").is_file()
    assert not (run / "data" / "preview.md").exists()


@pytest.mark.usefixtures("without_figures")
def test_one_template_for_all_where_the_study_names_one(places, tmp_path, said):
    path, _ = write(places, tmp_path, line="template:", text="template: none")
    code, words = said("check", path)
    assert code == 0, words
    assert "prompts are written by no template" in words
    assert "chat template" not in words


@pytest.mark.usefixtures("without_figures")
def test_a_second_look_at_the_same_prompts_is_said(places, tmp_path, said):
    path, _ = write(places, tmp_path)
    looks = []
    for name, changed in (("one", []), ("two", ["--set", "margins.rates=3"]), ("again", [])):
        out = tmp_path / name
        code, *words = said("run", path, "--out", out, *changed)
        assert code == 0, words
        data = json.loads((out / "data" / "report.json").read_text())
        warned = [line for line in data["warnings"] if "versions of this study" in line]
        looks.append((data["provenance"]["comparisons on these prompts"], len(warned)))
    # The third is the first again: it is no further look, and its report is as it was.
    assert looks == [(1, 0), (2, 1), (1, 0)]
