"""Weights that were dropped: what still counts as done, and who makes them again."""

import json
import os
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from alignstudy.errors import DamagedArtefactError
from alignstudy.study.graph.build import Graph
from alignstudy.study.graph.stage import Stage, in_order
from alignstudy.study.run import store as store_module
from alignstudy.study.run.making import make_and_show
from alignstudy.study.run.pieces import Export
from alignstudy.study.run.plan import make_plan
from alignstudy.study.run.publishing import StudyTexts
from alignstudy.study.run.run_folder import RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

TEXTS = StudyTexts(digest="toy", files={})


@dataclass(frozen=True, kw_only=True)
class Model(Stage):
    """Trains: a large file and a small one."""

    kind: ClassVar[str] = "model"
    weights: ClassVar[tuple[str, ...]] = ("*.safetensors",)
    value: int
    parent: Stage | None = None
    log: str = ""

    def underlying(self):
        return () if self.parent is None else (self.parent,)

    def run(self, job):
        below = 0 if self.parent is None else weight_of(job.folder_of(self.parent))
        salt = os.environ.get("SALT", "")
        (job.out / "model.safetensors").write_text(f"{self.value + below}" + salt)
        (job.out / "result.json").write_text(json.dumps({"loss": self.value / 10}))
        return {}


def weight_of(folder):
    return int((folder / "model.safetensors").read_text())


@dataclass(frozen=True, kw_only=True)
class Answer(Stage):
    """Reads weights, and those that they stand on."""

    kind: ClassVar[str] = "answer"
    model: Model
    plus: int = 0

    def run(self, job):
        below = 0 if self.model.parent is None else weight_of(job.folder_of(self.model.parent))
        value = weight_of(job.folder_of(self.model)) + below + self.plus
        (job.out / "value").write_text(str(value))
        return {}


@dataclass(frozen=True, kw_only=True)
class Choose(Stage):
    """Chooses the trial with the largest answer, and releases the others."""

    kind: ClassVar[str] = "choose"
    answers: tuple[Answer, ...]

    def run(self, job):
        values = [int((job.folder_of(each) / "value").read_text()) for each in self.answers]
        (job.out / "chosen").write_text(str(values.index(max(values))))
        return {}

    def releases(self, folder):
        chosen = int((folder / "chosen").read_text())
        return [each.model for i, each in enumerate(self.answers) if i != chosen]


@dataclass(frozen=True, kw_only=True)
class Report(Stage):
    """Reads what was chosen, and the small files of all trials."""

    kind: ClassVar[str] = "report"
    choice: Choose
    more: tuple[Stage, ...] = field(default=())
    words: str = ""

    def skimmed(self):
        return tuple(each.model for each in self.choice.answers)

    @property
    def trials(self):
        return self.skimmed()

    def inputs(self):
        yield from (self.choice, *self.trials, *self.more)

    def run(self, job):
        losses = [
            json.loads((job.records_of(each) / "result.json").read_text())["loss"]
            for each in self.trials
        ]
        facts = [job.facts_of(each)["name"] for each in self.trials]
        (job.out / "report").write_text(f"{losses} {facts} {self.words}")
        return {}


def tuned(words="", more=(), values=(1, 3, 2)):
    base = Model(name="base", value=100)
    trials = [Model(name=f"trial-{value}", value=value, parent=base) for value in values]
    answers = tuple(Answer(name=f"answer-{each.value}", model=each) for each in trials)
    choice = Choose(name="choice", answers=answers)
    return Report(name="report", choice=choice, words=words, more=more)


def graph_of(goal, *shown):
    exports = [Export(stage=goal, source="report", target="report")]
    exports += [Export(stage=each, source="", target=each.name) for each in shown]
    return Graph(exports=tuple(exports), preview=None, prompts=None, parts=())


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "home")


