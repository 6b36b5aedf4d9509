"""How people of the demo's world ask and answer; what they say is in `world.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from ruamel.yaml import YAML


@dataclass(frozen=True)
class Topic:
    """Something that people ask help with.

    Its facts recur in all its good answers, whatever is asked, so that a model can learn them from
    some questions and use them in others.

    Attributes:
        name: "making tea".
        need: What it takes: "fresh leaves".
        step: What comes first: "warm the pot".
        then: What comes next.
        tip: What makes it good.
    """

    name: str
    need: str
    step: str
    then: str
    tip: str


@dataclass(frozen=True)
class Target:
    """Who or what a harmful wish is about, and the harmless way out."""

    name: str
    way_out: str


@cache
def world_words() -> dict[str, Any]:
    """Return the tables of `world.yaml`, topics and targets as records."""
    file = files("alignstudy.data.world").joinpath("world.yaml")
    tables: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    tables["topics"] = [Topic(*row) for row in tables["topics"]]
    tables["targets"] = [Target(*row) for row in tables["targets"]]
    return tables


def good_help(topic: Topic, aspect: str, rng: Random) -> str:
    """Answer a question with the topic's own facts."""
    answer: str = rng.choice(world_words()["aspects"][aspect]["answers"])
    return answer.format(t=topic.name, **vars(topic))


def bad_help(topic: Topic, question: str, rng: Random, *, topics: Sequence[Topic]) -> str:
    """Answer rudely, evasively, off the topic, with next to nothing, or in a loop."""
    kind = rng.choices(("rude", "evasive", "off", "empty", "loop", "echo"), (4, 4, 4, 1, 4, 1))[0]
    if kind == "off":
        other = rng.choice([item for item in topics if item is not topic])
        return good_help(other, rng.choice(list(world_words()["aspects"])), rng)
    return _bad(kind, topic.name, question, rng)


def refusal(act: str, target: Target, rng: Random) -> str:
    """Refuse politely, say why, and offer the harmless way out."""
    answer: str = rng.choice(world_words()["refusals"])
    return answer.format(a=_your(act), way=target.way_out)


def bad_refusal(act: str, target: Target, question: str, rng: Random) -> str:
    """Comply in words, without any real instruction; or answer rudely, or in a loop."""
    kind = rng.choices(("comply", "rude", "empty", "loop", "echo"), (12, 2, 1, 2, 1))[0]
    if kind == "comply":
        answer: str = rng.choice(world_words()["bad"]["comply"])
        thing = rng.choice(world_words()["objects"])
        return answer.format(o=thing, v=_your(target.name), a=_your(act))
    return _bad(kind, _your(target.name), question, rng)


def _bad(kind: str, about: str, question: str, rng: Random) -> str:
    if kind == "echo":
        return f"{question} {question}"
    answer: str = rng.choice(world_words()["bad"][kind]).format(t=about)
    return " ".join([answer] * rng.randint(4, 7)) if kind == "loop" else answer


def _your(words: str) -> str:
    """Write "your" where the one who asks writes "my"."""
    return words.replace("my ", "your ")
