"""Tables of tuning: what was chosen for each method, and every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alignstudy.formatting import number
from alignstudy.records.tuning import Choice, Trial
from alignstudy.report.tables.table import Cell, Column, Table, numeric, prompts_of, rounded

UNIT = (
    "Scores are means over axes, each axis' scores divided by their standard deviation over all"
    " trials' answers."
)


def choices_table(tuning: Sequence[Choice], *, untuned: Sequence[str] = ()) -> Table:
    """What was chosen for each method, a row a place in a chain.

    Args:
        tuning: The choices.
        untuned: Recipes that have nothing to be tuned.
    """
    alone = f" No trials: {', '.join(untuned)}." if untuned else ""
    return Table.of(
        tuning,
        Column("Method", _chain),
        numeric("Trials", _trials),
        Column("Own settings", lambda choice: in_words(choice.trials[0].settings)),
        Column("Chosen", _chosen),
        numeric("Best above own", lambda choice: _gain(choice.trial(choice.best))),
        Column("At the edge", _edge),
        note="The own settings stay unless the best trial beats them by more than one standard"
        f" error (±) of the paired difference. {UNIT}{alone}",
        title="How methods were tuned",
    )


def trials_table(tuning: Sequence[Choice]) -> Table:
    """Every trial of every method."""
    rows = [{"choice": choice, "trial": trial} for choice in tuning for trial in choice.trials]
    axes = list(dict.fromkeys(axis for choice in tuning for axis in choice.prompts))
    return Table.of(
        rows,
        Column("Method", lambda row: _chain(row["choice"]), name="method"),
        numeric("Trial", "trial.number", name="trial"),
        Column("Settings", lambda row: in_words(row["trial"].settings), name="settings"),
        numeric("Score", "trial.score", rounded(3), name="score"),
        numeric("Above own", lambda row: _gain(row["trial"])),
        Column(None, "trial.gain", name="gain"),
        Column(None, "trial.gain_se", name="gain_se"),
        *(_mean(axis) for axis in axes),
        numeric("Tokens", "trial.tokens", rounded(1), name="tokens"),
        numeric("Last loss", "trial.final_loss", rounded(4), name="final_loss"),
        Column("What it is", _what, name="what"),
        name="tuning",
        note=UNIT,
        caption=f"Trials of each method. {UNIT} gain: score above that of the method's own"
        " settings, with the standard error of the paired difference.",
        title="All trials",
    )


def _mean(axis: str) -> Column:
    return numeric(
        f"Mean score, {prompts_of(axis)}",
        lambda row: row["trial"].means.get(axis),
        rounded(3),
        name=f"mean_{axis}",
    )


def in_words(settings: Mapping[str, float]) -> str:
    """Write a trial's settings: `learning_rate 5e-06, beta 0.1`."""
    return ", ".join(f"{name} {value:g}" for name, value in settings.items())


def _chain(choice: Choice) -> str:
    return " > ".join(choice.chain)


def _trials(choice: Choice) -> Cell:
    failed = sum(bool(trial.failed) for trial in choice.trials)
    return Cell(str(len(choice.trials)), f"{failed} failed" if failed else "")


def _chosen(choice: Choice) -> Cell:
    if choice.chosen == 1:
        return Cell("its own")
    return Cell(in_words(choice.settings), f"trial {choice.chosen}")


def _edge(choice: Choice) -> Cell:
    said = "; ".join(f"{edge.setting}: {edge.end} tried" for edge in choice.edges)
    return Cell(said, kind="open" if said else "")


def _gain(trial: Trial) -> str | None:
    if trial.gain is None or trial.gain_se is None:
        return None
    if trial.number == 1:
        return "0"
    return f"{number(trial.gain, 3, signed=True)} ± {number(trial.gain_se, 3)}"


def _what(row: Mapping[str, Any]) -> str:
    """Say of a trial whether it is the default, the best, the chosen one, or failed."""
    choice, trial = row["choice"], row["trial"]
    words = {
        "own settings": trial.number == 1,
        "best": trial.number == choice.best,
        "chosen": trial.number == choice.chosen,
        f"failed: {trial.failed}": bool(trial.failed),
    }
    return ", ".join(word for word, holds in words.items() if holds)
