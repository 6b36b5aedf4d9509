"""What the commands do beyond parsing: call the API, print the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alignstudy.cli import console
from alignstudy.errors import DataError, InputError, UnknownNameError


def load(study: str, out: Path | None, overrides: Sequence[str] | None, offline: bool) -> Any:  # noqa: ANN401
    """Load a study as the command line names it."""
    from alignstudy.study.api import Study

    return Study.load(study, overrides=overrides or (), out=out, offline=offline)


def parse_threshold(text: str) -> tuple[str, float]:
    """Read `AXIS=NUMBER`.

    Raises:
        InputError: If it is something else.
    """
    axis, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not axis or not math.isfinite(value):
        raise InputError(f"--threshold {text}: not AXIS=NUMBER", hint="write an axis and a number")
    return axis, value


def audit(data: str, fmt: str, out: Path | None, *, offline: bool, as_json: bool) -> None:
    """Audit preference data.

    Raises:
        DataError: If no row can be used, once what is wrong was printed.
    """
    from alignstudy.data import FORMATS
    from alignstudy.data.audit.folder import audit_data
    from alignstudy.data.files.reading import Reading
    from alignstudy.data.select.prompt_settings import PromptSettings
    from alignstudy.sources import Source, resolve

    if Path(data).suffix in {".yaml", ".yml"}:
        found = load(data, None, None, offline=offline).audit()
    elif fmt not in (known := ("auto", *FORMATS)):
        raise UnknownNameError("format", fmt, known)
    else:
        source = resolve(Source(name=data, kind="dataset"), offline=offline)
        found = audit_data(source.path, how=Reading(format=fmt), prompts=PromptSettings())
    if out is not None:
        _write_new(out, found.to_markdown())
    if as_json:
        console.say_json(found.to_json())
    else:
        console.say(console.safe(found.to_markdown()))
        if out is not None:
            console.say(f"audit: {console.safe(out)}")
    if not found.num_used:
        raise DataError(
            f"{data}: no row can be used",
            why=f"{found.rows} rows read, {found.quarantined} can't be used",
            hint="the audit says why; name the format, or the columns in a study file",
        )


def show_registration(entry: Any, *, as_json: bool) -> None:  # noqa: ANN401 - imported late
    """Print since when a file of claims is registered."""
    if as_json:
        console.say_json(asdict(entry))
    else:
        console.say(f"registered {entry.registered}: {console.safe(entry.file)}")
        console.say(f"sha256 {entry.sha256}")


def show_check(study: Any, found: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Study, imported late
    """Print what a check found."""
    if as_json:
        console.say_json(found.to_json())
        return
    console.say(f"study '{console.safe(study.settings.study)}': settings are sound")
    console.say_table(["what", "state", "detail"], found.lines)
    if found.preview:
        console.say(console.safe(found.preview))
    for text in found.warnings:
        console.say(f"[bold]warning:[/] {console.safe(text)}")


def show_list(kind: str, *, as_json: bool) -> None:
    """Print everything of a kind."""
    from alignstudy.data import FORMATS
    from alignstudy.judges import JUDGES
    from alignstudy.judges.presets import PRESETS
    from alignstudy.methods import LOSSES
    from alignstudy.methods.catalogue import entries
    from alignstudy.metrics import METRICS
    from alignstudy.plots import FIGURES
    from alignstudy.study.settings.load import preset_names, preset_text

    if kind == "methods":
        found = list(entries())
        if as_json:
            console.say_json([each.to_json() for each in found])
        else:
            lines = [(each.name, each.summary, each.needs, f"{each.cost:.2g}") for each in found]
            console.say_table(["method", "", "needs", "cost"], lines)
            console.say("cost: of an epoch, DPO's is 1; all about each: docs/methods.md")
        return
    tables = {
        "judges": JUDGES,
        "metrics": METRICS,
        "formats": FORMATS,
        "figures": FIGURES,
    }
    if kind == "presets":
        heads = {name: preset_text(name).split("\n", 1)[0] for name in preset_names()}
        rows = [(name, head.lstrip("# ")) for name, head in heads.items()]
    elif kind == "losses":
        rows = [(name, loss.summary) for name, loss in LOSSES.items()]
    elif kind in tables:
        rows = [(name, tables[kind].summary(name)) for name in tables[kind]]
    else:
        raise UnknownNameError("kind", kind, [*tables, "losses", "methods", "presets"])
    if kind == "judges":
        rows += [(name, preset.summary) for name, preset in PRESETS.items()]
    if as_json:
        console.say_json([{"name": name, "summary": text} for name, text in rows])
    else:
        console.say_table([kind, ""], rows)


def show_settings(key: str | None, *, as_json: bool) -> None:
    """Print what a key means and all beneath it; without one, the keys that a study begins with."""
    from alignstudy.study.tools.explain import every_setting, explained, outermost

    found = every_setting() if key is None else explained(key)
    if as_json:
        console.say_json([each.to_json() for each in found])
    elif key is None:
        rows = [(each.key, each.type, inside or "", each.meaning) for each, inside in outermost()]
        console.say_table(["setting", "type", "keys", "meaning"], rows)
        console.say("alignstudy explain KEY: more of it, and every key beneath it")
    for each in found if key is not None and not as_json else ():
        console.say(f"[bold]{console.safe(each.key)}[/]")
        for name in ("type", "default", "meaning", "source"):
            console.say(f"  {name}: {console.safe(getattr(each, name))}")


def write_preset(preset: str, path: Path, without_data: str | None) -> None:
    """Write a preset as a file to edit; an existing file is never overwritten."""
    from alignstudy.study.settings.load import preset_text

    if without_data is not None:
        raise InputError(
            "--base and --judge go with --data", hint="name your data, or edit the preset's file"
        )
    _write_study(path, preset_text(preset))


def write_own_study(
    data: str, base: str | None, judge: str | None, preset: str | None, path: Path | None
) -> None:
    """Write a study file for data of one's own; an existing file is never overwritten."""
    from alignstudy.study.tools.init import own_study

    if preset is not None:
        raise InputError("--preset and --data are two ways to begin", hint="give one of them")
    given = {key: value for key, value in (("base", base), ("judge", judge)) if value is not None}
    text = own_study(data, **given)
    _write_study(path or Path(f"{Path(data).name.split('.')[0] or 'study'}.yaml"), text)


