"""SimPO and KTO against TRL's own; references: whose they are, and for which rows."""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import DataError
from alignstudy.methods import LoRASettings, method_of
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.probes import probe_batch
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.train import train
from alignstudy.models.rendering import rendering_of
from alignstudy.models.tokenizers import load_tokenizer

LORA = LoRASettings(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj"))
SMALL = {"max_length": 64, "per_device_train_batch_size": 5, "learning_rate": 1e-2}
ROWS = fx.make_pairs(10)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def trainer_of(settings, parent, root, **changes):
    """Assemble a trainer; its fresh adapter already does something."""
    job = fx.make_job(settings, parent, root, **({"rows": ROWS} | changes))
    tokenizer = load_tokenizer(parent)
    with quiet_libraries():
        found = assemble(job, fx.encode(job, tokenizer), tokenizer, precision="fp32")
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in found.trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return found


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("simpo", {"beta": 2.5, "simpo_gamma": 1.2}, {"loss_type": "simpo", "simpo_gamma": 1.2}),
        ("simpo", {"beta": 2.0, "simpo_gamma": 0.5, "cpo_alpha": 0.3},
         {"loss_type": "simpo", "simpo_gamma": 0.5}),
        ("alphapo", {"beta": 2.0, "simpo_gamma": 0.5, "alphapo_alpha": 0.3},
         {"loss_type": "simpo", "simpo_gamma": 0.5, "alpha": 0.3}),
        ("cpo", {"beta": 0.2, "cpo_alpha": 0.7}, {}),
        ("dpo_reference_free", {"beta": 0.2}, {}),
        ("orpo", {"beta": 0.3}, None),
    ],
)  # fmt: skip
def test_losses_without_reference_are_trls(name, options, theirs, opt, tmp_path, monkeypatch):
    """Of TRL's trainers' own code, on the logits of the same pairs."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    settings = DPOSettings(**SMALL, loss_type=name, lora=LORA, **options)
    ready = trainer_of(settings, opt, tmp_path)
    trainer, batch = ready.trainer, probe_batch(ready.trainer)
    with torch.no_grad():
        said, _ = trainer.read(trainer.model, batch)
        ours = trainer.objective.loss(said)
        logits = trainer.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    averages = theirs is None or "loss_type" in theirs
    logps = CPOTrainer.get_batch_logps(logits, labels, average_log_prob=averages)
    usual = {"alpha": 0.0, "loss_type": "sigmoid", "label_smoothing": 0.0, "beta": options["beta"]}
    stock = SimpleNamespace(**usual | (theirs or {}), accelerator=trainer.accelerator)
    if theirs is None:
        expected = -ORPOTrainer.odds_ratio_loss(stock, *logps.chunk(2))[0]
    else:
        expected = CPOTrainer.cpo_loss(stock, *logps.chunk(2))[0]
    weight = 1.0 if theirs is None else settings.cpo_alpha
    if name in ("orpo", "cpo", "simpo"):  # a response at a time: theirs averages over a batch
        chosen, wanted = logits.chunk(2)[0][:, :-1], labels.chunk(2)[0][:, 1:]
        nll = [
            torch.nn.functional.cross_entropy(row, target, ignore_index=-100)
            for row, target in zip(chosen, wanted, strict=True)
        ]
        expected = expected + weight * torch.stack(nll)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)
    assert ready.references is None
    assert not trainer.has_references


@pytest.mark.parametrize("ahead", [True, False])
def test_kto_is_trls(ahead, opt, tmp_path):
    from trl import KTOTrainer

    settings = KTOSettings(**SMALL, undesirable_weight=1.3, beta=0.4, lora=LORA)
    ready = trainer_of(settings, opt, tmp_path)
    trainer, batch = ready.trainer, probe_batch(ready.trainer, num_rows=10)
    trainer.has_references = ahead
    with torch.no_grad():
        ours = float(trainer.compute_loss(trainer.model, batch))
        said, _ = trainer.read(trainer.model, batch)
    each = len(ROWS)
    rows = {name: value[: 2 * each] for name, value in batch.items() if value.dim() == 2}
    others = {name: batch[name][2 * each :].repeat(2, 1) for name in rows}
    theirs = {
        **rows,
        **{f"KL_{name}": value for name, value in others.items()},
        "label": torch.tensor([True] * each + [False] * each),
    }
    model = trainer.model.get_base_model()
    trainer.route.sharing, trainer.route.flat = 1, False
    stock = SimpleNamespace(
        model=trainer.model, ref_model=None, accelerator=trainer.accelerator, args=trainer.args,
        aux_loss_enabled=False, precompute_ref_logps=False, calculate_KL=True, loss_type="kto",
        beta=0.4, desirable_weight=1.0, undesirable_weight=1.3, _total_train_tokens=0, _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    stock._compute_kl_logps = lambda *given: KTOTrainer._compute_kl_logps(stock, *given)
    with torch.no_grad():
        expected = float(KTOTrainer._compute_loss(stock, trainer.model, theirs, False))
    assert ours == pytest.approx(expected, rel=1e-5)
    shift = float((said.mismatched - said.ref_mismatched).mean().clamp(min=0))
    assert stock._metrics["train"]["kl"] == pytest.approx([shift], rel=1e-4, abs=1e-5)
    assert type(model).__name__ == "OPTForCausalLM"


def test_mismatched_responses_answer_other_prompts(opt, tmp_path):
    tokenizer = load_tokenizer(opt)
    encoded = method_of(KTOSettings(**SMALL)).encode(ROWS, rendering_of(tokenizer))
    columns = encoded.columns
    for number in range(len(ROWS)):
        side = "rejected_ids" if number % 2 else "chosen_ids"
        cut = columns[side][number - 1][: 64 - len(columns["prompt_ids"][number])]
        assert columns["mismatched_ids"][number] == cut
    with pytest.raises(DataError, match="all rows have the same prompt"):
        method_of(KTOSettings(**SMALL)).encode(ROWS[:1], rendering_of(tokenizer))


def test_no_mismatched_response_answers_the_same_prompt(opt):
    """Of data with several pairs a prompt, as all pairs of ranked answers are."""
    twice = [
        replace(row, prompt=ROWS[number - number % 3].prompt) for number, row in enumerate(ROWS)
    ]
    encoded = method_of(KTOSettings(**SMALL)).encode(twice, rendering_of(load_tokenizer(opt)))
    columns, prompts = encoded.columns, encoded.columns["prompt_ids"]
    for number, mismatched in enumerate(columns["mismatched_ids"]):
        side = columns["rejected_ids" if number % 2 else "chosen_ids"]
        others = [
            ids for ids, prompt in zip(side, prompts, strict=True) if prompt != prompts[number]
        ]
        assert any(ids[: len(mismatched)] == mismatched for ids in others)


def test_a_mismatched_text_is_cut_as_its_siblings_are(opt):
    settings = KTOSettings(
        **SMALL | {"max_length": 10}, truncation="keep_end", encoding="published"
    )
    encoded = method_of(settings).encode(ROWS, rendering_of(load_tokenizer(opt)))
    columns = encoded.columns
    assert max(map(len, columns["prompt_ids"])) > 10
    for number in range(len(ROWS)):
        texts = {
            name: columns[f"{name}_prompt_ids"][number] + columns[f"{name}_ids"][number]
            for name in ("chosen", "rejected", "mismatched")
        }
        assert {len(text) for text in texts.values()} == {10}
        assert columns["mismatched_ids"][number]


@pytest.mark.parametrize(
    ("settings", "references"),
    [
        (DPOSettings(**SMALL, loss_type="simpo", lora=LORA, num_train_epochs=4), 0),
        (DPOSettings(**SMALL, loss_type="simpo", num_train_epochs=4), 0),
        (KTOSettings(**SMALL, lora=LORA, num_train_epochs=4), 10),
        (KTOSettings(**SMALL, num_train_epochs=4), 10),
    ],
    ids=["simpo lora", "simpo full", "kto lora", "kto full"],
)
def test_methods_without_trls_trainer_learn(settings, references, opt, tmp_path):
    result = train(fx.make_job(settings, opt, tmp_path, rows=ROWS))
    curve = fx.read_metrics(tmp_path / "out")
    assert curve[-1]["loss"] < curve[0]["loss"] - 1e-3
    assert result.work.reference_pairs == references
    assert ("implicit_reward_margin" in curve[0]) == bool(references)
    assert ("kl_estimate" in curve[0]) == (settings.method == "kto")
    guards = {outcome.guard for outcome in result.guards}
    assert ("reference_is_parent" in guards) == bool(references)
    assert "log_probs_are_the_models" in guards


def test_all_pair_losses_cost_the_same(opt, tmp_path):
    counts = set()
    for name in ("sigmoid", "ipo", "simpo", "hinge"):
        settings = DPOSettings(**SMALL, loss_type=name)
        work = train(fx.make_job(settings, opt, tmp_path / name, rows=ROWS)).work
        counts.add((work.processed_tokens, work.scored_tokens, work.micro_batches))
    assert len(counts) == 1


def test_the_reference_is_asked_for_rows_that_updates_see(opt, tmp_path):
    settings = DPOSettings(**SMALL, lora=LORA, max_steps=1)
    result = train(fx.make_job(settings, opt, tmp_path / "one", rows=fx.make_pairs(40)))
    assert result.work.reference_pairs == 5
    whole = settings.model_copy(update={"max_steps": 9})
    result = train(fx.make_job(whole, opt, tmp_path / "all", rows=fx.make_pairs(40)))
    assert result.work.reference_pairs == 40
    one, first = (fx.read_metrics(tmp_path / name / "out")[0] for name in ("one", "all"))
    assert one["loss"] == first["loss"]
    assert one["logps_chosen"] == first["logps_chosen"]


@pytest.mark.parametrize("lora", [LORA, None])
def test_a_reference_other_than_the_parent(lora, opt, tmp_path):
    """Against log-probabilities of both models by plain transformers."""
    from transformers import AutoModelForCausalLM

    start = fx.write_opt(tmp_path / "start", seed=7)
    settings = DPOSettings(**SMALL, lora=lora, max_steps=2, reference="start")
    job = fx.make_job(settings, opt, tmp_path / "job", rows=ROWS, reference=start)
    ready = trainer_of(settings, opt, tmp_path / "probe", reference=start)
    batch = probe_batch(ready.trainer, num_rows=10)
    model = AutoModelForCausalLM.from_pretrained(start).eval()
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    scored = logits[:, :-1].log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    sums = (scored * batch["completion_mask"][:, 1:]).sum(1)
    kept = torch.cat([batch["ref_chosen_logps"], batch["ref_rejected_logps"]])
    torch.testing.assert_close(kept, sums, rtol=1e-5, atol=1e-4)
    result = train(job)
    assert result.work.reference_pairs == 10
    first = fx.read_metrics(tmp_path / "job" / "out")[0]
    assert abs(first["implicit_reward_margin"]) > 1e-2
    swapped = [replace(row, chosen=row.rejected, rejected=row.chosen) for row in ROWS]
    train(fx.make_job(settings, opt, tmp_path / "swapped", rows=swapped, reference=start))
    other = fx.read_metrics(tmp_path / "swapped" / "out")[0]
    # Margins are real from the first step on: who wins one way loses the other.
    assert first["implicit_reward_accuracy"] + other["implicit_reward_accuracy"] == 1
    assert {"references_are_fresh"} <= {outcome.guard for outcome in result.guards}
    assert "reference_is_parent" not in {outcome.guard for outcome in result.guards}


def test_dropout_off_is_off_for_the_adapter_too(opt, tmp_path):
    settings = DPOSettings(**SMALL, lora=LORA)
    assert settings.lora_dropout == 0
    assert settings.model_copy(update={"dropout": "keep"}).lora_dropout == 0.05
    asked = LORA.model_copy(update={"lora_dropout": 0.2})
    assert settings.model_copy(update={"lora": asked}).lora_dropout == 0.2
    one, other = (
        train(fx.make_job(settings, opt, tmp_path / name, rows=ROWS, seed=0)) for name in "ab"
    )
    assert one.final_loss == other.final_loss
    outcome = next(g for g in one.guards if g.guard == "dropout_is_off")
    assert outcome.passed


def test_an_adapter_s_dropout_that_stayed_on_is_noticed(opt, tmp_path, monkeypatch):
    from alignstudy.errors import GuardError

    monkeypatch.setattr(DPOSettings, "lora_dropout", 0.0)
    asked = LORA.model_copy(update={"lora_dropout": 0.2})
    from alignstudy.methods.loop import trl_adapter

    real = trl_adapter.LoraConfig
    monkeypatch.setattr(
        trl_adapter, "LoraConfig", lambda **given: real(**(given | {"lora_dropout": 0.2}))
    )
    with pytest.raises(GuardError, match="dropout is off, yet two training passes differ"):
        train(fx.make_job(DPOSettings(**SMALL, lora=asked), opt, tmp_path, rows=ROWS))
