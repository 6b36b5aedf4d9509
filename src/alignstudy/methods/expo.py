"""Extrapolation: a model goes on in the direction of its last method, and nothing is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from alignstudy.settings import Settings


class ExPOSettings(Settings):
    """Extrapolation (ExPO): what the method before it changed in the weights, and some more.

    The weights become theta_1 + alpha (theta_1 - theta_0): theta_0 is what the method before it
    started from, theta_1 what it made. The authors search alpha in 0.1, 0.3 and 0.5 on validation
    prompts; one chosen on the prompts that are reported would flatter it. Source: arXiv 2404.16792.
    """

    method: Literal["expo"] = Field(default="expo", description="extrapolation of weights")
    alpha: float = Field(
        default=0.5, gt=0, description="how much further, as a share of the way that was trained"
    )

    @property
    def factor(self) -> float:
        """What the trained change is multiplied by."""
        return 1.0 + self.alpha
