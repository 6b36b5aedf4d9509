"""Tuning: what a study file may ask, which prompts choose, what a failed trial is, what is said."""

import csv
import json
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from tiny_study import study as tiny

from alignstudy.dialogue import CUE
from alignstudy.errors import GuardError, SettingsError
from alignstudy.formatting import NO_BREAK
from alignstudy.records import Pair, Prompt, read_rows
from alignstudy.records.tuning import Choice, Edge, Trial
from alignstudy.report.tables.tuning import choices_table, trials_table
from alignstudy.report.tables.write import csv_text
from alignstudy.report.text.recipes import untuned_models
from alignstudy.report.text.tuning import tuning_cautions
from alignstudy.study.api import Study
from alignstudy.study.graph.stage import FAILED, Stage, in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.settings.tuning import tuning_warnings
from alignstudy.study.stages.trials import TuningPrompts
from alignstudy.study.stages.tuning import Choose, Chosen, edges

NULL = object()
CONSTANT, LENGTH = {"use": "constant"}, {"use": "length"}


def load(**changes):
    given = tiny({"tune": {"trials": 3}, **changes})
    return Study.from_dict({key: None if value is NULL else value for key, value in given.items()})


def stages(study):
    every = in_order(study.graph(study.located(fetch=True)).goals)
    return {stage.name: stage for stage in every}


def test_every_method_of_every_chain_has_the_same_number_of_trials_at_a_seed_of_its_own():
    study = load(**{"recipes.expo": ["sft", "dpo", "expo"], "methods.expo": {}, "seeds": [0, 4]})
    made = stages(study)
    chooses = {s.chain: s for s in made.values() if isinstance(s, Choose)}
    assert set(chooses) == {("sft",), ("dpo",), ("sft", "dpo"), ("sft", "dpo", "expo")}
    for chain, choose in chooses.items():
        assert len(choose.trials) == 3
        own = study.settings.methods[chain[-1]]
        assert all(getattr(own, k) == v for k, v in choose.trials[0].settings.items())
    trial = chooses["sft", "dpo"].trials[1]
    assert (trial.model.seed, trial.responses.settings) == (5, study.settings.generation)
    assert trial.model.settings.beta == 0.1
    assert trial.model.settings.learning_rate == trial.settings["learning_rate"] == 0.01
    assert isinstance(trial.model.parent, Chosen)
    assert trial.model.parent.choice == chooses["sft",]
    final = made["train/sft+dpo/seed-4"]
    assert final.settled == (chooses["sft", "dpo"],)
    assert final.parent.settled == (chooses["sft",],)
    assert not final.in_trial
    assert trial.model.in_trial
    assert made["expo/sft+dpo+expo/seed-0"].settled == (chooses["sft", "dpo", "expo"],)


def test_the_report_counts_no_trial_among_trainings_rows_or_guards():
    every = stages(load(**{"recipes.expo": ["sft", "dpo", "expo"], "methods.expo": {}}))
    report = every["report"]
    names = [end.stage.name for end in report.trainings] + [s.name for s in report.computed]
    assert names
    assert not [name for name in names if "trial" in name]
    assert len(report.tuned) == 4
    assert {one.model for one in report.compare.compared} == {
        "base", "sft", "dpo", "sft_dpo", "expo",
    }  # fmt: skip


def test_trials_are_reused_when_there_are_more_of_them():
    three, six = (stages(load(tune={"trials": number})) for number in (3, 6))
    for number in (1, 2, 3):
        for name in (f"train/sft/trial-{number}", f"score/tiny-judge/sft/trial-{number}"):
            assert three[name].key == six[name].key
    assert three["choose/sft"].key != six["choose/sft"].key
    untuned = stages(Study.from_dict(tiny()))
    assert three["train/sft/seed-0"].key != untuned["train/sft/seed-0"].key


FAULTS = [
    ({"tune": {"trials": 3, "seed": 0}}, r"'tune.seed': is one of `seeds`"),
    ({"tune": {"by": "nobody"}}, r"'tune.by': is not in `judges`; known: tiny-judge"),
    ({"validation": NULL}, r"'validation': is null, and trials answer"),
    ({"tune": {"prompts": 30}}, r"'tune.prompts': are more than there are .*\(20\)"),
    ({"recipes": {"base": []}, "methods": {}, "data.train": None}, "no recipe has a method"),
    (
        {"validation": {"split": "judge", "share": [0.5, 0.75], "n": 20}},
        "'validation': is the calibration's pairs",
    ),
    ({"tune": {"trials": 3, "grid": {"ppo": {"beta": [1.0]}}}}, r"'tune.grid.ppo': is no method"),
    ({"tune": {"trials": 3, "grid": {"dpo": {}}}}, "names no values"),
    (
        {"tune": {"trials": 3, "grid": {"dpo": {"beta": [0.1, 0.2]}}}},
        "'tune.grid.dpo': dpo has 2 combinations, and each method gets 3 trials",
    ),
    (
        {"tune": {"trials": 2, "grid": {"dpo": {"beta": [0.2, 0.3]}}}},
        "has 3 combinations, the label's own values included, and each method gets 2",
    ),
    ({"tune": {"trials": 2, "grid": {"dpo": {"betta": [1.0]}}}}, "betta is no number"),
    ({"tune": {"trials": 2, "grid": {"dpo": {"beta": [-1.0]}}}}, "greater than 0"),
    (
        {"tune": {"trials": 12}, "recipes.expo": ["sft", "expo"], "methods.expo": {}},
        "'tune.trials': expo has 10 combinations, and each method gets 12 trials",
    ),
    (
        {
            "methods.spin": {"iterations": 2, "learning_rates": [1e-5, 1e-6]},
            "recipes.spin": ["sft", "spin"],
        },
        r"'methods.spin': can't be tuned: learning_rate 0.5: .* give it a `tune.grid` of its own",
    ),
]


