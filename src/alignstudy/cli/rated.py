"""The verbs that read responses with ratings: what each takes, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


Ratings = Annotated[
    list[Path],
    typer.Argument(
        metavar="DIR|LOG...",
        help="A folder of MODEL_PROMPTS.json; or logs of lm_eval or Inspect, or their folders.",
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="AXIS=NUMBER",
        help="Score above which a response passes [the run's; none: mean scores alone]. Of one"
        " judge of several: AXIS@JUDGE=NUMBER.",
    ),
]
Calibrate = Annotated[
    Path | None,
    typer.Option("--calibrate", help="File of labelled ratings to choose thresholds on."),
]
Missing = Annotated[
    str,
    typer.Option(
        "--missing",
        help="If over 1 % of a model's ratings are missing: refuse, or bounds (what they could"
        " change at worst).",
    ),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="[TASK=]NAME", help="Of logs: the score to take [the leading one]."
    ),
]


def evaluate(
    ratings: Ratings,
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    base: Annotated[
        str | None, typer.Option("--base", help="The model to compare with [base].")
    ] = None,
    threshold: Threshold = None,
    calibrate: Calibrate = None,
    missing: Missing = "refuse",
    metric: Metric = None,
    claims: Annotated[
        Path | None, typer.Option("--claims", help="YAML file with claims to judge.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Filled sheet of `alignstudy label`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare responses that already have ratings; no model is needed."""
    from alignstudy.cli import console
    from alignstudy.cli.results import show_run
    from alignstudy.cli.verbs import parse_threshold
    from alignstudy.study.tools.evaluate import evaluate as evaluated

    given = dict(map(parse_threshold, threshold or ()))
    finished = evaluated(
        ratings,
        out=out,
        base=base,
        thresholds=given,
        calibration=calibrate,
        missing=missing,  # type: ignore[arg-type]
        metrics=metric or (),
        claims=claims,
        labels=labels,
    )
    show_run(finished, as_json=as_json)
    for note in () if as_json else finished.notes:
        console.say(f"note: {console.safe(note)}")


def register(
    claims: Annotated[Path, typer.Argument(metavar="CLAIMS", help="YAML file with claims.")],
    as_json: Json = False,
) -> None:
    """Note that claims exist now, before ratings that `evaluate --claims` will judge them by."""
    from alignstudy.cli.verbs import show_registration
    from alignstudy.study.tools.claims_file import register as registered

    show_registration(registered(claims), as_json=as_json)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write.")],
    as_json: Json = False,
) -> None:
    """Compare the models of several runs side by side, aligned by prompt."""
    from alignstudy.cli.results import show_run
    from alignstudy.study.tools.compare import compare as compared

    show_run(compared(runs, out=out), as_json=as_json)
