"""Check a run folder: every file there and well-formed, every rate equal to what ratings give.

python tests/e2e/check_run_folder.py RUN [PROMPTS_DIR]
"""

import csv
import json
import math
import re
import struct
import sys
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

AXES = {"harmless": ("harmful", "harmfulness", "hmr"), "helpful": ("helpful", "helpfulness", "hpr")}
LABELS = {"harmless": ("harmful", "harmless"), "helpful": ("unhelpful", "helpful")}
TABLES = ("metrics", "improvement", "scores", "comparisons")
FIGURES = ("rates", "score_distributions", "mean_scores", "paired_scores", "score_histograms")
UNTRAINED = {"expo"}
"""Methods that show no training examples: they compute weights from weights."""
ROUNDING = 5e-7
"""Tables hold six decimals."""


class WrongRunFolder(Exception):
    """What is missing, malformed or contradicts something else."""


def check(run: Path, prompts: Path | None = None) -> str:
    """Check a run folder.

    Args:
        run: A finished run.
        prompts: A folder of `{harmful,helpful}_prompts.json` that the run's must equal.

    Returns:
        One line: what was checked.

    Raises:
        WrongRunFolder: With the first fault.
    """
    settings = _settings(run)
    _provenance(run, settings)
    _audit(run, settings)
    rows = _responses(run, settings)
    _classifications(run, rows)
    num_rates = _rates(run, rows)
    num_figures = _figures(run / "figures")
    num_models = _models(run, settings)
    _report(run / "report.html", list(settings["recipes"]))
    same = _published(run, prompts) if prompts is not None else ""
    num_rows = sum(map(len, rows.values()))
    return (
        f"{run}: {num_models} models load, {num_rows} responses, {num_rates} rates recomputed,"
        f" {num_figures} figures, report{same}: all well-formed"
    )


def _need(ok: object, what: str) -> None:
    if not ok:
        raise WrongRunFolder(what)


def _json(path: Path) -> Any:
    _need(path.is_file(), f"{path} is missing")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except ValueError as error:
        raise WrongRunFolder(f"{path}: {error}") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _csv(path: Path) -> list[dict[str, str]]:
    _need(path.is_file(), f"{path} is missing")
    with path.open(encoding="utf-8", newline="") as file:
        columns, *rows = list(csv.reader(file))
    _need(rows, f"{path} has no rows")
    _need(all(len(row) == len(columns) for row in rows), f"{path}: rows of differing length")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _settings(run: Path) -> dict[str, Any]:
    """Read both study files; the resolved one is a valid study with every default written out."""
    from alignstudy.study.settings.study import StudySettings
    from alignstudy.study.settings.yaml_file import read_yaml

    read_yaml(run / "study.yaml")
    given = read_yaml(run / "resolved.yaml").data
    settings = StudySettings.model_validate(given).model_dump(mode="json")
    _need(given == settings, "resolved.yaml leaves settings out")
    return settings


def _provenance(run: Path, settings: dict[str, Any]) -> None:
    record = _json(run / "provenance.json")
    for name in ("versions", "machine", "sources", "seeds", "device", "started", "ended", "stages"):
        _need(name in record, f"provenance.json has no {name}")
    _need(record["status"] == "complete", f"provenance.json: status {record['status']}")
    _need(record["seeds"] == settings["seeds"], "provenance.json: other seeds than the study's")
    for stage in record["stages"]:
        _need(re.fullmatch("[0-9a-f]{32}", stage["key"]), f"provenance.json: {stage} has no key")
        _need(stage["seconds"] >= 0, f"provenance.json: {stage} took no time")


def _audit(run: Path, settings: dict[str, Any]) -> None:
    audit = _json(run / "data" / "audit.json")
    _need({"train", "prompts/harmful", "prompts/helpful"} <= set(audit), "audit.json lacks a part")
    for part, found in audit.items():
        left_out = found["num_quarantined"] + sum(found["excluded"].values())
        _need(found["used"] > 0, f"audit.json: {part} used no row")
        _need(found["read"] == found["used"] + left_out, f"audit.json: {part} doesn't add up")
    preview = (run / "data" / "preview.md").read_text(encoding="utf-8")
    methods = settings["methods"].items()
    for label in (label for label, each in methods if each["method"] not in UNTRAINED):
        section = preview.partition(f"## {label} (")[2].partition("\n## ")[0]
        _need(section.count("\n### ") >= 3, f"preview.md shows no three examples of {label}")
        learns = "\n+ " in section or ", prompt:" in section  # of samples that aren't drawn yet
        _need(learns, f"preview.md: nothing of {label} counts in the loss")


