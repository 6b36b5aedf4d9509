"""What Python offers beside the command line: dicts, overrides, checks, audits, progress."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_study
from hypothesis import example, given
from hypothesis import strategies as st

import alignstudy
from alignstudy import Study
from alignstudy.errors import SettingsError
from alignstudy.progress import SILENT, Lines, default_progress
from alignstudy.study.run.store import Store
from alignstudy.study.settings.overrides import apply_overrides, override_texts
from alignstudy.study.settings.yaml_file import from_mapping


def here(study, tmp_path):
    """The same study with a store of its own."""
    return replace(study, store=Store(tmp_path / "home"), folder=tmp_path / "run")


def test_dir_shows_the_public_names():
    assert dir(alignstudy) == sorted(alignstudy.__all__)


# a study that Python holds


def test_a_dict_is_read_as_its_file_is(tmp_path):
    given = tiny_study.study()
    study = Study.from_dict(given, out=tmp_path / "run")
    assert study.settings == Study.load(tiny_study.write_study(tmp_path / "s.yaml")).settings
    assert study.folder == tmp_path / "run"
    again = tmp_path / "again.yaml"  # what the run folder keeps is a study file
    again.write_text(study.text)
    assert Study.load(again).settings == study.settings


def test_a_dict_may_hold_what_python_has_for_lists_texts_and_numbers(tmp_path):
    seeds, rows = (3, 4), tmp_path / "rows"
    changed = tiny_study.study({"seeds": seeds, "data.world": None, "data.source": rows})
    changed["methods"]["dpo"]["beta"] = np.float64(0.2)
    settings = Study.from_dict(changed).settings
    assert settings.seeds == seeds
    assert settings.data.source == str(rows)
    assert settings.methods["dpo"].beta == 0.2


def test_all_faults_of_a_dict_are_told_by_key_and_without_a_line():
    wrong = tiny_study.study({"methods.dpo.bta": 1, "seeds": "none", "recipes": {}})
    with pytest.raises(SettingsError) as caught:
        Study.from_dict(wrong)
    text = str(caught.value)
    assert "the dict: unknown key 'methods.dpo.bta'; did you mean 'beta'?" in text
    assert "the dict: 'seeds': " in text
    assert "the dict:1" not in text
    assert "fix the dict" in caught.value.hint


def test_contradictions_in_a_dict_and_faults_of_overrides_say_where_they_stand():
    with pytest.raises(SettingsError, match=r"the dict: 'recipes\.x': names method 'y'"):
        Study.from_dict(tiny_study.study({"recipes.x": ["y"]}))
    with pytest.raises(SettingsError, match=r"--set methods\.dpo\.beta: 'methods\.dpo\.beta'"):
        Study.from_dict(tiny_study.study(), {"methods.dpo.beta": -1})


def endless():
    found = {}
    found["again"] = found
    return found


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"study": object()}, "study holds a object"),
        ({"seeds": [np.int64(1)]}, r"seeds\[0\] holds a int64"),
        ({"seeds": {1, 2}}, "seeds holds a set"),
        ({1: "x"}, "key 1 is not a word"),
        (endless(), "nested deeper"),
        (["study"], "not a list"),
        ("demo", "not a str"),
    ],
)
def test_what_no_study_file_could_hold_is_refused(wrong, word):
    with pytest.raises(SettingsError, match=word):
        Study.from_dict(wrong)


# overrides


@pytest.mark.parametrize(
    "overrides",
    [
        {"methods.dpo.beta": 0.2, "seeds": [1, 2], "study": "mine", "panel": None},
        ["methods.dpo.beta=0.2", "seeds=[1, 2]", "study=mine", "panel=null"],
    ],
)
def test_overrides_are_values_or_text(overrides):
    study = Study.load("demo", overrides)
    assert (study.settings.methods["dpo"].beta, study.settings.seeds) == (0.2, (1, 2))
    assert study.folder.name == "mine"
    assert Study.load("demo", overrides=overrides).settings == study.settings
    assert "study=" in study.overrides[2]


def test_an_override_that_is_no_setting_is_refused():
    with pytest.raises(SettingsError, match=r"methods\.dpo\.beta holds a object"):
        Study.load("demo", {"methods.dpo.beta": object()})
    with pytest.raises(SettingsError, match=r"unknown key 'methods\.dpo\.bta'"):
        Study.load("demo", {"methods.dpo.bta": 1})


SCALARS = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii"))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
KEYS = st.from_regex("[a-z]{1,5}", fullmatch=True)
VALUES = st.recursive(
    SCALARS | NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=5
)


@given(VALUES)
@example("\x7f\x85\x9f \u2028 \ufeff \uffff \U0001f600")
def test_any_value_arrives_as_it_is(value):
    file = from_mapping({"a": {"b": 1}})
    texts = override_texts({"a.b": value})
    changed = apply_overrides(file, texts)
    assert changed.data["a"]["b"] == value
    assert type(changed.data["a"]["b"]) is type(value)


# what the verbs do


def test_audit_reads_the_studys_own_data_with_its_prompts(tmp_path):
    study = here(Study.from_dict(tiny_study.study()), tmp_path)
    found = study.audit()
    assert found.source == "world"
    assert {facts.axis.prompts: facts.drawn for facts in found.prompts} == {
        "harmful": 10, "helpful": 10
    }  # fmt: skip
    rows = tmp_path / "pairs.jsonl"
    pair = {"prompt": "How?", "chosen": "So.", "rejected": "No."}
    rows.write_text("".join(json.dumps({**pair, "prompt": f"How {n}?"}) + "\n" for n in range(30)))
    changed = {"data": {"source": str(rows)}, "prompts": {"harmful": None, "helpful": {"n": 2}}}
    own = here(Study.from_dict({**tiny_study.study(), **changed, "validation": None,
                                "assess": {}}), tmp_path)  # fmt: skip
    found = own.audit()
    assert (found.source, found.rows) == (str(rows), 30)


def test_models_are_found_by_recipe_and_seed(tmp_path):
    folders = ("base", "sft/seed-10", "sft/seed-2", "_bases/base")
    for name in folders:
        (tmp_path / "models" / name).mkdir(parents=True)
    models = alignstudy.Run(folder=tmp_path).models
    assert list(models) == ["base", ("sft", 2), ("sft", 10)]
    assert models["sft", 2] == tmp_path / "models" / "sft" / "seed-2"
    assert alignstudy.Run(folder=tmp_path / "none").models == {}


# progress


class ZMQInteractiveShell:
    """Named as the shell of a notebook's kernel."""


