"""A reward model on a language model's body, every position compared, and a judge that reads it."""

import architectures as ar
import methods_fixtures as fx
import pytest
import torch

from alignstudy.errors import DataError, GuardError, InputError, InterruptedRunError
from alignstudy.judges.kinds.seqcls import SeqClsJudge, SeqClsSettings
from alignstudy.methods.guards import checks
from alignstudy.methods.guards.probes import forward_difference, probe_batch
from alignstudy.methods.loop import train as loop
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.preview import preview
from alignstudy.methods.loop.renderings import rendering_for
from alignstudy.methods.loop.train import train
from alignstudy.methods.reward_model import RewardModelSettings
from alignstudy.methods.sft import SFT, SFTSettings
from alignstudy.models.load import load_classifier
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Pair

SMALL = {"loss_on": "positions", "input": "chat", "max_length": 64, "learning_rate": 1e-3}
FAMILIES = ("OPT", "Llama", "GPT2", "GPTNeoX", "Qwen2", "Gemma2")
CHATML = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] + '\n' + message['content'] }}"
    "<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


@pytest.fixture(scope="module")
def opt(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("opt") / "opt")


@pytest.fixture(scope="module")
def bodies(opt, tmp_path_factory):
    root = tmp_path_factory.mktemp("bodies")
    return {f: ar.write_architecture(root / f, f, tokenizer_from=opt) for f in FAMILIES}


def encoded(job):
    rendering = rendering_for(job.parent, job.settings, job.template)
    return loop.method_of(job.settings).encode(job.rows, rendering), rendering.tokenizer


