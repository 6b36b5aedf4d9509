"""Responses that were rated one by one: read as they are, audited as pairs are."""

import pytest
from data_files import PAIRS, bad, good, question, rows_of, write_jsonl

from alignstudy.data.contamination.exclusion import SHARES_PROMPT, EvaluationDialogues
from alignstudy.data.contamination.overlap import overlap
from alignstudy.data.files.reading import Reading
from alignstudy.data.files.records import JOINED
from alignstudy.data.select.collect import NOT_DRAWN, OUTSIDE_SHARE, collect_pairs, collect_rated
from alignstudy.data.select.held_out import CalibrationSettings, select_held_out
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import RowSelection
from alignstudy.errors import DataError
from alignstudy.metrics.axes import axis_named
from alignstudy.records import Prompt, Rated, read_rows, write_rows

WHOLE = Reading(parted=False)
HELPFUL = axis_named("helpful")


def unpaired(count):
    """Rows of KTO's format, no prompt with both kinds: every third response was rated good."""
    return [
        {"prompt": question(n), "completion": bad(n) if n % 3 else good(n), "label": n % 3 == 0}
        for n in range(count)
    ]


def rated(path, *, selection=None, **more):
    return collect_rated(path, selection or RowSelection(), part="train", how=WHOLE, **more)


def adds_up(audit):
    return audit.read == audit.used + len(audit.quarantined) + sum(audit.excluded.values())


