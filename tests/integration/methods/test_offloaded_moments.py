"""Moments that don't fit a device: moved away, updated weight by weight, to the same bits.

The processor stands for a device here; where memory runs out is made up, what is done is not.
"""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import EnvironmentFault, InterruptedRunError
from alignstudy.methods.loop import offload
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings

NOTE = "AdamW's moments didn't fit the device"


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt")


@pytest.fixture
def device_memory(monkeypatch):
    """The processor's memory counts as a device's."""
    monkeypatch.setattr(offload, "KINDS", {"cpu"})


def settings_of(**given):
    common = {
        "dropout": "off",
        "max_steps": 5,
        "learning_rate": 1e-2,
        "max_length": 64,
        "weight_decay": 0.1,
    }
    return SFTSettings(**common, save_steps=2, **given)


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def trained(parent, root, **changes):
    job = fx.make_job(settings_of(), parent, root, **changes)
    return train(job), files(job.out)


def full_after(monkeypatch, moments):
    """Have memory run out while moments are made, once so many tensors of them are."""
    original, made = torch.zeros_like, []

    def zeros_like(given, **options):
        if "memory_format" in options:  # as AdamW makes its moments
            made.append(given)
            if len(made) == moments + 1:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(given, **options)

    monkeypatch.setattr(torch, "zeros_like", zeros_like)
    return made


@pytest.mark.parametrize("moments", [0, 7, 40])
def test_the_result_is_the_same_to_the_bit(moments, parent, tmp_path, monkeypatch, device_memory):
    """None made, one of a weight's two made, or those of one group of weights."""
    plain, expected = trained(parent, tmp_path / "plain")
    assert NOTE not in " ".join(plain.notes)
    made = full_after(monkeypatch, moments)
    found, out = trained(parent, tmp_path / "moved")
    assert len(made) > moments
    assert NOTE in " ".join(found.notes)
    assert out == expected


def test_it_goes_on_from_a_checkpoint(parent, tmp_path, monkeypatch, device_memory):
    _, expected = trained(parent, tmp_path / "plain")
    asked = iter([False, False])
    with monkeypatch.context() as patched:
        full_after(patched, 3)
        with pytest.raises(InterruptedRunError):
            trained(parent, tmp_path / "cut", should_stop=lambda: next(asked, True))
    loads = offload.torch.optim.AdamW.load_state_dict

    def load(self, state_dict):  # the kept moments don't fit, either
        if state_dict["state"]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        loads(self, state_dict)

    monkeypatch.setattr(offload.torch.optim.AdamW, "load_state_dict", load)
    found, out = trained(parent, tmp_path / "cut")
    assert NOTE in " ".join(found.notes)
    assert out == expected


def test_passes_have_their_room_when_nothing_else_gives_way(
    parent, tmp_path, monkeypatch, device_memory
):
    """After micro-batches of one row, and layers computed again: the third time, in step 3."""
    from alignstudy.methods.loop.updates import MicroBatching

    trained(parent, tmp_path / "plain")
    original, failed = MicroBatching._all_pieces, []

    def all_pieces(self, *given):
        if self.state.global_step == 2 and len(failed) < 5:
            failed.append(self.rule.most_rows)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *given)

    monkeypatch.setattr(MicroBatching, "_all_pieces", all_pieces)
    found, _ = trained(parent, tmp_path / "moved")
    assert failed == [8, 4, 2, 1, 1]
    assert NOTE in " ".join(found.notes)
    plain, moved = (fx.read_metrics(tmp_path / name / "out") for name in ("plain", "moved"))
    losses = [entry["loss"] for entry in plain]  # in other pieces: but for rounding
    assert [entry["loss"] for entry in moved] == pytest.approx(losses, rel=1e-4)


def test_where_moments_are_gone_too_it_says_so(parent, tmp_path, monkeypatch, device_memory):
    from alignstudy.methods.loop.updates import MicroBatching

    def all_pieces(self, *given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(MicroBatching, "_all_pieces", all_pieces)
    with pytest.raises(EnvironmentFault, match="ran out of memory with micro-batches of 1 rows"):
        trained(parent, tmp_path)


def test_other_faults_are_what_they_are(parent, tmp_path, monkeypatch, device_memory):
    def step(self):
        raise RuntimeError("another fault")

    monkeypatch.setattr(offload.torch.optim.AdamW, "step", step)
    with pytest.raises(RuntimeError, match="another fault"):
        trained(parent, tmp_path)


def test_on_a_processor_nothing_is_moved(parent, tmp_path, monkeypatch):
    full_after(monkeypatch, 3)
    with pytest.raises(EnvironmentFault, match="out of memory"):
        trained(parent, tmp_path)
