"""Which rows of a source a part of the study takes.

One conversation never lies in two parts: shares (and the splits of a source that has one) are
cut by a hash of the dialogue's first human turn.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from typing import Annotated, Generic, TypeVar

from pydantic import Field, Strict, model_validator

from alignstudy.settings import Many, Settings

Share = Annotated[tuple[float, float], Strict(False)]
Item = TypeVar("Item")


class RowSelection(Settings):
    """Which rows are taken: subsets and split, a share of their dialogues, at most so many."""

    subsets: Many[str] = Field(
        (),
        description="subsets by name (of a hub data set its configurations); empty: all that have"
        " the split",
    )
    split: str = Field("train", min_length=1, description="split by name")
    max_rows: int | None = Field(
        None, ge=1, description="at most so many rows, drawn at random over all subsets"
    )
    share: Share = Field(
        (0.0, 1.0), description="[from, to] in 0..1: the part of the dialogues, by hash"
    )
    seed: int = Field(0, description="of the draw of `max_rows`")

    @model_validator(mode="after")
    def _share_is_a_range(self) -> RowSelection:
        low, high = self.share
        if not 0 <= low < high <= 1:
            raise ValueError(f"share must be [from, to] with 0 <= from < to <= 1, not {self.share}")
        if self.seed != 0 and self.max_rows is None:
            raise ValueError("seed has no effect without max_rows: all rows are taken")
        return self

    def holds(self, opening: str) -> bool:
        """Return whether a dialogue with this first human turn lies in the share."""
        low, high = self.share
        return low <= fraction(opening, salt=SHARE_SALT) < high


TEST_SHARE = 0.1
"""Share of the dialogues that is tested on, where a source has one split."""
MOST_HELD_OUT, ENOUGH = 0.2, 25
"""Of few dialogues a larger share, so that there are so many to test on, up to a fifth."""
SPLIT_SALT, SHARE_SALT = "split", "share"


def held_out_share(openings: Iterable[str], *, salt: str) -> float:
    """Return the share of a few dialogues that is to be held out, cut exactly between two."""
    places = sorted({fraction(opening, salt=salt) for opening in openings})
    wanted = max(TEST_SHARE, min(MOST_HELD_OUT, ENOUGH / max(len(places), 1)))
    number = round(wanted * len(places))
    if not 0 < number < len(places):
        return wanted
    return (places[number - 1] + places[number]) / 2


def made_split(opening: str, test_share: float) -> str:
    """Return the split that a dialogue of a source of one split falls into."""
    return "test" if fraction(opening, salt=SPLIT_SALT) < test_share else "train"


def fraction(text: str, *, salt: str) -> float:
    """Hash a text to a number in [0, 1), evenly, the same on every machine."""
    digest = hashlib.sha256(f"{salt}\0{text}".encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


class Draw(Generic[Item]):
    """A uniform random sample of a stream, in the stream's order, in bounded memory.

    An item's luck depends on its id and the seed alone, not on what else is in the stream.

    Args:
        size: Items to keep; None keeps all.
    """

    def __init__(self, size: int | None, *, seed: int) -> None:
        self._size, self._salt = size, f"draw {seed}"
        self._kept: list[tuple[float, int, Item]] = []
        self._num_seen = 0

    def offer(self, item_id: str, item: Item) -> None:
        """Consider one more item."""
        entry = (-fraction(item_id, salt=self._salt), self._num_seen, item)
        self._num_seen += 1
        if self._size is None:
            self._kept.append(entry)
        elif len(self._kept) < self._size:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heappushpop(self._kept, entry)

    def items(self) -> list[Item]:
        """Return the items that were drawn, in the order in which they were offered."""
        return [item for _, _, item in sorted(self._kept, key=lambda entry: entry[1])]

    @property
    def num_left_out(self) -> int:
        """How many items were offered and not drawn."""
        return self._num_seen - len(self._kept)
