"""Trainings that sample from the policy as it is, and learn what a judge says of it."""

import json
from dataclasses import replace

import methods_fixtures as fx
import numpy as np
import online_fixtures as on
import pytest
import torch
from transformers import AutoModelForCausalLM

from alignstudy.errors import DataError, GuardError, InterruptedRunError
from alignstudy.methods import LoRASettings
from alignstudy.methods.loop.train import train
from alignstudy.methods.model_outputs import SampleLogps
from alignstudy.methods.online.grpo import GRPOSettings
from alignstudy.methods.online.rloo import RLOOSettings
from alignstudy.methods.online.schedule import Schedule, ScheduledRows

COMMON = {
    "max_length": 64,
    "per_device_train_batch_size": 4,
    "learning_rate": 5e-3,
    "sampling": {"max_new_tokens": 16},
}
CASES = {
    "rloo": RLOOSettings(**COMMON, num_train_epochs=3, save_steps=2),
    "grpo, an adapter, rollouts of two updates read twice": GRPOSettings(
        **COMMON | {"per_device_train_batch_size": 2},
        steps_per_generation=2,
        num_iterations=2,
        num_train_epochs=2,
        save_steps=3,
        lora=LoRASettings(),
    ),
    "rloo against no reference": RLOOSettings(
        **COMMON, beta=0, max_kl=None, num_train_epochs=2, save_steps=1
    ),
}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("parent") / "opt")


def job_of(settings, parent, root, reward=on.vowels, **changes):
    return fx.make_job(settings, parent, root, ports=on.ports(parent, settings, reward), **changes)


def stop_after(steps):
    asked = iter(range(1, 10**6))
    return lambda: next(asked) >= steps


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def samples(out):
    return [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", CASES)
def test_stopped_and_continued_is_the_same_to_the_bit(name, parent, tmp_path):
    settings = CASES[name]
    whole = job_of(settings, parent, tmp_path / "whole")
    straight = train(whole)
    for _ in range(straight.steps - 1):  # within rollouts, and at their borders
        with pytest.raises(InterruptedRunError):
            train(job_of(settings, parent, tmp_path / "cut", should_stop=stop_after(1)))
    resumed = train(job_of(settings, parent, tmp_path / "cut"))
    assert files(tmp_path / "cut" / "out") == files(whole.out)
    assert resumed.steps == straight.steps
    assert [g for g in resumed.guards if g.guard != "loss_is_formula"] == [
        g for g in straight.guards if g.guard != "loss_is_formula"
    ]


def test_lost_samples_begin_the_training_again(parent, tmp_path):
    settings = CASES["rloo"]
    whole = job_of(settings, parent, tmp_path / "whole")
    train(whole)
    cut = tmp_path / "cut"
    with pytest.raises(InterruptedRunError):
        train(job_of(settings, parent, cut, should_stop=stop_after(3)))
    (cut / "work" / "samples.jsonl").write_text("{}\n")
    resumed = train(job_of(settings, parent, cut))
    assert "samples.jsonl was damaged: training began again" in resumed.notes
    assert files(cut / "out") == files(whole.out)


@pytest.mark.parametrize("method", [RLOOSettings, GRPOSettings])
def test_what_is_rewarded_is_learnt(method, parent, tmp_path):
    settings = method(**COMMON | {"learning_rate": 1e-2}, max_steps=25, max_kl=None, beta=0.0)
    result = train(job := job_of(settings, parent, tmp_path))
    kept = samples(job.out)
    last = max(line["rollout"] for line in kept)
    early = [line["score"] for line in kept if line["rollout"] < 3]
    late = [line["score"] for line in kept if line["rollout"] > last - 3]
    gap = np.mean(late) - np.mean(early)
    error = np.sqrt(np.var(late) / len(late) + np.var(early) / len(early))
    assert gap > 3 * error > 0
    assert result.work.samples == len(kept)
    assert result.work.written_tokens == sum(line["tokens"] for line in kept)


def test_every_sample_is_kept_with_its_score_and_is_what_its_seed_draws(parent, tmp_path):
    settings = CASES["rloo"]
    first, again = (job_of(settings, parent, tmp_path / name) for name in "ab")
    result = train(first)
    train(again)
    assert samples(first.out) == samples(again.out)
    kept = samples(first.out)
    rollouts = 1 + result.steps  # once more after the last step
    assert len(kept) == rollouts * 4 * settings.num_generations
    assert all(line["score"] == on.vowels(line["text"]) for line in kept)
    ids = {row.id for row in first.rows}
    assert {line["row"] for line in kept} <= ids
    assert all(line["kl"] == 0 for line in kept if line["rollout"] == 0)  # nothing was learnt yet


def test_training_ends_before_the_policy_leaves_the_reference_too_far(parent, tmp_path):
    changes = {"num_train_epochs": 20, "learning_rate": 2e-2, "max_kl": 1.0, "beta": 0.0}
    settings = CASES["rloo"].model_copy(update=changes)
    job = job_of(settings, parent, tmp_path / "whole")
    result = train(job)
    kl = {guard.guard: guard for guard in result.guards}["kl_stays_under_its_cap"]
    assert not kl.passed
    assert "the cap 1" in kl.detail
    measured = [
        np.mean([s["kl"] for s in samples(job.out) if s["rollout"] == at])
        for at in range(1 + max(line["rollout"] for line in samples(job.out)))
    ]
    assert measured[-1] > 1 >= max(measured[:-1])
    assert result.steps == len(measured) - 2  # the model is the one before the last update
    assert "above max_kl 1" in result.notes[0]
    short = settings.model_copy(update={"max_kl": None, "max_steps": result.steps})
    alone = job_of(
        short.model_copy(update={"lr_scheduler_type": "constant"}), parent, tmp_path / "short"
    )
    constant = settings.model_copy(update={"lr_scheduler_type": "constant"})
    capped = job_of(constant, parent, tmp_path / "capped")
    assert train(capped).steps == train(alone).steps == result.steps
    ours, theirs = fx.weights_of(capped.out), fx.weights_of(alone.out)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_sample_without_a_score_teaches_nothing_and_is_counted(parent, tmp_path):
    settings = CASES["rloo"].model_copy(update={"max_steps": 2})
    result = train(
        job_of(
            settings, parent, tmp_path / "some", lambda text: len(text) if len(text) % 2 else None
        )
    )
    scored = {guard.guard: guard for guard in result.guards}["samples_are_scored"]
    assert not scored.passed
    with pytest.raises(GuardError, match="none of 16 samples a score"):
        train(job_of(settings, parent, tmp_path / "none", lambda _: None))


def test_equal_scores_move_no_weight(parent, tmp_path):
    settings = CASES["rloo"].model_copy(update={"beta": 0.0})
    job = job_of(settings, parent, tmp_path, lambda _: 1.0)
    train(job)
    trained, before = fx.weights_of(job.out), fx.weights_of(parent)
    assert all(torch.equal(trained[name], before[name]) for name in before)


def test_too_few_prompts_for_a_rollout_are_refused(parent, tmp_path):
    settings = CASES["rloo"].model_copy(update={"steps_per_generation": 4})
    with pytest.raises(DataError, match="10 prompts are fewer than are sampled after at once"):
        train(job_of(settings, parent, tmp_path))


def test_prompts_without_room_for_a_sample_are_left_out(parent, tmp_path):
    rows = fx.make_pairs()
    long = replace(rows[0], id="long", prompt="\n\nHuman: " + "bread " * 60 + "\n\nAssistant:")
    result = train(
        job_of(
            CASES["rloo"].model_copy(update={"max_steps": 1}), parent, tmp_path, rows=[long, *rows]
        )
    )
    assert result.counts["too_long"] == 1


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"lora": {"lora_dropout": 0.1}}, "lora_dropout"),
        ({"group_by_length": True}, "group_by_length"),
        ({"sampling": {"max_new_tokens": 64}}, "leaves no room"),
        ({"rewarded_by": ["a"], "reward_weights": [1, 2]}, "2 reward_weights for 1 judges"),
    ],
)
def test_settings_that_could_not_be_heeded_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        RLOOSettings(**COMMON | changes)


