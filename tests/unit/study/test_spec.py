"""Study files as settings: what is filled in, what is refused, and that all faults come at once."""

import json

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignstudy.errors import SettingsError
from alignstudy.study.settings.load import load_settings, resolved_yaml
from alignstudy.study.settings.study import JudgeEntry, StudySettings

SOUND = {
    "study": "small",
    "base": {"scratch": {"architecture": {"hidden_size": 32}}},
    "data": {"source": "world"},
    "methods": {"sft": {}, "dpo": {}},
    "judges": [{"use": "constant"}],
    "thresholds": {"harmless": 0, "helpful": 0},
}


def read(**changes):
    return StudySettings.model_validate({**SOUND, **changes})


def faults(tmp_path, *overrides, **changes):
    """Return the lines of the message about a faulty study."""
    path = tmp_path / "s.yaml"
    path.write_text(json.dumps({**SOUND, **changes}, indent=1))
    with pytest.raises(SettingsError) as caught:
        load_settings(str(path), overrides)
    return caught.value.what.replace(str(path), "s.yaml").splitlines()


def test_a_short_study_is_filled_in():
    settings = read()
    assert settings.recipes == {
        "base": (), "sft": ("sft",), "dpo": ("dpo",), "sft_dpo": ("sft", "dpo")
    }  # fmt: skip
    assert settings.seeds == (0,)
    assert settings.methods["dpo"].method == "dpo"
    assert [axis.name for axis in settings.tested] == ["harmless", "helpful"]
    assert settings.base_recipe == "base"


def test_short_forms_mean_the_long_ones():
    short = read(base="owner/model", judges=["owner/judge"], thresholds="calibrated")
    assert short.base.path == "owner/model"
    (judge,) = short.judges
    assert (judge.name, judge.path, judge.settings.use) == ("judge", "owner/judge", "seqcls")
    assert short.thresholds.calibrated
    long = {"path": "owner/judge", "name": "judge", "settings": {"use": "seqcls"}}
    assert JudgeEntry.model_validate(long) == judge


def test_a_loss_name_means_that_loss_whether_or_not_its_method_is_said():
    """Nothing is trained under the name of something else."""
    said = {"cdpo": {"method": "dpo"}, "tpo_l": {"method": "tpo"}, "simpo": {"method": "dpo"}}
    chosen = read(methods=said, recipes={label: [label] for label in said}).methods
    assert chosen["cdpo"].loss_type == ("cdpo",)
    assert chosen["simpo"].loss_type == ("simpo",)
    assert chosen["tpo_l"].loss_type == "tpo_l"
    other = read(methods={"ipo": {"method": "dpo", "loss_type": "hinge"}}, recipes={"ipo": ["ipo"]})
    assert other.methods["ipo"].loss_type == ("hinge",)


def test_one_method_may_stand_under_several_labels():
    methods = {"gentle": {"method": "dpo", "beta": 0.5}, "dpo": {}}
    settings = read(methods=methods, recipes={"base": [], "a": ["gentle"], "b": ["dpo"]})
    assert (settings.methods["gentle"].beta, settings.methods["dpo"].beta) == (0.5, 0.1)


def test_settings_never_change():
    settings = read()
    with pytest.raises(ValidationError):
        settings.study = "other"
    with pytest.raises(ValidationError):
        settings.generation.max_new_tokens = 1


def scratch(reads, **more):
    architecture = {"model_type": "opt", "max_position_embeddings": reads}
    return {"scratch": {"architecture": architecture, "rows": {}, **more}}


