"""Every setting can be explained, from the classes that read it; the page of them is current."""

import json
from pathlib import Path

import pytest

from alignstudy.cli.app import main
from alignstudy.errors import InputError
from alignstudy.judges import JUDGES
from alignstudy.methods import LOSSES, METHODS, WEIGHT_METHODS
from alignstudy.study.settings.judges import JudgeEntry
from alignstudy.study.settings.load import load_settings, preset_names, preset_text
from alignstudy.study.settings.yaml_file import dotted, parse_yaml
from alignstudy.study.tools.explain import every_setting, explained
from alignstudy.study.tools.settings_page import settings_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "settings.md"


def keys_in(value, path=()):
    """Every key of nested data, as messages write them."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value)) if any(isinstance(item, dict) for item in value) else {}
    for name, item in value.items() if isinstance(value, dict) else ():
        yield dotted((*path, name))
        yield from keys_in(item, (*path, name))


def of(key):
    """The one setting of a key."""
    return explained(key)[0]


def test_every_setting_has_a_type_a_default_a_meaning_and_a_source():
    found = every_setting()
    assert len({each.key for each in found}) == len(found)
    assert not [
        each for each in found if not (each.type and each.default and each.meaning and each.source)
    ]


@pytest.mark.parametrize("name", preset_names())
def test_every_key_of_a_preset_can_be_explained_as_written_and_as_resolved(name):
    resolved = load_settings(name)[1].model_dump(mode="json")
    for key in {*keys_in(parse_yaml(preset_text(name), name).data), *keys_in(resolved)}:
        label, _, setting = key.removeprefix("methods.").partition(".")
        assert is_ignored(label, setting) or of(key).meaning, key


def is_ignored(label, setting):
    """Whether a label is a loss that a setting of other losses says nothing to."""
    if label not in LOSSES:
        return False
    heeded = {name for loss in LOSSES.values() for name in loss.settings}
    return setting in heeded - LOSSES[label].settings


def test_everything_of_the_tables_is_there():
    recipes = [name for name in METHODS if METHODS.load(name).in_recipes]
    labels = [f"methods.{name}" for name in {*recipes, *LOSSES, *WEIGHT_METHODS}]
    for key in [*labels, *(f"judges[use={kind}]" for kind in JUDGES)]:
        assert of(key).type == "section", key
    assert of("judges[].use").default == JudgeEntry.model_validate("owner/model").settings.use


@pytest.mark.parametrize(
    ("key", "type_", "default", "source"),
    [
        ("methods.dpo.beta", "number (above 0)", "0.1", "TRL's DPOConfig"),
        ("methods.simpo.beta", "number (above 0)", "2.0", "TRL's DPOConfig"),
        ("methods.simpo.loss_type", "list of text (at least 1 long)", "simpo",
         "TRL's DPOConfig and CPOConfig"),
        ("methods.sft.lora.r", "whole number (1 or more)", "8", "PEFT's LoraConfig"),
        ("methods.dpo.precision", "one of auto, fp32, bf16, fp16", "auto", "alignstudy's own"),
        ("generation.max_new_tokens", "whole number (1 or more)", "256",
         "transformers' GenerationConfig"),
        ("data.source", "text (at least 1 long)", "required", "alignstudy's own"),
        ("judges.0.train.rows.share", "list of 2 numbers", "[0.0, 1.0]", "alignstudy's own"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_setting(key, type_, default, source):
    found = of(key)
    assert (found.type, found.default, found.source) == (type_, default, source)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("judges[0].max_length", "judges[use=seqcls].max_length"),
        ("judges[].settings.max_length", "judges[use=seqcls].max_length"),
        ("prompts.harmful.n", "prompts.axes.NAME.n"),
        ("prompts.axes.honesty.n", "prompts.axes.NAME.n"),
        ("axes.honesty", "axes.NAME"),
        ("thresholds.sweep.helpful", "thresholds.sweep.axes"),
        ("recipes.sft_dpo", "recipes.NAME"),
        ("recipes.mine.from", "recipes.NAME.from"),
        ("judges[0].preset", "judges[]"),
    ],
)
def test_a_key_is_known_by_every_spelling(written, means):
    assert of(written).key == means


def test_a_loss_is_explained_as_a_label():
    keys = [each.key for each in explained("methods")]
    assert {f"methods.{name}" for name in LOSSES} <= set(keys)
    assert [each for each in keys if each.startswith("methods.ipo.")] == []
    assert {"methods.simpo.beta", "methods.simpo.simpo_gamma"} <= {
        each.key for each in explained("methods.simpo")
    }
    for ignored in ("methods.ipo.simpo_gamma", "methods.nca_pair.f_divergence_type"):
        with pytest.raises(InputError):
            explained(ignored)
    assert explained("methods.ipo.f_divergence_type")


def test_a_section_brings_all_beneath_it():
    assert {each.key for each in explained("thresholds")} == {
        "thresholds", "thresholds.calibrated", "thresholds.axes", "thresholds.inclusive",
        "thresholds.uncertainty", "thresholds.sweep", "thresholds.sweep.axes",
    }  # fmt: skip
    measures = [each.key for each in explained("judges[].measures")]
    assert measures == [f"judges[use={kind}].measures" for kind in ("seqcls", "rules", "python")]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("methods.dpo.bta", "methods.dpo.beta"),
        ("beta", "o.beta"),
        ("thresholds.calibratd", "thresholds.calibrated"),
        ("prompts.harmful.nn", "prompts.axes.NAME.n"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(wrong, near):
    with pytest.raises(InputError, match="unknown setting") as caught:
        explained(wrong)
    assert near in caught.value.hint


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == settings_page(), "run `make docs`"


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    return ended.value.code, capsys.readouterr()


def test_the_command_line_says_it(capsys):
    code, shown = said(capsys)
    assert code == 0
    assert {line.split()[0] for line in shown.out.splitlines()} >= {"study", "judges", "workers"}
    code, shown = said(capsys, "methods.dpo.beta")
    assert code == 0
    assert "default: 0.1" in shown.out
    code, shown = said(capsys, "methods.dpo.bta")
    assert code == 2
    assert "methods.dpo.beta" in shown.err
    code, shown = said(capsys, "--json")
    rows = json.loads(shown.out)
    assert len(rows) == len(every_setting())
    assert set(rows[0]) == {"key", "type", "default", "meaning", "source"}
