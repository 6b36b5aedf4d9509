"""Training on responses that were rated one by one: against TRL's own KTO, and on pairs."""

from collections import defaultdict
from dataclasses import asdict
from types import SimpleNamespace

import methods_fixtures as fx
import pytest
import torch
from test_methods_resume import files, stop_after

from alignstudy.errors import DataError, InterruptedRunError
from alignstudy.methods import LoRASettings, method_of
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.guards.probes import probe_batch
from alignstudy.methods.kto import KTOSettings
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.preview import preview
from alignstudy.methods.loop.train import train
from alignstudy.models.rendering import rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Rated, write_rows
from alignstudy.study.cost.work import total_flops
from alignstudy.study.graph.stage import Stage
from alignstudy.study.stages.data import RowSource, write_json
from alignstudy.study.stages.sources import ROWS as ROWS_FILE
from alignstudy.study.stages.train import RESULT, Train

LORA = LoRASettings(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj"))
SMALL = {"max_length": 64, "per_device_train_batch_size": 5, "learning_rate": 1e-2}
TRLS = ("kto", "apo_zero_unpaired")


def of_pairs(pairs):
    """Both responses of each pair, one after the other."""
    return [
        Rated(id=f"{p.id}/{side}", prompt=p.prompt, response=getattr(p, side),
              desirable=side == "chosen")
        for p in pairs for side in ("chosen", "rejected")
    ]  # fmt: skip


ROWS = fx.make_rated()


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt"))


def trainer_of(settings, parent, root, rows):
    """Assemble a trainer; its fresh adapter already does something."""
    job = fx.make_job(settings, parent, root, rows=rows)
    tokenizer = load_tokenizer(parent)
    with quiet_libraries():
        trainer = assemble(job, fx.encode(job, tokenizer), tokenizer, precision="fp32").trainer
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    return trainer


def loss_of_trls(trainer, batch, loss):
    """Return the loss of TRL's KTOTrainer on a batch of ours, and the distance that it logs."""
    from trl import KTOTrainer

    method, settings = trainer.method, trainer.method.settings
    learnt = len(batch["input_ids"]) // len(method.branches) * len(method.learnt)
    names = ("input_ids", "attention_mask", "completion_mask")
    theirs = {name: batch[name][:learnt] for name in names}
    theirs["label"] = batch.get(
        "desirable", torch.tensor([True] * (learnt // 2) + [False] * (learnt // 2))
    )
    if loss == "kto":
        copies = learnt // (len(batch["input_ids"]) - learnt)
        theirs |= {f"KL_{name}": batch[name][learnt:].repeat(copies, 1) for name in names}
    stock = SimpleNamespace(
        model=trainer.model, ref_model=None, accelerator=trainer.accelerator, args=trainer.args,
        aux_loss_enabled=False, precompute_ref_logps=False, calculate_KL=loss == "kto",
        loss_type=loss, beta=settings.beta, desirable_weight=settings.desirable_weight,
        undesirable_weight=settings.undesirable_weight, _total_train_tokens=0, _tp_size=1,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    stock._compute_kl_logps = lambda *given: KTOTrainer._compute_kl_logps(stock, *given)
    trainer.route.sharing, trainer.route.flat = 1, False
    with torch.no_grad():
        found = float(KTOTrainer._compute_loss(stock, trainer.model, theirs, False))
    return found, stock._metrics["train"]["kl"]


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("rows", ["rated", "pairs"])
@pytest.mark.parametrize("loss", TRLS)
def test_the_loss_is_trls(loss, rows, ahead, opt, tmp_path):
    settings = KTOSettings(
        **SMALL, rows=rows, loss_type=loss, beta=0.4, desirable_weight=1.7,
        undesirable_weight=0.6, lora=LORA,
    )  # fmt: skip
    given = ROWS if rows == "rated" else fx.make_pairs()
    trainer = trainer_of(settings, opt, tmp_path, given)
    batch = probe_batch(trainer, num_rows=10)
    trainer.has_references = ahead
    with torch.no_grad():
        ours = float(trainer.compute_loss(trainer.model, batch))
        said, _ = trainer.read(trainer.model, batch)
    expected, distance = loss_of_trls(trainer, batch, loss)
    assert ours == pytest.approx(expected, rel=1e-5)
    if loss == "kto":
        said = said if rows == "rated" else said.one_by_one()
        assert distance == pytest.approx([max(0.0, float(said.shift))], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", TRLS)
def test_rated_pairs_cost_no_more_text_and_give_the_pairs_loss(loss, opt, tmp_path):
    """The same responses as pairs and one by one; the reference point is pinned to none."""
    pairs = fx.make_pairs(6)
    means = []
    for rows, given in (("pairs", pairs), ("rated", of_pairs(pairs))):
        settings = KTOSettings(**SMALL, rows=rows, loss_type=loss, beta=0.4, lora=LORA)
        trainer = trainer_of(settings, opt, tmp_path / rows, given)
        batch = probe_batch(trainer, num_rows=len(given))
        if "mismatched" in trainer.method.branches:  # responses to other prompts differ: blank them
            each = len(given)
            batch["completion_mask"][-each:] = 0
            trainer.has_references = False
        with torch.no_grad():
            means.append(float(trainer.compute_loss(trainer.model, batch)))
    assert means[0] == pytest.approx(means[1], rel=1e-5)


@pytest.mark.parametrize("rows", ["rated", "pairs"])
def test_without_a_reference_point_no_mismatched_text_is_computed(rows, opt, tmp_path):
    given = ROWS if rows == "rated" else fx.make_pairs()
    done = {}
    for loss in TRLS:
        settings = KTOSettings(**SMALL, rows=rows, loss_type=loss)
        job = fx.make_job(settings, opt, tmp_path / loss, rows=given)
        done[loss] = (train(job), fx.encode(job, load_tokenizer(opt)))
    responses = ("response",) if rows == "rated" else ("chosen", "rejected")
    for loss, (result, encoded) in done.items():
        branches = (*responses, "mismatched") if loss == "kto" else responses
        scored = [sum(len(ids) for ids in encoded.columns[f"{name}_ids"]) for name in branches]
        prompts = len(branches) * sum(map(len, encoded.columns["prompt_ids"]))
        assert result.work.real_tokens == prompts + sum(scored)
        # What isn't learnt from goes without gradients.
        assert result.work.scored_tokens == sum(scored[: len(responses)])
        assert result.work.reference_pairs == len(given)
    assert "mismatched_ids" not in done["apo_zero_unpaired"][1].columns


def test_mismatched_responses_answer_other_prompts_and_take_turns(opt):
    tokenizer = load_tokenizer(opt)
    rows = of_pairs(fx.make_pairs(6))
    encoded = method_of(KTOSettings(**SMALL, rows="rated")).encode(rows, rendering_of(tokenizer))
    prompts, responses = encoded.columns["prompt_ids"], encoded.columns["response_ids"]
    kinds = []
    for number, ids in enumerate(encoded.columns["mismatched_ids"]):
        source = next(n for n, each in enumerate(responses) if each[: len(ids)] == ids)
        assert prompts[source] != prompts[number]
        kinds.append(rows[source].desirable)
    assert sum(kinds) == len(kinds) // 2
    one = method_of(KTOSettings(**SMALL, rows="rated"))
    with pytest.raises(DataError, match="all rows have the same prompt"):
        one.encode(rows[:2], rendering_of(tokenizer))


@pytest.mark.parametrize("loss", [*TRLS, "bco_unpaired"])
@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_good_responses_get_likelier_and_bad_ones_less_likely(loss, lora, opt, tmp_path):
    settings = KTOSettings(
        **SMALL, rows="rated", loss_type=loss, num_train_epochs=6, lora=lora, beta=0.5
    )
    result = train(fx.make_job(settings, opt, tmp_path, rows=ROWS))
    curve = fx.read_metrics(tmp_path / "out")
    assert curve[-1]["loss"] < curve[0]["loss"] - 1e-2
    assert curve[-1]["implicit_reward_margin"] > 0.1
    assert abs(curve[0]["implicit_reward_margin"]) < 1e-4
    assert ("kl_estimate" in curve[0]) == ("kl_clamped" in curve[0]) == (loss == "kto")
    assert result.counts["desirable"] == 4
    assert result.counts["undesirable"] == 6
    guards = {outcome.guard: outcome for outcome in result.guards}
    assert {"reference_is_parent", "end_is_learnt", "references_are_fresh"} <= set(guards)
    assert not guards["both_kinds_weigh_alike"].passed
    assert "4 desirable responses of weight 1 against 6" in guards["both_kinds_weigh_alike"].detail
    clamped = [note for note in result.notes if "reference point" in note]
    assert len(clamped) == (loss == "kto")


def test_weights_bring_the_kinds_into_balance(opt, tmp_path):
    settings = KTOSettings(**SMALL, rows="rated", desirable_weight=1.5, max_steps=1)
    result = train(fx.make_job(settings, opt, tmp_path, rows=ROWS))
    assert all(outcome.passed for outcome in result.guards)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("kto", {"lora": LORA, "save_steps": 2}),
        ("apo_zero_unpaired", {"save_steps": 3}),
        ("bco_unpaired", {"save_steps": 2}),
    ],
)
def test_stopped_and_continued_is_the_same_to_the_bit(name, settings, opt, tmp_path):
    settings = KTOSettings(
        **SMALL | {"per_device_train_batch_size": 3}, rows="rated", loss_type=name,
        num_train_epochs=2, **settings,
    )  # fmt: skip
    kept = tmp_path / "references.sqlite"
    whole = fx.make_job(settings, opt, tmp_path / "whole", rows=ROWS, references=kept)
    straight = train(whole)
    steps = straight.steps // 2 + 1
    stopped = fx.make_job(
        settings, opt, tmp_path / "cut", rows=ROWS, references=kept, should_stop=stop_after(steps)
    )
    with pytest.raises(InterruptedRunError, match=f"stopped at step {steps} of"):
        train(stopped)
    resumed = train(fx.make_job(settings, opt, tmp_path / "cut", rows=ROWS))
    assert files(tmp_path / "cut" / "out") == files(whole.out)
    assert resumed.notes[1:] == straight.notes


def test_one_kind_alone_is_refused_before_training(opt, tmp_path):
    rows = [row for row in ROWS if row.desirable]
    with pytest.raises(DataError, match="all 4 rated responses are desirable") as caught:
        train(fx.make_job(KTOSettings(**SMALL, rows="rated"), opt, tmp_path, rows=rows))
    assert "train `sft`" in caught.value.hint


def test_preview_shows_each_response_with_what_is_learnt(opt, tmp_path):
    shown = preview(
        fx.make_job(KTOSettings(**SMALL, rows="rated"), opt, tmp_path, rows=ROWS)
    ).examples
    assert [(each.row_id, each.part) for each in shown[:2]] == [
        ("small/train:1", "response"), ("small/train:1", "mismatched"),
    ]  # fmt: skip
    learnt = "".join(
        token for token, seen in zip(shown[0].tokens, shown[0].in_loss, strict=True) if seen
    )
    assert learnt.startswith(ROWS[0].response)


@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
def test_what_is_planned_is_what_is_computed(lora, loss, opt, tmp_path):
    """Texts that are only measured go forward, and cost no gradient."""
    settings = KTOSettings(**SMALL, rows="rated", loss_type=loss, num_train_epochs=2, lora=lora)
    rows = RowSource(name="rows", rows="rated")
    parent = Stage(name="base")
    stage = Train(
        name="t", settings=settings, parent=parent, rows=rows, seed=0, template="auto",
        device_class="cpu",
    )  # fmt: skip
    (tmp_path / "rows").mkdir()
    write_rows(tmp_path / "rows" / ROWS_FILE, ROWS)
    folders = {"rows": tmp_path / "rows", "base": opt}
    result = train(fx.make_job(settings, opt, tmp_path, rows=ROWS))
    write_json(tmp_path / "out" / RESULT, asdict(result))
    work = result.work
    assert (work.measured_tokens > 0) == (loss == "kto")
    assert work.processed_tokens + work.measured_tokens == work.real_tokens
    planned = total_flops(stage.planned_work(lambda each: folders[each.name]))
    done = stage.work_done(tmp_path / "out", lambda each: folders[each.name], {})["flops"]
    assert planned == pytest.approx(done, rel=0.02)