def test_labelled_rows_are_taken_one_by_one(tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", unpaired(30))
    found = rated(path)
    assert [(row.response, row.desirable) for row in found.rows] == [
        (f" {bad(n) if n % 3 else good(n)}", n % 3 == 0) for n in range(30)
    ]
    assert [row.id for row in found.rows] == [f"r:{n + 1}" for n in range(30)]
    assert all(row.prompt == f"\n\nHuman: {question(n)}\n\nAssistant:"
               for n, row in enumerate(found.rows))  # fmt: skip
    assert found.audit.notes == {"desirable responses": 10, "undesirable responses": 20}
    assert found.audit.used == found.audit.read == 30


def test_rows_of_one_prompt_are_not_joined(tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", rows_of(PAIRS["kto"][1], 30))
    found = rated(path)
    assert len(found.rows) == found.audit.used == 60
    assert JOINED not in found.audit.excluded
    assert len({row.prompt for row in found.rows}) == 30


@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"kto"}))
def test_a_pair_of_any_shape_becomes_a_good_and_a_bad_response(name, tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", rows_of(PAIRS[name][1], 20))
    pairs = collect_pairs(path, RowSelection(), part="train", how=WHOLE).rows
    found = rated(path)
    expected = [
        Rated(id=f"{pair.id}/{side}", prompt=pair.prompt, response=getattr(pair, side),
              desirable=side == "chosen", subset=pair.subset)
        for pair in pairs for side in ("chosen", "rejected")
    ]  # fmt: skip
    assert list(found.rows) == expected
    assert len(found.rows) == 40
    assert adds_up(found.audit)


def test_a_demonstration_is_a_good_response(tmp_path):
    rows = [{"prompt": question(n), "completion": good(n)} for n in range(5)]
    rows += [{"prompt": question(9), "chosen": good(9), "rejected": bad(9)}]
    found = rated(write_jsonl(tmp_path / "r.jsonl", rows))
    assert [row.desirable for row in found.rows] == [True] * 6 + [False]


@pytest.mark.parametrize(
    ("label", "desirable"),
    [(True, True), ("False", False), (1, True), (0, False), (-1, False), ("true", True)],
)
def test_labels_as_people_write_them(label, desirable, tmp_path):
    rows = [*unpaired(9), {"prompt": "Last?", "completion": "Yes.", "label": label}]
    found = rated(write_jsonl(tmp_path / "r.jsonl", rows))
    assert found.rows[-1].desirable is desirable


def test_what_is_neither_good_nor_bad_is_put_aside(tmp_path):
    rows = [*unpaired(9), {"prompt": "Grey?", "completion": "Perhaps.", "label": 0.7},
            {"text": "A text."}]  # fmt: skip
    audit = rated(write_jsonl(tmp_path / "r.jsonl", rows)).audit
    reasons = [(row.line, row.reason) for row in audit.quarantined]
    assert reasons == [
        (10, "label 0.7 says neither good (true, 1) nor bad (false, 0, -1)"),
        (11, "a plain text, where responses to prompts are needed"),
    ]
    assert adds_up(audit)


@pytest.mark.parametrize(("label", "hint"), [(True, "train `sft` on them"), (False, "add good")])
def test_one_kind_alone_is_refused_with_what_to_do(label, hint, tmp_path):
    rows = [{"prompt": question(n), "completion": good(n), "label": label} for n in range(8)]
    with pytest.raises(DataError, match="all 8 rated responses are") as caught:
        rated(write_jsonl(tmp_path / "r.jsonl", rows))
    assert hint in caught.value.hint


def test_a_response_that_is_rated_both_ways_is_counted(tmp_path):
    rows = [*unpaired(9), {"prompt": question(0), "completion": good(0), "label": False}]
    audit = rated(write_jsonl(tmp_path / "r.jsonl", rows)).audit
    assert audit.notes["responses that are rated both ways"] == 1


def test_exclusion_shares_and_draws_hold_for_rated_rows_too(tmp_path):
    path = write_jsonl(tmp_path / "r.jsonl", unpaired(90))
    asked = [
        Prompt(id=f"p{n}", axis="x", text=f"\n\nHuman: {question(n)}\n\nAssistant:") for n in (0, 1)
    ]
    selection = RowSelection(share=(0.0, 0.8), max_rows=40)
    found = rated(path, selection=selection, exclude=EvaluationDialogues.of_prompts(asked))
    assert not {prompt.text for prompt in asked} & {row.prompt for row in found.rows}
    audit = found.audit
    assert audit.used == len(found.rows) == 40
    assert audit.excluded[SHARES_PROMPT] in (1, 2)
    assert audit.excluded[OUTSIDE_SHARE] > 5
    assert audit.excluded[NOT_DRAWN] > 5
    assert adds_up(audit)
    assert (
        found.rows
        == rated(path, selection=selection, exclude=EvaluationDialogues.of_prompts(asked)).rows
    )
    both = overlap(asked, rated(path).rows)
    assert both.exact == both.dialogue == ("p0", "p1")


def test_rated_rows_survive_being_stored(tmp_path):
    rows = rated(write_jsonl(tmp_path / "r.jsonl", unpaired(9))).rows
    write_rows(tmp_path / "stored.jsonl", rows)
    assert tuple(read_rows(tmp_path / "stored.jsonl", Rated)) == rows


def test_prompts_need_no_pair_and_come_once(tmp_path):
    rows = unpaired(30)
    rows += [{"prompt": question(0), "completion": "Another.", "label": False}]
    path = write_jsonl(tmp_path / "test.jsonl", rows)
    settings = PromptSettings(helpful={"subsets": (), "split": "train", "n": 40}, harmful=None)
    selected = select_prompts(path, settings, how=WHOLE)
    (audit,) = selected.audits
    assert {prompt.text for prompt in selected.prompts} == {
        f"\n\nHuman: {question(n)}\n\nAssistant:" for n in range(30)
    }
    assert audit.used == 30
    assert audit.excluded[JOINED] == 1
    assert adds_up(audit)


def test_thresholds_are_calibrated_on_the_pairs_that_there_are(tmp_path):
    rows = unpaired(30)
    rows += [{"prompt": question(n), "completion": good(99), "label": True} for n in range(30)]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    settings = CalibrationSettings(subsets={"helpful": ()}, n=10)
    found = select_held_out(path, settings, axes=[HELPFUL], how=WHOLE, exclude=None)
    assert len(found.pairs["helpful"]) == 10
    assert all(pair.rejected == f" {bad(int(pair.prompt.split()[-2][:-1]))}"
               for pair in found.pairs["helpful"])  # fmt: skip
    assert adds_up(found.audits[0])


def test_without_any_pair_calibration_says_what_to_do(tmp_path):
    path = write_jsonl(tmp_path / "train.jsonl", unpaired(30))
    settings = CalibrationSettings(subsets={"helpful": ()}, n=10)
    with pytest.raises(DataError, match="no usable row for calibration/helpful") as caught:
        select_held_out(path, settings, axes=[HELPFUL], how=WHOLE, exclude=None)
    assert "10 without a rejected response (demonstrations)" in caught.value.why
    assert "20 no answer that is better than another" in caught.value.why
    assert "give `thresholds` as numbers" in caught.value.hint


def test_only_bad_responses_are_no_pairs_and_the_error_names_what_trains_on_them(tmp_path):
    rows = [{"prompt": question(n), "completion": bad(n), "label": False} for n in range(9)]
    with pytest.raises(DataError, match="no usable row for train") as caught:
        collect_pairs(write_jsonl(tmp_path / "train.jsonl", rows), RowSelection(), part="train")
    assert "train kto with `rows: rated`" in caught.value.hint