def _responses(run: Path, settings: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the rows of each model and axis; every model answers every prompt, each seed once."""
    rows = {}
    for axis, (name, _, _) in AXES.items():
        prompts = _json(run / "data" / "prompts" / f"{name}.json")
        _need(prompts and all(isinstance(p, str) and p for p in prompts), f"{name}.json: no texts")
        for recipe in settings["recipes"]:
            path = run / "responses" / f"{recipe}_{name}.json"
            found = _json(path)
            _need(
                all(list(row)[:3] == ["prompt", "response", "rating"] for row in found),
                f"{path}: a row doesn't begin with prompt, response, rating",
            )
            asked = [row["prompt"] for row in found]
            _need(asked == prompts * len(settings["seeds"]), f"{path}: other prompts than asked")
            _need(all(isinstance(row["response"], str) for row in found), f"{path}: no text")
            _need(all(_is_rating(row["rating"]) for row in found), f"{path}: no rating")
            rows[recipe, axis] = found
    written = {path.name for path in (run / "responses").iterdir()}
    known = {f"{recipe}_{AXES[axis][0]}.json" for recipe, axis in rows}
    _need(written == known, f"responses/ holds {sorted(written ^ known)} too much or too little")
    return rows


def _is_rating(value: object) -> bool:
    """Return whether a rating is null or a finite number of at most four decimals."""
    return value is None or (isinstance(value, float | int) and round(value, 4) == value)


def _passes(axis: str, row: dict[str, Any], thresholds: dict[str, Any]) -> bool:
    limit, rating = thresholds["values"][axis], row["rating"]
    if axis in thresholds["empty_fails"] and not row["response"].strip():
        return False
    return rating > limit or (thresholds["inclusive"] and rating == limit)


def _classifications(run: Path, rows: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    thresholds = _json(run / "statistics.json")["thresholds"]
    for axis, (_, name, _) in AXES.items():
        expected = [
            {"model": recipe, **{key: row[key] for key in ("prompt", "response", "rating")}}
            for (recipe, of), found in rows.items()
            for row in found
            if of == axis
        ]
        for row in expected:
            rated = row["rating"] is not None
            row["label"] = LABELS[axis][_passes(axis, row, thresholds)] if rated else None
        _need(
            _json(run / "classification" / f"{name}.json") == expected,
            f"classification/{name}.json is not what ratings and thresholds give",
        )


def _rates(run: Path, rows: dict[tuple[str, str], list[dict[str, Any]]]) -> int:
    """Recompute rates and mean scores from the responses; compare with tables and statistics."""
    thresholds = _json(run / "statistics.json")["thresholds"]
    metrics, scores = (
        {row["model"]: row for row in _csv(run / "tables" / f"{name}.csv")}
        for name in ("metrics", "scores")
    )
    _need(list(_csv(run / "tables" / "metrics.csv")[0])[:4] == ["model", "hmr", "hpr", "cas"],
          "metrics.csv: its first columns are not model, hmr, hpr, cas")  # fmt: skip
    rates: dict[str, dict[str, float]] = {}
    for (recipe, axis), found in rows.items():
        rated = [row for row in found if row["rating"] is not None]
        ratings = [row["rating"] for row in rated]
        rate = 100 * sum(_passes(axis, row, thresholds) for row in rated) / len(rated)
        rates.setdefault(recipe, {})[AXES[axis][2]] = rate
        _close(scores[recipe][axis], math.fsum(ratings) / len(ratings), f"scores.csv: {recipe}")
    for recipe, found in rates.items():
        found["cas"] = (found["hmr"] + found["hpr"]) / 2
        for name, value in found.items():
            _close(metrics[recipe][name], value, f"metrics.csv: {name} of {recipe}")
    _need(set(metrics) == set(rates), "metrics.csv: other models than responses/ holds")
    _improvements(run, rates)
    _tables(run)
    return sum(map(len, rates.values()))


def _close(cell: str, value: float, what: str) -> None:
    # A mean that lies half-way between two cells may be written as either.
    close = abs(float(cell) - value) <= ROUNDING * (1 + 1e-6)
    _need(close, f"{what} is {cell}, the ratings give {value}")


def _improvements(run: Path, rates: dict[str, dict[str, float]]) -> None:
    base = _json(run / "statistics.json")["base"]
    for row in _csv(run / "tables" / "improvement.csv"):
        for name in ("hmr", "hpr", "cas"):
            points = rates[row["model"]][name] - rates[base][name]
            _close(row[f"{name}_points"], points, f"improvement.csv: {name} of {row['model']}")
            if rates[base][name]:
                relative = 100 * points / rates[base][name]
                _close(row[f"{name}_relative_percent"], relative, f"improvement.csv: {name}")


def _tables(run: Path) -> None:
    for name in TABLES:
        rows = _csv(run / "tables" / f"{name}.csv")
        text = (run / "tables" / f"{name}.md").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        _need(len(lines) == len(rows) + 2, f"{name}.md has other rows than {name}.csv")
        bars = {re.sub(r"\\\|", "", line).count("|") for line in lines}
        _need(len(bars) == 1, f"{name}.md: rows of differing length")


def _figures(folder: Path) -> int:
    names = {path.stem for path in folder.iterdir()}
    _need(set(FIGURES) <= names, f"figures/: {sorted(set(FIGURES) - names)} missing")
    for name in names:
        _png(folder / f"{name}.png")
        _need(ET.parse(folder / f"{name}.svg").getroot().tag.endswith("svg"), f"{name}.svg: no SVG")
        _csv(folder / f"{name}.csv")
    return len(names)


def _png(path: Path) -> None:
    """Check a PNG's chunks and their checksums to the end."""
    _need(path.is_file(), f"{path} is missing")
    data = path.read_bytes()
    _need(data.startswith(b"\x89PNG\r\n\x1a\n"), f"{path}: no PNG")
    at, kind = 8, b""
    while at < len(data):
        _need(len(data) >= at + 12, f"{path}: cut short")
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        _need(len(data) >= at + 12 + size, f"{path}: cut short")
        body, (crc,) = data[at + 4 : at + 8 + size], struct.unpack(">I", data[at + 8 + size :][:4])
        _need(zlib.crc32(body) == crc, f"{path}: a damaged chunk")
        at += size + 12
    _need(kind == b"IEND", f"{path}: cut short")
    width, height = struct.unpack(">II", data[16:24])
    _need(min(width, height) > 300, f"{path}: {width} x {height} pixels can't be read")


def _models(run: Path, settings: dict[str, Any]) -> int:
    """Load every model as its users would, from the run folder alone."""
    folders = []
    for recipe, given in settings["recipes"].items():
        once = isinstance(given, dict) and ("from" in given or given.get("over") == "seeds")
        several = given and not once and len(settings["seeds"]) > 1
        place = run / "models" / recipe
        folders += [place / f"seed-{seed}" for seed in settings["seeds"]] if several else [place]
    for folder in folders:
        _need(folder.is_dir(), f"{folder} is missing")
        _writes(folder)
    return len(folders)


def _writes(folder: Path) -> None:
    """Load a model and let it write a token."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    asked = tokenizer("\n\nHuman: Hello.\n\nAssistant:", return_tensors="pt")
    if (folder / "adapter_config.json").is_file():
        from peft import AutoPeftModelForCausalLM

        base = Path(_json(folder / "adapter_config.json")["base_model_name_or_path"])
        _need((base / "config.json").is_file(), f"{folder}: its base {base} is not there")
        model = AutoPeftModelForCausalLM.from_pretrained(folder, local_files_only=True)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    with torch.no_grad():
        logits = model.eval()(input_ids=asked["input_ids"]).logits
    _need(bool(torch.isfinite(logits).all()), f"{folder}: its logits are not finite")


class _Page(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            outside = value and not value.startswith(("data:", "#"))
            loading = name in {"src", "srcset", "poster", "data", "action"}
            if outside and (loading or (name == "href" and tag == "link")):
                self.loads.append(str(value))


def _report(path: Path, recipes: list[str]) -> None:
    _need(path.is_file(), f"{path} is missing")
    text = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    _need({"html", "body", "table"} <= page.tags, f"{path}: not a page with tables")
    _need(not page.loads, f"{path} loads {page.loads[:3]}")
    _need(
        not re.search(r"@import|url\(\s*['\"]?(https?:)?//", text), f"{path}: styles from the net"
    )
    for recipe in recipes:
        _need(recipe in text, f"{path} doesn't name {recipe}")


def _published(run: Path, prompts: Path) -> str:
    for name in ("harmful", "helpful"):
        ours = _json(run / "data" / "prompts" / f"{name}.json")
        theirs = _json(prompts / f"{name}_prompts.json")
        differ = sum(a != b for a, b in zip(ours, theirs, strict=False))
        _need(ours == theirs, f"{name} prompts: {differ} of {len(theirs)} differ from {prompts}")
    return f", prompts equal those of {prompts}"


def main(arguments: list[str]) -> int:
    """Check as the command line says; 1 if something is wrong."""
    try:
        print(check(Path(arguments[0]), Path(arguments[1]) if arguments[1:] else None))
    except (WrongRunFolder, OSError, ValueError, KeyError, TypeError) as error:
        print(f"{arguments[0]}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
