"""The route of float32 products: chosen by speed and error, kept by machine, a no-op by default."""

import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from alignstudy.runtime import kernel_probe as probe  # noqa: E402
from alignstudy.runtime import kernels, machine_file  # noqa: E402
from alignstudy.runtime.kernels import (  # noqa: E402
    Kernels,
    choose_route,
    kept_kernels,
    machine_kernels,
    measure_kernels,
    narrow_products,
    settle_kernels,
)

MADE_UP = Kernels(
    route="default",
    float32=70.0,
    default=70.0,
    bfloat16=9.5,
    small=20.0,
    error=4e-7,
    bandwidth=19.0,
    dispatch=3e-6,
    threads=1,
)


@pytest.fixture(autouse=True)
def switch_put_back():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield
    torch.backends.mkldnn.matmul.fp32_precision = before
    torch.set_num_threads(threads)


@pytest.fixture
def measurements(monkeypatch):
    """Measure nothing; tell how often it was asked for, and what for."""
    asked = []

    def measured():
        asked.append(torch.get_num_threads())
        return dataclasses.replace(MADE_UP, threads=torch.get_num_threads())

    monkeypatch.setattr(kernels, "measure_kernels", measured)
    return asked


def errors(default=4.6e-7, onednn=4.6e-7):
    return {"default": {"layer": default, "odd": 3e-7}, "onednn": {"layer": onednn, "odd": 3e-7}}


@pytest.mark.parametrize(
    ("default", "onednn", "error", "route"),
    [
        (1 / 91, 1 / 216, 9e-7, "onednn"),  # an AMD processor with AVX-512
        (1 / 70, 1 / 69, 4.6e-7, "default"),  # the same speed
        (1 / 91, 1 / 99, 9e-7, "default"),  # 9 % is noise
        (1 / 400, 1 / 3200, 4e-3, "default"),  # a processor with AMX: really bfloat16
        (1 / 400, 1 / 800, 5e-4, "default"),  # TF32
        (1 / 91, 1 / 216, 2.1e-6, "default"),  # float32, and yet worse than rounding explains
        (1 / 91, 1 / 216, float("inf"), "default"),
    ],
)
def test_a_route_is_taken_for_a_tenth_of_speed_and_float32s_error(default, onednn, error, route):
    assert choose_route({"default": default, "onednn": onednn}, errors(onednn=error)) == route


def test_no_error_beyond_the_cap_is_taken_whatever_the_default_routes():
    given_errors = errors(default=9e-6, onednn=1.1e-5)
    assert choose_route({"default": 2.0, "onednn": 1.0}, given_errors) == "default"


def test_one_bad_product_among_good_ones_is_enough():
    found = errors()
    found["onednn"]["odd"] = 4e-3
    assert choose_route({"default": 2.0, "onednn": 1.0}, found) == "default"


@given(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0), st.floats(1e-8, 1e-2), st.floats(1e-8, 1e-2))
def test_the_chosen_route_is_never_slower_nor_beyond_float32(default, onednn, own, other):
    chosen = choose_route({"default": default, "onednn": onednn}, errors(own, other))
    if chosen == "onednn":
        assert onednn < default
        assert other <= 1e-5


