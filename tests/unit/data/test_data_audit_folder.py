"""`audit_data`: what is planted is found, with file and line; the real rows are counted right."""

import gzip
import json
import time

import pytest

from alignstudy.data.audit.folder import MAX_REVIEW, audit_data
from alignstudy.data.audit.rows import escaped
from alignstudy.data.audit.suspicion import Kind, kind_of_reason
from alignstudy.data.select.prompt_settings import PromptSettings
from alignstudy.data.world.generate import WorldSettings, write_world
from alignstudy.errors import DataError

LONG = "I have been asked to cook dinner for my whole family this weekend and need some advice"


def dialogue(asked, answer):
    return f"\n\nHuman: {asked}\n\nAssistant: {answer}"


def row(asked, chosen, rejected):
    return {"chosen": dialogue(asked, chosen), "rejected": dialogue(asked, rejected)}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [one if isinstance(one, str) else json.dumps(one) for one in rows]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def found_in(source, rows, **options):
    write(source / "harmless-base" / "train.jsonl", rows)
    return audit_data(source, **options)


GOOD = row("How do I swim?", "Float first, then kick.", "Just jump in.")


@pytest.mark.parametrize(
    ("bad", "kind", "detail"),
    [
        (row("How do I swim?", "Just jump in.", "Float first, then kick."),
         Kind.CONTRADICTION, "harmless-base/train.jsonl:1"),
        (GOOD, Kind.DUPLICATE, "harmless-base/train.jsonl:1"),
        (row("a", "same words", "same words"), Kind.IDENTICAL, ""),
        ({"chosen": dialogue("a", "b"), "rejected": dialogue("c", "d")}, Kind.CONTEXTS_DIFFER, ""),
        ({"chosen": dialogue("a", "b") + "\n\nHuman: c", "rejected": dialogue("a", "d")},
         Kind.NOT_ASSISTANT, ""),
        ({"chosen": "\n\nHuman: a", "rejected": dialogue("a", "d")}, Kind.NOT_ASSISTANT, ""),
        ({"chosen": [{"role": "user", "content": "a"}],
          "rejected": [{"role": "user", "content": "a"}]}, Kind.NOT_ASSISTANT, ""),
        (row("a", "", "some words"), Kind.EMPTY_RESPONSE, ""),
        (row("a", "some words", " "), Kind.EMPTY_RESPONSE, ""),
        (row("a", "Yes.", "some words"), Kind.ONE_WORD_CHOSEN, ""),
        (row("a", "some words", "No!"), Kind.ONE_WORD_REJECTED, ""),
        (row("a", "b c\nHuman: d", "some words"), Kind.TAG_IN_RESPONSE, "chosen"),
        (row("how so", "how so", "some words"), Kind.ECHO, ""),
        (row("a\n\nHuman: b", "c d", "some words"), Kind.ODD_TURNS, "human human"),
        (row("a\n\nAssistant:\n\nHuman: b", "c d", "some words"), Kind.EMPTY_TURN, ""),
        (row("a", "b c", "word " * 40), Kind.LOPSIDED, "2 words chosen, 40 rejected"),
        ('{"chosen": 1', Kind.UNUSABLE, "bad JSON: Expecting ',' delimiter at character 14"),
        ({"question": "a"}, Kind.UNUSABLE, None),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)  # fmt: skip
def test_what_is_planted_is_found_with_file_and_line(tmp_path, bad, kind, detail):
    audit = found_in(tmp_path, [GOOD, bad])
    (suspicion,) = audit.review
    assert (suspicion.kind, suspicion.file, suspicion.line) == (
        kind, "harmless-base/train.jsonl", 2,
    )  # fmt: skip
    assert detail is None or suspicion.detail == detail
    (split,) = audit.splits
    assert {name for name, count in split.counts.items() if count} == {kind.name.lower()}
    assert split.counts[kind.name.lower()] == audit.num_suspicious == 1
    assert split.rows == sum(split.used.values()) + split.quarantined == 2


def test_clean_data_is_clean(tmp_path):
    audit = found_in(tmp_path, [GOOD, row("How do I dance?", "Step by step.", "Never mind.")])
    assert (audit.review, audit.num_suspicious, audit.quarantined) == ((), 0, 0)
    assert audit.near_duplicates.clusters == 0
    assert "Every row can be used." in audit.to_markdown()


def test_lengths_and_the_longer_chosen(tmp_path):
    rows = [row(f"ask {at}", "word " * 5, "word " * (3 if at < 30 else 9)) for at in range(40)]
    rows += [row("tie", "two words", "other words")]
    (split,) = found_in(tmp_path, rows).splits
    assert (split.longer_chosen.value, split.longer_chosen.n) == (75.0, 40)
    assert (split.median_chosen, split.median_rejected) == (5.0, 3.0)


def test_duplicates_across_splits_near_duplicates_and_overlap(tmp_path):
    write(tmp_path / "a" / "train.jsonl", [GOOD, row(LONG, "x y", "z z")])
    write(tmp_path / "b" / "test.jsonl", [GOOD, row(LONG + ", please", "x z", "y z")])
    audit = audit_data(tmp_path)
    assert [split.name for split in audit.splits] == ["a/train", "b/test"]
    assert audit.splits[1].counts["duplicate"] == 1
    near = audit.near_duplicates
    assert (near.prompts, near.looked_at, near.clusters, near.clustered) == (3, 3, 1, 2)
    assert (near.across_splits, near.examples) == (1, (("a/train.jsonl:2", "b/test.jsonl:2"),))
    (both,) = audit.overlaps
    assert (both.held_out, both.against, both.looked_for, both.rows) == ("test", "train", 2, 2)
    assert (both.exact, both.dialogue, both.ngram13) == (1, 1, 2)
    assert both.examples == ("b/test:1", "b/test:2")


def test_bounds_are_said(tmp_path, monkeypatch):
    monkeypatch.setattr("alignstudy.data.audit.folder.MAX_LOOKED_FOR", 5)
    rows = [row(f"What is {at}?", "x y", "z z") for at in range(20)]
    write(tmp_path / "train.jsonl", rows[:8])
    write(tmp_path / "test.jsonl", rows[8:])
    audit = audit_data(tmp_path)
    (both,) = audit.overlaps
    assert (both.prompts, both.looked_for) == (12, 5)
    assert "5 of 12 prompts looked for" in audit.to_markdown()


def test_review_is_ranked_and_every_kind_has_its_turn(tmp_path):
    rows = [row(f"ask {at}", "same", "same") for at in range(70)]
    rows += [row("How?", "Yes.", "some words"), GOOD]
    rows += [row("How do I swim?", "Just jump in.", "Float first, then kick.")]
    audit = found_in(tmp_path, rows)
    kinds = [suspicion.kind for suspicion in audit.review]
    assert len(kinds) == MAX_REVIEW
    assert kinds[0] is Kind.CONTRADICTION
    assert kinds[-1] is Kind.ONE_WORD_CHOSEN
    assert kinds.count(Kind.IDENTICAL) == MAX_REVIEW - 2
    assert audit.num_suspicious == 72
    assert "22 more are not listed" in audit.to_markdown()


def test_a_row_is_listed_once_for_its_worst_kind(tmp_path):
    bad = row("How?", "Yes.", "No.")
    (suspicion,) = found_in(tmp_path, [bad]).review
    assert suspicion.kind is Kind.ONE_WORD_CHOSEN


def test_prompts_that_a_study_would_draw(tmp_path):
    rows = [row(f"What is the number {at * at}?", "x y", "z z") for at in range(30)]
    write(tmp_path / "harmless-base" / "test.jsonl", rows)
    audit = audit_data(tmp_path, prompts=PromptSettings())
    harmless, helpful = audit.prompts
    assert (harmless.drawn, harmless.notes["fewer prompts than asked for"]) == (30, 470)
    assert (helpful.drawn, "no subset 'helpful-base'" in helpful.fault) == (0, True)
    assert "30 prompts" in audit.to_markdown()
    assert audit_data(tmp_path).prompts == ()


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "parquet"])
def test_single_files_of_every_form(tmp_path, form):
    rows = [
        {"prompt": f"What is {at}?", "chosen": f"It is {at}.", "rejected": "No idea."}
        for at in range(60)
    ]
    rows.append({**rows[0], "chosen": "No idea.", "rejected": "It is 0."})
    path = tmp_path / f"rows.{form}"
    if form == "parquet":
        import pyarrow
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(rows), path)
    elif form == "jsonl":
        write(path, rows)
    else:
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(one) + "\n" for one in rows)
    audit = audit_data(path)
    assert [split.split for split in audit.splits] == ["train", "test"]
    assert sum(split.used["pairs"] for split in audit.splits) == 61
    (suspicion,) = audit.review
    assert (suspicion.kind, suspicion.file, suspicion.line) == (
        Kind.CONTRADICTION, f"rows.{form}", 61,
    )  # fmt: skip
    assert audit.overlaps[0].dialogue == 0  # the splits are parted by dialogue