@pytest.fixture
def make(store, tmp_path):
    """Run a study whose report is the goal; return its runner."""

    def run(goal, *shown, out="run"):
        runner = Runner(store=store, device="cpu")
        folder = RunFolder(path=tmp_path / out)
        graph = graph_of(goal, *shown)
        with folder.locked():
            make_and_show(runner, graph, graph.goals, folder, TEXTS)
        return runner

    return run


def weights(store, goal):
    """Return which trials' weights lie in the store, by value."""
    return {
        each.value: (store.folder(each.kind, each.key) / "model.safetensors").exists()
        for each in goal.trials
    }


def test_trials_that_were_not_chosen_lose_their_weights_and_keep_what_is_told(make, store):
    goal = tuned()
    runner = make(goal)
    assert len(runner.executed) == 1 + 3 + 3 + 1 + 1
    assert weights(store, goal) == {1: False, 2: False, 3: True}
    report = (store.folder("report", goal.key) / "report").read_text()
    assert report == "[0.1, 0.3, 0.2] ['trial-1', 'trial-3', 'trial-2'] "
    for each in goal.trials:
        assert (store.folder("model", each.key) / "result.json").is_file()
    assert (store.folder("model", goal.trials[0].parent.key) / "model.safetensors").exists()


def test_a_second_run_executes_nothing_and_a_new_report_only_itself(make, store):
    make(tuned())
    assert make(tuned()).executed == []
    assert make(tuned(words="new")).executed == ["report"]


def test_the_plan_says_the_same(make, store):
    make(tuned())
    states = {line.stage.name: line.state for line in make_plan((tuned(),), store, {})}
    assert set(states.values()) == {"cached"}
    other = Answer(name="other", model=tuned().trials[0], plus=1)
    lines = {line.stage.name: line for line in make_plan((other,), store, {})}
    assert {name: line.state for name, line in lines.items()} == {
        "base": "cached", "trial-1": "new", "other": "new"
    }  # fmt: skip
    assert lines["trial-1"].why == "its weights were dropped"


def test_a_study_that_needs_them_makes_them_again_under_the_same_key(make, store):
    goal = tuned()
    make(goal)
    place = store.folder("model", goal.trials[0].key)
    small = place / "result.json"
    before = small.stat().st_ino
    other = Answer(name="other", model=goal.trials[0], plus=1)
    runner = Runner(store=store, device="cpu")
    made = runner.make(other)
    assert runner.executed == ["trial-1", "other"]
    assert runner.notes == []
    assert (made.folder / "value").read_text() == str(101 + 100 + 1)
    assert small.stat().st_ino == before, "who reads it meanwhile never finds it missing"
    assert store.find("model", goal.trials[0].key).is_whole


def test_weights_that_come_out_otherwise_are_told(make, store, monkeypatch):
    goal = tuned()
    make(goal)
    monkeypatch.setenv("SALT", " ")
    runner = Runner(store=store, device="cpu")
    runner.make(goal.trials[0])
    (note,) = runner.notes
    assert "trial-1: the weights made again are not those that were dropped" in note
    assert store.find("model", goal.trials[0].key).is_whole


def test_weights_stay_until_the_last_stage_that_reads_them(make, store):
    trial = tuned().trials[0]
    late = Answer(name="late", model=trial, plus=7)
    goal = tuned(more=(late,))
    left = []

    class Watching(Runner):
        def make(self, stage, **how):
            made = super().make(stage, **how)
            left.append((stage.name, weights(store, goal)[1]))
            return made

    # The choice is made long before `late`, which comes last in the report's inputs.
    runner = Watching(store=store, device="cpu")
    folder = RunFolder(path=store.root.parent / "run")
    with folder.locked():
        make_and_show(runner, graph_of(goal), (goal,), folder, TEXTS)
    assert runner.executed.count("trial-1") == 1
    assert ("choice", True) in left
    assert weights(store, goal)[1] is False


def test_what_the_run_folder_shows_stays_and_what_it_stands_on(make, store, tmp_path):
    goal = tuned()
    trial = goal.trials[0]
    make(goal, trial)
    assert weights(store, goal) == {1: True, 2: False, 3: True}
    assert (tmp_path / "run" / "trial-1" / "model.safetensors").read_text() == "101"