def test_a_schedule_reads_each_prompt_once_an_epoch_and_repeats_rollouts():
    schedule = Schedule(num_rows=11, batch_size=2, steps_per_generation=2, num_iterations=3, seed=4)
    assert schedule.steps_an_epoch == 2 * 6
    for epoch in range(3):
        steps = range(epoch * 12, epoch * 12 + 12)
        rows = [schedule.rows(step) for step in steps]
        assert [row for at in (0, 1, 6, 7) for row in rows[at]] == [
            row for number in (2 * epoch, 2 * epoch + 1) for row in schedule.prompts(number)
        ]
        assert len({row for some in rows for row in some}) == 8
        assert rows[0:2] == rows[2:4] == rows[4:6]
        sampler = ScheduledRows(schedule)
        sampler.set_epoch(epoch)
        assert list(sampler) == [row for some in rows for row in some]
    assert schedule.prompts(0) != schedule.prompts(2)


@pytest.mark.e2e
def test_training_ends_where_its_arithmetic_is_spent_whatever_interrupts_it(parent, tmp_path):
    settings = CASES["rloo"].model_copy(update={"max_steps": 40, "warmup_steps": 0.1})
    done = train(job_of(settings, parent, tmp_path / "all")).work.processed_tokens
    limited = settings.model_copy(update={"max_flops": done / 4})
    whole = job_of(limited, parent, tmp_path / "whole")
    straight = train(whole)
    spent, an_update = straight.work.processed_tokens, done / 40
    assert abs(spent - done / 4) <= an_update / 2 * 1.2
    assert f"max_flops was reached after {straight.steps} updates" in straight.notes
    rates = [line["learning_rate"] for line in fx.read_metrics(whole.out)]
    assert max(rates) == pytest.approx(limited.learning_rate, rel=0.2)
    assert 0 < rates[-1] < 0.2 * limited.learning_rate  # it has fallen with what was spent
    for steps in (1, 4):
        with pytest.raises(InterruptedRunError):
            train(job_of(limited, parent, tmp_path / "cut", should_stop=stop_after(steps)))
    resumed = train(job_of(limited, parent, tmp_path / "cut"))
    assert files(tmp_path / "cut" / "out") == files(whole.out)
    assert resumed.work == straight.work


