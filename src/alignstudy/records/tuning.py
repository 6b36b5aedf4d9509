"""Frozen records of how a method's settings were chosen: its trials, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial: settings, and what the model that they made was worth.

    Attributes:
        number: From 1, in the order in which they were listed; 1 has the label's own settings.
        settings: Setting -> value.
        score: Mean over axes of the mean score, each axis' in its standard deviation over all
            trials' responses; None where the trial failed.
        gain: What it is above the default's, on the same prompts; None where one of them failed.
        gain_se: Standard error of that.
        means: Axis -> mean score, in the judge's own unit.
        tokens: Mean length of its responses.
        final_loss: Of its last training; None where nothing was trained.
        failed: Why there is no model to score, or no score; "" if there is.
    """

    number: int
    settings: Mapping[str, float]
    score: float | None = None
    gain: float | None = None
    gain_se: float | None = None
    means: Mapping[str, float]
    tokens: float | None = None
    final_loss: float | None = None
    failed: str = ""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A chosen value beyond which nothing was tried.

    Attributes:
        end: "smallest" or "largest" of the values that were tried.
    """

    setting: str
    value: float
    end: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a method's settings were chosen, at its place in a chain.

    Attributes:
        chain: The labels up to it.
        judge: Whose scores chose.
        prompts: Axis -> prompts on which every trial that didn't fail was scored.
        unscored: Prompts that were left out because a trial has no score there.
        best: Number of the trial with the highest score.
        chosen: Number of the trial whose settings are taken: the default unless the best one beats
            it by more than one standard error.
        edges: Where the chosen values lie at the end of those that were tried.
    """

    chain: tuple[str, ...]
    judge: str
    prompts: Mapping[str, int]
    unscored: int
    trials: tuple[Trial, ...]
    best: int
    chosen: int
    edges: tuple[Edge, ...]

    @property
    def settings(self) -> Mapping[str, float]:
        """The chosen values."""
        return self.trial(self.chosen).settings

    def trial(self, number: int) -> Trial:
        """Return a trial by its number."""
        return self.trials[number - 1]
