"""Responses that were rated one by one."""

from __future__ import annotations

from dataclasses import dataclass

from alignstudy.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Rated:
    """One response that somebody found good, or didn't; no other to the same prompt is needed.

    Attributes:
        id: Of its row, unique in its source; of a pair's response with its side: `<id>/chosen`.
        prompt: Everything up to and including the cue.
        response: As it follows the cue (leading space and all).
        desirable: Whether it was found good.
    """

    id: str
    prompt: str
    response: str
    desirable: bool
    subset: str = ""

    @property
    def responses(self) -> tuple[str, ...]:
        """The one response."""
        return (self.response,)

    @property
    def texts(self) -> tuple[str, ...]:
        """The whole dialogue: prompt and response."""
        return (self.prompt + self.response,)


def refuse_one_kind(desirable: int, undesirable: int) -> None:
    """Refuse rated responses that are all good, or all bad.

    Raises:
        DataError: Saying what such rows can train.
    """
    if desirable and undesirable:
        return
    said, hint = (
        ("desirable", "train `sft` on them: good responses alone are demonstrations")
        if desirable
        else (
            "undesirable",
            "add good responses: bad ones alone say what not to write, and no more",
        )
    )
    raise DataError(
        f"all {desirable + undesirable} rated responses are {said}",
        why="kto weighs good responses against bad ones",
        hint=hint,
        kept="nothing was trained",
    )
