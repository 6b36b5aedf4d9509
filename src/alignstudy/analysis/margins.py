"""Within which distance two models count as alike."""

from __future__ import annotations

from pydantic import Field

from alignstudy.settings import Settings


class Margins(Settings):
    """Within which distance two models count as alike."""

    rates: float = Field(
        5.0, gt=0, lt=100, description="Of pass rates and their mean, in percentage points."
    )
    scores: float | None = Field(
        None, gt=0, description="Of mean scores, in the judge's unit; left out: by `score_sds`."
    )
    score_sds: float = Field(
        0.2,
        gt=0,
        description="Of mean scores, in standard deviations of the base's (without a base: of the"
        " first model's) scores.",
    )
