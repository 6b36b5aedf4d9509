"""What a training does outside its updates: each file is read once, and nothing written in vain."""

import time
from collections import Counter

import methods_fixtures as fx
import pytest

from alignstudy import sources
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop import callback
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.weights import initial

SMALL = {"max_length": 64, "per_device_train_batch_size": 2, "num_train_epochs": 1}


@pytest.fixture
def opt(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGE", 1)
    monkeypatch.setattr(sources, "SETTLED", 0)
    folder = fx.write_opt(tmp_path / "opt")
    time.sleep(0.02)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """Count what is read: files hashed and models loaded, by name."""
    found, hashed, loaded = Counter(), sources.hashlib.file_digest, initial.load_causal_lm

    def digest(stream, kind):
        found[stream.name.rpartition("/")[2]] += 1
        return hashed(stream, kind)

    def load(*given, **more):
        found["loaded"] += 1
        return loaded(*given, **more)

    monkeypatch.setattr(sources.hashlib, "file_digest", digest)
    monkeypatch.setattr(initial, "load_causal_lm", load)
    return found


def test_weights_are_read_once_to_be_trained_and_once_to_be_named(opt, tmp_path, counted):
    """Three things ask for the parent's hash: the reference, the adapter's record, the stage."""
    from alignstudy.models.digests import weights_digest

    settings = DPOSettings(**SMALL, lora=LoRASettings())
    job = fx.make_job(settings, opt, tmp_path, references=tmp_path / "references.sqlite")
    weights_digest(opt)
    train(job)
    assert counted["loaded"] == 1
    assert counted["model.safetensors"] == 1


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_no_checkpoint_is_written_after_the_last_step_unless_much_hangs_on_it(
    seconds, opt, tmp_path, monkeypatch
):
    monkeypatch.setattr(callback, "LAST_SECONDS", seconds)
    result = train(fx.make_job(SFTSettings(**SMALL), opt, tmp_path))
    written = [path.name for path in (tmp_path / "work").glob("checkpoint-*")]
    assert written == ([] if seconds else [f"checkpoint-{result.steps}"])


def test_who_says_when_checkpoints_are_to_be_written_gets_the_last_one(opt, tmp_path):
    result = train(fx.make_job(SFTSettings(**SMALL, save_steps=3), opt, tmp_path))
    written = {path.name for path in (tmp_path / "work").glob("checkpoint-*")}
    assert f"checkpoint-{result.steps}" in written


@pytest.mark.parametrize("kind", ["another dtype", "tied", "of another name", "changed"])
def test_that_the_parent_is_what_its_files_hold_is_read_from_them(kind, opt, tmp_path, counted):
    """Without a second model, where the files have the model's own names."""
    import torch
    from safetensors.torch import load_file, save_file

    from alignstudy.errors import GuardError
    from alignstudy.records import Weights

    path = opt / "model.safetensors"
    tensors = load_file(path)
    if kind == "another dtype":
        tensors = {name: value.to(torch.bfloat16) for name, value in tensors.items()}
    if kind == "of another name":
        tensors = {name.removeprefix("model."): value for name, value in tensors.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    model = initial.load_causal_lm(Weights(folder=opt), device="cpu")
    before = counted["loaded"]
    if kind == "changed":
        with torch.no_grad():
            model.model.decoder.layers[1].fc2.bias[3] += 1e-6
        with pytest.raises(GuardError, match="not the model that training starts from") as caught:
            initial.check_is_filed(model, opt, device="cpu")
        assert "layers.1.fc2.bias" in caught.value.why
        return
    initial.check_is_filed(model, opt, device="cpu")
    assert counted["loaded"] - before == (1 if kind == "of another name" else 0)
