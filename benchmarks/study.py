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
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import notebook_way
from harness import (
    Clock,
    Report,
    Sample,
    Section,
    Side,
    gate_on_ratio,
    in_turns,
    parser,
    ratio,
    shared_machine,
    stopwatch,
)
from materials import data_folder

from alignstudy.records import Pair, Prompt
from alignstudy.runtime.spreading import usable_cores

JUDGE = "small-judge"
PREPARED = ("base", f"judge/{JUDGE}", "rows/train", "prompts")
TIMED = "score"
NOTEBOOK, OURS = "notebook: stock TRL, one by one", "alignstudy"
METRICS = ("hmr", "hpr", "cas")


def main() -> int:
    """Measure, write the results, give the exit code."""
    made = parser(__doc__ or "", quick=False)
    made.add_argument("--rounds", type=int, default=1, help="how often each side does it all")
    made.add_argument("--workers", default="auto", help="processes of alignstudy; auto: as cores")
    asked = made.parse_args()
    settings = {
        "Study": "hh-small; SFT, DPO and SFT then DPO; 4 x 100 responses of 50 tokens; 400 scores",
        "Threads": f"{asked.threads} a process",
        "Processes": f"notebook 1, alignstudy at most {_processes(asked.workers, asked.threads)}",
        "Rounds": asked.rounds,
    }
    report = Report(
        name="study", title="The study hh-small: the notebooks' way and ours", settings=settings,
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as scratch,
        Side(asked.threads) as theirs,
        Side(asked.threads) as mine,
    ):
        _measure(report, Path(scratch), theirs, mine, asked)
    return report.finish(asked.out)


