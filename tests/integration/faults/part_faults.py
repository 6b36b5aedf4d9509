"""Faults of what a study makes of its rows: splits, shares, sizes, and copies among them."""

from fault_table import GOOD, Fault, lines, pair, small_study

SHORT = {"max_steps": 2, "max_length": 64}
LONG = [pair(prompt=f"{'Why? ' * 300}{n}") for n in range(40)]
SAME = [pair(prompt=f"How do I row {n} boats?", rejected="With arms.") for n in range(20)]
WORLDS_APART = {"d/train.jsonl": lines(), "d/test.jsonl": lines()}


def part(name: str, files: dict, *said: str, ids: str, code: int = 2, **sections: object) -> Fault:
    """Return a study whose rows are few, alike or too long."""
    return Fault(
        id=f"{ids}-{name}", files={**files, "s.yaml": small_study(**sections)},
        command="check s.yaml", said=said, code=code,
    )  # fmt: skip


def rows(*given: object, good: int = 0) -> dict:
    """Return a file of rows."""
    return {"d.jsonl": lines(*given, good=good)}


EMPTY = [
    part("no-row", rows(), "no row could be read in split 'test'", "its files are empty",
         ids="R31+R34"),
    part("empty-test-split", {**WORLDS_APART, "d/test.jsonl": b""}, "split 'test'",
         "its files are empty", ids="R31", data={"source": "d"}),
    part("empty-share", rows(good=40), "s.yaml:12: 'data.train'", "no usable row for train",
         "32 outside the share", ids="R31",
         data={"source": "d.jsonl", "train": {"share": [0.0, 0.0001]}}),
    part("no-such-subset", rows(good=40), "no subset 'x'", "there: train", ids="R31",
         data={"source": "d.jsonl", "train": {"subsets": ["x"]}}),
    part("no-such-split", rows(good=40), "no split 'validation'", "train and test", ids="R31",
         data={"source": "d.jsonl", "train": {"split": "validation"}}),
    part("no-row-asked-for", rows(good=40), "'data.train.max_rows'", "greater than or equal to 1",
         ids="R31+R34", data={"source": "d.jsonl", "train": {"max_rows": 0}}),
    part("one-row", rows(GOOD[0]), "no row falls to prompts/helpful", "give more dialogues",
         ids="R34"),
    *(part(f"{n}-rows", rows(*GOOD[:n]), f"{n} rows: ", ids="R34", code=0) for n in range(2, 10)),
]  # fmt: skip

ALIKE = [
    part("all-identical", rows(*SAME), "no usable row", "chosen and rejected are identical",
         ids="R32"),
    part("some-identical", rows(*SAME, good=40), "15 of 47 rows of train can't be used (32 %)",
         "because chosen and rejected are identical", ids="R32", code=0),
    part("train-and-test-alike", WORLDS_APART,
         "37 of 40 rows; 3 shares a dialogue with an evaluation prompt", ids="R32", code=0,
         data={"source": "d"}),
    part("train-and-test-alike-and-kept", WORLDS_APART,
         "3 kept although it shares a dialogue with an evaluation prompt", ids="R32", code=0,
         data={"source": "d", "overlap": "keep"}),
    Fault(id="R32-audit-of-a-leak", files=WORLDS_APART, command="audit d --json",
          said=('"prompts": 40, "looked_for": 40, "rows": 40, "exact": 40',), code=0),
]  # fmt: skip

TOO_LONG = [
    part("every-prompt-fills-the-length", rows(*LONG), "no row is left", "alone fills max_length",
         ids="R33", methods={"sft": SHORT, "dpo": SHORT}),
    part("some-prompts-fill-the-length", rows(*LONG, good=40), "31 of 64 rows encoded",
         "33 have a prompt (or a response) that alone fills max_length", "warning: dpo: 31 of",
         ids="R33", code=0, methods={"sft": SHORT, "dpo": SHORT}),
    part("empty-answers", rows(*(pair(rejected=" ") for _ in range(60)), good=40),
         "rejected response is empty", "data.max_quarantined", ids="R33+A5"),
]  # fmt: skip
FAULTS = [*EMPTY, *ALIKE, *TOO_LONG]
