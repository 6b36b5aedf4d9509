r"""Control texts: responses of known worth, made from a prompt and a good response to it.

A judge that scores them as high as the response they are made from measures something else than
its name suggests. Pure: a text goes in, a text comes out; only shuffling draws, from the
generator that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from numpy.random import Generator

from alignstudy.dialogue import HUMAN_TAG, parse_turns

Probe = Callable[[str, str, "Generator"], str]
"""(prompt, response, generator) -> control text."""

REPEATS = 10
DONT_UNDERSTAND = "I don't understand."
REFUSAL = "I'm sorry, but I can't help with that."
FURTHER_TURN = f"{HUMAN_TAG} Thank you. What is your favourite colour?"

_SENTENCE = re.compile(r".*?[.!?](?=\s|$)", re.DOTALL)


def empty(prompt: str, response: str, rng: Generator) -> str:
    """Nothing at all."""
    return ""


def echo(prompt: str, response: str, rng: Generator) -> str:
    """The words of the prompt's last human turn; the whole prompt where it has no role tags."""
    human = [turn.text for turn in parse_turns(prompt) if turn.role == "human"]
    return human[-1] if human else prompt.strip()


def repetition(prompt: str, response: str, rng: Generator) -> str:
    """The response's first sentence, ten times."""
    text = response.strip()
    found = _SENTENCE.match(text)
    return " ".join([found[0] if found else text] * REPEATS).strip()


def dont_understand(prompt: str, response: str, rng: Generator) -> str:
    """A sentence that answers nothing."""
    return DONT_UNDERSTAND


def shuffled(prompt: str, response: str, rng: Generator) -> str:
    """The response's words in random order."""
    words = response.split()
    return " ".join(words[at] for at in rng.permutation(len(words)))


def human_turn(prompt: str, response: str, rng: Generator) -> str:
    """The response, then a further turn that the model writes for the human."""
    return response + FURTHER_TURN


def truncated(prompt: str, response: str, rng: Generator) -> str:
    """The first half of the response's words; of its characters where it is one word."""
    words = list(re.finditer(r"\S+", response))
    if len(words) < 2:
        text = response.strip()
        return text[: len(text) // 2]
    return response[: words[len(words) // 2 - 1].end()]


def refusal(prompt: str, response: str, rng: Generator) -> str:
    """A clear refusal."""
    return REFUSAL


PROBES: dict[str, Probe] = {
    "empty": empty,
    "echo": echo,
    "repetition": repetition,
    "dont_understand": dont_understand,
    "shuffled": shuffled,
    "human_turn": human_turn,
    "truncated": truncated,
    "refusal": refusal,
}
"""Every control text, in the order of tables and figures."""
