"""The command `alignstudy`: what each verb takes, and what it prints."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from alignstudy.cli import rated, store
from alignstudy.cli.rated import Json
from alignstudy.errors import AlignstudyError, EnvironmentFault, InputError, InterruptedRunError
from alignstudy.runtime.machine_faults import machine_fault
from alignstudy.version import __version__

app = typer.Typer(
    help="Which way of aligning a small language model is really better?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A preset's name or the path of a YAML file.")
]
Out = Annotated[Path | None, typer.Option("--out", help="The run folder; runs/STUDY if not given.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting: a.b=v.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Never use the network.")]


@app.command()
def run(
    study: StudyName,
    out: Out = None,
    set_: Set = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="STAGE", help="This stage and what it needs.")
    ] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Run a study: train, generate, judge, compare, report; finished stages are reused."""
    from alignstudy.cli import console, results, verbs

    loaded = verbs.load(study, out, set_, offline)
    with console.progress() as progress:
        finished = loaded.run(only=only, progress=progress)
    results.show_run(finished, as_json=as_json)


@app.command()
def plan(
    study: StudyName,
    out: Out = None,
    set_: Set = None,
    throughput: Annotated[
        float | None,
        typer.Option(min=1e-6, metavar="TFLOPS", help="Of a machine: how long it would compute."),
    ] = None,
    device_memory: Annotated[
        str | None, typer.Option(metavar="24GiB", help="Of a GPU: whether each stage fits it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show for every stage whether it is cached or new, why, and what it would take here."""
    from alignstudy.cli import planning, verbs

    loaded = verbs.load(study, out, set_, offline=True)
    planning.show_plan(loaded, throughput=throughput, card=device_memory, as_json=as_json)


@app.command()
def check(
    study: StudyName,
    out: Out = None,
    set_: Set = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Validate a study, preview its data, run the guards that need no training."""
    from alignstudy.cli import console, verbs

    loaded = verbs.load(study, out, set_, offline)
    with console.progress() as progress:
        found = loaded.check(progress=progress)
    verbs.show_check(loaded, found, as_json=as_json)


app.command()(rated.evaluate)
app.command()(rated.register)
app.command()(rated.compare)
app.add_typer(store.store, name="store")


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Json = False,
) -> None:
    """Rebuild the figures and reports of a finished run, from its folder alone."""
    from alignstudy.cli.results import show_run
    from alignstudy.study.results import Run
    from alignstudy.study.tools.report import rebuild

    show_run(rebuild(Run.open(run_folder).folder), as_json=as_json)


@app.command()
def label(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Responses to label, about.")] = 100,
    out: Annotated[
        Path | None, typer.Option("--out", help="The sheet, a CSV file; named after the draw.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw a blind sheet of responses for people to label; labels correct the judge's rates."""
    from alignstudy.cli.verbs import show_sheet
    from alignstudy.study.tools.label import label_sheet

    show_sheet(label_sheet(run_folder, n=n, out=out, seed=seed), as_json=as_json)


@app.command()
def audit(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="Hub id, folder, file of rows, or a study file."),
    ],
    fmt: Annotated[
        str, typer.Option("--format", help="One of `alignstudy list formats`.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the audit as Markdown to this file.")
    ] = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Audit preference data: duplicates, contradictions, overlaps, lengths, suspicious rows."""
    from alignstudy.cli import verbs

    verbs.audit(data, fmt, out, offline=offline, as_json=as_json)


@app.command()
def show(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Json = False,
) -> None:
    """Show a finished run's tables."""
    from alignstudy.cli.results import show_run
    from alignstudy.study.results import Run

    show_run(Run.open(run_folder), as_json=as_json)


@app.command()
def verify(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Json = False,
) -> None:
    """Verify that a run is as it was made: its folder, the store's artefacts, its sources."""
    from alignstudy.cli.results import show_verified
    from alignstudy.study.tools.verify import verify as verified

    show_verified(verified(run_folder), as_json=as_json)


@app.command(name="list")
def list_(
    kind: Annotated[
        str, typer.Argument(help="methods, losses, judges, metrics, presets, formats or figures.")
    ],
    as_json: Json = False,
) -> None:
    """List everything of a kind, one line each."""
    from alignstudy.cli import verbs

    verbs.show_list(kind, as_json=as_json)


@app.command()
def explain(
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="As in a study file: methods.dpo.beta, data, judges[]."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what a setting is: type, default, meaning, source; without KEY, what a study holds."""
    from alignstudy.cli import verbs

    verbs.show_settings(key, as_json=as_json)


@app.command()
def init(
    data: Annotated[
        str | None, typer.Option(help="Your own data: a file, a folder, or a hub id.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="With --data: the model to start from, folder or hub id.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="With --data: who scores: preset, folder, hub id, rules.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Without --data: the preset to start from (demo).")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option("--path", help="The file to write; left out: named after the data."),
    ] = None,
) -> None:
    """Write a study file: for your own data, or a preset to edit."""
    from alignstudy.cli import verbs

    if data is not None:
        verbs.write_own_study(data, base, judge, preset, path)
    else:
        verbs.write_preset(preset or "demo", path or Path("study.yaml"), base or judge)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show what this machine has, and what is missing."""
    from alignstudy.cli import verbs

    verbs.show_doctor(as_json=as_json)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"alignstudy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options that stand before the verb."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error of the user's or the machine's is a message and a code."""
    from alignstudy.cli import console

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    console.fit_terminal()
    try:
        app(args=arguments, standalone_mode=True)
    except (AlignstudyError, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt):
            error = InterruptedRunError("interrupted", hint="run the same command again")
        console.say_error(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output went away
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        fault = _fault_of(error)
        if fault is None:
            raise
        console.say_error(fault)
        sys.exit(fault.exit_code)


def _fault_of(error: Exception) -> AlignstudyError | None:
    """Return what a user or the machine did wrong; None: the error is a bug of ours."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return InputError(
            f"'{error.filename}' is no name that a file can have",
            why=error.strerror or "",
            hint="name it shorter",
            kept="nothing was run",
        )
    why = machine_fault(error)
    if why is None:
        return None
    return EnvironmentFault(
        "stopped by a fault of this machine",
        why=why,
        hint="free disk or memory, or mend permissions, then run the same command again",
        kept="every finished stage",
    )
