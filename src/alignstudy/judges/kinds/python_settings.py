"""The settings of a judge that the user writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.settings import Settings


class PythonSettings(Settings):
    """Which function rates, and which way its numbers count."""

    use: Literal["python"] = "python"
    call: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`module:function`, in the current folder or installed. It gets a list of"
        " (prompt, response) and returns as many numbers, or None where it has none.",
    )
    better: Literal["higher", "lower"] = Field(
        "higher", description="Which way it counts; lower: numbers are negated."
    )
    measures: str = Field(
        "both", description="The axis whose responses it may score, by its name; both: all axes."
    )
    batch_size: int = Field(64, ge=1, description="Most pairs a call.")
