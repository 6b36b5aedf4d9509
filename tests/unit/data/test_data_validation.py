"""Validation pairs: apart from prompts and calibration, by subset, clear where there are none."""

import json

import pytest
from pydantic import ValidationError

from alignstudy.data.contamination.exclusion import (
    SHARES_CALIBRATION,
    SHARES_VALIDATION,
    EvaluationDialogues,
)
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.held_out import CalibrationSettings, ValidationSettings, select_held_out
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import DataError
from alignstudy.metrics.axes import HARMLESS, HELPFUL

NOTHING = EvaluationDialogues()


def write(folder, subset, split, count, *, start=0):
    (folder / subset).mkdir(exist_ok=True)
    rows = [
        {"prompt": f"{subset} {number // 2}", "chosen": f"a{number}", "rejected": "b"}
        for number in range(start, start + count)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / subset / f"{split}.jsonl").write_text(text)


@pytest.fixture
def source(tmp_path):
    for subset in ("harmless-base", "helpful-base", "helpful-online"):
        write(tmp_path, subset, "test", 100)
        write(tmp_path, subset, "train", 100, start=90)
    return tmp_path


def test_defaults():
    settings = ValidationSettings()
    assert (settings.split, settings.n) == ("test", 200)
    assert settings.subsets["harmful"] == ("harmless-base",)
    assert set(ValidationSettings.model_fields) == set(CalibrationSettings.model_fields)
    assert CalibrationSettings().split == "train"
    with pytest.raises(ValidationError):
        ValidationSettings(n=3)


def test_apart_from_prompts_and_calibration_pairs(source):
    chosen = PromptSettings.model_validate({"harmful": {"n": 10}, "helpful": {"n": 10}})
    prompts = select_prompts(source, chosen)
    calibration = select_held_out(
        source, CalibrationSettings(split="test", n=20), exclude=prompts.dialogues
    )
    taken = prompts.dialogues | calibration.dialogues
    found = select_held_out(source, ValidationSettings(n=30), exclude=taken)
    assert {axis: len(rows) for axis, rows in found.pairs.items()} == dict.fromkeys(
        ("harmless", "helpful"), 30
    )
    assert [audit.part for audit in found.audits] == ["validation/harmful", "validation/helpful"]
    asked = {prompt.text for prompt in prompts.prompts}
    asked |= {row.prompt for rows in calibration.pairs.values() for row in rows}
    assert not asked & {row.prompt for rows in found.pairs.values() for row in rows}
    assert found.audits[0].excluded[SHARES_CALIBRATION] >= 20


def test_training_rows_can_leave_them_out(source):
    found = select_held_out(source, ValidationSettings(n=100), exclude=NOTHING)
    train = collect_pairs(
        source, RowSelection(subsets=("harmless-base",)), part="train", exclude=found.dialogues
    )
    assert train.audit.excluded == {SHARES_VALIDATION: 10}  # rows 90 to 99 are in both splits


def test_subsets_are_kept(source):
    settings = ValidationSettings(n=60, helpful=("helpful-base", "helpful-online"))
    found = select_held_out(source, settings, axes=[HELPFUL], exclude=NOTHING)
    assert list(found.pairs) == ["helpful"]
    subsets = [pair.subset for pair in found.pairs["helpful"]]
    assert min(subsets.count(name) for name in ("helpful-base", "helpful-online")) >= 15


def test_draw_is_by_seed(source):
    one, same, other = (
        select_held_out(source, ValidationSettings(n=10, seed=seed), exclude=NOTHING)
        for seed in (0, 0, 1)
    )
    assert one == same
    assert one.pairs != other.pairs


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": "dev"}, "no split 'dev'"),
        ({"harmful": ("harmless",)}, "no subset 'harmless'"),
    ],
)
def test_a_source_without_them_says_how_to_leave_them_out(source, settings, words):
    with pytest.raises(DataError, match=words) as caught:
        select_held_out(source, ValidationSettings(**settings), exclude=NOTHING)
    assert caught.value.what.startswith("validation: ")
    assert "`validation: null`" in caught.value.hint
    assert "there: " in caught.value.why


def test_nothing_left_beside_the_prompts(source):
    prompts = select_prompts(source, PromptSettings())
    with pytest.raises(DataError, match="no usable row for validation/harmful") as caught:
        select_held_out(source, ValidationSettings(), exclude=prompts.dialogues)
    assert "`validation: null`" in caught.value.hint


def test_demonstrations_are_refused(tmp_path):
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="demonstrations") as caught:
        select_held_out(tmp_path, ValidationSettings(harmful=()), axes=[HARMLESS], exclude=NOTHING)
    assert "`validation: null`" in caught.value.hint
