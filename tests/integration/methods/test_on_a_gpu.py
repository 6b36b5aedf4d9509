"""What only a GPU shows; skipped where there is none."""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import InterruptedRunError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop import graphed
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.methods.tpo import TPOSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

COMMON = {
    "max_length": 64,
    "per_device_train_batch_size": 3,
    "learning_rate": 2e-4,
    "num_train_epochs": 3,
}
EXACT = {**COMMON, "precision": "fp32", "dropout": "off"}
CASES = {
    "sft": SFTSettings(**EXACT),
    "dpo": DPOSettings(**EXACT),
    "dpo lora": DPOSettings(**EXACT, lora=LoRASettings()),
    "kto": KTOSettings(**EXACT),
    "tpo": TPOSettings(**EXACT),
}


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt", dropout=0.1)


def trained(settings, parent, root, *, device="cuda", **changes):
    rows = fx.rows_for(settings)
    job = fx.make_job(settings, parent, root, rows=rows, device=device, **changes)
    return train(job), job


def losses(job):
    return [line["loss"] for line in fx.read_metrics(job.out)]


@pytest.mark.parametrize("name", list(CASES))
def test_losses_are_those_without_graphs_and_those_of_a_cpu(name, opt, tmp_path, monkeypatch):
    result, ours = trained(CASES[name], opt, tmp_path / "graphs")
    assert "CUDA graphs" not in " ".join(result.notes)  # nothing was refused
    monkeypatch.delitem(graphed.RECORDERS, "cuda")
    _, plain = trained(CASES[name], opt, tmp_path / "plain")
    assert losses(ours) == pytest.approx(losses(plain), rel=1e-6, abs=1e-7)
    _, on_cpu = trained(CASES[name], opt, tmp_path / "cpu", device="cpu")
    assert losses(ours) == pytest.approx(losses(on_cpu), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_noise_is_that_of_a_training_without_graphs(precision, opt, tmp_path, monkeypatch):
    settings = SFTSettings(**COMMON, precision=precision, dropout="keep")
    result, ours = trained(settings, opt, tmp_path / "graphs")
    assert "CUDA graphs" not in " ".join(result.notes)
    again, theirs = trained(settings, opt, tmp_path / "again")
    assert again.steps == result.steps
    assert losses(ours) == losses(theirs)


def test_a_run_that_was_stopped_goes_on_to_the_bit(opt, tmp_path):
    settings = SFTSettings(**COMMON, precision="fp32", dropout="keep", save_steps=2)
    _, whole = trained(settings, opt, tmp_path / "whole")
    asked = iter(range(100))
    with pytest.raises(InterruptedRunError):
        trained(settings, opt, tmp_path / "cut", should_stop=lambda: next(asked) == 4)
    _, cut = trained(settings, opt, tmp_path / "cut")
    ours, theirs = fx.weights_of(cut.out), fx.weights_of(whole.out)
    assert all(ours[name].equal(theirs[name]) for name in ours)
