"""TPO trained for real: TRL's loss, three branches on one prompt, and rows that don't serve."""

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace

import architectures
import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import DataError, GuardError
from alignstudy.methods import METHODS, LoRASettings, method_of
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.probes import probe_batch
from alignstudy.methods.loop import preparing
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.preview import preview
from alignstudy.methods.loop.train import train
from alignstudy.methods.scoring import shared_forward
from alignstudy.methods.scoring.shared_forward import ScoringRoute
from alignstudy.methods.tpo import TPOSettings
from alignstudy.models.load import load_causal_lm
from alignstudy.models.rendering import rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights

LORA = LoRASettings(r=4, lora_alpha=8)
SMALL = {"max_length": 64, "per_device_train_batch_size": 5, "learning_rate": 1e-2}
ROWS = fx.make_triples(10)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def trainer_of(settings, parent, root):
    job = fx.make_job(settings, parent, root, rows=ROWS)
    tokenizer = load_tokenizer(parent)
    with quiet_libraries():
        return assemble(job, fx.encode(job, tokenizer), tokenizer, precision="fp32").trainer


@pytest.mark.parametrize("sharing", ["auto", "off"])
@pytest.mark.parametrize(("ours", "theirs"), [("tpo", "sigmoid"), ("tpo_l", "tpo-l")])
def test_each_row_s_loss_is_trls(ours, theirs, sharing, opt, tmp_path, monkeypatch):
    """Row by row: TRL's likelihood is a mean over all tokens of a batch."""
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.tpo import TPOTrainer

    settings = TPOSettings(
        **SMALL, loss_type=ours, beta=0.7, tpo_alpha=0.4, prefix_sharing=sharing, lora=LORA,
        **({"tpo_l_gamma": 0.9} if ours == "tpo_l" else {}),
    )  # fmt: skip
    trainer = trainer_of(settings, opt, tmp_path)
    batch, each = probe_batch(trainer, num_rows=10), len(ROWS)
    stock = SimpleNamespace(
        model=trainer.model, accelerator=trainer.accelerator, loss_type=theirs, beta=0.7,
        tpo_alpha=0.4, tpo_l_gamma=0.9, label_smoothing=0.0, aux_loss_enabled=False,
        _total_train_tokens=0, _tp_size=1, _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    with torch.no_grad():
        said, _ = trainer.read(trainer.model, batch)
        losses = trainer.objective.loss(said)
        for row in range(each):
            alone = {name: value[row::each] for name, value in batch.items()}
            expected = TPOTrainer._compute_loss(stock, trainer.model, alone, False)
            torch.testing.assert_close(losses[row], expected, rtol=1e-5, atol=1e-5)
    assert losses.std() > 0.01
    assert trainer.route.sharing == (3 if sharing == "auto" else 1)


@pytest.mark.parametrize("name", ["OPT", "Llama", "GPT2", "GPTNeoX"])
def test_every_response_is_scored_as_if_it_were_alone(name, opt, tmp_path):
    """In float64, by the model's own forward; Llama's norm computes in float32."""
    with quiet_libraries():
        folder = architectures.write_architecture(tmp_path / name, name, tokenizer_from=opt)
    trainer = trainer_of(TPOSettings(**SMALL, dropout="off"), folder, tmp_path / "job")
    batch = probe_batch(trainer)
    trainer.model.double().eval()
    model = load_causal_lm(Weights(folder=folder)).double().eval()
    with torch.no_grad():
        found = trainer.log_probs(trainer.model, batch)
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            ids, seen = (batch[key][row, :length] for key in ("input_ids", "completion_mask"))
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
            truth = logits.log_softmax(-1).gather(-1, ids[1:, None])[:, 0] * seen[1:]
            most = 1e-4 if name == "Llama" else 1e-9
            torch.testing.assert_close(found[row, : length - 1], truth, rtol=0, atol=most)
    assert trainer.route == ScoringRoute(sharing=3, flat=True)
    assert found.dtype == torch.float64
    assert len(found) == 3 * 8


def lengths_of(settings, parent, rows=ROWS):
    columns = method_of(settings).encode(rows, rendering_of(load_tokenizer(parent))).columns
    names = ("prompt", "chosen", "rejected", "gold")
    return [
        tuple(map(len, each)) for each in zip(*(columns[f"{n}_ids"] for n in names), strict=True)
    ]


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Join rows under one mask, and score with TRL's head."""
    monkeypatch.setattr(shared_forward, "holds_logits", lambda *_: False)
    monkeypatch.setattr(preparing, "use_joined_attention", lambda _: False)
    monkeypatch.setattr(
        preparing, "ScoringRoute", lambda **given: ScoringRoute(**(given | {"flat": True}))
    )


def test_a_prompt_is_computed_once_for_three_responses(opt, tmp_path):
    settings = TPOSettings(**SMALL, num_train_epochs=2)
    result = train(fx.make_job(settings, opt, tmp_path / "auto", rows=ROWS))
    rows = lengths_of(settings, opt)
    work = result.work
    assert work.scored_tokens == 2 * sum(c + r + g for _, c, r, g in rows)
    assert work.real_tokens == 2 * sum(3 * p + c + r + g for p, c, r, g in rows)
    # As few as that: responses that begin alike share their beginning, too.
    assert work.processed_tokens == 2 * sum(sum(row) for row in rows)
    assert work.reference_pairs == 0
    curve = fx.read_metrics(tmp_path / "auto" / "out")
    assert curve[-1]["gold_nll"] < curve[0]["gold_nll"] - 0.1
    plain = settings.model_copy(update={"prefix_sharing": "off"})
    apart = train(fx.make_job(plain, opt, tmp_path / "off", rows=ROWS))
    assert apart.work.processed_tokens == apart.work.real_tokens == work.real_tokens
    assert apart.final_loss == pytest.approx(result.final_loss, abs=1e-5)


def test_a_gpu_s_route_trains_the_same(opt, tmp_path, request):
    settings = TPOSettings(**SMALL, max_steps=3, loss_type="tpo_l")
    usual = train(fx.make_job(settings, opt, tmp_path / "usual", rows=ROWS))
    request.getfixturevalue("as_on_a_gpu")
    flat = train(fx.make_job(settings, opt, tmp_path / "flat", rows=ROWS))
    assert flat.work.processed_tokens % shared_forward.BLOCK == 0
    assert flat.final_loss == pytest.approx(usual.final_loss, abs=1e-5)
    assert {each.guard for each in flat.guards} == {each.guard for each in usual.guards}


def test_as_many_tokens_go_through_the_model_at_once_as_of_pairs(opt, tmp_path):
    of_two, of_three = (
        trainer_of(TPOSettings(**SMALL, gold=gold), opt, tmp_path / gold).rule.most_tokens
        for gold in ("chosen", "data")
    )
    assert of_three == 2 * of_two // 3


def test_examples_show_the_gold_response(opt, tmp_path):
    shown = preview(fx.make_job(TPOSettings(**SMALL), opt, tmp_path, rows=ROWS)).examples
    assert [each.part for each in shown] == ["chosen", "rejected", "gold"] * 3
    gold = shown[2]
    read = "".join(gold.tokens)
    learnt = "".join(t for t, seen in zip(gold.tokens, gold.in_loss, strict=True) if seen)
    assert read.endswith(ROWS[0].prompt + learnt)
    assert learnt.startswith(ROWS[0].gold)
    assert len(learnt) > len(ROWS[0].gold)  # and the end


def test_rows_without_a_gold_response_are_refused(opt, tmp_path):
    rows = [replace(row, gold=None) if number > 6 else row for number, row in enumerate(ROWS)]
    with pytest.raises(DataError, match="3 of 10 rows have no gold response") as caught:
        train(fx.make_job(TPOSettings(**SMALL), opt, tmp_path, rows=rows))
    for part in ("reference", rows[7].id, "columns: {reference:", "gold: chosen", "tpo_alpha: 0"):
        assert part in str(caught.value)


def test_gold_that_is_mostly_chosen_is_refused_unless_it_is_meant(opt, tmp_path):
    rows = [replace(row, gold=row.chosen) if number < 6 else row for number, row in enumerate(ROWS)]
    settings = TPOSettings(**SMALL, max_steps=2)
    with pytest.raises(GuardError, match="TPO is then CPO") as caught:
        train(fx.make_job(settings, opt, tmp_path / "data", rows=rows))
    assert "in 6 of 10 rows" in str(caught.value)
    some = train(fx.make_job(settings, opt, tmp_path / "some", rows=rows[2:]))
    assert some.counts["gold_is_chosen"] == 4
    pairs = [replace(row, gold=None) for row in rows]
    meant = settings.model_copy(update={"gold": "chosen"})
    result = train(fx.make_job(meant, opt, tmp_path / "chosen", rows=pairs))
    assert any("this is CPO with cpo_alpha 1" in note for note in result.notes)
    assert "gold_is_chosen" not in result.counts


def test_gold_that_is_mostly_rejected_is_refused(opt, tmp_path):
    """As of a column that was taken for another: the worse response would be learnt."""
    rows = [replace(row, gold=row.rejected) for row in ROWS]
    with pytest.raises(GuardError, match="are the rejected ones, and would be learnt") as caught:
        train(fx.make_job(TPOSettings(**SMALL, max_steps=2), opt, tmp_path, rows=rows))
    assert "in 10 of rejected" in str(caught.value)


def test_too_long_a_gold_response_is_cut_and_counted(opt, tmp_path):
    rows = [replace(ROWS[0], gold=" bees" * 100), *ROWS[1:]]
    settings = TPOSettings(**SMALL, max_steps=1)
    job = fx.make_job(settings, opt, tmp_path, rows=rows)
    result = train(job)
    before = train(fx.make_job(settings, opt, tmp_path / "before", rows=ROWS))
    assert result.counts["truncated"] == before.counts["truncated"] + 1
    prompt, _, _, gold = lengths_of(settings, opt, rows)[0]
    assert prompt + gold == settings.max_length


def test_a_gold_response_without_an_end_is_noticed(opt, tmp_path, monkeypatch):
    tpo = METHODS.load("tpo")
    known = tpo.encode

    def endless(method, rows, rendering):
        encoded = known(method, rows, rendering)
        encoded.columns["gold_ids"][2].pop()
        return encoded

    monkeypatch.setattr(tpo, "encode", endless)
    with pytest.raises(GuardError, match="1 of 24 rows don't teach the end"):
        train(fx.make_job(TPOSettings(**SMALL), opt, tmp_path, rows=ROWS))
