"""Edge cases of evaluation that concern the data, each under its number and name."""

import json

import pytest

from alignstudy.data.contamination.exclusion import SHARES_PROMPT
from alignstudy.data.contamination.near_duplicates import cluster_prompts
from alignstudy.data.contamination.overlap import overlap
from alignstudy.data.select.collect import collect_pairs
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.select.prompts import select_prompts
from alignstudy.data.select.rigorous import DUPLICATE
from alignstudy.data.select.selection import RowSelection
from alignstudy.dialogue import CUE, drop_oldest_turns, parse_turns
from alignstudy.records import Prompt, read_rows, write_rows

ODD = {
    "emoji": "\N{GRINNING FACE}\N{ZERO WIDTH JOINER}\N{ROCKET}",
    "right to left": "\u202eabc \u05e9\u05dc\u05d5\u05dd",
    "curly quotes": "I can\u2019t \u201csay\u201d",
    "astral": "\U0001d400",
    "combining": "e\u0301",
}


def human(*turns):
    tags = ("\n\nHuman: ", "\n\nAssistant: ")
    return "".join(tags[i % 2] + turn for i, turn in enumerate(turns)) + CUE


def write(path, prompts, *, answers=("yes sir", "no sir")):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"chosen": f"{p} {answers[0]}", "rejected": f"{p} {answers[1]}"} for p in prompts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def asked(source, **values):
    settings = {"harmful": None, "helpful": {"subsets": ["x"]}, **values}
    return select_prompts(source, PromptSettings.model_validate(settings))


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_edge_case_04_unicode_reaches_the_prompt_character_by_character(tmp_path, text):
    write(tmp_path / "x" / "test.jsonl", [human(text)], answers=(text, "b"))
    found = asked(tmp_path)
    assert found.prompts[0].text == human(text)
    write_rows(tmp_path / "prompts.jsonl", found.prompts)
    assert tuple(read_rows(tmp_path / "prompts.jsonl", Prompt)) == found.prompts
    (pair,) = collect_pairs(tmp_path, RowSelection(subsets=("x",), split="test"), part="x").rows
    assert pair.chosen == f" {text}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a\x00b", "holds a NUL character"), ("a\ud800", "holds half of a surrogate pair")],
)
def test_edge_case_04_what_no_text_can_hold_is_quarantined_with_its_reason(tmp_path, text, reason):
    write(tmp_path / "x" / "test.jsonl", [human("fine"), human(text)])
    audit = asked(tmp_path).audits[0]
    assert [(row.line, reason in row.reason) for row in audit.quarantined] == [(2, True)]
    assert set(cluster_prompts({"given": text, "other": human("other")})) == {"given", "other"}


def test_edge_case_05_a_long_prompt_loses_its_oldest_whole_turns_and_keeps_the_last_human_one():
    prompt = human("first", "one", "second\n\nparagraph", "two", "third")
    shorter = drop_oldest_turns(prompt)
    assert shorter == human("second\n\nparagraph", "two", "third")
    assert drop_oldest_turns(shorter) == human("third")
    assert drop_oldest_turns(human("third")) is None


def test_edge_case_05_the_published_form_is_cut_in_the_same_places():
    bare = human("first", "one", "second").removesuffix(CUE).strip()
    shorter = drop_oldest_turns(bare)
    assert [turn.text for turn in parse_turns(shorter)] == ["second"]
    assert drop_oldest_turns(shorter) is None


LONG = "I have been asked to cook dinner for my whole family this weekend and need some advice"


def test_edge_case_08_near_duplicates_keep_their_ids_and_share_a_cluster(tmp_path):
    prompts = [human(LONG), human(LONG + ", please"), human("How do I swim?")]
    write(tmp_path / "x" / "test.jsonl", prompts)
    found = asked(tmp_path)
    assert len({prompt.id for prompt in found.prompts}) == 3
    clusters = {prompt.text: prompt.cluster for prompt in found.prompts}
    assert clusters[prompts[0]] == clusters[prompts[1]] != clusters[prompts[2]]
    assert found.audits[0].notes["prompts in those clusters"] == 2  # the warning


def test_edge_case_08_exact_duplicates_are_removed_and_counted_in_rigorous_mode(tmp_path):
    write(tmp_path / "x" / "test.jsonl", [human(LONG)] * 3 + [human("How do I swim?")])
    found = asked(tmp_path)
    assert len(found.prompts) == 2
    assert found.audits[0].excluded == {DUPLICATE: 2}


def test_edge_case_08_the_paper_protocol_keeps_exact_duplicates_in_one_cluster(tmp_path):
    write(tmp_path / "x" / "test.jsonl", [human(LONG)] * 2 + [human("How do I swim?")])
    found = asked(tmp_path, protocol="paper", helpful={"subsets": ["x"], "n": 3})
    assert len(found.prompts) == 3
    assert len({prompt.id for prompt in found.prompts}) == 3
    assert len({prompt.cluster for prompt in found.prompts}) == 2


@pytest.mark.parametrize(
    ("row", "kinds"),
    [
        (human(LONG), (1, 1, 1)),
        (human(LONG, "For how many?", "Six of us"), (0, 1, 1)),
        (human(f"Hello! {LONG}?"), (0, 0, 1)),
        (human("Hello!"), (0, 0, 0)),
    ],
    ids=["exact", "another depth", "13 words", "none"],
)
def test_edge_case_09_overlap_with_training_is_told_apart_and_named(tmp_path, row, kinds):
    write(tmp_path / "x" / "train.jsonl", [row])
    rows = collect_pairs(tmp_path, RowSelection(subsets=("x",)), part="train").rows
    prompt = Prompt(id="helpful-000", axis="helpful", text=human(LONG))
    found = overlap([prompt], rows)
    assert (len(found.exact), len(found.dialogue), len(found.ngram13)) == kinds
    assert found.prompt_ids == ({"helpful-000"} if any(kinds) else set())


def test_edge_case_09_rows_of_the_same_dialogue_are_left_out_and_the_rest_is_reported(tmp_path):
    write(tmp_path / "x" / "test.jsonl", [human(LONG)])
    depths = [human(LONG), human(LONG, "For how many?", "Six"), human(f"Hello! {LONG}?")]
    write(tmp_path / "x" / "train.jsonl", depths)
    prompts = asked(tmp_path)
    train = collect_pairs(
        tmp_path, RowSelection(subsets=("x",)), part="train", exclude=prompts.dialogues
    )
    assert train.audit.excluded == {SHARES_PROMPT: 2}
    found = overlap(prompts.prompts, train.rows)
    assert (found.dialogue, found.ngram13) == ((), ("helpful-000",))
    assert found.notes == {"evaluation prompts with 13 words in a row in these rows": 1}
