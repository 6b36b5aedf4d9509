"""What of memory only a GPU shows; skipped where there is none."""

import methods_fixtures as fx
import pytest
import torch

from alignstudy.methods import METHODS, LoRASettings
from alignstudy.methods.loop import offload
from alignstudy.methods.loop.train import train
from alignstudy.models.load import load_causal_lm
from alignstudy.records import Weights
from alignstudy.study.cost.memory import training_footprint
from alignstudy.study.cost.model_shape import read_shape

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

WIDE = {"hidden_size": 512, "ffn_dim": 2048, "num_hidden_layers": 8, "num_attention_heads": 8}
QLORA = LoRASettings(lora_dropout=0.0, load_in_4bit=True)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt", std=0.02, **WIDE)


def trained(method, parent, root, **given):
    common = {"max_steps": 3, "learning_rate": 1e-3, "max_length": 96, "dropout": "off"}
    settings = METHODS.load(method).settings_type(**common | given)
    job = fx.make_job(settings, parent, root, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    return train(job), job, torch.cuda.max_memory_allocated()


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adamw_8bit"])
def test_qlora_is_kept_as_it_was_trained(optim, parent, tmp_path):
    pytest.importorskip("bitsandbytes")
    result, job, peak = trained("dpo", parent, tmp_path, lora=QLORA, optim=optim, precision="fp32")
    assert all(guard.passed for guard in result.guards)
    weights, ids = Weights(folder=job.out, base=parent), torch.arange(5, 45, device="cuda")[None]
    with torch.no_grad():
        on_gpu = load_causal_lm(weights, device="cuda")(input_ids=ids).logits.cpu()
        on_cpu = load_causal_lm(weights)(input_ids=ids.cpu()).logits
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-3)
    reckoned = training_footprint(job.settings, read_shape(parent)).memory(on_gpu=True)
    assert peak < 1.3 * reckoned


def test_a_full_card_moves_the_moments_and_changes_nothing(parent, tmp_path, monkeypatch):
    """Memory is allowed up to half of what the moments would take beyond the first passes' peak."""
    given = {"precision": "fp32", "per_device_train_batch_size": 2}
    _, plain, _ = trained("sft", parent, tmp_path / "plain", **given)
    step, total = offload.OffloadingAdamW.step, torch.cuda.get_device_properties(0).total_memory

    def on_a_full_card(self, closure=None):
        if not self.state:
            weights = [weight for group in self.param_groups for weight in group["params"]]
            moments = 8 * sum(weight.numel() for weight in weights)
            torch.cuda.empty_cache()
            allowed = torch.cuda.memory_reserved() + moments // 2
            torch.cuda.set_per_process_memory_fraction(allowed / total)
        step(self, closure)

    monkeypatch.setattr(offload.OffloadingAdamW, "step", on_a_full_card)
    try:
        result, moved, _ = trained("sft", parent, tmp_path / "moved", **given)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "AdamW's moments didn't fit the device" in " ".join(result.notes)
    expected, found = (fx.weights_of(job.out) for job in (plain, moved))
    assert all(found[name].equal(weight) for name, weight in expected.items())