def kept_by(ports, drawn):
    """Return ports that also keep what was drawn."""

    def sample(policy, asked):
        found = ports.sample(policy, asked)
        drawn.append([(tuple(prompt), one) for (prompt, _), one in zip(asked, found, strict=True)])
        return found

    return replace(ports, sample=sample)


def own_log_probs(model, prompt, tokens):
    """Return the log-probabilities of a sample's tokens, read alone by the model's own forward."""
    ids = torch.tensor([[*prompt, *tokens]])
    said = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return said.gather(1, ids[0, len(prompt) :, None])[:, 0]


@pytest.mark.parametrize("loss_type", ["rloo", "grpo", "dapo", "dr_grpo"])
def test_an_update_is_the_formula_s_by_the_model_s_own_forward(loss_type, parent, tmp_path):
    """One sample at a time, in float64, against another model as the reference."""
    other = fx.write_opt(tmp_path / "other", seed=1)
    given = {**COMMON, "max_steps": 1, "beta": 0.3, "max_kl": None, "max_grad_norm": 1e9}
    given["sampling"] = {"max_new_tokens": 6}
    given["learning_rate"] = 1e-3
    settings = (
        RLOOSettings(**given) if loss_type == "rloo" else GRPOSettings(**given, loss_type=loss_type)
    )
    drawn = []
    job = job_of(settings, parent, tmp_path / "job", reference=other)
    train(replace(job, ports=kept_by(job.ports, drawn)))
    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
        for folder in (parent, other)
    )
    groups = {}
    for prompt, one in drawn[0]:
        groups.setdefault(prompt, []).append(one)
    assert [len(group) for group in groups.values()] == [settings.num_generations] * 4
    written = sum(len(one.tokens) for group in groups.values() for one in group)
    total = torch.zeros((), dtype=torch.float64)
    for prompt, group in groups.items():
        new = [own_log_probs(policy, prompt, one.tokens) for one in group]
        with torch.no_grad():
            ref = [own_log_probs(reference, prompt, one.tokens) for one in group]
        scores = np.array([on.vowels(one.text) for one in group])
        if loss_type == "rloo":
            kls = [float((a.detach() - b).sum()) for a, b in zip(new, ref, strict=True)]
            scores = scores - settings.beta * np.array(kls)
            rest = (scores.sum() - scores) / (len(scores) - 1)
            for own, worth in zip(new, scores - rest, strict=True):
                total = total - worth * (own - own.detach()).sum().exp() / 16
            continue
        worths = (scores - scores.mean()) / (scores.std(ddof=1) + 1e-4)
        for own, theirs, worth in zip(new, ref, worths, strict=True):
            gap = theirs - own
            tokens = -worth * (own - own.detach()).exp() + settings.beta * (gap.exp() - gap - 1)
            by = {"grpo": len(tokens) * 16, "dapo": written, "dr_grpo": 6 * 16}[loss_type]
            total = total + tokens.sum() / by
    total.backward()
    trained = fx.weights_of(job.out)
    for name, weight in policy.named_parameters():
        if name not in trained:
            continue
        gradient = weight.grad  # AdamW's first step: the gradient's sign, but for its 1e-8
        expected = weight.detach() - 1e-3 * gradient / (gradient.abs() + 1e-8)
        telling = gradient.abs() > 1e-9  # a key's bias has none but rounding's
        apart = (trained[name].double() - expected)[telling].abs()
        assert apart.numel() == 0 or apart.max() < 2e-5, name
    logged = fx.read_metrics(job.out)[0]
    norm = sum(float((w.grad**2).sum()) for w in policy.parameters()) ** 0.5
    assert logged["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert logged["loss"] == pytest.approx(float(total.detach()), abs=1e-5)


def test_ratios_that_are_clipped_are_counted_by_both_bounds():
    from alignstudy.methods.online.method import tokens_outside

    new = torch.tensor([[0.7, 1.25, 1.3, 9.0]]).log()
    said = SampleLogps(
        log_probs=new,
        mask=torch.tensor([[True, True, True, False]]),
        old=torch.zeros(1, 4),
        ref=None,
        advantages=torch.zeros(1, 4),
        samples=1,
        more={},
    )
    (outside, number), *_ = tokens_outside(said, 0.2, 0.28).values()
    assert (int(outside), number) == (2, 3)