def test_plain_texts_and_the_demo_world(tmp_path):
    sizes = {"num_train": 60, "num_judge": 30, "num_test": 20, "num_pretrain": 80}
    write_world(WorldSettings(**sizes), tmp_path)
    audit = audit_data(tmp_path)
    pretrain = next(split for split in audit.splits if split.subset == "pretrain")
    assert pretrain.used == {"texts": 80}
    assert pretrain.longer_chosen is None
    assert audit.quarantined == 8
    assert {both.held_out for both in audit.overlaps} == {"judge", "test"}
    assert all(both.exact == both.dialogue == 0 for both in audit.overlaps)


def test_json_is_json_and_complete(tmp_path):
    audit = found_in(tmp_path, [GOOD, GOOD], prompts=PromptSettings(harmful=None))
    told = json.loads(json.dumps(audit.to_json()))
    assert (told["rows"], told["quarantined"], told["num_suspicious"]) == (2, 0, 1)
    assert told["review"] == [
        {
            "file": "harmless-base/train.jsonl",
            "line": 2,
            "kind": "duplicate",
            "reason": "same as an earlier row: harmless-base/train.jsonl:1",
        }
    ]
    assert told["splits"][0]["longer_chosen"]["n"] == 2


HOSTILE = ("<script>x</script>", "![a](http://b)", "`x`|y", "\x1b[31mred", "\u202egnp", "a\n# b")


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_hostile_names_as_text(tmp_path, text):
    bad = {"chosen": [{"role": text, "content": "a"}], "rejected": [{"role": text, "content": "a"}]}
    page = found_in(tmp_path, [GOOD, bad]).to_markdown()
    assert "<script" not in page
    assert "](" not in page.replace("\\](", "")
    assert page.isascii()
    assert not set(page) & {"\x1b", "\r", "\x00"}
    assert "unknown role" in page
    assert not any(line.startswith("# b") for line in page.splitlines())