def test_products_agree_with_numpys_in_float64():
    asked = probe.products()
    outputs = probe.outputs_of("default", asked)
    assert len(asked) == 8
    for name, error in probe.errors_of(outputs, asked).items():
        assert 0 < error < 2e-6, name
    product, true = asked["one row"]
    weight = probe._randn(2048, 1024).numpy().astype(np.float64)
    row = probe._randn(512, 1024).numpy().astype(np.float64)[:1]
    np.testing.assert_allclose(true.numpy(), row @ weight.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(product().numpy(), row @ weight.T, rtol=1e-4, atol=1e-3)


def test_bfloat16_is_told_from_float32_by_its_error():
    asked = probe.products()
    rounded = {name: true.bfloat16().float() for name, (_, true) in asked.items()}
    found = probe.errors_of(rounded, asked)
    assert min(found.values()) > 1e-4
    own = probe.errors_of(probe.outputs_of("default", asked), asked)
    assert not kernels.within_float32(found, than=own)
    assert kernels.within_float32(own, than=own)


def test_a_result_that_is_not_a_number_has_an_infinite_error():
    asked = {"one": (lambda: torch.ones(1), torch.ones(1, dtype=torch.float64))}
    assert probe.errors_of({"one": torch.tensor([float("nan")])}, asked) == {"one": float("inf")}


def test_a_measurement_is_quick_plausible_and_leaves_everything_as_it_was():
    state, route = torch.random.get_rng_state(), torch.backends.mkldnn.matmul.fp32_precision
    start = time.process_time()
    found = measure_kernels()
    assert time.process_time() - start < 10  # about one second where nothing else runs
    assert found.route in kernels.ROUTES
    assert found.threads == 1
    assert found.float32 >= found.default > found.small > 0
    assert 0 < found.error <= kernels.ERROR_CAP
    assert 0.5 < found.bandwidth < 1000
    assert 1e-7 < found.dispatch < 1e-3
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.backends.mkldnn.matmul.fp32_precision == route


def test_routes_that_differ_in_no_bit_are_not_timed_against_each_other(monkeypatch):
    same = probe.outputs_of("default", probe.products())
    monkeypatch.setattr(probe, "outputs_of", lambda *_: same)
    timed = []
    monkeypatch.setattr(
        probe, "wide_seconds", lambda routes: timed.append(routes) or {"default": 1e-2}
    )
    assert measure_kernels().route == "default"
    assert timed == [["default"]]


@pytest.mark.parametrize(("error", "route"), [(1.0000002, "onednn"), (1.004, "default")])
def test_a_faster_route_is_taken_if_it_is_float32(monkeypatch, error, route):
    """As on a processor where the switch works, its second route off by a factor."""
    right = probe.outputs_of("default", probe.products())
    off = {name: value * error for name, value in right.items()}
    monkeypatch.setattr(probe, "onednn_at_hand", lambda: True)
    monkeypatch.setattr(probe, "outputs_of", lambda given, _: off if given == "onednn" else right)
    monkeypatch.setattr(probe, "wide_seconds", lambda _: {"default": 0.02, "onednn": 0.01})
    found = measure_kernels()
    assert found.route == route
    assert found.float32 / found.default == pytest.approx(2 if route == "onednn" else 1)


def test_a_machine_is_measured_once_for_every_number_of_threads(tmp_path, measurements):
    file = tmp_path / "home" / "machine.json"
    first = machine_kernels(file)
    assert machine_kernels(file) == first
    torch.set_num_threads(2)
    assert machine_kernels(file).threads == 2
    torch.set_num_threads(1)
    assert machine_kernels(file) == first
    assert measurements == [1, 2]
    assert kept_kernels(file) == {1: first, 2: dataclasses.replace(first, threads=2)}
    assert [path.name for path in file.parent.iterdir()] == ["machine.json"]


@pytest.mark.parametrize("change", ["processor", "torch"])
def test_another_processor_or_torch_is_measured_anew(tmp_path, measurements, monkeypatch, change):
    file = tmp_path / "machine.json"
    machine_kernels(file)
    if change == "processor":
        monkeypatch.setattr(kernels, "processor", lambda: "another")
    else:
        monkeypatch.setattr(kernels, "version", lambda _: "99.0")
    machine_kernels(file)
    assert measurements == [1, 1]
    monkeypatch.undo()
    assert kept_kernels(file) == {1: MADE_UP}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[1]",
        b'{"kernels": 3}',
        b"null",
        b"[" * 100_000,
        b'{"kernels": {}}',
    ],
)
def test_a_damaged_file_is_measured_over(tmp_path, measurements, content):
    file = tmp_path / "machine.json"
    file.write_bytes(content)
    assert machine_kernels(file) == machine_kernels(file) == MADE_UP
    assert measurements == [1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("route", "fp8"), ("route", ["default"]), ("float32", 0), ("float32", "70"),
        ("error", float("nan")), ("error", float("inf")), ("threads", 1.0), ("threads", True),
        ("format", 0), ("speed", 3), ("bandwidth", None),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_have_been_measured_is_measured_over(
    tmp_path, measurements, field, value
):
    file = tmp_path / "machine.json"
    machine_kernels(file)
    sections = json.loads(file.read_text())
    for entry in sections["kernels"].values():
        entry[field] = value
    file.write_text(json.dumps(sections))
    assert machine_kernels(file) == MADE_UP
    assert measurements == [1, 1]


def test_a_file_that_cannot_be_written_is_only_slower(tmp_path, measurements):
    (tmp_path / "file").write_text("not a folder")
    unwritable = tmp_path / "file" / "machine.json"
    assert settle_kernels(unwritable) == settle_kernels(unwritable) == MADE_UP
    assert settle_kernels(None) == MADE_UP
    assert measurements == [1, 1, 1]
    folder = tmp_path / "folder"
    folder.mkdir()
    assert machine_kernels(folder) == MADE_UP
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_other_sections_of_the_file_are_left_alone(tmp_path, measurements):
    file = tmp_path / "machine.json"
    assert machine_file.keep_entry(file, "disks", "sda", {"speed": 3})
    machine_kernels(file)
    assert machine_file.kept_entries(file, "disks") == {"sda": {"speed": 3}}
    assert len(measurements) == 1


def test_the_processors_name_tells_what_it_can_compute(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(machine_file, "_CPUINFO", info)
    block = "model name\t: AMD EPYC\ncpu family\t: 25\nflags\t\t: {}\n\nmodel name\t: other\n"
    info.write_text(block.format("avx2"))
    first = machine_file.processor()
    assert first.startswith("AMD EPYC 25 (")
    info.write_text(block.format("avx2 avx512f"))
    assert machine_file.processor() != first
    info.unlink()
    assert machine_file.processor()


def test_where_the_default_route_is_chosen_nothing_is_switched(measurements):
    inputs, weight = torch.randn(64, 128), torch.randn(96, 128)
    before = inputs @ weight.T
    setting = torch.backends.mkldnn.matmul.fp32_precision
    settle_kernels(None)
    assert torch.backends.mkldnn.matmul.fp32_precision == setting
    assert torch.equal(inputs @ weight.T, before)
    with narrow_products():
        assert torch.backends.mkldnn.matmul.fp32_precision == setting


def test_a_lower_precision_that_was_set_before_is_float32_afterwards(measurements):
    torch.backends.mkldnn.matmul.fp32_precision = "tf32"
    settle_kernels(None)
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


def test_narrow_products_take_the_default_route_and_give_the_others_back(monkeypatch):
    monkeypatch.setattr(kernels, "_is_float32", lambda _: True)
    monkeypatch.setattr(
        kernels, "machine_kernels", lambda _: dataclasses.replace(MADE_UP, route="onednn")
    )
    assert settle_kernels(None).route == "onednn"
    assert probe.current_route() == "onednn"

    def fail():
        with narrow_products():
            assert probe.current_route() == "default"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert probe.current_route() == "onednn"
    probe.use_route("default")
    assert probe.current_route() == "default"


def test_a_kept_route_that_is_not_float32_here_is_measured_anew(
    tmp_path, measurements, monkeypatch
):
    """A home folder that was carried from a machine on which the switch computed float32."""
    file = tmp_path / "machine.json"
    carried = dataclasses.replace(MADE_UP, route="onednn", float32=216.0)
    monkeypatch.setattr(kernels, "measure_kernels", lambda: carried)
    assert machine_kernels(file) == carried
    monkeypatch.setattr(kernels, "measure_kernels", lambda: measurements.append(1) or MADE_UP)
    wrong = {name: true.bfloat16().float() for name, (_, true) in probe.products().items()}
    own = probe.outputs_of("default", probe.products())
    monkeypatch.setattr(probe, "onednn_at_hand", lambda: True)
    monkeypatch.setattr(probe, "outputs_of", lambda route, _: wrong if route == "onednn" else own)
    assert settle_kernels(file) == MADE_UP
    assert probe.current_route() == "default"
    assert kept_kernels(file) == {1: MADE_UP}


def test_the_doctor_tells_what_was_measured(tmp_path, measurements, monkeypatch):
    from alignstudy.study.run.store import Store
    from alignstudy.study.tools import doctor

    monkeypatch.setenv("ALIGNSTUDY_HOME", str(tmp_path / "home"))
    file = Store().machine_file()
    (line,) = doctor._kernels()
    assert measurements == [1]
    assert line[0] == "float32 products, 1 thread"
    assert "70 GF/s" in line[2]
    assert "19 GB/s" in line[2]
    assert not file.parent.exists()  # looking at a machine makes no folder
    fast = dataclasses.replace(MADE_UP, route="onednn", float32=210.0, bfloat16=400.0)
    monkeypatch.setattr(kernels, "measure_kernels", lambda: fast)
    machine_kernels(file)
    (line,) = doctor._kernels()
    assert measurements == [1]
    assert "oneDNN" in line[2]
    assert "3.0 times" in line[2]


def test_the_doctor_says_so_where_torch_is_missing(monkeypatch):
    from alignstudy.study.tools import doctor

    def missing(_: Path | None) -> Kernels:
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(doctor, "machine_kernels", missing)
    assert doctor._kernels() == [("float32 products", "missing", "No module named 'torch'")]