@pytest.mark.parametrize(("changes", "words"), FAULTS)
def test_what_cannot_be_tuned_so_is_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        load(**changes)


def test_another_judge_than_the_reports_chooses_and_the_reports_own_is_said():
    judge = tiny()["judges"][0]
    alone = load().settings
    assert any("tiny-judge chose among trials" in text for text in tuning_warnings(alone))
    for judges, tune, name in (
        ([judge, LENGTH], {}, "tiny-judge"),  # a baseline is no judge
        ([CONSTANT, judge], {}, "tiny-judge"),
        ([judge, LENGTH], {"by": "length"}, "length"),
    ):
        study = load(judges=judges, tune={"trials": 2, **tune})
        choose = stages(study)["choose/sft"]
        assert choose.judge == name
        said = bool([*tuning_warnings(study.settings)])
        assert said == (name == judges[0].get("name", judges[0].get("use")))


def test_check_counts_trials_and_warns_of_the_judge():
    report = load().check()
    (detail,) = [detail for what, _, detail in report.lines if what == "to train"]
    assert "trial-" not in detail
    assert detail.endswith(f"; and 9{NO_BREAK}models for trials")
    assert any("chose among trials" in warning for warning in report.warnings)


def test_tuning_prompts_are_no_test_prompt_no_calibration_pair_no_training_row(tmp_path):
    study = load(tune={"trials": 2, "prompts": 8})
    made, runner = stages(study), Runner(store=Store(tmp_path), device="cpu")
    folder = {
        name: runner.make(made[name]).folder for name in ("prompts", "prompts/tuning", "rows/train")
    }
    asked = list(read_rows(folder["prompts/tuning"] / "prompts.jsonl", Prompt))
    assert [prompt.axis for prompt in asked] == ["harmless"] * 8 + ["helpful"] * 8
    texts = {prompt.text for prompt in asked}
    assert len(texts) == 16
    assert all(text.endswith(CUE) for text in texts)
    tested = {p.text for p in read_rows(folder["prompts"] / "prompts.jsonl", Prompt)}
    parts = {
        part: {
            pair.prompt
            for path in folder["prompts"].glob(f"{part}-*.jsonl")
            for pair in read_rows(path, Pair)
        }
        for part in ("calibration", "validation")
    }
    trained = {pair.prompt for pair in read_rows(folder["rows/train"] / "rows.jsonl", Pair)}
    assert tested
    assert parts["calibration"]
    assert trained
    assert not texts & (tested | parts["calibration"] | trained)
    assert texts <= parts["validation"]


def test_data_of_ones_own_gets_pairs_for_tuning_beside_those_of_thresholds(tmp_path):
    rows = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}.", "rejected": "No."} for n in range(200)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = {
        "study": "own", "base": str(tmp_path), "data": str(tmp_path / "rows.jsonl"),
        "methods": {"sft": {}}, "recipes": {"base": [], "sft": ["sft"]}, "judges": [LENGTH],
    }  # fmt: skip
    plain, tuned = (Study.from_dict({**given, "tune": tune}) for tune in (None, {"trials": 2}))
    assert plain.settings.validation.share == plain.settings.calibration.share
    first, last = tuned.settings.calibration.share
    assert tuned.settings.validation.share == (last, 2 * last - first)
    runner = Runner(store=Store(tmp_path / "home"), device="cpu")
    prompts = stages(tuned)["prompts"]
    folder = runner.make(prompts).folder
    calibration, validation = (
        {p.prompt for path in folder.glob(f"{part}-*.jsonl") for p in read_rows(path, Pair)}
        for part in ("calibration", "validation")
    )
    assert calibration
    assert validation
    assert not calibration & validation


def test_too_few_prompts_to_choose_on_are_refused(tmp_path):
    source = stages(load())["prompts"]
    few = TuningPrompts(name="few", prompts=source, axes=("no-such-axis",), most=5)
    with pytest.raises(GuardError, match=r"0.validation prompts of no-such-axis"):
        Runner(store=Store(tmp_path), device="cpu").make(few)


