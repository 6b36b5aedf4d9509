"""Any small causal language model: its log-probabilities are its own, and so is what it writes."""

import architectures
import methods_fixtures as fx
import pytest
import torch
from architectures import ARCHITECTURES, PROJECTIONS

from alignstudy.generation import GenerationSettings, generate
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.probes import probe_batch
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Prompt, Weights

SMALL = {"max_length": 64, "max_steps": 2, "learning_rate": 1e-3, "dropout": "off"}
SLOWER = {
    "GPTNeo": "prompts are not shared",  # local attention
    "Mistral": "prompts are not shared",  # a sliding window
    "Gemma2": "prompts are not shared",
    "Gemma3Text": "prompts are not shared",
    "ModernBertDecoder": "the model's own head is used",  # more than one matrix
    "Bert": "the model's own head is used",
    "Bloom": "prompts are not shared",  # distances between places in the row
}
"""Architectures that our faster routes are wrong for, and what they go without."""


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


@pytest.fixture(params=ARCHITECTURES)
def named(request, opt, tmp_path):
    name = request.param
    with quiet_libraries():
        folder = architectures.write_architecture(tmp_path / name, name, tokenizer_from=opt)
    return name, folder


def test_log_probabilities_are_the_models_own(named, tmp_path):
    """Each text alone, unpadded, by `forward` of a freshly loaded model."""
    name, folder = named
    job = fx.make_job(DPOSettings(**SMALL), folder, tmp_path / "job")
    tokenizer = load_tokenizer(folder)
    with quiet_libraries():
        ready = assemble(job, fx.encode(job, tokenizer), tokenizer, precision="fp32")
    trainer, batch = ready.trainer, probe_batch(ready.trainer)
    trainer.model.eval()
    with torch.no_grad():
        found = trainer.log_probs(trainer.model, batch)
    model = load_causal_lm(Weights(folder=folder))
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        ids, seen = (batch[key][row, :length] for key in ("input_ids", "completion_mask"))
        with torch.no_grad():
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
        truth = logits.log_softmax(-1).gather(-1, ids[1:, None])[:, 0] * seen[1:]
        torch.testing.assert_close(found[row, : length - 1], truth, rtol=0, atol=1e-4)
        assert truth.std() > 0.05
    told = " ".join(ready.notes)
    assert told == "" if name not in SLOWER else SLOWER[name] in told


def test_what_it_writes_is_what_it_writes_by_itself(named):
    _, folder = named
    prompts = [Prompt(id=p.id, axis="helpful", text=p.prompt) for p in fx.make_pairs(6)]
    settings = GenerationSettings(max_new_tokens=8)
    found = generate(
        Weights(folder=folder), prompts, settings, protocol="paper", device="cpu", seed=0
    )
    model, tokenizer = load_causal_lm(Weights(folder=folder)), load_tokenizer(folder)
    for prompt, response in zip(prompts, found, strict=True):
        ids = tokenizer(prompt.text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            for _ in range(8):  # no cache, no padding, no `generate`
                token = model(input_ids=ids, use_cache=False).logits[0, -1].argmax()
                if int(token) == tokenizer.eos_token_id:
                    break
                ids = torch.cat([ids, token[None, None]], 1)
        start = len(tokenizer(prompt.text)["input_ids"])
        expected = tokenizer.decode(ids[0, start:], skip_special_tokens=True)
        assert response.raw_text == expected


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["sft", "dpo", "dpo by an adapter"])
def test_it_is_trained(kind, named, tmp_path):
    name, folder = named
    settings = SFTSettings(**SMALL) if kind == "sft" else DPOSettings(**SMALL)
    if kind == "dpo by an adapter":
        targets = PROJECTIONS.get(name, ("q_proj", "v_proj"))
        settings = DPOSettings(**SMALL, lora=LoRASettings(target_modules=targets))
    result = train(fx.make_job(settings, folder, tmp_path / "job"))
    curve = fx.read_metrics(tmp_path / "job" / "out")
    assert curve[1]["loss"] < curve[0]["loss"]
    assert all(outcome.passed for outcome in result.guards)


def test_a_mixture_of_experts_trains_on_its_routers_loss_only_where_asked(opt, tmp_path):
    from transformers import AutoModelForCausalLM

    folder = architectures.write_architecture(tmp_path / "moe", "Mixtral", tokenizer_from=opt)
    losses = {}
    for weight in (0.0, 0.5):
        settings = SFTSettings(**SMALL, router_aux_loss_coef=weight)
        train(fx.make_job(settings, folder, tmp_path / str(weight), rows=fx.make_pairs(4)))
        losses[weight] = fx.read_metrics(tmp_path / str(weight) / "out")[0]["loss"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), load_tokenizer(folder)
    job = fx.make_job(SFTSettings(**SMALL), folder, tmp_path / "job", rows=fx.make_pairs(4))
    columns = fx.encode(job, tokenizer).columns
    width = max(map(len, columns["input_ids"]))
    ids = torch.tensor([row + [1] * (width - len(row)) for row in columns["input_ids"]])
    mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in columns["input_ids"]])
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask, output_router_logits=True)
    assert losses[0.5] - losses[0.0] == pytest.approx(0.5 * float(found.aux_loss), rel=1e-3)


@pytest.mark.parametrize("loss", ["sigmoid", "tdpo2"])
def test_a_router_s_loss_is_no_departure_from_the_reference(loss, opt, tmp_path):
    folder = architectures.write_architecture(tmp_path / "moe", "Mixtral", tokenizer_from=opt)
    settings = DPOSettings(**SMALL, loss_type=loss, router_aux_loss_coef=0.5)
    result = train(fx.make_job(settings, folder, tmp_path / "job"))
    assert "reference_is_parent" in {outcome.guard for outcome in result.guards}
    assert fx.read_metrics(tmp_path / "job" / "out")[0]["loss"] > 0.8  # ln 2, and the router's


def test_packing_is_refused_where_the_head_is_the_models_own(opt, tmp_path, monkeypatch):
    """The guard on documents is taken away: it refuses this architecture, too."""
    from alignstudy.errors import GuardError
    from alignstudy.methods.guards import checks

    monkeypatch.setattr(checks, "PACKING_TOLERANCE", 1e9)
    folder = architectures.write_architecture(
        tmp_path / "m", "ModernBertDecoder", tokenizer_from=opt
    )
    settings = SFTSettings(**SMALL, packing=True)
    with pytest.raises(GuardError, match="has a head of its own"):
        train(fx.make_job(settings, folder, tmp_path / "job"))