def _processes(workers: str, threads: int) -> int:
    most = max(1, usable_cores() // threads)
    return most if workers == "auto" else min(int(workers), most)


def _measure(report: Report, scratch: Path, theirs: Side, mine: Side, asked: Any) -> None:
    prepared, last = scratch / "prepared", scratch / "last"
    task = mine.call(prepare, prepared, scratch / "run")
    theirs.call(notebook_warm_up, task, scratch / "warm")

    def ours_once() -> Sample:
        shutil.rmtree(last, ignore_errors=True)
        shutil.copytree(prepared, last)
        return mine.call(run_by_alignstudy, last, scratch / "run", workers=asked.workers)

    ways = {
        NOTEBOOK: partial(theirs.call, run_by_notebook, task, scratch / "notebook"),
        OURS: ours_once,
    }
    found = in_turns(ways, asked.rounds)
    report.add(Section(title="The same work", samples=found, baseline=NOTEBOOK, clock="wall"))
    # Where others use the machine the clock tells of them too; the processor's seconds don't.
    clock: Clock = "cpu" if shared_machine(found[NOTEBOOK]) else "wall"
    times = ratio(found[NOTEBOOK], found[OURS], clock)
    name = f"The study, end to end ({'clock' if clock == 'wall' else 'processor'})"
    report.gates.append(gate_on_ratio(name, times, 3.0, 6.0))
    by_processor = ratio(found[NOTEBOOK], found[OURS]).median
    report.facts["Times faster by the processor's seconds"] = round(by_processor, 2)
    for name, runs in found.items():
        report.facts[f"Parts, {name} (s; stages side by side count in full)"] = runs[-1].found[
            "parts"
        ]
    whole = mine.call(finish_by_alignstudy, last, scratch / "run")
    report.facts["alignstudy, whatever else the study holds (calibration, judge's checks,"
                 " diagnostics, report; not timed above) (s)"] = round(whole, 1)  # fmt: skip
    _compare(report, scratch, found[NOTEBOOK][-1].found["ratings"])


def _study(home: Path, out: Path, *, workers: str = "auto") -> Any:
    """Read the study; its judge cuts as the notebooks' did, so that equal texts score equally."""
    os.environ["ALIGNSTUDY_HOME"] = str(home)
    from alignstudy.study.api import Study

    source = data_folder("ALIGNSTUDY_HH_DIR", "hh-rlhf")
    changes = [
        f"data.source={json.dumps(str(source))}", "judges.0.truncation=paper", f"workers={workers}",
    ]  # fmt: skip
    return Study.load("hh-small", overrides=changes, out=out, offline=True)


def prepare(home: Path, out: Path) -> dict[str, Any]:
    """Make what both sides start from; say where it lies, and what is asked of them."""
    from alignstudy.study.graph.stage import in_order
    from alignstudy.study.stages.data import read_prompts
    from alignstudy.study.stages.train import read_part

    study = _study(home, out)
    for name in PREPARED:
        study.run(only=name)
    graph = study.graph(study.located(fetch=False))
    stages = {stage.name: stage for stage in in_order(graph.goals)}
    folders = {name: study.store.folder(stages[name].kind, stages[name].key) for name in PREPARED}
    methods = study.settings.methods
    return {
        "base": folders["base"],
        "judge": folders[f"judge/{JUDGE}"],
        "rows": read_part(stages["rows/train"], folders["rows/train"] / "rows.jsonl"),
        "prompts": read_prompts(folders["prompts"]),
        "sft": methods["sft"],
        "dpo": methods["dpo"],
        "seed": study.settings.seeds[0],
        "max_new_tokens": study.settings.generation.max_new_tokens,
        "judge_length": study.settings.judges[0].settings.max_length,
    }


def run_by_alignstudy(home: Path, out: Path, *, workers: str) -> Sample:
    """Let alignstudy do what the notebooks did; all that it does for it is timed."""
    study = _study(home, out, workers=workers)
    sample = Sample()
    with stopwatch(sample):
        run = study.run(only=TIMED)
    done = json.loads((out / "provenance.json").read_text(encoding="utf-8"))["stages"]
    parts = {line["stage"]: line["seconds"] for line in done if line["stage"] in run.executed}
    sample.found = {"parts": _summed(parts)}
    return sample


def finish_by_alignstudy(home: Path, out: Path) -> float:
    """Run the rest of the study; return its seconds."""
    study = _study(home, out)
    sample = Sample()
    with stopwatch(sample):
        study.run()
    return sample.wall


def _summed(parts: Mapping[str, float]) -> dict[str, float]:
    """Add seconds up by kind of stage: train, generate, score."""
    found: dict[str, float] = {}
    for name, seconds in parts.items():
        kind = name.partition("/")[0]
        found[kind] = round(found.get(kind, 0.0) + seconds, 2)
    return found


def notebook_warm_up(task: Mapping[str, Any], folder: Path) -> None:
    """Load every library; untimed, as ours are loaded while the base is trained."""
    few = {**task, "rows": task["rows"][:8], "prompts": task["prompts"][:1], "max_new_tokens": 2}
    run_by_notebook(few, folder)


def run_by_notebook(task: Mapping[str, Any], folder: Path) -> Sample:
    """Do the study as the notebooks did: train, write, score, one after the other."""
    from alignstudy.metrics.axes import axis_named

    shutil.rmtree(folder, ignore_errors=True)
    whole, parts = Sample(), {"train": Sample(), "generate": Sample(), "score": Sample()}
    ratings: dict[str, list[dict[str, Any]]] = {}
    with stopwatch(whole):
        with stopwatch(parts["train"]):
            models = _train_by_notebook(task, folder)
        for name, model in models.items():
            prompts: list[Prompt] = task["prompts"]
            with stopwatch(parts["generate"]):
                written = notebook_way.generate(
                    model, [p.text for p in prompts], max_new_tokens=task["max_new_tokens"]
                )
            texts = [text.strip() for _, text in written.found]
            with stopwatch(parts["score"]):
                scored = notebook_way.score(
                    task["judge"], [(p.text, t) for p, t in zip(prompts, texts, strict=True)],
                    max_length=task["judge_length"],
                )  # fmt: skip
            ratings[name] = [
                {
                    "axis": axis_named(p.axis).prompts,
                    "prompt": p.text,
                    "response": text,
                    "rating": score,
                }
                for p, text, score in zip(prompts, texts, scored.found, strict=True)
            ]
    seconds = {name: round(part.wall, 2) for name, part in parts.items()}
    whole.found = {"parts": seconds, "ratings": ratings}
    return whole


def _train_by_notebook(task: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    rows: Sequence[Pair] = task["rows"]
    base: Path = task["base"]
    texts = [row.prompt + row.chosen for row in rows]
    pairs = [{"prompt": r.prompt, "chosen": r.chosen, "rejected": r.rejected} for r in rows]
    sft, dpo = (_options(task[name], task["seed"]) for name in ("sft", "dpo"))
    places = {name: folder / name for name in ("sft", "dpo", "sft_dpo")}
    dropout = task["dpo"].lora.lora_dropout
    notebook_way.train_sft(base, texts, folder / "work", options=sft, save_to=places["sft"])
    train = partial(notebook_way.train_dpo, lora_dropout=dropout, options=dpo)
    train(base, pairs, folder / "work", save_to=places["dpo"])
    train(places["sft"], pairs, folder / "work", save_to=places["sft_dpo"])
    return {"base": base, **places}


def _options(settings: Any, seed: int) -> dict[str, Any]:
    """Return the trainer what the study says, at the notebooks' batches."""
    return {
        **notebook_way.NOTEBOOK, "num_train_epochs": settings.num_train_epochs,
        "learning_rate": settings.learning_rate, "max_length": settings.max_length, "seed": seed,
    }  # fmt: skip


def _compare(report: Report, scratch: Path, theirs: Mapping[str, list[dict[str, Any]]]) -> None:
    """Evaluate both sides' ratings by alignstudy's statistics, at the study's thresholds."""
    from alignstudy import evaluate
    from alignstudy.study.tools.evaluate import own_findings, own_thresholds

    run = scratch / "run"
    findings = own_findings(run / "statistics.json")
    assert findings is not None
    thresholds = own_thresholds(findings)[JUDGE].values
    tables, differences, all_within = [], [], True
    for name, rows in theirs.items():
        folder = scratch / "ratings" / name
        _write_ratings(folder, "notebook", rows)
        mine = _ratings_of(run / "responses", name)
        _write_ratings(folder, "ours", mine)
        same = sum(a["response"] == b["response"] for a, b in zip(rows, mine, strict=True))
        found = evaluate(folder, out=scratch / "evaluated" / name, base="notebook",
                         thresholds=thresholds)  # fmt: skip
        tables += _rates(name, found.table("metrics"))
        told, within = _differences(name, found.table("comparisons"), same)
        differences += told
        all_within &= within
    report.facts["Rates in percent [95 % interval]"] = "\n\n" + _table(
        ("model", "way", "HmR", "HpR", "CAS"), tables
    )
    report.facts["Differences in percentage points, ours less the notebook's"] = "\n\n" + _table(
        ("model", "equal responses", "metric", "difference [95 % interval]", "p", "within noise"),
        differences,
    )
    report.notes.append(
        "A prompt too long for the small model loses its beginning in the notebooks' way, and its"
        " oldest turns in ours."
    )
    report.facts["All rates within noise of each other"] = "yes" if all_within else "NO"


def _ratings_of(folder: Path, model: str) -> list[dict[str, Any]]:
    rows = []
    for axis in ("harmful", "helpful"):
        text = (folder / f"{model}_{axis}.json").read_text(encoding="utf-8")
        rows += [
            {"axis": axis, **{name: row[name] for name in ("prompt", "response", "rating")}}
            for row in json.loads(text)
        ]
    return rows


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


def _rates(model: str, table: Any) -> list[tuple[str, ...]]:
    return [
        (model, str(row["model"]), *(
            f"{row[m]:.0f} [{row[f'{m}_low']:.0f}, {row[f'{m}_high']:.0f}]" for m in METRICS
        ))
        for _, row in table.iterrows()
    ]  # fmt: skip


def _differences(model: str, table: Any, same: int) -> tuple[list[tuple[str, ...]], bool]:
    """Say of each rate whether its difference's interval holds 0."""
    lines, all_within = [], True
    for _, row in table[table.metric.isin(METRICS)].iterrows():
        sign = 1 if row["model"] == "ours" else -1
        low, high = sorted((sign * row["low"], sign * row["high"]))
        within = low <= 0 <= high
        all_within &= within
        told = f"{sign * row['difference']:+.1f} [{low:.1f}, {high:.1f}]"
        lines.append((model, f"{same} of 100", row["metric"], told, f"{row['p_value']:.2f}",
                      "yes" if within else "NO"))  # fmt: skip
    return lines, all_within


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
