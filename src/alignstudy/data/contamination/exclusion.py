"""Which rows share a dialogue with a prompt that models are tested on.

Two rows share a dialogue if the turns before the response of one are the beginning of the other's:
the same conversation, at the same or another depth. White space is normalised; the same first
question with another continuation is not the same dialogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from alignstudy.dialogue import parse_turns
from alignstudy.records import Document, Pair, Prompt, Rated, TrainingRow

SHARES_PROMPT = "shares a dialogue with an evaluation prompt"
SHARES_CALIBRATION = "shares a dialogue with a calibration pair"
SHARES_VALIDATION = "shares a dialogue with a validation pair"

Turns = tuple[tuple[str, str], ...]
"""(role, words with white space normalised) of each turn."""


class DialogueIndex:
    """Finds what shares a dialogue with a text, by name.

    A look-up costs one hash a turn, whatever the number of dialogues.
    """

    def __init__(self) -> None:
        self._whole: dict[Turns, dict[str, None]] = {}
        self._beginnings: dict[Turns, dict[str, None]] = {}

    def add(self, text: str, name: str) -> None:
        """Hold one dialogue; names may repeat."""
        turns = dialogue_turns(text)
        if turns:
            self._whole.setdefault(turns, {})[name] = None
        for depth in range(1, len(turns) + 1):
            self._beginnings.setdefault(turns[:depth], {})[name] = None

    def merged(self, other: DialogueIndex) -> DialogueIndex:
        """Hold both; names of `self` come first."""
        both = DialogueIndex()
        for index in (self, other):
            for into, table in (
                (both._whole, index._whole),
                (both._beginnings, index._beginnings),
            ):
                for turns, names in table.items():
                    into.setdefault(turns, {}).update(names)
        return both

    def equal(self, turns: Turns) -> Iterable[str]:
        """Return the names of the dialogues that are these turns."""
        return self._whole.get(turns, {})

    def sharing(self, turns: Turns) -> Iterator[str]:
        """Return the names of dialogues that begin with these turns, or that these begin with.

        A name may come more than once.
        """
        depths = range(1, len(turns) + 1)
        begun = (self._whole.get(turns[:depth], {}) for depth in depths)
        return chain(self._beginnings.get(turns, {}), chain.from_iterable(begun))


class EvaluationDialogues:
    """Dialogues that training rows must not share, each with the reason that the audit counts."""

    def __init__(self, index: DialogueIndex | None = None) -> None:
        self._index = DialogueIndex() if index is None else index

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
        cls, pairs: Iterable[Pair | Rated], *, reason: str = SHARES_CALIBRATION
    ) -> EvaluationDialogues:
        """Hold the dialogues of pairs: a judge's calibration must not be trained on either."""
        return cls._of((pair.prompt for pair in pairs), reason)

    @classmethod
    def _of(cls, texts: Iterable[str], reason: str) -> EvaluationDialogues:
        made = cls()
        for text in texts:
            made._index.add(text, reason)
        return made

    def __or__(self, other: EvaluationDialogues) -> EvaluationDialogues:
        """Hold both; where both know a dialogue, the left one's reason counts."""
        return EvaluationDialogues(self._index.merged(other._index))

    def reason_against(self, record: TrainingRow) -> str | None:
        """Return why a row must be left out; None if it shares no dialogue.

        A document is looked at as the dialogue that it is; one without turns shares nothing.
        """
        return next(self._index.sharing(record_turns(record)), None)


def record_turns(record: TrainingRow) -> Turns:
    """Return the turns of a row up to its last human one."""
    return dialogue_turns(record.text if isinstance(record, Document) else record.prompt)


def dialogue_turns(text: str) -> Turns:
    """Return the turns of a dialogue up to the last human one, white space normalised."""
    turns = list(parse_turns(text))
    while turns and turns[-1].role != "human":
        turns.pop()
    return tuple((turn.role, " ".join(turn.text.split())) for turn in turns)