def test_another_study_keeps_what_it_shows(make, store):
    goal = tuned()
    make(goal.trials[0], out="other")
    make(goal)
    assert weights(store, goal) == {1: True, 2: False, 3: True}


def test_a_stage_that_runs_apart_finds_weights_gone_before_and_makes_them(make, store):
    """A run that stopped after its choice, then got a further stage that reads a trial."""
    goal = tuned()
    make(goal)
    late = Answer(name="late", model=goal.trials[2], plus=7)
    runner = make(tuned(more=(late,)))
    assert runner.executed == ["trial-2", "late", "report"]
    assert weights(store, goal) == {1: False, 2: False, 3: True}, "released again"


def test_killed_between_the_two_steps_they_count_as_dropped(make, store, monkeypatch):
    goal = tuned()
    trial = goal.trials[0]
    runner = Runner(store=store, device="cpu")
    runner.make(goal)
    place = store.folder("model", trial.key)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "size_on_disk", killed)
    with pytest.raises(KeyboardInterrupt):
        store.drop_weights("model", trial.key)
    monkeypatch.undo()
    assert (place / "model.safetensors").exists()
    found = store.find("model", trial.key)
    assert list(found.dropped) == ["model.safetensors"]
    assert make(goal).executed == []
    assert store.drop_weights("model", trial.key) == 3
    assert not (place / "model.safetensors").exists()
    assert store.find("model", trial.key).dropped == found.dropped


@pytest.mark.parametrize("harm", ["small file changed", "small file missing", "further file"])
def test_damage_beside_dropped_weights_is_damage(store, harm):
    trial = tuned().trials[0]
    Runner(store=store, device="cpu").make(trial)
    place = store.folder("model", trial.key)
    store.drop_weights("model", trial.key)
    if harm == "small file changed":
        (place / "result.json").write_text('{"loss": 9.9}')
    elif harm == "small file missing":
        (place / "result.json").unlink()
    else:
        (place / "other.safetensors").write_text("1")
    with pytest.raises(DamagedArtefactError):
        store.find("model", trial.key)
    runner = Runner(store=store, device="cpu")
    runner.make(trial)
    assert runner.executed == ["trial-1"]


def test_weights_missing_without_having_been_dropped_are_damage(store):
    trial = tuned().trials[0]
    Runner(store=store, device="cpu").make(trial)
    (store.folder("model", trial.key) / "model.safetensors").unlink()
    with pytest.raises(DamagedArtefactError, match="missing"):
        store.find("model", trial.key)


def test_dropping_twice_or_nothing_frees_nothing(store):
    goal = tuned()
    Runner(store=store, device="cpu").make(goal)
    assert store.drop_weights("model", goal.trials[0].key) == 3
    assert store.drop_weights("model", goal.trials[0].key) == 0
    assert store.drop_weights("report", goal.key) == 0
    assert store.find("report", goal.key).is_whole
    assert store.drop_weights("model", "unknown") == 0


def test_an_artefact_at_work_is_left_alone(store):
    trial = tuned().trials[0]
    Runner(store=store, device="cpu").make(trial)
    with store.lock(trial.key):
        assert store.drop_weights("model", trial.key) is None
        assert store.drop("model", trial.key) is None
    assert store.find("model", trial.key).is_whole


def test_what_a_stage_needs_names_what_its_model_stands_on():
    trial = tuned().trials[0]
    answer = Answer(name="a", model=replace(trial, name="t"))
    assert [(stage.key, whole) for stage, whole in answer.needed()] == [
        (trial.key, True), (trial.parent.key, True)
    ]  # fmt: skip
    report = tuned()
    assert {stage.name for stage, whole in report.needed() if not whole} == {
        "trial-1", "trial-2", "trial-3"
    }  # fmt: skip
    assert len(in_order((report,))) == 9
