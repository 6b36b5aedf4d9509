"""What `plan` says of stages that never ran here, and of stages like those that did."""

import json
from dataclasses import replace

import pytest

from alignstudy import Study
from alignstudy.study.cost import estimate as estimating
from alignstudy.study.cost.estimate import History, predict, work_record
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.store import Store


def small(tmp_path, *overrides):
    """The demo, in a store of its own."""
    study = Study.load("demo", overrides=["workers=1", *overrides], out=tmp_path / "run")
    return replace(study, store=Store(tmp_path / "home"))


def stages_of(study):
    return {s.name: s for s in in_order(study.graph(study.located(fetch=False)).goals)}


def remember(store, stage, *, seconds, flops, started="2026-01-01", **changes):
    """Leave an artefact as a run that took so long would."""
    key = f"{len(list((store.root / 'store').glob('*/*'))):016x}"
    with store.writing(stage.kind, key) as fresh:
        (fresh / "x").write_text("x")
        work = {**work_record(stage, flops), **changes}
        facts = {"seconds": seconds, "started": started, "work": work}
        store.commit(fresh, stage.kind, key, fingerprint_inputs={}, facts=facts)


def test_on_a_first_run_only_seconds_are_not_known(tmp_path):
    study = small(tmp_path)
    lines, _ = study.plan()
    found = study.estimate(lines)
    assert [each.stage for each in found.stages] == [line.stage.name for line in lines]
    assert {each.seconds for each in found.stages} == {None}
    assert found.unknown == tuple(line.stage.name for line in lines)
    assert all(each.memory > 0 and each.disk > 0 for each in found.stages)
    assert found.memory == max(each.memory for each in found.stages)
    assert found.disk < found.free_disk
    assert found.warnings == ()
    assert json.loads(json.dumps(found.to_json()))["stages"][0]["stage"] == "world"
    assert not (tmp_path / "home").exists()


def test_where_nothing_is_new_nothing_is_estimated(tmp_path):
    found = estimating.estimate([], Store(tmp_path), device="cpu")
    assert (found.stages, found.seconds, found.unknown) == ((), 0.0, ())


def test_what_does_not_fit_is_warned_of_in_units_that_fit(tmp_path, monkeypatch):
    study = small(tmp_path)
    lines, _ = study.plan()
    monkeypatch.setattr(estimating, "free_memory", lambda: 10**6)
    monkeypatch.setattr(estimating, "_free_disk", lambda root: 10**5)
    memory, disk = study.estimate(lines).warnings
    assert "needed, 1.00\u00a0MB free" in memory
    assert "needed, 100\u00a0kB free" in disk
    assert "ALIGNSTUDY_HOME" in disk


def test_seconds_are_in_proportion_to_the_work_of_stages_like_it(tmp_path):
    study = small(tmp_path)
    stages = stages_of(study)
    stage, other = stages["train/sft/seed-0"], stages["train/dpo/seed-0"]
    assert predict(History(study.store.root).like(stage), 100.0) is None
    for seconds in (2.0, 30.0, 4.0):
        remember(study.store, stage, seconds=seconds, flops=100.0)
    history = History(study.store.root)
    runs = history.like(stage)
    assert len(runs) == 3
    assert [predict(runs, flops) for flops in (100.0, 250.0, None)] == [4.0, 10.0, 4.0]
    assert history.like(other) == []


def test_a_model_of_another_size_or_machine_says_nothing(tmp_path):
    study = small(tmp_path)
    stage = stages_of(study)["train/sft/seed-0"]
    remember(study.store, stage, seconds=5.0, flops=100.0, parameters=331e6)
    remember(study.store, stage, seconds=5.0, flops=100.0, like="train on another machine")
    assert not History(study.store.root).like(stage)


MANIFESTS = {
    "no JSON": "{",
    "not UTF-8": b"\xff\xfe",
    "nested too deep": "[" * 100_000,
    "a list": "[]",
    "facts of another kind": '{"facts": 3}',
    "work of release 0.3": '{"facts": {"work": {"load": {}, "of": "x"}, "seconds": 1}}',
    "infinite": '{"facts": {"seconds": 1e999, "started": "", "work": {"like": "",'
    ' "parameters": 1, "planned_flops": NaN}}}',
    "newer": '{"manifest_version": 99, "facts": {}, "files": {}, "ingredients": {}}',
}


@pytest.mark.parametrize("text", MANIFESTS.values(), ids=MANIFESTS)
def test_artefacts_that_cannot_be_read_are_passed_over(tmp_path, text):
    study = small(tmp_path)
    stage = stages_of(study)["train/sft/seed-0"]
    folder = study.store.folder("train", "feedfeedfeedfeed")
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    remember(study.store, stage, seconds=5.0, flops=100.0)
    assert predict(History(study.store.root).like(stage), 100.0) == 5.0
    lines, _ = study.plan()
    assert study.estimate(lines).stages


@pytest.mark.parametrize(
    "text", ['{"manifest_version": "x", "facts": {}, "files": {}, "ingredients": {}}',
             '{"manifest_version": 1, "facts": 3, "files": {}, "ingredients": {}}'],
)  # fmt: skip
def test_an_own_manifest_that_is_damaged_is_planned_as_new(tmp_path, text):
    study = small(tmp_path)
    world = stages_of(study)["world"]
    folder = study.store.folder("world", world.key)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(text)
    lines, _ = study.plan()
    assert lines[0].state == "new"


def test_what_is_not_on_this_machine_is_not_invented(tmp_path):
    other = ["base=somebody/unknown-model"]
    study = Study.load("paper", out=tmp_path / "run", overrides=other, offline=True)
    study = replace(study, store=Store(tmp_path / "home"))
    lines, located = study.plan()
    assert "base" in located.missing
    found = {each.stage: each for each in study.estimate(lines).stages}
    assert found["base"].memory is None
    trained = [each for name, each in found.items() if name.startswith("train/")]
    assert {each.disk for each in trained} == {None}
    assert found["compare"].disk > 0


def test_the_published_sizes_are_known_before_anything_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    study = Study.load("paper", out=tmp_path / "run", offline=True)
    lines, located = study.plan()
    assert "base" in located.missing
    by_name = {each.stage: each for each in study.estimate(lines).stages}
    trained = by_name["train/sft/seed-42"]
    assert trained.memory > 4 * 331e6 * 4  # weights, gradients and two moments in float32
    assert by_name["base"].disk == pytest.approx(331e6 * 4, rel=0.02)
