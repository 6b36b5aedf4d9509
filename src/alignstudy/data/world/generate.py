"""The demo's world: HH-style dialogues on everyday topics, made from a seed, learnt in minutes.

`write_world` writes the hub's HH layout: `harmless-base` and `helpful-base` with the splits train,
judge and test (pairs: a good answer over a bad one), and `pretrain/train`, the unaligned mix of
good and bad answers, loops, echoes and run-on turns that a base model learns from.

Test prompts are never seen elsewhere (see prompts.py). Each train split holds
`BROKEN_PAIRS` pairs that are broken on purpose, half with differing contexts, half with identical
texts, so that the demo's audit has something real to show. Everything else is well-formed.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from pydantic import Field

from alignstudy.data.select.selection import fraction
from alignstudy.data.world.prompts import Pool, Question, mixed, questions, test_questions
from alignstudy.dialogue import CUE, HUMAN_TAG
from alignstudy.metrics.axes import HARMLESS, HELPFUL
from alignstudy.settings import Settings

SUBSETS = {HARMLESS: "harmless-base", HELPFUL: "helpful-base"}
BROKEN_PAIRS = 4
"""Pairs broken on purpose in each of the two train splits."""
GOOD_SHARES = (0.1, 0.6)
"""Shares of good answers in the pretraining mix: evenly spread over the topics and targets, so
that a base model knows some and not others."""
RUN_ON_SHARE = 0.4
"""Share of the bad ones after which the text runs on with a further human turn."""

Row = dict[str, str]


class WorldSettings(Settings):
    """How large the demo's world is; the same settings give the same bytes."""

    seed: int = Field(0, description="of everything that is drawn")
    num_topics: int = Field(40, ge=16, le=40, description="topics of helpful requests")
    num_train: int = Field(1500, ge=50, le=20_000, description="training pairs an axis")
    num_judge: int = Field(700, ge=20, le=20_000, description="pairs an axis for the judge")
    num_test: int = Field(120, ge=10, description="test pairs an axis")
    num_pretrain: int = Field(5000, ge=10, le=100_000, description="texts of the unaligned mix")


def write_world(settings: WorldSettings, folder: Path) -> None:
    """Write the world into a folder, in the hub's HH layout.

    Raises:
        SettingsError: If more test prompts are asked for than the topics give.
    """
    seed, sizes = settings.seed, {"num_topics": settings.num_topics, "seed": settings.seed}
    pools: dict[Pool, int] = {"train": settings.num_train, "judge": settings.num_judge}
    for axis, subset in SUBSETS.items():
        for pool, number in pools.items():
            rng = Random(f"{seed} {pool} {axis.name}")
            drawn = mixed(questions(axis, pool, **sizes), number, rng)
            rows = [_pair(question, rng) for question in drawn]
            if pool == "train":
                step = len(rows) // BROKEN_PAIRS
                for at in range(step // 2, step * BROKEN_PAIRS, step):
                    chosen = rows[at]["chosen"]
                    rejected = chosen if at // step % 2 else rows[at - 1]["rejected"]
                    rows[at] = {"chosen": chosen, "rejected": rejected}
            _write(folder / subset / f"{pool}.jsonl.gz", rows)
        rng = Random(f"{seed} test answers {axis.name}")
        asked = test_questions(axis, settings.num_test, **sizes)
        _write(folder / subset / "test.jsonl.gz", [_pair(question, rng) for question in asked])
    rng = Random(f"{seed} pretrain")
    half = (settings.num_pretrain + 1) // 2
    asked = [q for axis in SUBSETS for q in mixed(questions(axis, "train", **sizes), half, rng)]
    rng.shuffle(asked)
    texts = [{"text": _text(question, asked, rng)} for question in asked[: settings.num_pretrain]]
    _write(folder / "pretrain" / "train.jsonl.gz", texts)


def _pair(question: Question, rng: Random) -> Row:
    """Make a preference: a good answer over a bad one."""
    good, bad = question.good(rng), question.bad(rng)
    return {"chosen": f"{question.prompt} {good}", "rejected": f"{question.prompt} {bad}"}


def _text(question: Question, others: Sequence[Question], rng: Random) -> str:
    """Make a text of the unaligned mix."""
    low, high = GOOD_SHARES
    if rng.random() < low + (high - low) * fraction(question.about, salt="good"):
        return f"{question.prompt} {question.good(rng)}"
    text = f"{question.prompt} {question.bad(rng)}"
    if rng.random() < RUN_ON_SHARE:
        other = rng.choice(others)
        text += f"{HUMAN_TAG} {other.text}{CUE} {other.bad(rng)}"
    return text


def _write(path: Path, rows: Iterable[Row]) -> None:
    """Write gzipped JSON lines; no time and no name in the file, so that bytes depend on rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(text.encode())
