"""The verb `store`: what lies on the disk, and what of it can go."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from alignstudy.cli.rated import Json

store = typer.Typer(
    help="Show what the store ($ALIGNSTUDY_HOME) holds, and free what no run needs.",
    no_args_is_help=True,
)

LISTED = 20
"""Lines of what would go; the rest is counted. `--json` has all."""


NAMES = {"leftover": "leftovers", "record": "records of what was freed"}
"""What is no stage's artefact."""

STATES = {
    "running": "at work",
    "present": "there",
    "absent": "out of reach: kept",
    "gone": "gone: needs nothing",
}


@store.command()
def size(as_json: Json = False) -> None:
    """Show what lies in the store, by kind and by the run that needs it; change nothing."""
    from alignstudy.cli import console
    from alignstudy.formatting import quantity
    from alignstudy.study.run.store import Store
    from alignstudy.study.tools.stock import take_stock

    found = take_stock(Store())
    if as_json:
        console.say_json(found.to_json())
        return
    rows = [
        [
            NAMES.get(kind, kind),
            number,
            quantity(size, "B"),
            quantity(unneeded, "B") if unneeded else "",
        ]
        for kind, number, size, unneeded in found.by_kind()
    ]
    caches = {name: size for name, size in found.caches.items() if size}
    rows += [[f"{name}, of all studies", "", quantity(n, "B"), ""] for name, n in caches.items()]
    if rows:
        console.say_table(["what", "number", "size", "needed by no run"], rows)
    if runs := found.by_run():
        console.say("")
        console.say_table(
            ["run", "state", "needs", "alone"],
            [
                [run.folder, STATES[run.state], quantity(size, "B"), quantity(alone, "B")]
                for run, size, alone in runs
            ],
        )
    free = sum(piece.frees for piece in found.unneeded)
    console.say(f"store: {console.safe(found.root)}: {quantity(found.size, 'B')}")
    if free:
        console.say(f"no known run needs {quantity(free, 'B')}: alignstudy store prune")


@store.command()
def prune(
    yes: Annotated[
        bool, typer.Option("--yes", help="Free it; else only say what would go.")
    ] = False,
    keep_days: Annotated[
        float, typer.Option("--keep-days", min=0, help="Keep what changed in the last N days.")
    ] = 0.0,
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints", help="Also of stopped trainings: they would begin anew."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Free what no known run needs; without --yes only say what would go."""
    from alignstudy.cli import console
    from alignstudy.study.run.store import Store
    from alignstudy.study.tools.prune import prune as free

    found = free(Store(), checkpoints=checkpoints, keep_days=keep_days, dry=not yes)
    if as_json:
        console.say_json(found.to_json())
    else:
        _say_pruned(found)


def _say_pruned(found: Any) -> None:  # noqa: ANN401 - a Pruned, imported late
    from alignstudy.cli import console
    from alignstudy.formatting import duration, plural, quantity

    pieces = sorted(found.pieces, key=lambda piece: -piece.frees)
    rows = [
        [
            piece.what,
            piece.name,
            quantity(piece.frees, "B"),
            duration(piece.seconds) if piece.seconds else "",
        ]
        for piece in pieces[:LISTED]
    ]
    if rows:
        console.say_table(["what", "made by", "frees", "took"], rows)
    if more := pieces[LISTED:]:
        size = quantity(sum(piece.frees for piece in more), "B")
        console.say(f"and {plural(len(more), 'more thing')}: {size}; all with --json")
    for line in found.notes():
        console.say(console.safe(line))
    freed = quantity(found.freed, "B")
    if found.done:
        console.say(f"{freed} freed")
    elif pieces:
        console.say(f"{freed} would be freed; to do it, add --yes")
        console.say(f"a run that asks for all of it again makes it in {duration(found.seconds)}")
    else:
        console.say("nothing to free: known runs need all that lies there")
