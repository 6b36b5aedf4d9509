"""Shares never tear a dialogue apart; draws are even, repeatable, and fully accounted for."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignstudy.data.audit.audit import audit_json, length_facts
from alignstudy.data.contamination.exclusion import (
    SHARES_CALIBRATION,
    SHARES_PROMPT,
    EvaluationDialogues,
)
from alignstudy.data.formats.row import opening
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.held_out import CalibrationSettings, select_held_out
from alignstudy.data.select.selection import Draw, RowSelection, made_split
from alignstudy.dialogue import CUE
from alignstudy.errors import DataError
from alignstudy.metrics.axes import HARMLESS
from alignstudy.records import Audit, Document, Pair, Prompt, Quarantined


def pair(prompt, *, chosen=" yes", rejected=" no", name="x/train:1"):
    return Pair(id=name, prompt=prompt, chosen=chosen, rejected=rejected)


def prompt(text):
    return Prompt(id="harmless-000", axis="harmless", text=text)


@pytest.fixture
def source(tmp_path):
    for subset, count in (("harmless-base", 300), ("helpful-base", 100)):
        folder = tmp_path / subset
        folder.mkdir()
        with (folder / "train.jsonl").open("w") as file:
            for number in range(count):
                row = {"prompt": f"{subset} {number // 2}", "chosen": f"a{number}", "rejected": "b"}
                file.write(json.dumps(row) + "\n")
    return tmp_path


@given(st.lists(st.text(max_size=20), max_size=30), st.floats(0.01, 0.99))
def test_shares_part_dialogues(openings, cut):
    low, high = RowSelection(share=(0.0, cut)), RowSelection(share=(cut, 1.0))
    for text in openings:
        assert low.holds(text) is not high.holds(text)
        assert made_split(text, cut) in {"train", "test"}


@given(st.lists(st.integers(), unique=True, max_size=60), st.integers(1, 20), st.integers(0, 3))
def test_draw_is_a_subset_in_order_and_independent_of_what_else_there_is(items, size, seed):
    draw = Draw(size, seed=seed)
    for item in items:
        draw.offer(str(item), item)
    drawn = draw.items()
    assert len(drawn) == min(size, len(items))
    assert draw.num_left_out == len(items) - len(drawn)
    assert drawn == [item for item in items if item in set(drawn)]
    again = Draw(size, seed=seed)
    for item in drawn:
        again.offer(str(item), item)
    assert again.items() == drawn


def test_max_rows_is_drawn_over_all_subsets_and_by_seed(source):
    found = collect_pairs(source, RowSelection(max_rows=80), part="train")
    by_subset = Counter(row.subset for row in found.rows)
    assert len(found.rows) == 80
    assert 45 <= by_subset["harmless-base"] <= 72  # 60 expected
    assert found == collect_pairs(source, RowSelection(max_rows=80), part="train")
    assert found.rows != collect_pairs(source, RowSelection(max_rows=80, seed=1), part="train").rows


def test_parts_by_share_are_disjoint_and_complete(source):
    cuts = [(0.0, 0.2), (0.2, 0.7), (0.7, 1.0)]
    parts = [collect_pairs(source, RowSelection(share=cut), part="x").rows for cut in cuts]
    openings = [{opening(row) for row in part} for part in parts]
    assert sum(map(len, parts)) == 400
    assert len(set.union(*openings)) == sum(map(len, openings))


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.6, 0.5), (-0.1, 0.5), (0.0, 1.1)])
def test_shares_that_are_no_range_are_refused(share):
    with pytest.raises(ValidationError, match="share must be"):
        RowSelection(share=share)
    with pytest.raises(ValidationError, match="share must be"):
        CalibrationSettings(share=share)


def test_every_row_is_accounted_for(source):
    dialogues = EvaluationDialogues.of_prompts([prompt(f"\n\nHuman: helpful-base 3{CUE}")])
    selection = RowSelection(share=(0.0, 0.8), max_rows=50)
    audit = collect_pairs(source, selection, part="train", exclude=dialogues).audit
    assert audit.read == 400
    assert audit.read == audit.used + len(audit.quarantined) + sum(audit.excluded.values())


class TestExclusion:
    ASKED = f"\n\nHuman: a  b\n\nAssistant: c\n\nHuman: d{CUE}"

    def reason(self, text, *, asked=ASKED):
        return EvaluationDialogues.of_prompts([prompt(asked)]).reason_against(pair(text))

    @pytest.mark.parametrize(
        "text",
        [
            ASKED,
            f"\n\nHuman: a b\n\nAssistant:  c\n\nHuman: d {CUE}",
            f"\n\nHuman: a b{CUE}",
            f"\n\nHuman: a b\n\nAssistant: c\n\nHuman: d\n\nAssistant: e\n\nHuman: f{CUE}",
        ],
    )
    def test_same_conversation_at_any_depth(self, text):
        assert self.reason(text) == SHARES_PROMPT

    @pytest.mark.parametrize(
        "text",
        [
            f"\n\nHuman: a b\n\nAssistant: other\n\nHuman: d{CUE}",
            f"\n\nHuman: a b\n\nAssistant: c\n\nHuman: other{CUE}",
            f"\n\nHuman: d{CUE}",
        ],
    )
    def test_another_conversation(self, text):
        assert self.reason(text) is None

    def test_a_prompt_cut_inside_the_answer(self):
        cut = "Human: a\n\nAssistant: first paragraph"
        assert self.reason(f"\n\nHuman: a{CUE}", asked=cut) == SHARES_PROMPT

    def test_documents_that_run_on(self):
        dialogues = EvaluationDialogues.of_prompts([prompt(f"\n\nHuman: a{CUE}")])
        for text, known in (
            ("\n\nHuman: a\n\nAssistant: c\n\nHuman: d\n\nAssistant: e", SHARES_PROMPT),
            ("\n\nHuman: z\n\nAssistant: c", None),
            ("Once upon a time", None),
        ):
            assert dialogues.reason_against(Document(id="x", text=text)) == known

    def test_both_reasons_are_kept_apart(self):
        first = EvaluationDialogues.of_prompts([prompt(f"\n\nHuman: a{CUE}")])
        both = first | EvaluationDialogues.of_pairs([pair(f"\n\nHuman: b{CUE}")])
        assert both.reason_against(pair(f"\n\nHuman: a{CUE}")) == SHARES_PROMPT
        assert both.reason_against(pair(f"\n\nHuman: b{CUE}")) == SHARES_CALIBRATION
        assert both.reason_against(pair(f"\n\nHuman: c{CUE}")) is None


class TestCalibration:
    def test_an_axis_each_apart_from_prompts_and_training(self, source):
        asked = EvaluationDialogues.of_prompts([prompt(f"\n\nHuman: harmless-base 3{CUE}")])
        found = select_held_out(source, CalibrationSettings(n=40), exclude=asked)
        assert {axis: len(rows) for axis, rows in found.pairs.items()} == dict.fromkeys(
            ("harmless", "helpful"), 40
        )
        assert {row.subset for row in found.pairs["helpful"]} == {"helpful-base"}
        assert [audit.part for audit in found.audits] == [
            "calibration/harmful", "calibration/helpful",
        ]  # fmt: skip
        train = collect_pairs(source, RowSelection(), part="train", exclude=asked | found.dialogues)
        used = {row.prompt for rows in found.pairs.values() for row in rows}
        assert not used & {row.prompt for row in train.rows}
        assert set(train.audit.excluded) == {SHARES_PROMPT, SHARES_CALIBRATION}

    def test_demonstrations_are_refused(self, tmp_path):
        row = {
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        }
        (tmp_path / "train.jsonl").write_text(json.dumps(row))
        with pytest.raises(DataError, match="without a rejected response"):
            select_held_out(
                tmp_path, CalibrationSettings(harmful=()), axes=[HARMLESS], exclude=None
            )


class TestAudit:
    def test_reasons_are_counted_beyond_what_is_listed(self):
        rows = tuple(Quarantined(file="f", line=i, reason=f"r{i % 2}") for i in range(1, 1502))
        told = audit_json([Audit(part="train", read=1502, used=1, quarantined=rows)])["train"]
        assert told["num_quarantined"] == 1501
        assert told["quarantined_by_reason"] == {"r1": 751, "r0": 750}
        assert (len(told["quarantined"]), told["quarantined_not_listed"]) == (1000, 501)
        assert told["quarantined"][0] == {"file": "f", "line": 1, "reason": "r1"}
        json.dumps(told)

    def test_two_audits_of_one_part_are_our_bug(self):
        with pytest.raises(ValueError, match="two audits"):
            audit_json([Audit(part="a", read=0, used=0)] * 2)

    def test_length_facts_by_hand(self):
        rows = [pair("p q", chosen=" a b c", rejected=" a")] * 2 + [
            pair("p", chosen=" a", rejected=" a b")
        ]
        assert length_facts(rows) == {
            "rows": 3,
            "duplicates": 1,
            "words": {
                "prompt": {"median": 2.0, "p95": 2.0},
                "chosen": {"median": 3.0, "p95": 3.0},
                "rejected": {"median": 1.0, "p95": 2.0},
            },
            "chosen_longer": 2 / 3,
        }
        assert length_facts([Document(id="a", text="one two")])["chosen_longer"] is None

    def test_the_95th_percentile_is_the_95th_of_100(self):
        rows = [Document(id=str(n), text="w " * n) for n in range(1, 101)]
        assert length_facts(rows)["words"]["text"] == {"median": 50.5, "p95": 95.0}


def test_a_seed_that_nothing_draws_with_is_refused():
    with pytest.raises(ValueError, match="no effect without max_rows"):
        RowSelection(seed=1)
    assert RowSelection(seed=1, max_rows=5).seed == 1
