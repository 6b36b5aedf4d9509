"""The study `hh-small` by alignstudy, and the same study done the notebooks' way.

    python benchmarks/study.py [--rounds 1] [--workers 1]

Both start from the same base model and the same judge, which alignstudy trains first, untimed. What
is timed, on both sides, is what the notebooks did: SFT, DPO, SFT then DPO; 100 responses of each of
the four models; every response scored by the judge (alignstudy scores them by length too). The
notebooks' way is stock TRL (2 x 4, float32), one prompt and one scored pair at a time, in one
process; alignstudy makes stages side by side in as many processes as the machine has cores
(`--workers 1`: in one). Rows: ALIGNSTUDY_HH_DIR. Both tables of rates are shown with alignstudy's
intervals, and every difference with its own.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import notebook_way
import ours
from harness import Sample, Side, both_sides, in_turns, shared_machine, stopwatch
from machine import usable_cores
from materials import hh_rlhf
from results import Clock, Report, Section, at_least, parser, ratio, table

NOTEBOOK, OURS = "notebook: stock TRL, one by one", "alignstudy"
METRICS = ("hmr", "hpr", "cas")


def main() -> int:
    """Measure, write the results, return the exit code."""
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=1, help="how often each side does it all")
    made.add_argument("--workers", default="auto", help="processes of alignstudy; auto: as cores")
    asked = made.parse_args()
    most = max(1, usable_cores() // asked.threads)
    workers = most if asked.workers == "auto" else min(int(asked.workers), most)
    settings = {
        "Study": "hh-small; SFT, DPO and SFT then DPO; 4 x 100 responses of 50 tokens; 400 scores",
        "Threads": f"{asked.threads} a process",
        "Processes": f"notebook 1, alignstudy at most {workers}",
        "Rounds": asked.rounds,
    }
    title = "The study hh-small: the notebooks' way and ours"
    report = Report(name="study", title=title, settings=settings)
    with both_sides(asked.threads) as (scratch, theirs, mine):
        _measure(report, scratch, theirs, mine, asked)
    return report.finish(asked.out)


def _measure(report: Report, scratch: Path, theirs: Side, mine: Side, asked: Any) -> None:
    prepared, last, run = scratch / "prepared", scratch / "last", scratch / "run"
    source = hh_rlhf()
    task = mine.call(ours.prepare_study, source, prepared, run)
    # Their libraries are loaded untimed, as ours are while the base is trained.
    few = {**task, "rows": task["rows"][:8], "prompts": task["prompts"][:1], "max_new_tokens": 2}
    theirs.call(run_by_notebook, few, scratch / "warm")

    def ours_once() -> Sample:
        shutil.rmtree(last, ignore_errors=True)
        shutil.copytree(prepared, last)
        sample: Sample = mine.call(
            ours.run_study, source, last, run, only="score", workers=asked.workers
        )
        return sample

    notebook = partial(theirs.call, run_by_notebook, task, scratch / "notebook")
    found = in_turns({NOTEBOOK: notebook, OURS: ours_once}, asked.rounds)
    report.sections.append(Section(title="The same work", samples=found, clock="wall"))
    # Where others use the machine the clock tells of them too; the processor's seconds don't.
    clock: Clock = "cpu" if shared_machine(found[NOTEBOOK]) else "wall"
    times = ratio(found[NOTEBOOK], found[OURS], clock)
    name = f"The study, end to end ({'clock' if clock == 'wall' else 'processor'})"
    report.gates.append(at_least(name, times, 3.0, 6.0))
    by_processor = ratio(found[NOTEBOOK], found[OURS]).median
    report.facts["Times faster by the processor's seconds"] = round(by_processor, 2)
    last_notebook, last_ours = found[NOTEBOOK][-1].found, found[OURS][-1].found
    for way, parts in ((NOTEBOOK, last_notebook["parts"]), (OURS, last_ours)):
        report.facts[f"Parts, {way} (s; stages side by side count in full)"] = parts
    rest = mine.call(ours.run_study, source, last, run, only=None, workers="auto")
    report.facts[
        "alignstudy, whatever else the study holds (calibration, judge's checks, diagnostics,"
        " report; not timed above) (s)"
    ] = round(rest.wall, 1)
    _compare(report, scratch, run, last_notebook["ratings"])


def run_by_notebook(task: Mapping[str, Any], folder: Path) -> Sample:
    """Do the study as the notebooks did: train, write, score, one after the other."""

    shutil.rmtree(folder, ignore_errors=True)
    whole, parts = Sample(), {"train": Sample(), "generate": Sample(), "score": Sample()}
    ratings: dict[str, list[dict[str, Any]]] = {}
    prompts = [text for _, text in task["prompts"]]
    with stopwatch(whole):
        with stopwatch(parts["train"]):
            models = _train_by_notebook(task, folder)
        for name, model in models.items():
            with stopwatch(parts["generate"]):
                written = notebook_way.generate(
                    model, prompts, max_new_tokens=task["max_new_tokens"]
                )
            pairs = [(p, t.strip()) for p, (_, t) in zip(prompts, written.found, strict=True)]
            length = task["judge_length"]
            with stopwatch(parts["score"]):
                scored = notebook_way.score(task["judge"], pairs, max_length=length)
            ratings[name] = [
                {"axis": axis, "prompt": prompt, "response": text, "rating": score}
                for (axis, _), (prompt, text), score in zip(
                    task["prompts"], pairs, scored.found, strict=True
                )
            ]
    seconds = {name: round(part.wall, 2) for name, part in parts.items()}
    whole.found = {"parts": seconds, "ratings": ratings}
    return whole


def _train_by_notebook(task: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    base: Path = task["base"]
    work, places = folder / "work", {name: folder / name for name in ("sft", "dpo", "sft_dpo")}

    def train(method: str, parent: Path, saved_as: str, **options: Any) -> None:
        """Train by what the study says, at the notebooks' batches."""
        study = task[method]
        names = ("num_train_epochs", "learning_rate", "max_length")
        wanted = {name: getattr(study, name) for name in names} | {"seed": task["seed"]}
        notebook_way.train(
            method,
            parent,
            task["rows"],
            work=work,
            options=notebook_way.NOTEBOOK | wanted,
            save_to=places[saved_as],
            **options,
        )

    dropout = task["dpo"].lora.lora_dropout
    train("sft", base, "sft")
    train("dpo", base, "dpo", lora_dropout=dropout)
    train("dpo", places["sft"], "sft_dpo", lora_dropout=dropout)
    return {"base": base, **places}


