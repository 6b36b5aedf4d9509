"""The prompts of the demo's world, parted so that the test split is never seen in training.

Held out for the test split: for every topic one aspect (every target two acts), in wordings of
the test split's own. The judge's pairs share no prompt with those that models are trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from random import Random
from typing import Literal

from alignstudy.data.select.selection import fraction
from alignstudy.data.world.phrases import (
    ACTS,
    ANGRY_OPENERS,
    ANGRY_REPLIES,
    ASPECTS,
    HARMFUL_FORMS,
    KEYWORD_ACTS,
    OPENERS,
    REPLIES,
    act_words,
    bad_help,
    bad_refusal,
    good_help,
    refusal,
)
from alignstudy.data.world.topics import TARGETS, TOPICS, Target, Topic
from alignstudy.dialogue import Turn, render
from alignstudy.errors import SettingsError
from alignstudy.metrics.axes import HARMLESS
from alignstudy.records import Axis

Pool = Literal["train", "judge", "test"]

JUDGE_SHARE = 0.3
MULTI_TURN_SHARE = 0.35
KEYWORD_SHARE = 0.85


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt, and how to answer it well and badly."""

    before: tuple[Turn, ...]
    text: str
    has_keyword: bool = False

    @property
    def about(self) -> str:
        """What it is about: a topic's or a target's name."""
        raise NotImplementedError

    @property
    def prompt(self) -> str:
        """The dialogue up to the cue."""
        return render((*self.before, Turn("human", self.text)), cue=True)

    def good(self, rng: Random) -> str:
        """Answer well."""
        raise NotImplementedError

    def bad(self, rng: Random) -> str:
        """Answer badly."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class HelpfulQuestion(Question):
    """A request for help with a topic."""

    topic: Topic
    aspect: str
    topics: Sequence[Topic] = field(repr=False)

    @property
    def about(self) -> str:
        """Name of the topic."""
        return self.topic.name

    def good(self, rng: Random) -> str:
        """Answer with the topic's own facts."""
        return good_help(self.topic, self.aspect, rng)

    def bad(self, rng: Random) -> str:
        """Answer rudely, evasively, off the topic, or in a loop."""
        return bad_help(self.topic, self.text, rng, topics=self.topics)


@dataclass(frozen=True, kw_only=True)
class HarmfulQuestion(Question):
    """A wish to do harm."""

    target: Target
    act: str

    @property
    def about(self) -> str:
        """Name of the target."""
        return self.target.name

    def good(self, rng: Random) -> str:
        """Refuse politely and offer another way."""
        return refusal(self.act, self.target, rng)

    def bad(self, rng: Random) -> str:
        """Comply in words only, or be rude."""
        return bad_refusal(self.act, self.target, self.text, rng)


def questions(axis: Axis, pool: Pool, *, num_topics: int, seed: int) -> list[Question]:
    """List all prompts of a pool, single-turn and multi-turn, in a fixed order."""
    made = _harmful(pool, seed) if axis == HARMLESS else _helpful(pool, num_topics, seed)
    if pool == "test":
        return list(made)
    salt = f"judge {seed}"
    for_judge = pool == "judge"
    return [q for q in made if (fraction(q.prompt, salt=salt) < JUDGE_SHARE) == for_judge]


def mixed(found: Sequence[Question], number: int, rng: Random) -> list[Question]:
    """Draw so many prompts, about a third multi-turn, none twice before all were drawn once."""
    num_multi = round(MULTI_TURN_SHARE * number)
    drawn = [
        *_drawn([q for q in found if q.before], num_multi, rng),
        *_drawn([q for q in found if not q.before], number - num_multi, rng),
    ]
    rng.shuffle(drawn)
    return drawn


def test_questions(axis: Axis, number: int, *, num_topics: int, seed: int) -> list[Question]:
    """Draw the prompts of the test split: all different, most harmful ones with a keyword.

    Raises:
        SettingsError: If the world doesn't hold so many.
    """
    found = questions(axis, "test", num_topics=num_topics, seed=seed)
    rng = Random(f"{seed} test {axis.name}")
    num_keyword = round(KEYWORD_SHARE * number) if axis == HARMLESS else 0
    drawn: list[Question] = []
    for has_keyword, size in ((True, num_keyword), (False, number - num_keyword)):
        some = [question for question in found if question.has_keyword is has_keyword]
        drawn += _different(some, size, rng)
    if len(drawn) < number:
        raise SettingsError(
            f"num_test: {number} is more than the world holds for {axis.name}",
            why=f"{num_topics} topics give {len(found)} different test prompts",
            hint="take fewer, or more topics",
        )
    rng.shuffle(drawn)
    return drawn


def _different(found: Sequence[Question], number: int, rng: Random) -> list[Question]:
    """Draw different prompts, about a third multi-turn, as far as there are any."""
    single, multi = ([q for q in found if bool(q.before) is many] for many in (False, True))
    num_single = min(len(single), number - min(len(multi), round(MULTI_TURN_SHARE * number)))
    num_multi = min(len(multi), number - num_single)
    return [*rng.sample(single, num_single), *rng.sample(multi, num_multi)]


def _drawn(found: Sequence[Question], number: int, rng: Random) -> list[Question]:
    return list(islice(cycle(rng.sample(found, len(found))), number))


def _helpful(pool: Pool, num_topics: int, seed: int) -> Iterator[Question]:
    topics = TOPICS[:num_topics]
    for place, topic in enumerate(topics):
        held_out = list(ASPECTS)[(place + seed) % len(ASPECTS)]
        for aspect, wordings in ASPECTS.items():
            if (aspect == held_out) is not (pool == "test"):
                continue
            for text in wordings[pool == "test"]:
                for before in _openings(topic.name, OPENERS, REPLIES):
                    yield HelpfulQuestion(
                        before=before,
                        text=text.format(t=topic.name),
                        topic=topic,
                        aspect=aspect,
                        topics=topics,
                    )


def _harmful(pool: Pool, seed: int) -> Iterator[Question]:
    others = [name for name in ACTS if name not in KEYWORD_ACTS]
    for place, target in enumerate(TARGETS):
        held_out = {
            KEYWORD_ACTS[(place + seed) % len(KEYWORD_ACTS)],
            others[(place + seed) % len(others)],
        }
        for name in ACTS:
            if (name in held_out) is not (pool == "test"):
                continue
            act = act_words(name, target)
            for form in HARMFUL_FORMS[pool == "test"]:
                for before in _openings(target.name, ANGRY_OPENERS, ANGRY_REPLIES):
                    yield HarmfulQuestion(
                        before=before,
                        text=form.format(a=act),
                        has_keyword=name in KEYWORD_ACTS,
                        target=target,
                        act=act,
                    )


def _openings(
    about: str, openers: Sequence[str], replies: Sequence[str]
) -> Iterator[tuple[Turn, ...]]:
    """Return the exchanges that may stand before a question: none, or one of each kind."""
    yield ()
    for number, opener in enumerate(openers):
        words = opener.format(t=about, v=about)
        yield Turn("human", words), Turn("assistant", replies[number % len(replies)])
