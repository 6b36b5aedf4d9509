"""What the store holds, who needs it, and that freeing some of it takes nothing from anybody."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from test_dropped_weights import Answer, Model, graph_of, tuned

from alignstudy.cli.app import main
from alignstudy.errors import DamagedArtefactError
from alignstudy.study.graph.stage import Stage
from alignstudy.study.run.known_runs import KnownRuns
from alignstudy.study.run.making import make_and_show
from alignstudy.study.run.publishing import StudyTexts
from alignstudy.study.run.run_folder import PROVENANCE, RunFolder
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store
from alignstudy.study.tools.prune import prune
from alignstudy.study.tools.stock import take_stock

TEXTS = StudyTexts(digest="toy", files={})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    return Store()


@pytest.fixture
def run(store, tmp_path):
    """Run a study that shows one stage; return what it executed."""

    def of(goal, out="runs/a"):
        runner = Runner(store=store, device="cpu")
        folder = RunFolder(path=tmp_path / out)
        with folder.locked():
            make_and_show(runner, graph_of(goal), (goal,), folder, TEXTS)
        return runner.executed

    return of


def answer(value=1, plus=0):
    return Answer(
        name=f"answer-{value}-{plus}", model=Model(name=f"m{value}", value=value), plus=plus
    )


def present(store, *stages):
    return [store.find(each.kind, each.key) is not None for each in stages]


def names(pruned):
    return sorted(piece.name for piece in pruned.pieces)


def test_what_a_run_folder_needs_stays(store, run):
    goal = answer()
    run(goal)
    found = prune(store, dry=False)
    assert (found.pieces, found.freed) == ([], 0)
    assert run(goal) == []


def test_what_no_run_needs_goes_and_is_made_again_if_asked_for(store, run, tmp_path):
    old, new = answer(1), answer(2)
    run(old)
    run(new)  # the same folder: a changed setting
    would = prune(store)
    assert names(would) == ["answer-1-0", "m1"]
    assert not would.done
    assert present(store, old, old.model) == [True, True], "a dry run changes nothing"
    done = prune(store, dry=False)
    assert names(done) == ["answer-1-0", "m1"]
    assert present(store, old, old.model, new, new.model) == [False, False, True, True]
    assert run(new) == []
    assert run(old) == ["m1", "answer-1-0"]


def test_bytes_freed_are_those_that_the_folder_no_longer_holds(store, run, tmp_path):
    run(answer(1))
    run(answer(2))
    before = sum(p.stat().st_size for p in (store.root / "store").rglob("*") if p.is_file()
                 and p.name != "manifest.json")  # fmt: skip
    would, done = prune(store), prune(store, dry=False)
    after = sum(p.stat().st_size for p in (store.root / "store").rglob("*") if p.is_file()
                and p.name != "manifest.json")  # fmt: skip
    assert done.freed == would.freed == before - after > 0


def test_a_file_that_a_run_folder_shows_too_frees_nothing(store, tmp_path):
    model = Model(name="m", value=12345)
    made = Runner(store=store, device="cpu").make(model)
    os.link(made.folder / "model.safetensors", tmp_path / "shown.safetensors")
    small = (made.folder / "result.json").stat().st_size
    assert prune(store).freed == prune(store, dry=False).freed == small
    assert (tmp_path / "shown.safetensors").read_text() == "12345"


def test_what_was_freed_still_counts_as_made_once(store, run):
    """How many versions were compared on the same prompts must not shrink by pruning."""
    old = answer(1)
    run(old)
    run(answer(2))
    prune(store, dry=False)
    assert len(store.made_with("answer", "plus", 0)) == 2
    assert store.record("answer", old.key).facts["name"] == "answer-1-0"
    assert prune(store, dry=False).pieces == [], "nothing is freed twice"


def test_what_an_earlier_version_in_the_folder_needs_stays_until_the_new_one_is_done(
    store, run, tmp_path
):
    old = answer(1)
    run(old)
    lines = [{"stage": each.name, "key": each.key} for each in (old.model, old)]
    (tmp_path / "runs/a" / PROVENANCE).write_text(json.dumps({"stages": lines}))
    run(answer(2))
    assert prune(store).pieces == []


def test_a_deleted_run_folder_is_gone_and_needs_nothing(store, run, tmp_path):
    goal, other = answer(1), answer(2)
    run(goal, out="runs/a")
    run(other, out="runs/b")
    shutil.rmtree(tmp_path / "runs/a")
    found = prune(store, dry=False)
    assert [item.folder for item in found.gone] == [tmp_path / "runs/a"]
    assert names(found) == ["answer-1-0", "m1"]
    assert [item.folder for item in KnownRuns(store).all()] == [tmp_path / "runs/b"]
    assert prune(store).gone == []


def test_a_run_folder_out_of_reach_counts_as_there_and_is_told(store, run, tmp_path):
    goal = answer(1)
    run(goal, out="disk/runs/a")
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    found = prune(store, dry=False)
    assert [item.folder for item in found.absent] == [tmp_path / "disk/runs/a"]
    assert any("out of reach" in line for line in found.notes())
    assert present(store, goal, goal.model) == [True, True]
    (tmp_path / "disk" / "runs").mkdir(parents=True)  # deleted for good: as the message says
    assert names(prune(store)) == ["answer-1-0", "m1"]


def test_what_two_runs_share_stays_with_the_one_that_is_left(store, run, tmp_path):
    goal, other = answer(1), answer(1, plus=5)
    run(goal, out="runs/a")
    run(other, out="runs/b")
    rows = {item.folder.name: (size, alone) for item, size, alone in take_stock(store).by_run()}
    assert all(size > alone > 0 for size, alone in rows.values())
    shutil.rmtree(tmp_path / "runs/a")
    assert names(prune(store, dry=False)) == ["answer-1-0"]
    assert present(store, goal.model, other) == [True, True]


def test_recent_things_can_be_kept(store, run):
    old = answer(1)
    run(old)
    run(answer(2))
    assert prune(store, keep_days=1).pieces == []
    long_ago = time.time() - 3 * 86_400
    os.utime(store.folder("model", old.model.key), (long_ago, long_ago))
    assert names(prune(store, keep_days=2, dry=False)) == ["m1"]
    assert present(store, old) == [True]


def test_leftovers_of_killed_processes_go(store, run):
    run(answer(1))
    kind = store.root / "store" / "answer"
    for name in ("abc.tmp-1", "abc.damaged-2"):
        (kind / name).mkdir()
        (kind / name / "file").write_text("x" * 10)
    found = prune(store, dry=False)
    assert found.freed == 20
    assert {piece.what for piece in found.pieces} == {"leftover"}
    assert {path.name for path in kind.iterdir()} == {answer(1).key}


def test_checkpoints_of_unknown_trainings_go_and_of_known_ones_only_if_asked(store, run):
    goal = answer(1)
    run(goal)
    known, unknown = store.work_folder(goal.model.key), store.work_folder("f" * 64)
    for folder in (known, unknown):
        folder.mkdir(parents=True)
        (folder / "state").write_text("state")
    assert prune(store, dry=False).freed == 5
    assert (known.exists(), unknown.exists()) == (True, False)
    assert prune(store, checkpoints=True, dry=False).freed == 5
    assert not known.exists()


def test_weights_that_only_a_killed_run_still_held_go_later(store, run, monkeypatch):
    """A run that ends between writing down what it spares and dropping it."""
    goal = tuned()
    monkeypatch.setattr(Store, "drop_weights", lambda *_: None)
    run(goal)
    monkeypatch.undo()
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(store.root))
    would = prune(store)
    assert sorted((piece.what, piece.name) for piece in would.pieces) == [
        ("weights", "trial-1"), ("weights", "trial-2")
    ]  # fmt: skip
    assert prune(store, dry=False).freed == would.freed == 6
    assert run(goal) == []


def test_weights_that_a_run_at_work_may_still_read_stay_until_it_ends(store, run):
    goal = tuned()
    with KnownRuns(store).using((goal,)):  # it may have chosen nothing yet
        run(goal)
        assert store.find("model", goal.trials[0].key).is_whole
        assert prune(store, dry=False).pieces == []
    assert [piece.what for piece in prune(store, dry=False).pieces] == ["weights", "weights"]
    assert not store.find("model", goal.trials[0].key).is_whole


def test_a_record_that_cannot_be_read_stops_everything(store, run):
    run(answer(1))
    run(answer(2))
    (store.root / "runs" / "odd.json").write_text("{")
    with pytest.raises(DamagedArtefactError, match="odd") as caught:
        prune(store, dry=False)
    assert caught.value.hint
    assert present(store, answer(1)) == [True]


@dataclass(frozen=True, kw_only=True)
class Waiting(Stage):
    """Reads its input again, once it is told to go on."""

    kind: ClassVar[str] = "waiting"
    before: Answer
    flags: str

    def run(self, job):
        folder = job.folder_of(self.before)
        (Path(self.flags) / "started").write_text("")
        while not (Path(self.flags) / "go").exists():
            time.sleep(0.01)
        (job.out / "value").write_text((folder / "value").read_text())
        return {}


def _run(root, folder, goal):
    runner = Runner(store=Store(root), device="cpu")
    with RunFolder(path=folder).locked():
        make_and_show(runner, graph_of(goal), (goal,), RunFolder(path=folder), TEXTS)


def _await(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_nothing_that_a_run_at_work_reads_goes_not_even_if_its_folder_is_deleted(
    store, run, tmp_path
):
    run(answer(3))
    goal = Waiting(name="waiting", before=answer(1), flags=str(tmp_path))
    work = store.work_folder(goal.key)
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_run, args=(store.root, tmp_path / "runs/w", goal))
    child.start()
    try:
        _await(tmp_path / "started")
        assert {item.state for item in KnownRuns(store).all()} == {"present", "running"}
        shutil.rmtree(tmp_path / "runs/w")
        assert work.exists()
        assert prune(store, checkpoints=True, dry=False).pieces == []
        assert work.exists()
        (tmp_path / "go").write_text("")
    finally:
        (tmp_path / "go").write_text("")
        child.join(30)
    assert child.exitcode == 0
    assert present(store, goal, goal.before) == [True, True]


def test_a_check_without_a_run_folder_keeps_what_it_reads_only_while_it_lasts(store):
    goal = answer(1)
    with KnownRuns(store).using((goal,)):
        Runner(store=store, device="cpu").make(goal)
        assert prune(store, dry=False).pieces == []
    assert list((store.root / "runs").glob("*.json")) == []
    assert names(prune(store, dry=False)) == ["answer-1-0", "m1"]


def _prune_and_die(root, after):
    """Prune; be killed at the n-th removal."""
    left = iter(range(after))
    real = Path.unlink

    def unlink(self, missing_ok=False):
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        real(self, missing_ok=missing_ok)

    Path.unlink = unlink
    prune(Store(root), dry=False)


@pytest.mark.parametrize("after", range(6))
def test_killed_in_the_middle_each_artefact_is_whole_or_absent(store, run, after):
    old = [answer(value) for value in (1, 2, 3)]
    for goal in old:
        run(goal)
    run(answer(4))
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_prune_and_die, args=(store.root, after))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    for goal in old:
        for stage in (goal, goal.model):
            found = store.find(stage.kind, stage.key)  # raises if it is damaged
            assert found is None or found.is_whole
    assert run(answer(4)) == []
    assert run(old[0])[-1:] in ([], ["answer-1-0"])
    run(answer(4))
    prune(store, dry=False)
    kept = [
        p for p in (store.root / "store").rglob("*") if p.is_file() and p.name != "manifest.json"
    ]
    assert len(kept) == 3, "the next prune finishes it"


def _run_until(stop, root, folder, goal, failures):
    while not stop.exists():
        try:
            _run(root, folder, goal)
        except Exception as error:
            failures.put(repr(error))
        shutil.rmtree(folder)


@pytest.mark.e2e
def test_runs_and_prunes_at_once_never_meet_half_an_artefact(store, tmp_path):
    """Runs that share a model and whose folders come and go, beside prunes that never stop."""
    context = multiprocessing.get_context("fork")
    stop, failures = tmp_path / "stop", context.SimpleQueue()
    children = [
        context.Process(
            target=_run_until,
            args=(stop, store.root, tmp_path / f"r{n}", answer(1, plus=n), failures),
        )
        for n in range(2)
    ]
    for child in children:
        child.start()
    freed, deadline = 0, time.monotonic() + 60
    while freed < 12 and time.monotonic() < deadline:
        freed += len(prune(store, dry=False).pieces)
    stop.write_text("")
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert failures.empty(), failures.get()
    assert freed >= 12


def said(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_command_line_says_and_does_it(store, run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    run(answer(1), out="runs/a")
    run(answer(2), out="runs/b")
    shutil.rmtree(tmp_path / "runs/a")
    text = said(capsys, "store", "size")
    assert "answer" in text
    assert "gone: needs nothing" in text
    assert "alignstudy store prune" in text
    sizes = json.loads(said(capsys, "store", "size", "--json"))
    assert sizes["unneeded"] > 0
    assert {row["state"] for row in sizes["runs"]} == {"present", "gone"}
    assert {row["kind"]: row["number"] for row in sizes["kinds"]} == {"answer": 2, "model": 2}
    text = said(capsys, "store", "prune")
    assert "add --yes" in text
    assert "answer-1-0" in text
    assert f"run gone: {tmp_path / 'runs/a'}" in text
    assert present(store, answer(1)) == [True]
    done = json.loads(said(capsys, "store", "prune", "--yes", "--json"))
    assert done["done"]
    assert {piece["name"] for piece in done["pieces"]} == {"answer-1-0", "m1"}
    assert present(store, answer(1), answer(2)) == [False, True]
    assert "nothing to free" in said(capsys, "store", "prune")


def test_an_empty_store_is_no_fault(store, capsys):
    assert "0 B" in said(capsys, "store", "size").replace("\u00a0", " ")
    assert "nothing to free" in said(capsys, "store", "prune")
    assert not store.root.exists() or not (store.root / "store").exists()
