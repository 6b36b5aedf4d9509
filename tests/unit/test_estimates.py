"""What a study would take: counts against brute force, predictions against what was measured."""

import gzip
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignstudy import Study
from alignstudy.cli.planning import say_totals
from alignstudy.data.select.collect import collect
from alignstudy.data.select.selection import RowSelection
from alignstudy.data.world.generate import WorldSettings, write_world
from alignstudy.methods.weights.scratch import ArchitectureSettings
from alignstudy.runtime.spreading import START_UP
from alignstudy.sources import ResolvedSource, Source
from alignstudy.study.api import worker_count
from alignstudy.study.cost import estimates
from alignstudy.study.cost import outlook as outlooks
from alignstudy.study.cost.counting import Counter
from alignstudy.study.cost.estimates import estimate
from alignstudy.study.cost.history import History, Told, machine_mark, mark, predicted, work_record
from alignstudy.study.cost.model_shape import ModelShape, shape_of_architecture, shape_of_config
from alignstudy.study.cost.outlook import StageEstimate
from alignstudy.study.cost.stage_loads import StageLoads, Unknown
from alignstudy.study.cost.workload import Load, Speed, decode, forward, load_from_json
from alignstudy.study.graph.stage import in_order
from alignstudy.study.run.runner import Runner
from alignstudy.study.run.store import Store

SPEED = Speed(wide=50.0, narrow=20.0, half=100.0, bandwidth=10.0, dispatch=2e-6, basis="a test")
OPT_350M = {
    "model_type": "opt", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "ffn_dim": 4096, "vocab_size": 50272, "word_embed_proj_dim": 512,
    "max_position_embeddings": 2048,
}  # fmt: skip
DEBERTA_LARGE = {
    "model_type": "deberta-v2", "hidden_size": 1024, "num_hidden_layers": 24,
    "num_attention_heads": 16, "intermediate_size": 4096, "vocab_size": 128100,
    "max_position_embeddings": 512, "position_buckets": 256, "position_biased_input": False,
    "architectures": ["DebertaV2ForSequenceClassification"],
}  # fmt: skip
LLAMA_1B = {  # Llama 3.2
    "model_type": "llama", "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128256,
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(WorldSettings(num_train=60, num_judge=40, num_test=30, num_pretrain=50), folder)
    return folder


def small(tmp_path, *overrides):
    """The demo on a small world, in a store of its own."""
    sizes = ("num_train=60", "num_judge=60", "num_test=90", "num_pretrain=60")
    study = Study.load(
        "demo",
        overrides=[*(f"data.world.{size}" for size in sizes), "calibration.n=10",
                   "validation.n=10", "data.train.max_rows=40", "workers=1", *overrides],
        out=tmp_path / "run",
    )  # fmt: skip
    return replace(study, store=Store(tmp_path / "home"))


def stages_of(study):
    return {s.name: s for s in in_order(study.graph(study.located(fetch=False)).goals)}


def of_source(path, tmp_path, **changes):
    """The stage that collects a study's training rows, from a source in a folder."""
    source = ResolvedSource(
        source=Source(name=str(path), kind="dataset"), path=path, digest=str(path)
    )
    stage = stages_of(small(tmp_path))["rows/train"]
    prompts = replace(stage.prompts, source=source)
    return replace(stage, source=source, prompts=prompts, **changes)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(OPT_350M, 331.2e6), (DEBERTA_LARGE, 435e6), (LLAMA_1B, 1235.8e6)],
    ids=["opt-350m", "deberta-v3-large", "llama-3.2-1b"],
)
def test_parameters_are_the_published_ones(config, parameters):
    assert shape_of_config(config).parameters == pytest.approx(parameters, rel=0.01)


def test_a_config_that_misses_a_size_has_no_shape():
    for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        assert shape_of_config({key: OPT_350M[key] for key in OPT_350M if key != name}) is None


def test_flops_of_the_published_model():
    """0.604 GF a token in the layers, 98 kF a token of context, 51.5 MF a scored token."""
    shape = shape_of_config(OPT_350M)
    layers = shape.forward_flops(tokens=1, context=0) - 2 * 512 * 1024
    assert layers == pytest.approx(0.604e9, rel=0.001)
    context = shape.forward_flops(tokens=1, context=1) - shape.forward_flops(tokens=1, context=0)
    assert context == pytest.approx(98.3e3, rel=0.001)
    head = shape.forward_flops(tokens=0, context=0, scored=1)
    assert head == pytest.approx(51.5e6 + 2 * 512 * 1024, rel=0.001)


