"""What a method is tried with when it is tuned: its own settings first, then others in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice, product
from typing import TypeVar

from pydantic import ValidationError

from alignstudy.errors import first_line
from alignstudy.methods import LOSSES, TrainingSettings, method_of
from alignstudy.methods.expo import ExPOSettings
from alignstudy.methods.online.settings import OnlineSettings
from alignstudy.methods.rounds.round import rounds_of

Values = dict[str, float]
"""Setting -> value, of one trial; every trial of a method names the same settings."""
Grid = Mapping[str, Sequence[float]]

Tuned = TrainingSettings | ExPOSettings
"""Settings of whatever a recipe's label can be."""

ALPHAS = (0.1, 0.3, 0.5, 0.2, 0.4, 0.7, 1.0, 0.05, 1.5, 2.0)
"""ExPO's, in the order in which they are tried: its authors' first (arXiv 2404.16792)."""
UNEQUAL = ("num_train_epochs",)
"""Settings that change how much a trial computes: methods are tuned at equal cost."""

Asked = TypeVar("Asked", bound=Tuned)


def with_values(settings: Asked, values: Mapping[str, float]) -> Asked:
    """Return settings with some values changed.

    Raises:
        ValidationError: If the method refuses them.
    """
    return type(settings)(**{**settings.model_dump(), **values})


def default_trials(settings: Tuned, number: int) -> tuple[Values, ...]:
    """Return the first trials of the grid that was fixed beforehand; fewer, where it has fewer.

    Learning rates come first: the label's own, a third of it and three times it. They are tried
    with the label's own value of the method's knob, then with each other value that was found good;
    then come a tenth of the learning rate and ten times it with each, and so on. A method without
    a knob takes learning rates alone; extrapolation its `ALPHAS`.
    """
    return tuple(islice(_in_order(settings), number))


def _in_order(settings: Tuned) -> Iterator[Values]:
    if isinstance(settings, ExPOSettings):
        yield from ({"alpha": alpha} for alpha in dict.fromkeys((settings.alpha, *ALPHAS)))
        return
    name, values = knob_of(settings)
    knobs: list[Values] = [{name: value} for value in values] or [{}]
    for factors in _factors():
        for knob in knobs:
            for factor in factors:
                rate = float(f"{factor * settings.learning_rate:.3g}")
                rate = settings.learning_rate if factor == 1 else rate
                if rate <= 1:
                    yield {"learning_rate": rate, **knob}


def _factors() -> Iterator[tuple[float, ...]]:
    """Yield 1, 1/3 and 3, then pairs further and further apart: 1/10 and 10, 1/30 and 30."""
    yield 1.0, 1 / 3, 3.0
    for decade in count(1):
        for large in (10.0**decade, 3 * 10.0**decade):
            yield 1 / large, large


def knob_of(settings: TrainingSettings) -> tuple[str, tuple[float, ...]]:
    """Return the setting of its loss that a method is tuned by, and its values, the own one first.

    The first of its loss's, or of its own, grid that has a value besides the label's own; ("", ())
    where there is none. A setting of 0 switches a term off, and is meant.
    """
    for name, values in _grids(rounds_of(settings)[0].training):
        own = getattr(settings, name, None)
        others = tuple(value for value in values if value != own)
        if own and others and not any(fault_of(settings, {name: v}) for v in others):
            return name, (own, *others)
    return "", ()


def _grids(training: TrainingSettings) -> Iterator[tuple[str, Sequence[float]]]:
    """Yield settings with the values that were found good, of its losses or of its method."""
    if isinstance(training, OnlineSettings):
        yield from training.grid.items()
        return
    named = getattr(training, "loss_type", ())
    for loss in (named,) if isinstance(named, str) else named:
        yield from LOSSES[loss].grid.items()


def given_trials(settings: Tuned, grid: Grid) -> tuple[Values, ...]:
    """Return a given grid's trials: the label's own values, then the others, first setting first.

    Args:
        settings: The label's.
        grid: Setting -> values; of the first one all are tried before the second one changes.
    """
    own = {name: float(getattr(settings, name)) for name in grid}
    backwards = list(grid)[::-1]
    combinations = product(*(grid[name] for name in backwards))
    found = [dict(zip(backwards, values, strict=True)) for values in combinations]
    others = ({name: each[name] for name in grid} for each in found)
    return (own, *(each for each in others if each != own))


def fault_of(settings: Tuned, values: Mapping[str, float]) -> str:
    """Return why a method can't be tried with values; "" if it can.

    A trial may change nothing but numbers that all of its trainings read as they are given: else
    what is chosen would not be what is trained with.
    """
    for name in values:
        own = getattr(settings, name, None)
        if name in UNEQUAL:
            return f"{name} changes how much a trial computes: methods are tuned at equal cost"
        if not isinstance(own, float):
            known = [key for key, value in settings if isinstance(value, float)]
            known = [key for key in known if key not in UNEQUAL]
            return f"{name} is no number that can be tuned; known: {', '.join(known)}"
    try:
        changed = with_values(settings, values)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        return f"{_named(values)}: {first_line(ValueError(said))}"
    if isinstance(settings, ExPOSettings) or isinstance(changed, ExPOSettings):
        return ""
    return "" if _reaches(settings, changed, values) else f"{_named(values)}: {NOT_EVERYWHERE}"


NOT_EVERYWHERE = (
    "not all of its trainings read that as it is given (a list gives each round its own, or it"
    " changes what is sampled or read)"
)


def _named(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def _reaches(
    settings: TrainingSettings, changed: TrainingSettings, values: Mapping[str, float]
) -> bool:
    """Whether values change the trainings as if each of them were given the values."""
    before, after = rounds_of(settings), rounds_of(changed)
    if len(before) != len(after):
        return False
    for own, new in zip(before, after, strict=True):
        if any(name not in type(own.training).model_fields for name in values):
            return False
        if replace(new, training=own.training) != own:
            return False
        if new.training != with_values(own.training, values):
            return False
        one, other = method_of(own.training), method_of(new.training)
        if (one.branches, one.reference) != (other.branches, other.reference):
            return False
    return True
