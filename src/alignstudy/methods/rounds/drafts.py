"""A prompt with drafts of its answer, the same for training and for asking (AFT)."""

from __future__ import annotations

from collections.abc import Sequence

from alignstudy.dialogue import Turn, parse_turns, render

ASKED = "Write one better answer, drawing on these drafts:"


def with_drafts(prompt: str, drafts: Sequence[str]) -> str:
    """Add numbered drafts to a prompt's last question.

    Lines of a draft are joined: a blank line within it could be read as a turn's end. The authors
    put drafts into a system message (arXiv 2501.11877); not every template has one, so they stand
    in the last turn here.

    Args:
        prompt: In notation, with the cue.
        drafts: At least one, in order.
    """
    turns = [turn for turn in parse_turns(prompt) if turn != Turn("assistant", "")]
    listed = "".join(f"\n{at}. {' '.join(text.split())}" for at, text in enumerate(drafts, start=1))
    last = Turn(turns[-1].role, f"{turns[-1].text}\n{ASKED}{listed}")
    return render([*turns[:-1], last], cue=True)
