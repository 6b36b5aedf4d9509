"""The real HH-RLHF test rows: published prompts, quarantine, exclusion."""

import gzip
import json
import time

import pytest

from alignstudy.data.contamination.overlap import overlap
from alignstudy.data.formats.row import RawRow
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.selection import RowSelection
from alignstudy.metrics.axes import axis_named

AXES = ("harmless", "helpful")

SUBSETS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")
TAG = "\n\nAssistant:"
TEST = RowSelection(split="test")


@pytest.fixture(scope="module")
def raw(hh_dir):
    rows = {}
    for subset in SUBSETS:
        with gzip.open(hh_dir / subset / "test.jsonl.gz", "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                rows[f"{subset}/test:{number}"] = json.loads(line)
    return rows


def broken(row):
    """Judge a row by hand, apart from the package's own parser."""
    (context, _, chosen), (other, _, rejected) = (
        row[name].rpartition(TAG) for name in ("chosen", "rejected")
    )
    return (
        context != other
        or "" in (chosen.strip(), rejected.strip())
        or chosen.strip() == rejected.strip()
        or "\n\nHuman:" in chosen + rejected
    )


def test_quarantine_equals_a_count_by_hand(hh_dir, raw):
    found = collect_pairs(hh_dir, TEST, part="all")
    by_hand = {row_id for row_id, row in raw.items() if broken(row)}
    quarantined = {
        RawRow(file=row.file, line=row.line, subset="", split="", fields={}).id
        for row in found.audit.quarantined
    }
    assert quarantined == by_hand
    assert len([row_id for row_id in by_hand if row_id.startswith("harmless-base")]) > 5
    assert found.audit.read == 8552


def test_halves_joined_are_the_text_character_by_character(hh_dir, raw):
    for pair in collect_pairs(hh_dir, TEST, part="all").rows:
        assert pair.prompt + pair.chosen == raw[pair.id]["chosen"]
        assert pair.prompt + pair.rejected == raw[pair.id]["rejected"]
        assert pair.prompt.endswith(TAG)


def test_published_prompts_are_reproduced_exactly(hh_dir, paper_dir):
    found = select_prompts(hh_dir, PromptSettings.model_validate({"protocol": "paper"}))
    for axis in AXES:
        name = f"{axis_named(axis).prompts}_prompts.json"
        published = json.loads((paper_dir / "prompts" / name).read_text(encoding="utf-8"))
        assert [prompt.text for prompt in found.of(axis_named(axis))] == published
    assert found.audits[0].notes == {
        "prompts that end inside an assistant turn": 3,
        "prompts whose keyword was only in the dropped reply": 5,
        "prompts that hold the keyword only inside another word": 3,
    }
    assert found.audits[1].notes == {"prompts that end inside an assistant turn": 2}


@pytest.mark.e2e
@pytest.mark.parametrize("protocol", ["paper", "rigorous"])
@pytest.mark.parametrize("seed", [100, 7])
def test_every_row_that_a_prompt_was_drawn_from_is_excluded(hh_dir, protocol, seed):
    chosen = PromptSettings.model_validate({"protocol": protocol, "seed": seed})
    prompts = select_prompts(hh_dir, chosen)
    train = collect_pairs(hh_dir, TEST, part="train", exclude=prompts.dialogues)
    assert not {prompt.source for prompt in prompts.prompts} & {row.id for row in train.rows}
    (count,) = train.audit.excluded.values()
    assert count < 3 * len(prompts.prompts)  # a conversation or so each, not half of the data


@pytest.mark.e2e
def test_exclusion_of_160_thousand_rows_takes_seconds(hh_dir):
    dialogues = select_prompts(hh_dir, PromptSettings()).dialogues
    rows = collect_pairs(hh_dir, TEST, part="train").rows
    start = time.process_time()
    for row in rows:
        dialogues.reason_against(row)
    per_row = (time.process_time() - start) / len(rows)
    assert per_row * 160_000 < 30


@pytest.mark.e2e
def test_overlap_with_160_thousand_rows_takes_a_minute(hh_dir):
    prompts = select_prompts(hh_dir, PromptSettings())
    rows = collect_pairs(hh_dir, TEST, part="train", exclude=prompts.dialogues).rows
    start = time.process_time()
    found = overlap(prompts.prompts, rows)
    per_row = (time.process_time() - start) / len(rows)
    assert per_row * 160_000 < 200  # 30 to 50 s on one core
    assert found.exact == found.dialogue == ()
    assert 0 < len(found.ngram13) < 50  # forks of a dialogue, questions made from one template