def _compare(
    report: Report, scratch: Path, run: Path, theirs: Mapping[str, list[dict[str, Any]]]
) -> None:
    """Evaluate both sides' ratings by alignstudy's statistics, at the study's thresholds."""
    thresholds = _json(run / "statistics.json")["thresholds"]["values"]
    rates, differences = [], []
    for name, rows in theirs.items():
        folder = scratch / "ratings" / name
        mine = [
            {"axis": axis, **row}
            for axis in ("harmful", "helpful")
            for row in _json(run / "responses" / f"{name}_{axis}.json")
        ]
        _write_ratings(folder, "notebook", rows)
        _write_ratings(folder, "ours", mine)
        same = sum(a["response"] == b["response"] for a, b in zip(rows, mine, strict=True))
        found, comparisons = ours.evaluate(folder, scratch / "evaluated" / name, thresholds)
        for _, row in found.iterrows():
            shown = (
                f"{row[m]:.0f} [{row[f'{m}_low']:.0f}, {row[f'{m}_high']:.0f}]" for m in METRICS
            )
            rates.append((name, row["model"], *shown))
        wanted = comparisons[comparisons.metric.isin(METRICS)]
        differences += [(name, f"{same} of 100", *_difference(row)) for _, row in wanted.iterrows()]
    report.facts["Rates in percent [95 % interval]"] = "\n\n" + table(
        ("model", "way", "HmR", "HpR", "CAS"), rates
    )
    report.facts["Differences in percentage points, ours less the notebook's"] = "\n\n" + table(
        ("model", "equal responses", "metric", "difference [95 % interval]", "p", "within noise"),
        differences,
    )
    within = all(line[-1] == "yes" for line in differences)
    report.facts["All rates within noise of each other"] = "yes" if within else "NO"
    report.notes.append(
        "A prompt too long for the small model loses its beginning in the notebooks' way, and its"
        " oldest turns in ours."
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_ratings(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for axis in ("harmful", "helpful"):
        kept = [
            {"prompt": r["prompt"], "response": r["response"], "rating": round(r["rating"], 4)}
            for r in rows
            if r["axis"] == axis
        ]
        path = folder / f"{name}_{axis}.json"
        path.write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")


def _difference(row: Any) -> tuple[str, ...]:
    """Return metric, difference, p, and whether the difference's interval holds 0."""
    sign = 1 if row["model"] == "ours" else -1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    shown = f"{sign * row['difference']:+.1f} [{low:.1f}, {high:.1f}]"
    return row["metric"], shown, f"{row['p_value']:.2f}", "yes" if low <= 0 <= high else "NO"


if __name__ == "__main__":
    sys.exit(main())
