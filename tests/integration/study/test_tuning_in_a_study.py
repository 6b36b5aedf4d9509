"""Methods tuned in a whole study: useless defaults are rescued, nothing is done twice."""

import csv
import json
from dataclasses import dataclass, replace
from typing import ClassVar

import methods_fixtures as fx
import pytest

from alignstudy import Study
from alignstudy.cli.planning import tuning_planned
from alignstudy.dialogue import CUE
from alignstudy.errors import InterruptedRunError
from alignstudy.methods.expo import ExPOSettings
from alignstudy.study.cost.estimate import StudyEstimate
from alignstudy.study.graph.stage import FAILED, in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.stages.settling import SETTINGS, SettlesSettings
from alignstudy.study.stages.weights import Mix, extrapolation

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("without_figures")]

JUDGE = """
WORDS = ("like", "good", "why", "here")
def kind(items):
    return [float(sum(text.count(word) for word in WORDS)) for _, text in items]
"""
LORA = {"r": 4, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"]}


def write(root, **changes):
    rows = [
        {
            "prompt": row.prompt.removesuffix(CUE).removeprefix("\n\nHuman: "),
            "chosen": row.chosen,
            "rejected": row.rejected,
        }
        for row in fx.make_pairs(120)
    ]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (root / "kindness.py").write_text(JUDGE, encoding="utf-8")
    study = {
        "study": "tuned",
        "base": str(fx.write_opt(root / "opt")),
        "data": {"source": str(root / "rows.jsonl"), "train": {"max_rows": 40}},
        "methods": {
            "sft": {"max_steps": 30, "max_length": 64, "learning_rate": 1e-9},
            "linear": {
                "method": "dpo",
                "loss_type": "irft_linear",
                "learning_rate": 1.0,
                "lora": LORA,
                "max_steps": 4,
                "max_length": 64,
                "probe_pairs": 4,
            },
            "expo": {},
        },
        "recipes": {
            "base": [],
            "sft": ["sft"],
            "linear": ["sft", "linear"],
            "expo": ["sft", "linear", "expo"],
        },
        "generation": {"max_new_tokens": 8},
        "judges": [
            {"use": "length"},
            {"use": "python", "call": "kindness:kind", "name": "kind"},
        ],
        "diagnostics": None,
        "assess": {"probes": 2, "batch_check": 2, "draws": 100},
        "thresholds": {"helpful": 10},
        "tune": {
            "trials": 2,
            "prompts": 12,
            "grid": {"sft": {"learning_rate": [1e-2]}, "linear": {"learning_rate": [1e-4]}},
        },
    }
    (root / "study.yaml").write_text(json.dumps({**study, **changes}), encoding="utf-8")
    return replace(Study.load(root / "study.yaml", out=root / "run"), store=Store(root / "home"))


def choice(study, name):
    stage = stages(study)[name]
    folder = study.store.folder(stage.kind, stage.key)
    return json.loads((folder / "choice.json").read_text(encoding="utf-8"))


def stages(study):
    every = in_order(study.graph(study.located(fetch=False)).goals)
    return {stage.name: stage for stage in every}


def facts(study, name):
    stage = stages(study)[name]
    return study.store.peek(stage.kind, stage.key).facts


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A study whose methods' own learning rates are useless, run from nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alignstudy.study.tools.report.write_figures", lambda *_, **__: ())
        patch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
        study = write(tmp_path_factory.mktemp("tuned"))
        return study, study.run()


def test_a_learning_rate_that_learns_nothing_is_rescued(ran):
    study, run = ran
    found = choice(study, "choose/sft")
    assert (found["best"], found["chosen"]) == (2, 2)
    own, best = found["trials"]
    assert own["settings"] == {"learning_rate": 1e-9}
    assert best["gain"] > best["gain_se"] > 0
    assert best["final_loss"] < 0.5 * own["final_loss"]
    assert found["edges"] == [{"setting": "learning_rate", "value": 1e-2, "end": "largest"}]
    curve = fx.read_metrics(run.models["sft"])
    assert curve[0]["learning_rate"] == pytest.approx(1e-2, rel=0.1)
    assert (
        "sft may be under-tuned: the chosen learning" in run.report.with_suffix(".md").read_text()
    )


def test_a_trial_that_a_guard_refuses_is_a_failed_one_with_its_reason(ran):
    study, run = ran
    found = choice(study, "choose/sft+linear")
    failed, taken = found["trials"]
    assert "nats a token less likely" in failed["failed"]
    assert (failed["score"], taken["failed"], found["chosen"]) == (None, "", 2)
    for name in ("train/sft+linear/trial-1", "generate/sft+linear/trial-1"):
        assert facts(study, name)[FAILED] == failed["failed"]
    assert (
        "trial of sft &gt; linear failed (1): training" in run.report.with_suffix(".md").read_text()
    )


def test_the_next_methods_trials_start_from_the_chosen_trial(ran):
    study, _ = ran
    made = facts(study, "chosen/sft")["weights_sha256"]
    assert made == facts(study, "train/sft/trial-2")["weights_sha256"]
    start = study.store.folder("chosen", stages(study)["chosen/sft+linear"].key)
    assert not list(start.glob("adapter*"))  # merged
    assert choice(study, "choose/sft+linear+expo")["trials"][1]["settings"] == {"alpha": 0.1}


def test_weights_of_trials_that_were_not_chosen_are_dropped_and_their_scores_stay(ran):
    study, _ = ran
    kept = {
        name: bool(list(study.store.folder(stage.kind, stage.key).glob("*.safetensors")))
        for name, stage in stages(study).items()
        if "/trial-" in name and stage.weights
    }
    assert kept == {
        "train/sft/trial-1": False,
        "train/sft/trial-2": True,
        "train/sft+linear/trial-1": False,  # it failed
        "train/sft+linear/trial-2": True,
        "expo/sft+linear+expo/trial-1": True,
        "expo/sft+linear+expo/trial-2": False,
    }
    scores = stages(study)["score/kind/sft/trial-1"]
    assert (study.store.folder(scores.kind, scores.key) / "scores.jsonl").is_file()


def test_every_trial_is_in_the_tables_and_its_cost_is_told_apart(ran):
    _, run = ran
    with (run.folder / "tables" / "tuning.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["method"], row["trial"]) for row in rows] == [
        (name, number) for name in ("sft", "sft > linear", "sft > linear > expo") for number in "12"
    ]
    data = json.loads((run.folder / "data" / "report.json").read_text(encoding="utf-8"))
    tuning = {row["stage"]: row["tuning"] for row in data["costs"]}
    assert {name for name in tuning if "/trial-" in name or "chos" in name or "choose" in name} <= {
        name for name, alone in tuning.items() if alone
    }
    assert not any(
        tuning[name] for name in ("train/sft/seed-0", "prompts", "score/kind/sft/seed-0")
    )
    assert tuning["prompts/tuning"]
    trained = [record["stage"] for record in data["training"]]
    assert trained == ["train/sft/seed-0", "train/sft+linear/seed-0"]
    assert data["provenance"]["comparisons on these prompts"] == 1  # trials are no looks
    assert "Tuning alone: " in run.report.with_suffix(".md").read_text()


def test_a_second_run_makes_nothing_and_more_trials_use_those_that_were_made(ran):
    study, _ = ran
    assert study.run().executed == ()
    grid = {"sft": {"learning_rate": [1e-2, 3e-3]}, "linear": {"learning_rate": [1e-4, 1e-5]}}
    more = Study.load(study.source, {"tune": {"trials": 3, "prompts": 12, "grid": grid}})
    lines, _ = replace(more, store=study.store).plan()
    state = {line.stage.name: line.state for line in lines}
    assert state["train/sft/trial-2"] == state["score/kind/sft/trial-2"] == "cached"
    assert state["train/sft/trial-3"] == state["choose/sft"] == "new"
    planned = tuning_planned(lines, replace(more, store=study.store).estimate(lines))
    assert (planned["trials"], planned["methods"]) == (3, 3)
    assert planned["stages"] == sum(
        line.state == "new" and any(part in line.stage.name for part in ("trial-", "cho"))
        for line in lines
    )
    assert planned["seconds"] > 0
    assert tuning_planned([], StudyEstimate()) == {}


def test_a_trial_that_was_stopped_goes_on_to_the_same_model(ran, tmp_path):
    study, _ = ran
    stage = stages(study)["train/sft/trial-2"]
    asked = []
    first = Runner(
        store=Store(tmp_path),
        device="cpu",
        threads=1,
        should_stop=lambda: bool(asked.append(1)) or len(asked) > 15,
    )
    with pytest.raises(InterruptedRunError):
        first.make(stage)
    again = Runner(store=Store(tmp_path), device="cpu", threads=1)
    found = again.make(stage).facts
    assert found["resumed"]
    assert found["weights_sha256"] == facts(study, "train/sft/trial-2")["weights_sha256"]


@dataclass(frozen=True, kw_only=True)
class Told(SettlesSettings):
    kind: ClassVar[str] = "told"
    values: dict[str, float]

    def run(self, job):
        (job.out / SETTINGS).write_text(json.dumps(self.values), encoding="utf-8")
        return {}


def test_how_far_to_extrapolate_is_read_when_it_is_done(ran, tmp_path):
    """Of an adapter and of full weights: as if the study had given that alpha."""
    study, _ = ran
    every = stages(study)
    merge = every["expo/sft+linear+expo/seed-0"]
    parts = (every["train/sft/seed-0"], every["base"])
    mix = Mix(name="mix", members=parts, rule=extrapolation(ExPOSettings()))
    told, given = Told(name="told", values={"alpha": 0.25}), ExPOSettings(alpha=0.25)
    runner = Runner(store=study.store, device="cpu", threads=1)
    for late, early in (
        (replace(merge, settled=(told,)), replace(merge, settled=(), factor=given.factor)),
        (replace(mix, settled=(told,)), replace(mix, rule=extrapolation(given))),
    ):
        one, other = (runner.make(stage).facts["weights_sha256"] for stage in (late, early))
        assert one == other
        assert one != facts(study, "train/sft/seed-0")["weights_sha256"]
