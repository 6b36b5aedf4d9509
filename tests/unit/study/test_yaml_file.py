"""Study files: strict YAML 1.2, faults with their line, `--set`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy.errors import AlignstudyError, InputError, SettingsError
from alignstudy.study.settings.overrides import apply_overrides
from alignstudy.study.settings.yaml_file import parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5), ("1e-05", 1e-5), ("-3", -3), ("no", "no"), ("off", "off"),
        ("true", True), ("010", 10), ("12:30", "12:30"), ("null", None), ("", None),
        ("'2e-5'", "2e-5"),
    ],
)  # fmt: skip
def test_scalars_are_yaml_1_2(text, value):
    given_ = parse_yaml(f"a: {text}\n", "s.yaml").data["a"]
    assert given_ == value
    assert type(given_) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("a: &x 1\nb: 2\n", 1, "alias"),
        ("a: !!python/object:os.system {}\n", 1, "tag"),
        ("a: [1\nb: 2\n", 2, "YAML"),
        ("a:\n\t- 1\n", 2, "YAML"),
    ],
)
def test_tricks_and_faults_are_refused_with_their_line(text, line, word):
    with pytest.raises(SettingsError) as caught:
        parse_yaml(text, "s.yaml")
    assert f"s.yaml:{line}" in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "just words\n", "[" * 60 + "]" * 60, "a: 2020-01-01"]
)
def test_what_is_no_study_file_is_refused(text):
    with pytest.raises(SettingsError):
        parse_yaml(text, "s.yaml")


@given(st.text(max_size=80))
def test_any_text_gives_data_or_our_error(text):
    try:
        parse_yaml(text, "s.yaml")
    except AlignstudyError:
        return


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml"):
        read_yaml(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: \xff\n")
    with pytest.raises(InputError, match=r"bad\.yaml"):
        read_yaml(bad)
    bad.write_bytes(b"#" * 1_000_001)
    with pytest.raises(InputError, match="1000001"):
        read_yaml(bad)


def test_overrides_change_one_value_and_keep_the_rest():
    file = parse_yaml("a:\n  b: 1\n  c: [1, 2]\nd: x\n", "s.yaml")
    changed = apply_overrides(file, ["a.b=2e-5", "a.c=[3]", "e.f=yes", "d="])
    assert changed.data == {"a": {"b": 2e-5, "c": [3]}, "d": None, "e": {"f": "yes"}}
    assert file.data["a"]["b"] == 1
    assert changed.where(("a", "b")) == "--set a.b"
    assert changed.where(("a",)) == "s.yaml:1"


def test_overrides_reach_into_lists():
    file = parse_yaml("judges:\n  - {name: x}\n", "s.yaml")
    assert apply_overrides(file, ["judges.0.name=y"]).data == {"judges": [{"name": "y"}]}


@pytest.mark.parametrize("setting", ["a", "=1", "a..b=1", "a.b.c=1", "l.5=1", "l.x=1"])
def test_overrides_that_lead_nowhere_are_refused(setting):
    file = parse_yaml("a: {b: 1}\nl: [1]\n", "s.yaml")
    with pytest.raises(SettingsError, match="--set"):
        apply_overrides(file, [setting])


@pytest.mark.parametrize("digit", ["²", "①", "x"])
def test_only_decimal_digits_number_a_list(digit):
    file = parse_yaml("share: [0.0, 0.1]", "s.yaml")
    with pytest.raises(SettingsError, match=r"--set"):
        apply_overrides(file, [f"share.0.{digit}=1"])
    with pytest.raises(SettingsError, match=r"--set"):
        apply_overrides(file, [f"share.{digit}=1"])