@given(
    tokens=st.integers(1, 10_000), context=st.integers(1, 500), passes=st.integers(1, 50),
    times=st.integers(2, 5),
)  # fmt: skip
def test_twice_the_work_takes_twice_the_time(tokens, context, passes, times):
    shape = shape_of_architecture(ArchitectureSettings(), vocabulary=1000)
    one = forward(shape, tokens=tokens, context=context, passes=passes, scored=tokens)
    more = forward(
        shape, tokens=times * tokens, context=context, passes=times * passes, scored=times * tokens
    )
    assert more.time(SPEED) == pytest.approx(times * one.time(SPEED))
    assert more.memory == pytest.approx(one.memory)
    faster = replace(SPEED, wide=100.0, bandwidth=20.0, dispatch=1e-6)
    assert one.time(faster) == pytest.approx(one.time(SPEED) / 2)


@given(prompts=st.integers(1, 60), batch=st.integers(1, 8), new=st.integers(1, 50))
def test_a_larger_batch_decodes_in_no_more_passes(prompts, batch, new):
    shape = shape_of_architecture(ArchitectureSettings(), vocabulary=1000)
    alone = decode(shape, prompts=prompts, context=20, new=new, batch=batch)
    pairs = decode(shape, prompts=prompts, context=20, new=new, batch=2 * batch)
    assert pairs.operations <= alone.operations
    assert pairs.narrow_flops == alone.narrow_flops
    assert alone.tokens == prompts * (20 + new)


def test_loads_add_up_and_survive_json():
    load = Load(tokens=3, flops=5.0, memory=7.0, disk=1.0, working_disk=9.0, exact=True)
    both = load + Load(tokens=1, memory=9.0, disk=2.0, working_disk=4.0)
    assert (both.tokens, both.memory, both.disk, both.working_disk) == (4, 9.0, 3.0, 9.0)
    assert not both.exact
    kept = json.loads(json.dumps(load.to_json()))
    assert load_from_json(kept) == load
    assert load_from_json({**kept, "version": -1}) is None


@pytest.mark.parametrize(
    "selection",
    [
        RowSelection(),
        RowSelection(subsets=("helpful-base",)),
        RowSelection(max_rows=30),
        RowSelection(subsets=("pretrain",)),
    ],
    ids=["all", "subset", "max_rows", "documents"],
)
def test_rows_of_a_source_are_counted_as_they_will_be_collected(selection, world, tmp_path):
    kind = "documents" if selection.subsets == ("pretrain",) else "pairs"
    if not selection.subsets:
        selection = selection.model_copy(update={"subsets": ("harmless-base", "helpful-base")})
    store = Store(tmp_path / "home")
    stage = of_source(world, tmp_path, selection=selection, rows=kind)
    counted = Counter(store).part(stage)
    collected = collect(world, selection, part="train", kind=kind)
    assert counted.rows == pytest.approx(len(collected.rows), rel=0.1)  # broken rows are counted
    assert not counted.exact
    made = Runner(store=store, device="cpu").make(stage)
    again = Counter(store).part(stage)
    assert (again.rows, again.exact) == (made.facts["rows"], True)
    texts = [len("".join(row)) for row in counted.sample]
    exact = [len("".join(row)) for row in again.sample]
    assert sum(texts) / len(texts) == pytest.approx(sum(exact) / len(exact), rel=0.1)


def test_a_share_of_one_file_is_taken(tmp_path):
    file = tmp_path / "rows.jsonl.gz"
    row = {
        "chosen": "\n\nHuman: {n}?\n\nAssistant: yes",
        "rejected": "\n\nHuman: {n}?\n\nAssistant: no",
    }
    with gzip.open(file, "wt") as out:
        for n in range(3000):
            line = {key: text.replace("{n}", f"how many is {n}") for key, text in row.items()}
            out.write(json.dumps(line) + "\n")
    stage = of_source(file, tmp_path)
    for selection in (
        RowSelection(split="train"), RowSelection(split="test"), RowSelection(share=(0.2, 0.5)),
    ):  # fmt: skip
        counted = Counter(Store(tmp_path / "none")).part(replace(stage, selection=selection))
        collected = collect(file, selection, part="train", kind="pairs")
        assert counted.rows == pytest.approx(len(collected.rows), rel=0.12)


