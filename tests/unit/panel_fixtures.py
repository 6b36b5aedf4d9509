"""Scored responses of models and judges made up for tests of panels and agreement."""

from alignstudy.analysis.results import Thresholds
from alignstudy.records import ScoredResponse


def thresholds(value=0.0, *, inclusive=False):
    return Thresholds(values={"harmless": value, "helpful": value}, inclusive=inclusive)


def rows(scores, axis="harmless", seed=0, **changes):
    """Make rows of {model: {judge: [score of prompt 0, 1, ...]}}."""
    return [
        ScoredResponse(
            model=model, seed=seed, prompt_id=f"{axis}-{at}", axis=axis, prompt=f"Question {at}",
            response=f"{model} {at}", scores={judge: v[at] for judge, v in by_judge.items()},
            **changes,
        )
        for model, by_judge in scores.items()
        for at in range(len(next(iter(by_judge.values()))))
    ]  # fmt: skip