def _write_study(path: Path, text: str) -> None:
    _write_new(path, text)
    console.say(f"wrote {console.safe(path)}; next: alignstudy check {console.safe(path)}")


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(
            f"{path} exists already", hint="name another file", kept="the file as it is"
        ) from None
    except OSError as error:
        raise InputError(f"{path} can't be written", why=error.strerror or str(error)) from error


def show_sheet(sheet: Any, *, as_json: bool) -> None:  # noqa: ANN401 - a Sheet, imported late
    """Print what was drawn, and what to do with it."""
    if as_json:
        told = {"sheet": sheet.path, "key": sheet.key, "rows": sheet.rows}
        console.say_json({k: v if k == "rows" else str(v) for k, v in told.items()})
        return
    prompts = ", ".join(f"{many} on {axis}" for axis, many in sheet.prompts.items())
    console.say(f"sheet: {console.safe(sheet.path)}: {sheet.rows} responses; prompts: {prompts}")
    console.say("fill in the column label (1, 0 or skip) in any spreadsheet; leave the ids alone")
    console.say(f"key: {console.safe(sheet.key)}: says whose they are; don't open it before")
    console.say("then: the same `alignstudy run` as before, with --set labels=SHEET")


def show_doctor(*, as_json: bool) -> None:
    """Print what this machine has."""
    from alignstudy.study.tools.doctor import examine

    found = examine()
    if as_json:
        console.say_json([{"what": w, "state": s, "detail": d} for w, s, d in found])
    else:
        console.say_table(["what", "state", "detail"], found)