def test_a_long_file_is_extrapolated(tmp_path, monkeypatch, world):
    monkeypatch.setattr("alignstudy.study.cost.counting.COUNTED_BYTES", 2**20)
    folder = tmp_path / "long" / "helpful-base"
    folder.mkdir(parents=True)
    with gzip.open(world / "helpful-base" / "train.jsonl.gz") as file:
        lines = file.readlines()
    (folder / "train.jsonl").write_bytes(b"".join(lines * 200))
    selection = RowSelection(subsets=("helpful-base",))
    stage = of_source(tmp_path / "long", tmp_path, selection=selection)
    assert Counter(Store(tmp_path / "home")).part(stage).rows == pytest.approx(
        len(lines) * 200, rel=0.05
    )


def test_every_stage_of_the_demo_is_estimated(tmp_path):
    study = small(tmp_path)
    loads = StageLoads(study.store, "cpu")
    for stage in stages_of(study).values():
        load = loads.of(stage)
        assert load.time(SPEED) > 0, stage.name
        if stage.kind in {"train", "generate", "score"} and "length" not in stage.name:
            assert min(load.tokens, load.memory) > 0, stage.name
            assert load.flops + load.narrow_flops > load.tokens, stage.name


def test_the_reference_is_computed_once_for_trainings_that_share_it(tmp_path):
    overrides = (
        "methods.dpo2={method: dpo, beta: 0.3, max_length: 192}", "recipes.dpo2=[dpo2]",
        "methods.dpo.lora=null", "methods.dpo.learning_rate=5e-6",
    )  # fmt: skip
    study = small(tmp_path, *overrides)
    stages = stages_of(study)
    first, second = stages["train/dpo/seed-0"], stages["train/dpo2/seed-0"]
    one, other = StageLoads(study.store, "cpu"), StageLoads(study.store, "cpu")
    alone = other.of(second)
    assert one.of(first).flops == pytest.approx(alone.flops)
    assert one.of(second).flops == pytest.approx(0.77 * alone.flops, rel=0.03)  # 3 of 4
    assert one.of(second, refers=True) == alone


def test_more_steps_and_full_weights_cost_more(tmp_path):
    def load(*overrides):
        study = small(tmp_path, *overrides)
        return StageLoads(study.store, "cpu").of(stages_of(study)["train/sft/seed-0"])

    plain, longer = load(), load("methods.sft.num_train_epochs=3")
    assert longer.flops == pytest.approx(3 * plain.flops)
    assert longer.memory == plain.memory
    steps = load("methods.sft.max_steps=10")
    assert steps.flops == pytest.approx(plain.flops * 80 / 40)
    adapter = load("methods.sft.lora={r: 4}")
    assert adapter.flops == pytest.approx(plain.flops * 2 / 3)
    assert adapter.disk < plain.disk
    assert adapter.memory < plain.memory


def test_what_is_not_here_is_unknown_not_invented(tmp_path):
    study = replace(Study.load("paper", out=tmp_path / "run"), store=Store(tmp_path / "home"))
    located = study.located(fetch=False)
    if not located.missing:
        pytest.skip("the published data and models are on this machine")
    stages = in_order(study.graph(located).goals)
    loads = StageLoads(study.store, "cpu")
    for stage in stages:
        if stage.kind in {"rows", "base", "train", "generate", "score"}:
            with pytest.raises(Unknown, match="machine"):
                loads.of(stage)


def test_a_kind_that_nobody_counts_is_unknown(tmp_path):
    stage = stages_of(small(tmp_path))["compare"]
    foreign = type("Foreign", (type(stage).__bases__[0],), {"kind": "shape"})(name="x")
    with pytest.raises(Unknown, match="kind 'shape'"):
        StageLoads(Store(tmp_path), "cpu").of(foreign)


@pytest.fixture
def kept(monkeypatch):
    """A machine whose speed is known: nothing is probed, torch stays out."""
    monkeypatch.setattr(outlooks, "machine_speed", lambda *_, **__: SPEED)


