"""What there is to warn of in the tuning of methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alignstudy.formatting import plural
from alignstudy.records.tuning import Choice


def tuning_cautions(tuning: Sequence[Choice]) -> Iterator[str]:
    """Return which methods are under-tuned, for all that is known, and which trials failed."""
    for choice in tuning:
        name = " > ".join(choice.chain)
        for edge in choice.edges:
            way = "smaller" if edge.end == "smallest" else "larger"
            yield (
                f"{name} may be under-tuned: the chosen {edge.setting}, {edge.value:g}, is the"
                f" {edge.end} that was tried; a {way} one may be better (`tune.trials`,"
                " `tune.grid`)."
            )
        failed = [trial for trial in choice.trials if trial.failed]
        if failed:
            which = ", ".join(str(trial.number) for trial in failed)
            own = " Its own settings are among them." if choice.trials[0].failed else ""
            yield (
                f"{plural(len(failed), 'trial')} of {name} failed ({which}):"
                f" {failed[0].failed.rstrip('.')}.{own}"
            )
        if choice.unscored:
            yield (
                f"{name} was tuned without {plural(choice.unscored, 'prompt')} that the judge"
                f" {choice.judge} gave no score on in some trial."
            )