class Shell(ZMQInteractiveShell):
    """As on Colab."""


@pytest.mark.parametrize("shell", [ZMQInteractiveShell, Shell])
def test_a_notebook_shows_lines(monkeypatch, capsys, tmp_path, shell):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=shell))
    assert isinstance(default_progress(), Lines)
    here(Study.from_dict(tiny_study.study()), tmp_path).run(only="world")
    assert capsys.readouterr().out.startswith("world: done in ")


@pytest.mark.parametrize("shell", [lambda: None, lambda: SimpleNamespace()])
def test_a_script_and_a_terminal_stay_silent(monkeypatch, capsys, tmp_path, shell):
    assert default_progress() is SILENT
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=shell))
    here(Study.from_dict(tiny_study.study()), tmp_path).run(only="world")
    assert capsys.readouterr().out == ""


def test_lines_tell_of_long_work_now_and_then(monkeypatch):
    now, lines = [0.0], []
    monkeypatch.setattr("alignstudy.progress.monotonic", lambda: now[0])
    shown = Lines(lines.append)
    shown.start("train", total=10)
    for _ in range(3):
        now[0] += 15
        shown.advance(1, loss=0.6931, rate=1024.0)
    shown.finish()
    shown.note("done")
    assert lines == ["train: 2/10  loss 0.6931  rate 1,024", "done"]


def test_examples_in_docstrings_hold():
    import doctest

    import alignstudy.study.api as module

    assert doctest.testmod(module).failed == 0
