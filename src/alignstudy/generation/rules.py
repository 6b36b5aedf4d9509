"""How a model writes on after texts: what it reads, what it wrote, and the rules of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alignstudy.generation.choosing import Choice
from alignstudy.generation.decoding import StopStrings
from alignstudy.generation.packed import PackedProducts


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a model reads before it writes.

    Attributes:
        tokens: At least one.
        seed: Of this row's draws.
    """

    tokens: tuple[int, ...]
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a model wrote.

    Attributes:
        tokens: After the text; padding may follow the end.
        stopped_at: Number of tokens when a stop string was complete; None: none was.
    """

    tokens: tuple[int, ...]
    stopped_at: int | None

    def whole(self, eos: frozenset[int]) -> tuple[int, ...]:
        """Return the tokens up to the end, the one that ends the row included."""
        ends = [place + 1 for place, token in enumerate(self.tokens) if token in eos][:1]
        return self.tokens[: min([*ends, self.stopped_at or len(self.tokens)])]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How rows are written.

    Attributes:
        max_new_tokens: The cap.
        eos: Tokens that end a row.
        pad: The token that fills a batch up.
        stops: Strings that end a row; None: no strings do.
        choose: Makes what chooses tokens, given the rows' seeds.
        rewrite: Whether a row with a near tie is written again, alone.
        rows: Most rows at once.
        most_tokens: Most rows times longest row at once; a longer row goes alone.
        note: Told where memory runs out.
        products: The model's, packed for few rows; None: they are computed as they lie.
    """

    max_new_tokens: int
    eos: frozenset[int]
    pad: int
    stops: StopStrings | None
    choose: Callable[[Sequence[int]], Choice]
    rewrite: bool
    rows: int
    most_tokens: int
    note: Callable[[str], None]
    products: PackedProducts | None = None

    def columns_of(self, longest: int) -> int:
        """Return for how many tokens a row has room beside others of so many at most, and more.

        The more let columns be used up without much copying.
        """
        return longest + self.max_new_tokens + self.max_new_tokens // 8 + 8

    def rows_of(self, longest: int) -> int:
        """Return how many rows are written at once whose longest text has so many tokens."""
        return max(1, min(self.rows, self.most_tokens // self.columns_of(longest)))

    def ended(self, tokens: Sequence[int]) -> Written | None:
        """Return what was written, if it ends with its last token; it hasn't ended before."""
        stopped = self.stops is not None and self.stops.complete(tokens)
        if stopped or tokens[-1] in self.eos or len(tokens) == self.max_new_tokens:
            return Written(tokens=tuple(tokens), stopped_at=len(tokens) if stopped else None)
        return None