@dataclass(frozen=True, kw_only=True)
class Tried(Stage):
    kind: ClassVar[str] = "toy-tried"
    tried: ClassVar[bool] = True
    number: int

    def run(self, job):
        (job.out / "half").mkdir()
        (job.out / "half" / "weights").write_text("x")
        if self.number < 0:
            raise GuardError("the loss isn't finite", why="at step 3", hint="lower it")
        return {}


@dataclass(frozen=True, kw_only=True)
class After(Stage):
    kind: ClassVar[str] = "toy-after"
    of: Stage
    judges: ClassVar[bool] = False

    def run(self, job):
        assert (job.folder_of(self.of) / "half" / "weights").exists()
        if self.judges:
            raise GuardError("the judge's source changed")
        return {}


@dataclass(frozen=True, kw_only=True)
class Judged(After):
    kind: ClassVar[str] = "toy-judged"
    shows_the_model: ClassVar[bool] = False
    judges: ClassVar[bool] = True


def test_what_a_guard_refuses_in_a_trial_is_a_result_that_is_kept(tmp_path):
    store = Store(tmp_path)
    end = After(name="score", of=After(name="answer", of=Tried(name="trial", number=-1)))
    first = Runner(store=store, device="cpu")
    reason = "the loss isn't finite; at step 3; lower it"
    assert first.make(end).facts[FAILED] == reason
    assert first.executed == ["trial", "answer", "score"]
    assert not [*store.folder("toy-tried", end.of.of.key).glob("half")]
    again = Runner(store=store, device="cpu")
    assert again.make(end).facts[FAILED] == reason
    assert again.executed == []
    sound = After(name="score", of=Tried(name="trial", number=1))
    assert FAILED not in again.make(sound).facts
    with pytest.raises(GuardError, match="judge's source changed"):  # it says nothing of the model
        again.make(Judged(name="judged", of=Tried(name="trial", number=1)))


def test_edges():
    tried = [{"lr": rate, "beta": beta} for beta in (0.1, 0.5) for rate in (2.0, 1.0, 3.0)]
    assert edges(tried, {"lr": 2.0, "beta": 0.1}) == []
    assert edges(tried, {"lr": 3.0, "beta": 0.1}) == [Edge(setting="lr", value=3.0, end="largest")]
    assert edges(tried, {"lr": 1.0, "beta": 0.5}) == [
        Edge(setting="lr", value=1.0, end="smallest"),
        Edge(setting="beta", value=0.5, end="largest"),
    ]


CHOICE = Choice(
    chain=("sft", "dpo"),
    judge="small",
    prompts={"harmless": 9, "helpful": 10},
    unscored=1,
    trials=(
        Trial(number=1, settings={"learning_rate": 1e-9}, score=0.1, gain=0.0, gain_se=0.0,
              means={"harmless": -1.0, "helpful": 2.0}, tokens=5.0, final_loss=0.69),
        Trial(number=2, settings={"learning_rate": 1e-3}, score=0.9, gain=0.8, gain_se=0.2,
              means={"harmless": 1.0, "helpful": 2.5}, tokens=7.0, final_loss=0.4),
        Trial(number=3, settings={"learning_rate": 1.0}, means={}, failed="a loss isn't finite"),
    ),
    best=2,
    chosen=2,
    edges=(Edge(setting="learning_rate", value=1e-3, end="largest"),),
)  # fmt: skip


def test_the_tables_show_every_trial_and_what_has_none():
    rows = list(csv.DictReader(csv_text(trials_table([CHOICE])).splitlines()))
    assert list(rows[0])[:6] == ["method", "trial", "settings", "score", "gain", "gain_se"]
    assert [row["what"] for row in rows] == [
        "own settings", "best, chosen", "failed: a loss isn't finite",
    ]  # fmt: skip
    recipes = {"base": [], "dpo": ["sft", "dpo"], "mean": {"average": ["dpo"]}}
    table = choices_table([CHOICE], untuned=untuned_models({"recipes": recipes}))
    assert "No trials: base, mean." in table.note
    [cells] = table.cells
    assert [cell.text for cell in cells] == [
        "sft > dpo", "3", "learning_rate 1e-09", "learning_rate 0.001", "+0.800 ± 0.200",
        "learning_rate: largest tried",
    ]  # fmt: skip
    assert (cells[1].detail, cells[3].detail) == ("1 failed", "trial 2")


def test_cautions_name_setting_and_direction_and_why_a_trial_failed():
    assert list(tuning_cautions([CHOICE])) == [
        "sft > dpo may be under-tuned: the chosen learning_rate, 0.001, is the largest that was"
        " tried; a larger one may be better (`tune.trials`, `tune.grid`).",
        f"1{NO_BREAK}trial of sft > dpo failed (3): a loss isn't finite.",
        f"sft > dpo was tuned without 1{NO_BREAK}prompt that the judge small gave no score on in"
        " some trial.",
    ]
    failed = replace(CHOICE, edges=(), unscored=0)
    failed = replace(failed, trials=(replace(failed.trials[2], number=1), *failed.trials[1:2]))
    assert next(iter(tuning_cautions([failed]))).endswith("Its own settings are among them.")