@pytest.mark.usefixtures("kept")
def test_an_estimate_has_a_range_totals_and_names_what_it_rests_on(tmp_path):
    study = small(tmp_path)
    lines, _ = study.plan()
    found = study.estimate(lines)
    assert [each.stage for each in found.stages] == [line.stage.name for line in lines]
    assert all(each.low < each.seconds < each.high for each in found.stages if each.seconds > 0.1)
    assert {each.basis for each in found.stages} == {"a test"}
    assert found.seconds == pytest.approx(
        estimates.LIBRARIES_SECONDS + sum(each.seconds for each in found.stages), abs=0.2
    )
    assert found.memory == max(each.memory for each in found.stages)
    assert found.disk < found.free_disk
    assert (found.unknown, found.warnings) == ((), ())
    assert json.loads(json.dumps(found.to_json()))["stages"][0]["stage"] == "world"
    assert not (tmp_path / "home").exists()


def test_where_nothing_is_new_nothing_is_probed(tmp_path, monkeypatch):
    monkeypatch.setattr(outlooks, "machine_speed", lambda *_, **__: pytest.fail("probed"))
    found = estimate([], Store(tmp_path), device="cpu", threads=1, workers=1)
    assert (found.stages, found.seconds) == ((), 0.0)


@pytest.mark.usefixtures("kept")
def test_what_does_not_fit_is_warned_of(tmp_path, monkeypatch):
    study = small(tmp_path)
    lines, _ = study.plan()
    monkeypatch.setattr(estimates, "free_bytes", lambda device: 10**6)
    monkeypatch.setattr(estimates, "_free_disk", lambda root: 10**5)
    memory, disk = study.estimate(lines).warnings
    assert memory.startswith("memory: about 0.8 GB are needed and 0.0 GB are free")
    assert disk.startswith("disk: ")
    assert "ALIGNSTUDY_HOME" in disk


def remember(store, stage, load, *, seconds):
    """Leave an artefact as a run that took so long would."""
    settings = stage.settings.model_copy(update={"learning_rate": seconds})
    stage = replace(stage, name="earlier", settings=settings)
    with store.writing(stage.kind, stage.key) as fresh:
        (fresh / "x").write_text("x")
        record = work_record(stage, load, workers=1, resumed=False)
        facts = {"seconds": seconds, "started": "2026-01-01", "work": record}
        store.commit(
            fresh, stage.kind, stage.key, fingerprint_inputs=stage.fingerprint_inputs, facts=facts
        )


def test_what_this_machine_took_before_corrects_the_prediction(tmp_path):
    study = small(tmp_path)
    stages = stages_of(study)
    stage = stages["train/sft/seed-0"]
    load = StageLoads(study.store, "cpu").of(stage)
    plain = predicted(load, SPEED, spread=1)
    told = History(study.store, SPEED).predict(stage, load, workers=1)
    assert (told.seconds, told.factor, told.basis) == (plain, None, "a test")
    for times in (2.0, 3.0, 4.0):
        remember(study.store, stage, load, seconds=times * plain)
    told = History(study.store, SPEED).predict(stage, load, workers=1)
    assert told.seconds == pytest.approx(3 * plain)
    assert told.factor == pytest.approx(1.5)
    assert told.basis == "3 earlier runs of its kind here"
    half = replace(load, flops=load.flops / 2, operations=load.operations / 2,
                   bytes=load.bytes / 2, seconds=load.seconds / 2)  # fmt: skip
    assert History(study.store, SPEED).predict(stage, half, workers=1).seconds == pytest.approx(
        1.5 * plain
    )
    other = stages["train/dpo/seed-0"]
    assert mark(other) != mark(stage)
    assert History(study.store, SPEED).predict(other, load, workers=1).factor is None


@pytest.mark.parametrize(
    "changes", [{"machine": "another"}, {"resumed": True}, {"load": {"version": -1}}]
)
def test_runs_that_say_nothing_of_this_machine_are_not_heard(tmp_path, changes):
    study = small(tmp_path)
    stage = stages_of(study)["train/sft/seed-0"]
    load = StageLoads(study.store, "cpu").of(stage)
    remember(study.store, stage, load, seconds=1e4)
    path = next((study.store.root / "store").glob("train/*/manifest.json"))
    manifest = json.loads(path.read_text())
    manifest["facts"]["work"] |= changes
    path.write_text(json.dumps(manifest))
    assert History(study.store, SPEED).predict(stage, load, workers=1).factor is None
    assert machine_mark() != "another"


