"""Which rows share a dialogue with a prompt that models are tested on.

Two rows share a dialogue if the turns before the response of one are the beginning of the other's:
the same conversation, at the same or another depth. White space is normalised; the same first
question with another continuation is not the same dialogue.
"""

from __future__ import annotations

from collections.abc import Iterable

from alignstudy.dialogue import Turn, parse_turns
from alignstudy.records import Document, Pair, Prompt

SHARES_PROMPT = "shares a dialogue with an evaluation prompt"
SHARES_CALIBRATION = "shares a dialogue with a calibration pair"

Turns = tuple[tuple[str, str], ...]


class EvaluationDialogues:
    """Dialogues that training rows must not share, each with the reason that the audit counts.

    A look-up costs one hash a turn, whatever the number of dialogues.
    """

    def __init__(self) -> None:
        self._whole: dict[Turns, str] = {}
        self._beginnings: dict[Turns, str] = {}

    @classmethod
    def of_prompts(
        cls, prompts: Iterable[Prompt], *, reason: str = SHARES_PROMPT
    ) -> EvaluationDialogues:
        """Hold the dialogues of evaluation prompts.

        The paper protocol's prompts may end inside an assistant turn; what was written of that
        turn is left out, and the human turn before it counts as the prompt's end.
        """
        return cls._of((prompt.text for prompt in prompts), reason)

    @classmethod
    def of_pairs(
        cls, pairs: Iterable[Pair], *, reason: str = SHARES_CALIBRATION
    ) -> EvaluationDialogues:
        """Hold the dialogues of pairs: a judge's calibration must not be trained on either."""
        return cls._of((pair.prompt for pair in pairs), reason)

    @classmethod
    def _of(cls, texts: Iterable[str], reason: str) -> EvaluationDialogues:
        made = cls()
        for text in texts:
            turns = _up_to_last_human(text)
            if turns:
                made._whole.setdefault(turns, reason)
            for depth in range(1, len(turns) + 1):
                made._beginnings.setdefault(turns[:depth], reason)
        return made

    def __or__(self, other: EvaluationDialogues) -> EvaluationDialogues:
        """Hold both; where both know a dialogue, the left one's reason counts."""
        both = EvaluationDialogues()
        both._whole = other._whole | self._whole
        both._beginnings = other._beginnings | self._beginnings
        return both

    def reason_against(self, record: Pair | Document) -> str | None:
        """Say why a row must be left out; None if it shares no dialogue.

        A document is looked at as the dialogue that it is; one without turns shares nothing.
        """
        turns = _up_to_last_human(record.prompt if isinstance(record, Pair) else record.text)
        if turns in self._beginnings:
            return self._beginnings[turns]
        depths = range(1, len(turns) + 1)
        return next(
            (reason for depth in depths if (reason := self._whole.get(turns[:depth]))), None
        )


def _up_to_last_human(text: str) -> Turns:
    """Give the normalised turns up to the last human one."""
    turns = list(parse_turns(text))
    while turns and turns[-1].role != "human":
        turns.pop()
    return tuple(map(_normalised, turns))


def _normalised(turn: Turn) -> tuple[str, str]:
    return turn.role, " ".join(turn.text.split())
