"""Warnings where the form of responses differs so much that scores may measure form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alignstudy.analysis.results import Hygiene, ModelFigures
from alignstudy.records import Axis

MOST_CAPPED = 20.0
"""Percent of responses at the cap above which scores are called scores of cut-off text."""

MOST_APART = 10.0
"""Percentage points by which two models may differ in a property of form."""

_PROPERTIES = {
    "cap": (
        "end at the limit on new tokens",
        "part of a difference in scores may be one of length",
    ),
    "empty": ("are empty", "an empty response has the same score whichever model gave it"),
    "role_tag": (
        "run on into a further turn",
        "a judge may score words that are not the answer's",
    ),
    "loop": (
        "are loops (over 50 % of the 4-grams repeat)",
        "a loop can get a good score without saying anything",
    ),
}


def form_notes(models: Sequence[ModelFigures], axes: Sequence[Axis]) -> list[str]:
    """Return a sentence for every property of form that a reader of the scores has to know.

    A share at the cap above 20 %; and a property in which two models differ by more than 10
    percentage points: cap, empty, further role tags, loops. Each names the prompts, the models and
    their shares.

    Args:
        models: The compared models, with their hygiene.
        axes: Those of the study.
    """
    return [note for axis in axes for note in _of_axis(axis, models)]


def _of_axis(axis: Axis, models: Sequence[ModelFigures]) -> Iterator[str]:
    forms = {m.model: m.hygiene[axis.name] for m in models if axis.name in m.hygiene}
    capped = _shares(forms, "cap")
    above = {model: share for model, share in capped.items() if share > MOST_CAPPED}
    if above:
        yield (
            f"{axis.prompts} prompts: over {MOST_CAPPED:.0f} % of the responses end at the"
            f" limit on new tokens ({_listed(above)}): their scores are of cut-off text"
        )
    for name, (what, why) in _PROPERTIES.items():
        shares = _shares(forms, name)
        if shares and max(shares.values()) - min(shares.values()) > MOST_APART:
            most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
            yield (
                f"{axis.prompts} prompts: {shares[most]:.1f} % of the responses of {most}"
                f" {what}, {shares[least]:.1f} % of those of {least}"
                f" ({shares[most] - shares[least]:.1f} points apart, more than"
                f" {MOST_APART:.0f}): {why}"
            )


def _shares(forms: Mapping[str, Hygiene], name: str) -> dict[str, float]:
    """Return a property's share by model, where it is known."""
    found = {model: getattr(form, name) for model, form in forms.items()}
    return {model: float(share) for model, share in found.items() if share is not None}


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{model} {share:.1f} %" for model, share in shares.items())
