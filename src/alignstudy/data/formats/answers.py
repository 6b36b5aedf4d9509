"""Prompts with scored answers, and the pairs that are made of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Any, Literal

from alignstudy.data.formats.hh import words_of
from alignstudy.data.formats.pairs import dialogue_prompt, response_text
from alignstudy.data.formats.row import Answers, Parsed, RawRow, UnusableRow, checked_text
from alignstudy.data.formats.turns import turns_of
from alignstudy.dialogue import render
from alignstudy.records import Pair, Rated

PairRule = Literal["best_worst", "all"]


class AnswersFormat:
    """Scored answers: what shapes with ratings or ranks are rewritten to."""

    fields: tuple[str, ...] = ("prompt", "answers")

    def recognises(self, fields: Mapping[str, Any]) -> bool:
        """Never by itself: a shape leads here."""
        return False

    def parse(self, row: RawRow) -> Parsed:
        """Bring prompt and answers into HH form.

        Raises:
            UnusableRow: If the prompt is none, or an answer has no words or no finite score.
        """
        prompt = row.fields["prompt"]
        if isinstance(prompt, list):
            turns, _ = turns_of(prompt, "prompt")
            if not turns or turns[-1].role != "human" or not turns[-1].text:
                raise UnusableRow("prompt doesn't end in a human turn")
            asked = render(turns, cue=True)
        else:
            asked = dialogue_prompt(checked_text(prompt, "prompt"))
        answers = []
        for number, answer in enumerate(row.fields["answers"], start=1):
            text = _text(answer["text"], f"answer {number}")
            if not words_of(text):
                raise UnusableRow(f"answer {number} is empty")
            if not math.isfinite(answer["score"]):
                raise UnusableRow(f"the score of answer {number} is not finite")
            answers.append((response_text(text, f"answer {number}"), float(answer["score"])))
        if not answers:
            raise UnusableRow("has no answers")
        record = Answers(
            id=row.id,
            prompt=asked,
            answers=tuple(answers),
            subset=row.subset,
            alone="alone" in row.fields,
            labelled="labelled" in row.fields,
        )
        return Parsed(record=record)


def _text(answer: object, where: str) -> str:
    if isinstance(answer, list):
        turns, _ = turns_of(answer, where)
        if len(turns) != 1 or turns[0].role != "assistant":
            raise UnusableRow(f"{where} is more than one message of the assistant's")
        return turns[0].text
    return checked_text(answer, where)


def pairs_of(record: Answers, rule: PairRule) -> Iterator[Pair]:
    """Make pairs of scored answers: the best against the worst, or each against each worse one.

    Answers of one score, and answers with the same words, make no pair.
    """
    couples = list(permutations(range(len(record.answers)), 2))
    scores = [score for _, score in record.answers]
    if rule == "best_worst":
        couples = [(scores.index(max(scores)), scores.index(min(scores)))]
    for better, worse in couples:
        chosen, rejected = record.answers[better][0], record.answers[worse][0]
        if scores[better] > scores[worse] and words_of(chosen) != words_of(rejected):
            suffix = "" if rule == "best_worst" else f"/{better + 1}>{worse + 1}"
            yield Pair(
                id=record.id + suffix,
                prompt=record.prompt,
                chosen=chosen,
                rejected=rejected,
                subset=record.subset,
            )


LABELS = {1.0: True, 0.0: False, -1.0: False}
"""What labels say as numbers; true is 1, false 0."""


def rated_of(record: Answers) -> Rated:
    """Take a labelled row's one answer as it was rated.

    Raises:
        UnusableRow: If its label says neither that it is good nor that it isn't.
    """
    ((text, label),) = record.answers
    if label not in LABELS:
        raise UnusableRow(f"label {label:g} says neither good (true, 1) nor bad (false, 0, -1)")
    return Rated(
        id=record.id,
        prompt=record.prompt,
        response=text,
        desirable=LABELS[label],
        subset=record.subset,
    )