def test_escaping():
    assert escaped("a_b | <i> & \x07") == "a\\_b \\| &lt;i&gt; &amp; \\[U+0007\\]"
    assert escaped("https://x www.y") == "https&#58;//x www&#46;y"


def test_kinds_of_all_reasons_of_the_formats():
    assert kind_of_reason("the last message of chosen is not the assistant's").name == (
        "NOT_ASSISTANT"
    )
    assert kind_of_reason("a role tag (Human: or Assistant:) is hidden inside chosen") is (
        Kind.TAG_IN_RESPONSE
    )
    assert kind_of_reason("field 'chosen' is missing") is Kind.UNUSABLE


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="doesn't exist"):
        audit_data(tmp_path / "nothing")


@pytest.mark.e2e
def test_the_real_test_splits(hh_dir):
    start = time.process_time()
    audit = audit_data(hh_dir)
    assert time.process_time() - start < 60  # 13 on one core
    assert (audit.rows, audit.quarantined) == (8552, 66)
    facts = {split.subset: split for split in audit.splits}
    counted = {
        name: (split.counts["identical"], split.counts["contexts_differ"])
        for name, split in facts.items()
    }
    assert counted == {
        "harmless-base": (0, 5),
        "helpful-base": (2, 9),
        "helpful-online": (2, 0),
        "helpful-rejection-sampled": (32, 3),
    }
    assert facts["harmless-base"].longer_chosen.value < 50 < facts["helpful-base"].longer_chosen.low
    by_hand = longer_wins(hh_dir / "helpful-base" / "test.jsonl.gz")
    assert facts["helpful-base"].longer_chosen.value == pytest.approx(by_hand)
    assert audit.near_duplicates.clusters > 300
    assert audit.overlaps == ()


def longer_wins(path):
    """Count by hand: of usable rows with responses of different lengths, chosen longer, percent."""
    tag = "\n\nAssistant:"
    wins = []
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            (context, _, chosen), (other, _, rejected) = (
                one[name].rpartition(tag) for name in ("chosen", "rejected")
            )
            lengths = len(chosen.split()), len(rejected.split())
            usable = context == other and all(lengths) and "\n\nHuman:" not in chosen + rejected
            if usable and lengths[0] != lengths[1]:
                wins.append(lengths[0] > lengths[1])
    return 100 * sum(wins) / len(wins)