def trained_judge(reads, **reward_model):
    architecture = {"model_type": "deberta-v2", "max_position_embeddings": reads}
    return {"name": "x", "train": {"architecture": architecture, "rows": {},
                                   "reward_model": reward_model}}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipes": {}}, "'recipes': must not be empty"),
        ({"seeds": []}, "'seeds': must not be empty"),
        ({"judges": []}, "'judges': must not be empty"),
        ({"seeds": [3, 3]}, "'seeds': a seed stands twice"),
        ({"seeds": [-1]}, "'seeds[0]': input should be greater than or equal to 0, not -1"),
        ({"recipes": {"a": ["sft", "rl"]}}, "'recipes.a': names method 'rl'"),
        ({"recipes": {"a": ["sft"]}}, "'methods.dpo': is in no recipe"),
        ({"recipes": {"a": ["sft"], "b": ["sft"], "c": ["dpo"]}}, "two recipes are the same"),
        ({"recipes": {"../up": ["sft", "dpo"]}}, "recipes"),
        ({"judges": [{"use": "length"}] * 2}, "'judges[1]': two judges are called 'length'"),
        ({"judges": [{"use": "length", "path": "a/b"}]}, "has no weights"),
        ({"judges": [{"name": "x"}]}, "needs `path` or `train`"),
        ({"judges": [{"use": "length", "vlaue": 1}]}, "unknown key"),
        ({"thresholds": {"harmless": -3}}, "no number for helpful"),
        ({"thresholds": {"calibrated": True, "helpful": 1}}, "and not both"),
        (
            {"thresholds": {"harmless": -3, "helpful": -2, "uncertainty": "joined"}},
            "'thresholds.uncertainty': joins the error of calibrated thresholds, and no thresh",
        ),
        ({"base": {"path": "a/b", "scratch": {"architecture": {}}}}, "and not both"),
        ({"base": {}}, "give `path`"),
        ({"methods": {"sft": {}, "dpo": {}, "reward_model": {}}}, "unknown method 'reward_model'"),
        ({"methods": {"sft": 3, "dpo": {}}}, "'methods.sft'"),
        ({"generation": {"temperature": 0.7}}, "without do_sample: true would have no effect"),
        ({"data": {"source": "world", "train": {"share": [0.5, 0.5]}}}, "share must be"),
        ({"study": "a/b"}, "'study'"),
        ({"threads": 0}, "'threads'"),
        ({"workers": 0}, "'workers"),
        (
            {
                "base": scratch(64),
                "methods": {"sft": {"max_length": 65}, "dpo": {"max_length": 64}},
            },
            "'methods.sft.max_length': is 65, and the model reads 64",
        ),
        (
            {"base": scratch(64, pretrain={"max_length": 128})},
            "'base.scratch.pretrain.max_length': is 128, and the model reads 64",
        ),
        (
            {"judges": [trained_judge(64, max_length=65)]},
            "'judges[0].train.reward_model.max_length': is 65, and the model reads 64",
        ),
        ({"extra": 1}, "unknown key 'extra'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_key(tmp_path, changes, words):
    assert words in "\n".join(faults(tmp_path, **changes))


def test_one_axis_needs_one_threshold():
    settings = read(prompts={"helpful": None}, thresholds={"harmless": -3})
    assert [axis.name for axis in settings.tested] == ["harmless"]


def test_faults_come_all_at_once_each_with_its_line(tmp_path):
    head, *lines = faults(
        tmp_path, "methods.dpo.bta=1", seeds=["a", 0.5], data={"source": 3, "overlap": "maybe"}
    )
    assert head == "5 faults in the study:"
    keys = ["data.source", "data.overlap", "methods.dpo.bta", "seeds[0]", "seeds[1]"]
    for key, line in zip(keys, lines, strict=True):
        assert f"'{key}'" in line
        assert line.strip().startswith("--set" if "bta" in key else "s.yaml:")


def test_faults_between_keys_come_all_at_once(tmp_path):
    lines = faults(tmp_path, recipes={"a": ["rl"]}, seeds=[1, 1], thresholds={"helpful": 1})
    assert len(lines) == 1 + 5  # rl; sft and dpo in no recipe; seeds; harmless


@pytest.mark.parametrize(("protocol", "form"), [("paper", "bare"), ("rigorous", "cue")])
def test_a_trained_judge_reads_what_its_protocol_shows(tmp_path, protocol, form):
    def judge(prompt_form):
        train = {"architecture": {"model_type": "deberta-v2"}, "rows": {},
                 "reward_model": {"prompt_form": prompt_form}}  # fmt: skip
        return {"judges": [{"name": "x", "train": train}], "prompts": {"protocol": protocol}}

    assert read(**judge(form)).judges[0].train.reward_model.prompt_form == form
    other = {"bare": "cue", "cue": "bare"}[form]
    (line,) = faults(tmp_path, **judge(other))
    assert f"must be '{form}'" in line
    assert "s.yaml:" in line


def test_a_trained_judge_is_asked_with_what_it_learnt_to_read(tmp_path):
    def judge(**given):
        train = {"architecture": {"model_type": "deberta-v2"}, "rows": {},
                 "reward_model": {"input": "chat", **given}}  # fmt: skip
        return {"name": "x", "train": train}

    assert read(judges=[judge() | {"input": "chat"}]).judges[0].settings.input == "chat"
    (line,) = faults(tmp_path, judges=[judge()])
    assert "must be what the judge reads later, which is `input: pair`" in line
    (line,) = faults(tmp_path, judges=[judge(loss_on="positions") | {"input": "chat"}])
    assert "a deberta-v2 reads a text as a whole" in line


@hypothesis.settings(max_examples=25)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "seeds": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
            "threads": st.integers(1, 8),
            "thresholds": st.one_of(
                st.just("calibrated"),
                st.fixed_dictionaries({"harmless": st.floats(-9, 9), "helpful": st.floats(-9, 9)}),
            ),
            "generation": st.fixed_dictionaries({"max_new_tokens": st.integers(1, 99)}),
        },
    )
)
def test_what_is_written_out_is_read_back_the_same(tmp_path_factory, changes):
    settings = read(**changes)
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(resolved_yaml(settings), encoding="utf-8")
    assert load_settings(str(path))[1] == settings