def whole(columns, at, side):
    return columns.get("prompt_ids", [[]] * (at + 1))[at] + columns[f"{side}_ids"][at]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_of_begun_texts_are_those_of_the_texts_alone(family, bodies, tmp_path):
    """What training compares at a position is what a judge would say of the text so far."""
    job = fx.make_job(RewardModelSettings(**SMALL), bodies[family], tmp_path)
    rows, tokenizer = encoded(job)
    trainer = assemble(job, rows, tokenizer, precision="fp32").trainer
    batch, model = probe_batch(trainer, num_rows=2), trainer.model.eval()
    with torch.no_grad():
        said, _ = trainer.read(model, batch)
        losses = trainer.objective.loss(said)
        alone = [
            [
                float(model(torch.tensor([whole(rows.columns, at, side)[:end]])).logits)
                for end in range(1, len(whole(rows.columns, at, side)) + 1)
            ]
            for side in ("chosen", "rejected")
            for at in range(2)
        ]
    for at in range(2):
        better, worse = alone[at], alone[at + 2]
        ids = whole(rows.columns, at, "chosen"), whole(rows.columns, at, "rejected")
        first = len(rows.columns["prompt_ids"][at])
        assert ids[0][:first] == ids[1][:first]
        assert ids[0][first] != ids[1][first]
        margins = [
            better[min(t, len(better) - 1)] - worse[min(t, len(worse) - 1)]
            for t in range(first, max(map(len, ids)))
        ]
        expected = -torch.nn.functional.logsigmoid(torch.tensor(margins)).mean()
        assert losses[at].item() == pytest.approx(expected.item(), abs=2e-6)
        assert said.chosen[at].item() == pytest.approx(better[-1], abs=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_policy_s_folder_becomes_a_judge_that_reads_what_it_was_trained_on(
    family, bodies, tmp_path
):
    settings = RewardModelSettings(
        **SMALL | {"learning_rate": 3e-3}, per_device_train_batch_size=5, num_train_epochs=6
    )
    job = fx.make_job(settings, bodies[family], tmp_path)
    rows, _ = encoded(job)
    result = train(job)
    assert result.notes == ("a new head was drawn from the seed",)
    curve = fx.read_metrics(job.out)
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["pair_accuracy"] > 0.8
    model = load_classifier(job.out)
    assert model.config.num_labels == 1
    assert type(model).__name__.endswith("ForSequenceClassification")
    judge = SeqClsJudge.build(SeqClsSettings(input="chat", max_length=64), job.out, "cpu")
    for at, pair in enumerate(fx.make_pairs(3)):
        for side in ("chosen", "rejected"):
            text = getattr(pair, side).strip()
            ids = judge._encoder.encode(pair.prompt, text).inputs["input_ids"]
            assert ids == whole(rows.columns, at, side)
            (score,) = judge.score([(pair.prompt, text)])
            assert score.score == pytest.approx(model(torch.tensor([ids])).logits.item(), abs=1e-5)


@pytest.mark.parametrize("written", ["hh", "none", "chat", "jinja"])
def test_prompts_are_trained_and_judged_as_the_policy_reads_them(written, opt, tmp_path):
    folder = tmp_path / "policy"
    folder.mkdir()
    for file in opt.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    if written == "chat":
        (folder / "chat_template.jinja").write_text(CHATML)
    template = f"jinja:{CHATML}" if written == "jinja" else "auto" if written == "chat" else written
    settings = RewardModelSettings(**SMALL | {"max_length": 128}, max_steps=1)
    turns = Pair(
        id="two",
        prompt="\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Tea?\n\nAssistant:",
        chosen=" I like tea.",
        rejected=" No.",
    )
    rows = [turns, *fx.make_pairs(4)]
    job = fx.make_job(settings, folder, tmp_path / "job", rows=rows, template=template)
    columns = encoded(job)[0].columns
    train(job)
    judge = SeqClsJudge.build(SeqClsSettings(input="chat", max_length=128), job.out, "cpu")
    policy = rendering_for(folder, SFTSettings(max_length=128), template)
    seen = SFT(SFTSettings(max_length=128)).encode(rows, policy).columns["input_ids"]
    for at, pair in enumerate(rows):
        ids = judge._encoder.encode(pair.prompt, pair.chosen.strip()).inputs["input_ids"]
        assert ids == whole(columns, at, "chosen")
        text = load_tokenizer(job.out).decode(ids)
        assert ("<|im_start|>" in text) == (written in ("chat", "jinja"))
        assert ("Human:" in text) == (written == "hh")
        # The policy's own text; a judge's begins as its tokenizer begins a text.
        own = policy.tokenizer.decode(seen[at][:-1])
        assert text.removeprefix("</s>").startswith(own.removeprefix("</s>"))
        assert written in ("chat", "jinja") or ids == seen[at][:-1]


def test_a_reward_model_goes_on_where_another_ended_and_resumes_to_the_bit(opt, tmp_path):
    settings = RewardModelSettings(
        **SMALL, per_device_train_batch_size=2, num_train_epochs=2, save_steps=3
    )
    straight = fx.make_job(settings, opt, tmp_path / "a")
    train(straight)
    stops = iter([False] * 4 + [True] * 20)
    job = fx.make_job(settings, opt, tmp_path / "b", should_stop=lambda: next(stops))
    with pytest.raises(InterruptedRunError):
        train(job)
    again = fx.make_job(settings, opt, tmp_path / "b")
    assert any("went on" in note for note in train(again).notes)
    one, two = fx.weights_of(straight.out), fx.weights_of(again.out)
    assert one.keys() == two.keys()
    assert all(one[name].equal(two[name]) for name in one)
    more = fx.make_job(settings, straight.out, tmp_path / "c")
    result = train(more)
    assert result.notes == ()  # no new head
    assert fx.read_metrics(more.out)[0]["loss"] < fx.read_metrics(straight.out)[0]["loss"]


def test_what_can_t_score_unfinished_texts_is_refused_by_name(opt, bodies, tmp_path):
    both_ways = fx.write_scratch(tmp_path / "both", "deberta-v2")
    settings = RewardModelSettings(**SMALL | {"input": "pair"}, max_steps=1)
    with pytest.raises(GuardError, match="no score at every position") as caught:
        train(fx.make_job(settings, both_ways, tmp_path / "a"))
    assert "loss_on: end" in str(caught.value)
    # A decoder whose attention is told to look ahead has a head on every position all the same.
    job = fx.make_job(RewardModelSettings(**SMALL), bodies["Llama"], tmp_path / "b")
    rows, tokenizer = encoded(job)
    trainer = assemble(job, rows, tokenizer, precision="fp32").trainer
    assert forward_difference(trainer, probe_batch(trainer)) < checks.FORWARD_TOLERANCE / 10
    trainer.model.config.is_causal = False
    difference = forward_difference(trainer, probe_batch(trainer))
    with pytest.raises(GuardError, match="doesn't score unfinished texts"):
        checks.scores_read_forward(difference, architecture="Llama")
    with pytest.raises(GuardError):
        checks.scores_read_forward(float("nan"), architecture="Llama")


def test_a_body_without_a_classifier_is_a_clear_refusal(opt, tmp_path):
    folder = ar.write_architecture(tmp_path / "granite", "Granite", tokenizer_from=opt)
    with pytest.raises(InputError):
        train(fx.make_job(RewardModelSettings(**SMALL), folder, tmp_path / "a"))


def test_texts_that_differ_in_nothing_or_have_no_room_on_one_prompt_are_left_out(opt, tmp_path):
    same = Pair(id="same", prompt="\n\nHuman: Hi.\n\nAssistant:", chosen=" Yes.", rejected="Yes. ")
    long = "\n\nHuman: Old." + " words" * 30 + "\n\nAssistant: Yes."
    first, second, third = fx.make_pairs(3)
    turns = Pair(**vars(first) | {"id": "turns", "prompt": long + first.prompt})
    huge = Pair(**vars(second) | {"id": "huge", "rejected": " bad" * 200})
    job = fx.make_job(
        RewardModelSettings(**SMALL), opt, tmp_path, rows=[same, turns, huge, first, third]
    )
    found, _ = encoded(job)
    assert found.row_ids == ("turns", first.id, third.id)
    assert found.counts["same_when_cut"] == found.counts["too_long"] == 1
    assert found.truncated == (True, False, False)
    assert whole(found.columns, 0, "rejected") == whole(found.columns, 1, "rejected")
    with pytest.raises(DataError, match="no row is left"):
        encoded(fx.make_job(RewardModelSettings(**SMALL), opt, tmp_path, rows=[same]))


def test_preview_shows_what_is_compared(opt, tmp_path):
    pair = fx.make_pairs(1)[0]
    shown = preview(fx.make_job(RewardModelSettings(**SMALL), opt, tmp_path)).examples
    chosen = next(each for each in shown if each.part == "chosen")
    seen = "".join(t for t, on in zip(chosen.tokens, chosen.in_loss, strict=True) if on)
    assert "".join(chosen.tokens).endswith(pair.prompt + pair.chosen)
    assert seen.strip() == pair.chosen.strip()


def test_a_template_reads_no_prompt_form():
    with pytest.raises(ValueError, match="prompt_form is read only with input: pair"):
        RewardModelSettings(input="chat", prompt_form="bare")