def test_work_that_processes_share_is_predicted_shorter_where_they_pay():
    load = Load(flops=5000e9, seconds=1.0)
    assert predicted(load, SPEED, spread=1) == pytest.approx(101.0)
    assert predicted(load, SPEED, spread=4) == pytest.approx(26.0 + START_UP)
    small = Load(flops=50e9, seconds=1.0)
    assert predicted(small, SPEED, spread=4) == predicted(small, SPEED, spread=1)


@pytest.mark.parametrize(
    ("threads", "workers", "variable", "wanted"),
    [(2, "auto", "", 4), (16, "auto", "", 1), (None, "auto", "", 1), (None, "auto", "4", 2),
     (2, 3, "", 3), (2, 9, "", 4), (2, 1, "", 1)],
)  # fmt: skip
def test_workers_fill_the_cores_that_threads_leave(monkeypatch, threads, workers, variable, wanted):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    asked = SimpleNamespace(device="cpu", threads=threads, workers=workers)
    assert worker_count(asked) == wanted


def test_an_accelerator_is_one_process_work(monkeypatch):
    monkeypatch.setattr("alignstudy.study.api.accelerator", lambda asked: "H200")
    assert worker_count(SimpleNamespace(device="auto", threads=1, workers="auto")) == 1


@pytest.mark.usefixtures("kept")
def test_a_plan_counts_with_stages_side_by_side(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1}, raising=False)
    one, two = small(tmp_path), small(tmp_path, "workers=2", "threads=1")
    alone, beside = (study.estimate(study.plan()[0]) for study in (one, two))
    assert (alone.processes, beside.processes) == (1, 2)
    assert 0.5 * alone.seconds < beside.seconds < alone.seconds
    assert alone.memory < beside.memory
    say_totals(beside)
    assert ", in 2 processes" in capsys.readouterr().out


def hands_of(monkeypatch, loads, *, workers=2, free=64e9, device="cpu"):
    """Say in how many processes stages of such loads, none needing another, would be made."""
    stages = [SimpleNamespace(name=f"s{at}", key=f"k{at}", numeric=True, inputs=tuple)
              for at in range(len(loads))]  # fmt: skip
    of = {stage.key: load for stage, load in zip(stages, loads, strict=True)}
    monkeypatch.setattr(outlooks, "StageLoads", lambda *_: SimpleNamespace(
        of=lambda stage: of[stage.key]))  # fmt: skip
    monkeypatch.setattr(outlooks, "machine_speed", lambda *_, **__: SPEED)
    monkeypatch.setattr(outlooks, "free_memory", lambda: free)
    history = SimpleNamespace(
        predict=lambda stage, load, workers: Told(
            seconds=load.time(SPEED), factor=None, basis="a probe"
        )
    )
    monkeypatch.setattr(outlooks, "History", lambda *_: history)
    return outlooks.outlook(stages, None, device=device, threads=1, workers=workers)


def test_two_processes_are_planned_only_where_they_pay(monkeypatch):
    long, short = Load(seconds=100.0, memory=1e9), Load(seconds=2.0, memory=1e9)
    found = hands_of(monkeypatch, [long, long])
    assert (found.hands, found.spread) == (2, 1)
    assert found.seconds == pytest.approx(100.0 + START_UP)
    assert found.low < found.seconds < found.high
    assert found.memory == pytest.approx(2 * (1e9 + outlooks.LIBRARIES))
    assert hands_of(monkeypatch, [short, short]).hands == 1
    assert hands_of(monkeypatch, [long, long], workers=1).hands == 1
    assert hands_of(monkeypatch, [long, long], free=2e9).hands == 1
    assert hands_of(monkeypatch, [long, long], device="cuda").hands == 1
    found = hands_of(monkeypatch, [long] * 8, workers=8)
    assert (found.hands, found.spread) == (8, 1)
    found = hands_of(monkeypatch, [long] * 2, workers=8)
    assert (found.hands, found.spread) == (2, 4), "what is left over is for each one's texts"


def test_shapes_and_estimates_compare_by_value():
    assert StageEstimate(stage="a") == StageEstimate(stage="a")
    shape = ModelShape(hidden=8, layers=1, heads=1, ffn=8, keys=8, vocabulary=9, embedding=8)
    assert shape.weight_bytes == 4 * shape.parameters
