"""Prompts of the published protocol that give away the answer, or aren't what they are named for.

The protocol drops a last paragraph that begins with the assistant's tag, so that an answer of
several paragraphs stays in the prompt whole; and it looks for keywords in the whole dialogue, as
substrings (arXiv:2509.09055). Both are kept, and counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from alignstudy.dialogue import parse_turns
from alignstudy.records import Prompt

ENDS_IN_ANSWER = "prompts that end inside an assistant turn"
KEYWORD_DROPPED = "prompts whose keyword was only in the dropped reply"
KEYWORD_INSIDE_WORD = "prompts that hold the keyword only inside another word"


@dataclass(frozen=True, kw_only=True)
class Leaks:
    """Ids of the prompts that leak, by kind; a prompt may be of several.

    Attributes:
        ends_in_answer: The last turn is the assistant's: the preferred answer itself.
        keyword_dropped: No keyword is in the prompt: it stood in the reply that was cut off.
        keyword_inside_word: A keyword is in the prompt, but no word begins with it: "skills" does
            not count, "killing" does.
    """

    ends_in_answer: tuple[str, ...]
    keyword_dropped: tuple[str, ...]
    keyword_inside_word: tuple[str, ...]

    @property
    def notes(self) -> dict[str, int]:
        """Counts for the audit; kinds without any are left out."""
        counts = {
            ENDS_IN_ANSWER: len(self.ends_in_answer),
            KEYWORD_DROPPED: len(self.keyword_dropped),
            KEYWORD_INSIDE_WORD: len(self.keyword_inside_word),
        }
        return {kind: count for kind, count in counts.items() if count}


def leaks(prompts: Sequence[Prompt], *, keywords: Sequence[str] = ()) -> Leaks:
    """Find the prompts that leak.

    Args:
        prompts: Of one axis.
        keywords: What the protocol selected them by; none: nothing is looked for.
    """
    ends_in_answer, dropped, inside = [], [], []
    begins_word = re.compile(rf"\b(?:{_any_of(keywords)})")
    for prompt in prompts:
        last = parse_turns(prompt.text)[-1:]
        if last and last[0].role == "assistant" and last[0].text.strip():
            ends_in_answer.append(prompt.id)  # more than the bare cue
        if keywords and not any(word in prompt.text for word in keywords):
            dropped.append(prompt.id)
        elif keywords and not begins_word.search(prompt.text):
            inside.append(prompt.id)
    return Leaks(
        ends_in_answer=tuple(ends_in_answer),
        keyword_dropped=tuple(dropped),
        keyword_inside_word=tuple(inside),
    )


def holds_word(text: str, keywords: Sequence[str]) -> bool:
    """Return whether one of the keywords is a whole word of a text, in either case."""
    return re.search(rf"\b(?:{_any_of(keywords)})\b", text, flags=re.IGNORECASE) is not None


def _any_of(keywords: Sequence[str]) -> str:
    return "|".join(map(re.escape, keywords))
