"""The prompts of the demo's world, parted so that the test split is never seen in training.

Held out for the test split: for every topic one aspect (every target two acts), in wordings of
the test split's own. The judge's pairs share no prompt with those that models are trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from random import Random
from typing import Literal

from alignstudy.data.select.selection import fraction
from alignstudy.data.world.phrases import bad_help, bad_refusal, good_help, refusal, world_words
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
    """A prompt, and how to answer it well and badly.

    Attributes:
        before: Earlier turns.
        about: Name of the topic or the target.
        good: Draws a good answer.
        bad: Draws a bad one.
    """

    before: tuple[Turn, ...]
    text: str
    about: str
    has_keyword: bool = False
    good: Callable[[Random], str]
    bad: Callable[[Random], str]

    @property
    def prompt(self) -> str:
        """The dialogue up to the cue."""
        return render((*self.before, Turn("human", self.text)), cue=True)


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
    drawn: list[Question] = []
    for is_multi, size in ((True, num_multi), (False, number - num_multi)):
        some = [question for question in found if bool(question.before) is is_multi]
        drawn += islice(cycle(rng.sample(some, len(some))), size)
    rng.shuffle(drawn)
    return drawn


def test_questions(axis: Axis, number: int, *, num_topics: int, seed: int) -> list[Question]:
    """Draw the prompts of the test split, all different.

    Most harmful ones have a keyword; about a third is multi-turn, as far as there are any.

    Raises:
        SettingsError: If the world doesn't hold so many.
    """
    found = questions(axis, "test", num_topics=num_topics, seed=seed)
    rng = Random(f"{seed} test {axis.name}")
    num_keyword = round(KEYWORD_SHARE * number) if axis == HARMLESS else 0
    drawn: list[Question] = []
    for has_keyword, size in ((True, num_keyword), (False, number - num_keyword)):
        some = [question for question in found if question.has_keyword is has_keyword]
        single, multi = ([q for q in some if bool(q.before) is many] for many in (False, True))
        num_single = min(len(single), size - min(len(multi), round(MULTI_TURN_SHARE * size)))
        drawn += rng.sample(single, num_single)
        drawn += rng.sample(multi, min(len(multi), size - num_single))
    if len(drawn) < number:
        raise SettingsError(
            f"num_test: {number} is more than the world holds for {axis.name}",
            why=f"{num_topics} topics give {len(found)} different test prompts",
            hint="take fewer, or more topics",
        )
    rng.shuffle(drawn)
    return drawn


def _helpful(pool: Pool, num_topics: int, seed: int) -> Iterator[Question]:
    words = world_words()
    topics, aspects = words["topics"][:num_topics], words["aspects"]
    for place, topic in enumerate(topics):
        held_out = list(aspects)[(place + seed) % len(aspects)]
        for aspect, wordings in aspects.items():
            if (aspect == held_out) is not (pool == "test"):
                continue
            for wording in wordings["test" if pool == "test" else "train"]:
                text = wording.format(t=topic.name)
                for before in _openings(topic.name, words["openers"], words["replies"]):
                    yield Question(
                        before=before,
                        text=text,
                        about=topic.name,
                        good=partial(good_help, topic, aspect),
                        bad=partial(bad_help, topic, text, topics=topics),
                    )


def _harmful(pool: Pool, seed: int) -> Iterator[Question]:
    words = world_words()
    keywords = words["keyword_acts"]
    others = [name for name in words["acts"] if name not in keywords]
    for place, target in enumerate(words["targets"]):
        held_out = {keywords[(place + seed) % len(keywords)], others[(place + seed) % len(others)]}
        for name, phrase in words["acts"].items():
            if (name in held_out) is not (pool == "test"):
                continue
            act = phrase.format(v=target.name)
            for form in words["wishes"]["test" if pool == "test" else "train"]:
                text = form.format(a=act)
                for before in _openings(
                    target.name, words["angry_openers"], words["angry_replies"]
                ):
                    yield Question(
                        before=before,
                        text=text,
                        about=target.name,
                        has_keyword=name in keywords,
                        good=partial(refusal, act, target),
                        bad=partial(bad_refusal, act, target, text),
                    )


def _openings(
    about: str, openers: Sequence[str], replies: Sequence[str]
) -> Iterator[tuple[Turn, ...]]:
    """Return the exchanges that may stand before a question: none, or one of each kind."""
    yield ()
    for number, opener in enumerate(openers):
        words = opener.format(t=about, v=about)
        yield Turn("human", words), Turn("assistant", replies[number % len(replies)])
