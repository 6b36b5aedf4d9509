"""What a figure is called, in what it is counted, and the function that makes it: one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from alignstudy.records import Axis

Unit = Literal["percent", "judge", "words", "ratio"]
Family = Literal["rates", "cas", "scores", ""]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric, or of form.

    Attributes:
        kind: Its entry in the table.
        name: Its key in files and claims; `{axis}` stands for the name of an axis.
        title: In sentences; `{prompts}` stands for the word of an axis' prompts.
        short: In narrow places; the title, if left out.
        spelt: What an abbreviated title stands for, in plain words; "" where it is plain itself.
        axes: Names of the axes that it rests on; () as long as it is on none.
        unit: "judge": the judge's own unit.
        digits: Decimals that people read.
        family: The comparisons among which its p-values are adjusted; "": none are made.
        of: Arrays in, the number out. All that prints the figure calls this.
    """

    kind: str
    name: str = ""
    title: str
    short: str = ""
    spelt: str = ""
    axes: tuple[str, ...] = ()
    unit: Unit = "percent"
    digits: int = 1
    family: Family = ""
    of: Callable[..., Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.kind)
        object.__setattr__(self, "short", self.short or self.title)

    @property
    def definition(self) -> str:
        """What it is, in a sentence: the first of its function's docstring."""
        return (getattr(self.of, "__doc__", None) or "").strip().split("\n", 1)[0]

    @property
    def summary(self) -> str:
        """Its title, and what it is."""
        return f"{self.title.format(prompts='some')}: {self.definition}"

    @property
    def is_rate(self) -> bool:
        """Whether differences of it are percentage points."""
        return self.unit == "percent"

    @property
    def heading(self) -> str:
        """The title as a heading begins."""
        return f"{self.title[:1].upper()}{self.title[1:]}"

    @property
    def in_full(self) -> str:
        """The title with what it stands for: `share of harmless answers (HmR)`."""
        return f"{self.spelt} ({self.title})" if self.spelt else self.title

    @property
    def points(self) -> str:
        """What differences are counted in, a space before it; a judge's unit has no name."""
        return " points" if self.is_rate else ""

    def on(self, axis: Axis) -> Metric:
        """Return the metric of one axis."""
        name, title, short = (
            text.format(axis=axis.name, prompts=axis.prompts)
            for text in (self.name, self.title, self.short)
        )
        return replace(self, name=name, title=title, short=short, axes=(axis.name,))

    def over(self, axes: Sequence[Axis]) -> Metric:
        """Return the metric that rests on several axes at once."""
        return replace(self, axes=tuple(axis.name for axis in axes))
