"""PPO on tiny models: whole updates by hand in float64, what its critic learns, resuming."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import methods_fixtures as fx
import numpy as np
import online_fixtures as online
import pytest
import torch
from safetensors.torch import load_file

from alignstudy.errors import InputError, InterruptedRunError
from alignstudy.methods import METHODS, LoRASettings, method_of
from alignstudy.methods.loop import train as training
from alignstudy.methods.loop.assembly import assemble
from alignstudy.methods.loop.train import train
from alignstudy.methods.online.critic import Critic
from alignstudy.methods.online.schedule import schedule_of
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Weights

PPOSettings = METHODS.load("ppo").settings_type
COMMON = {
    "max_length": 64,
    "per_device_train_batch_size": 2,
    "sampling": {"max_new_tokens": 8},
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
    "critic": {"learning_rate": 1e-3},
}
LORA = LoRASettings(r=2, lora_alpha=4, target_modules=("q_proj", "v_proj"))
PLAIN = {
    "beta": 0.0, "lam": 1.0, "cliprange": None, "cliprange_value": None, "reward_scaling": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    return fx.write_opt(tmp_path_factory.mktemp("ppo") / "opt")


def job_of(settings, parent, root, reward=online.vowels, **changes):
    ports = online.ports(parent, settings, reward)
    return fx.make_job(settings, parent, root, ports=ports, **changes)


class Update:
    """One update of the real trainer, its weights in float64: its samples, and its gradients."""

    def __init__(self, settings, parent, root, **changes):
        job = job_of(settings, parent, root, **changes)
        tokenizer = load_tokenizer(parent)
        encoded = fx.encode(job, tokenizer)
        self.trainer = assemble(job, encoded, tokenizer, precision="fp32").trainer
        self.critic = self.trainer.critic
        for module in (self.trainer.model, self.critic.model, self.critic.head):
            module.double()
        if self.trainer.reference is not None:
            self.trainer.reference.double()
        self.trainer.rollouts.begin(None)
        self.trainer.create_optimizer_and_scheduler(num_training_steps=1)
        self.trainer.step_rows = []

    def make(self):
        batch, _ = self.trainer.rollouts.batch(0)
        rows = torch.tensor(self.trainer.rollouts.schedule.rows(0))
        kept = {}
        self.critic.step = lambda *_, **__: kept.update(self.of(self.critic)) or 0.0
        loss = self.trainer.training_step(self.trainer.model, {"row": rows})
        return (
            batch,
            float(loss),
            {n: w.grad for n, w in self.trainer.model.named_parameters()},
            kept,
        )

    @staticmethod
    def of(critic):
        return {name: weight.grad.clone() for name, weight in critic._weights.items()}


def double(parent):
    model = load_causal_lm(Weights(folder=parent), dropout=0.0).double()
    return model.eval()


def by_hand(settings, batch, scores, policy, body, reference):
    """Say what PPO's losses are, one token after the other, by the models' own forwards.

    Before it learns the critic foretells the mean score of every token, by its bias alone.
    """
    scores = np.array(scores) / np.std(scores, ddof=1)
    foretold = float(scores.mean())
    bias = torch.tensor(foretold, dtype=torch.float64, requires_grad=True)
    weight = torch.zeros(16, dtype=torch.float64, requires_grad=True)
    losses, errors = [], []
    for row, score in enumerate(scores):
        ids = batch["input_ids"][row : row + 1, : int(batch["attention_mask"][row].sum())]
        first = int((batch["completion_mask"][row] != 0).int().argmax())
        said, hidden = policy(ids).logits[0].log_softmax(-1), body(ids).last_hidden_state[0]
        other = reference(ids).logits[0].log_softmax(-1).detach()
        advantage, following = 0.0, 0.0  # nothing is foretold after the last token
        for at in reversed(range(first, ids.shape[1])):
            new = said[at - 1, ids[0, at]]
            earned = -settings.beta * float(new.detach() - other[at - 1, ids[0, at]])
            earned += score if at == ids.shape[1] - 1 else 0
            error = earned + settings.gamma * following - foretold
            advantage = error + settings.gamma * settings.lam * advantage
            following = foretold
            losses.append(-advantage * (new - new.detach()).exp())  # in the first pass unclipped
            errors.append(0.5 * (hidden[at - 1] @ weight + bias - (advantage + foretold)) ** 2)
    return sum(losses) / len(losses), sum(errors) / len(errors), weight, bias


def test_a_whole_update_is_what_the_formulas_say(parent, tmp_path):
    settings = PPOSettings(**COMMON, beta=0.1, num_generations=2, gamma=0.9, max_kl=None)
    start = fx.write_opt(tmp_path / "start", seed=3)
    update = Update(settings, parent, tmp_path / "job", reference=start)
    batch, loss, gradients, of_critic = update.make()
    texts = [json.loads(line) for line in update.trainer.rollouts._log.read_text().splitlines()]
    scores = [line["score"] for line in texts]
    assert len(scores) == 4
    assert np.std(scores) > 0
    policy, body, reference = double(parent), double(parent).model, double(start)
    wanted, missed, weight, bias = by_hand(settings, batch, scores, policy, body, reference)
    wanted.backward()
    missed.backward()
    assert loss == pytest.approx(float(wanted.detach()), abs=1e-9)
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(of_critic["head.weight"][0], weight.grad, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(of_critic["head.bias"][0], bias.grad, rtol=1e-7, atol=1e-10)
    assert float(weight.grad.norm()) > 0.01


def test_without_its_switches_it_is_plain_policy_gradient(parent, tmp_path):
    """-(score - baseline) * grad log pi, the baseline what the critic begins at: the mean."""
    settings = PPOSettings(**COMMON | PLAIN, num_generations=3)
    update = Update(settings, parent, tmp_path)
    batch, _, gradients, _ = update.make()
    texts = update.trainer.rollouts._log.read_text().splitlines()
    scores = [json.loads(line)["score"] for line in texts]
    assert len(set(scores)) > 1
    policy = double(parent)
    total, mean = 0.0, sum(scores) / len(scores)
    for row, score in enumerate(scores):
        ids = batch["input_ids"][row : row + 1, : int(batch["attention_mask"][row].sum())]
        said = policy(ids).logits[0, :-1].log_softmax(-1)
        written = batch["completion_mask"][row, 1 : ids.shape[1]] != 0
        log_p = said.gather(1, ids[0, 1:, None])[:, 0][written].sum()
        total = total - (score - mean) * log_p
    (total / batch["completion_mask"].sum()).backward()
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=0, atol=1e-12)


def test_the_critic_learns_what_samples_earn(parent, tmp_path):
    changes = {"learning_rate": 1e-9, "critic": {"learning_rate": 3e-3}, "cliprange_value": None}
    settings = PPOSettings(
        **COMMON | changes, num_generations=4, num_iterations=30, max_steps=30
    )  # one rollout
    job = job_of(settings, parent, tmp_path)
    result = train(job)
    losses = [line["critic_loss"] for line in fx.read_metrics(job.out)]
    assert losses[-1] < 0.3 * losses[0]  # the mean, which it starts with, isn't all
    assert result.steps == 30
    assert any("experimental" in note for note in result.notes)
    assert any("the critic foretold 0% of the returns' variance" in note for note in result.notes)


def test_the_policy_learns_what_the_judge_likes(parent, tmp_path):
    changes = {"learning_rate": 1e-2, "per_device_train_batch_size": 4}
    job = job_of(PPOSettings(**COMMON | changes, num_generations=4, max_steps=14), parent, tmp_path)
    train(job)
    scores = [line["sample_score"] for line in fx.read_metrics(job.out)]
    assert np.mean(scores[-4:]) > np.mean(scores[:4]) + 0.4


def test_scores_are_scaled_by_all_scores_so_far(parent, tmp_path):
    settings = PPOSettings(**COMMON, num_generations=2, max_steps=3, save_steps=1)
    job = job_of(settings, parent, tmp_path)
    train(job)
    lines = [json.loads(line) for line in (job.out / "samples.jsonl").read_text().splitlines()]
    learnt = [line["score"] for line in lines if line["rollout"] < 3]
    state = json.loads((job.work / "checkpoint-3" / "loss_state.json").read_text())
    assert state["count"] == len(learnt) == 12
    assert state["mean"] == pytest.approx(np.mean(learnt))
    assert state["squares"] == pytest.approx(np.var(learnt) * len(learnt))


def test_a_sample_without_a_score_teaches_nobody(parent, tmp_path):
    def picky(text):
        return None if len(text) % 2 else online.vowels(text)

    settings = PPOSettings(**COMMON, num_generations=8)
    update = Update(settings, parent, tmp_path, reward=picky)
    batch, _ = update.trainer.rollouts.batch(0)
    lines = update.trainer.rollouts._log.read_text().splitlines()
    unscored = torch.tensor([json.loads(line)["score"] is None for line in lines])
    assert 0 < int(unscored.sum()) < len(lines)
    assert not batch["advantages"][unscored].any()
    assert not batch["learns"][unscored].any()
    assert torch.equal(batch["learns"][~unscored] != 0, batch["completion_mask"][~unscored] != 0)


def test_an_adapter_learns_beside_a_critic_of_full_weights(parent, tmp_path):
    settings = PPOSettings(**COMMON, num_generations=2, max_steps=2, save_steps=1, lora=LORA)
    job = job_of(settings, parent, tmp_path)
    train(job)
    assert (job.out / "adapter_model.safetensors").is_file()
    kept = load_file(job.work / "checkpoint-2" / "critic.safetensors")
    start = fx.weights_of(parent)
    name = "decoder.layers.0.fc1.weight"
    assert not torch.equal(kept[f"body.{name}"], start[f"model.{name}"])
    assert kept["head.weight"].any()


def test_where_the_critics_memory_runs_out_its_pieces_are_halved(parent, tmp_path, monkeypatch):
    settings = PPOSettings(**COMMON, num_generations=2, max_steps=2)
    whole = job_of(settings, parent, tmp_path / "whole")
    train(whole)
    asked, values = [], Critic.values

    def short_of_memory(critic, batch):
        if torch.is_grad_enabled():
            asked.append(len(batch["input_ids"]))
            if len(asked) == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return values(critic, batch)

    monkeypatch.setattr(Critic, "values", short_of_memory)
    job = job_of(settings, parent, tmp_path / "halved")
    result = train(job)
    assert result.work.out_of_memory == 1
    assert asked == [4, 2, 2, 2, 2]
    for one, other in zip(fx.read_metrics(job.out), fx.read_metrics(whole.out), strict=True):
        assert one["critic_loss"] == pytest.approx(other["critic_loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["rloo", "grpo", "ppo"])
def test_mixed_precision_proves_itself_on_samples(name, parent, tmp_path):
    """On a GPU it is what is asked for where nothing is said."""
    kind = METHODS.load(name).settings_type
    given = {key: COMMON[key] for key in kind.model_fields.keys() & COMMON.keys()}
    ten_at_once = {"per_device_train_batch_size": 5, "steps_per_generation": 2}
    settings = kind(
        **given | ten_at_once, num_generations=2, max_steps=2, precision="bf16"
    )  # fmt: skip
    result = train(job_of(settings, parent, tmp_path))
    proof = next(each for each in result.guards if each.guard == "bf16_follows_fp32")
    assert proof.passed


def test_the_critics_rate_follows_the_policys_schedule(parent, tmp_path, monkeypatch):
    rates, step = [], Critic.step
    monkeypatch.setattr(
        Critic,
        "step",
        lambda critic, rate, **asked: rates.append(rate) or step(critic, rate, **asked),
    )
    changes = {"lr_scheduler_type": "linear", "critic": {"learning_rate": 4e-3}}
    train(job_of(PPOSettings(**COMMON | changes, max_steps=4), parent, tmp_path))
    assert rates == pytest.approx([4e-3, 3e-3, 2e-3, 1e-3])


def test_the_critics_gradient_is_clipped_as_the_policys(parent, tmp_path, monkeypatch):
    norms, step = [], Critic.step

    def looked_at(critic, rate, **asked):
        norms.append(step(critic, rate, **asked))
        left = [weight.grad.square().sum() for weight in critic._weights.values()]
        norms.append(float(sum(left).sqrt()))
        return norms[0]

    monkeypatch.setattr(Critic, "step", looked_at)
    settings = PPOSettings(**COMMON, num_generations=4, max_steps=1, max_grad_norm=0.01)
    train(job_of(settings, parent, tmp_path))
    assert norms[0] > 0.1
    assert norms[1] == pytest.approx(0.01, rel=1e-3)


def test_values_stay_near_the_old_ones_where_they_are_clipped(parent, tmp_path):
    """Reads of a rollout after the first see a critic that has moved."""
    changes = {"critic": {"learning_rate": 0.02}, "learning_rate": 1e-9}
    losses = {}
    for cliprange in (None, 0.01):
        settings = PPOSettings(
            **COMMON | changes, num_generations=4, num_iterations=6, max_steps=6,
            cliprange_value=cliprange,
        )  # fmt: skip
        job = job_of(settings, parent, tmp_path / str(cliprange))
        train(job)
        losses[cliprange] = [line["critic_loss"] for line in fx.read_metrics(job.out)]
    assert losses[None][0] == losses[0.01][0]
    assert losses[0.01][-1] > 1.2 * losses[None][-1]


def test_what_the_critic_computes_is_counted(parent, tmp_path):
    settings = PPOSettings(**COMMON, num_generations=2, num_iterations=2, max_steps=4)
    work = train(job_of(settings, parent, tmp_path)).work
    assert work.critic_tokens == work.processed_tokens > 0  # in the same rows as the policy
    assert 2 * work.critic_read_tokens == work.critic_tokens  # once a rollout, learnt from twice


RESUMED = PPOSettings(
    **COMMON, num_generations=2, num_iterations=2, steps_per_generation=2, max_steps=7,
    save_steps=1, whiten_advantages=True, reward_normalization=True, reward_clip=2.0,
)  # fmt: skip


def files(out):
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def stop_after(steps):
    asked = iter(range(steps))
    return lambda: next(asked, None) is None


@pytest.mark.parametrize("stopped", [2, 4])
def test_stopped_and_continued_is_the_same_to_the_bit(stopped, parent, tmp_path):
    whole = job_of(RESUMED, parent, tmp_path / "whole")
    straight = train(whole)
    cut = job_of(RESUMED, parent, tmp_path / "cut", should_stop=stop_after(stopped))
    with pytest.raises(InterruptedRunError):
        train(cut)
    resumed = train(replace(cut, should_stop=lambda: False))
    assert any("went on from the checkpoint" in note for note in resumed.notes)
    assert files(cut.out) == files(whole.out)
    assert resumed.work.critic_tokens == straight.work.critic_tokens
    assert resumed.work.critic_read_tokens == straight.work.critic_read_tokens


KILLED = textwrap.dedent("""
    import os, pathlib, signal, sys
    import torch
    sys.path[:0] = sys.argv[1:3]
    torch.set_num_threads(1)
    from test_ppo import RESUMED, job_of
    from alignstudy.methods.loop.train import train

    class Plug:
        steps = 0
        def start(self, what, *_, **__):
            self.training = what.startswith("training")
        def finish(self): ...
        def note(self, _): ...
        def advance(self, done, **_):
            self.steps += done * self.training
            if self.steps == 5:
                os.kill(os.getpid(), signal.SIGKILL)

    train(job_of(RESUMED, pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]), progress=Plug()))
""")


@pytest.mark.e2e
def test_killed_and_continued_is_the_same_to_the_bit(parent, tmp_path):
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1] / "fixtures"), str(parent), str(tmp_path / "killed")]
    died = subprocess.run(
        [sys.executable, "-c", KILLED, *paths], env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    killed = job_of(RESUMED, parent, tmp_path / "killed")
    resumed = train(killed)
    assert any("went on from the checkpoint" in note for note in resumed.notes)
    whole = job_of(RESUMED, parent, tmp_path / "whole")
    train(whole)
    assert files(killed.out) == files(whole.out)


def write_judge(folder, model_type, **changes):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    fx.write_scratch(folder, model_type, **changes)
    config = AutoConfig.from_pretrained(folder, num_labels=1)
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


def from_judge(settings, parent, root, judge):
    job = job_of(settings, parent, root)
    return replace(job, ports=replace(job.ports, critic=judge))


def test_a_critic_may_start_as_the_judge(parent, tmp_path):
    settings = PPOSettings(**COMMON, num_generations=2, max_steps=2)
    judge = write_judge(tmp_path / "judge", "opt")
    job = from_judge(settings, parent, tmp_path / "job", judge)
    seen = []

    class Stop(Exception): ...

    def look(job, trainer, *_):
        seen.append(trainer.critic)
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_run", look)
        with pytest.raises(Stop):
            train(job)
    critic, kept = seen[0], fx.weights_of(judge)
    assert torch.equal(critic.head.weight, kept["score.weight"])
    for name, weight in critic.model.base_model.named_parameters():
        assert torch.equal(weight, kept[f"model.{name}"])
    train(from_judge(settings, parent, tmp_path / "again", judge))


@pytest.mark.parametrize(
    ("model_type", "changes", "words"),
    [
        ("deberta-v2", {}, "reads both ways"),
        ("opt", {"max_position_embeddings": 32}, "reads 32 tokens"),
    ],
)
def test_a_judge_that_reads_otherwise_is_refused(model_type, changes, words, parent, tmp_path):
    judge = write_judge(tmp_path / "judge", model_type, **changes)
    with pytest.raises(InputError) as caught:
        train(from_judge(PPOSettings(**COMMON), parent, tmp_path / "job", judge))
    assert words in str(caught.value)
    assert "init: policy" in str(caught.value)


def test_switches_that_would_be_ignored_are_refused():
    with pytest.raises(ValueError, match="reward_normalization is a part of reward_scaling"):
        PPOSettings(reward_scaling=False, reward_normalization=True)
    with pytest.raises(ValueError, match="use bf16 or fp32"):
        PPOSettings(precision="fp16")


def test_its_note_says_that_it_is_experimental():
    assert any("experimental" in note for note in method_of(PPOSettings()).notes)


def test_what_is_mixed_in_is_the_chosen_responses_likelihood(parent, tmp_path):
    """Where every sample scores alike nothing but demonstrations is learnt: one step of SFT."""
    settings = PPOSettings(**COMMON | PLAIN, ptx_coef=0.7, max_steps=1, max_grad_norm=1e9)
    job = job_of(settings, parent, tmp_path / "job", reward=lambda _: 1.0)
    train(job)
    rows = fx.make_job(settings, parent, tmp_path / "rows").rows
    model = load_causal_lm(Weights(folder=parent), device="cpu").double().eval()
    encoded = fx.encode(job, load_tokenizer(parent)).columns
    numbers = schedule_of(settings, len(rows), job.seed).rows(0)
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for number in numbers:
        prompt, chosen = encoded["prompt_ids"][number], encoded["chosen_ids"][number]
        logits = model(input_ids=torch.tensor([[*prompt, *chosen]])).logits[0]
        said = logits[len(prompt) - 1 : -1].log_softmax(-1)
        total = total - said.gather(1, torch.tensor(chosen)[:, None]).sum()
        tokens += len(chosen)
    (total / tokens * 0.7).backward()
    trained = fx.weights_of(job.out)
    for name, weight in model.named_parameters():
        if name in trained:
            step = 1e-3 * weight.grad / (weight.grad.abs() + 1e-8)
            apart = (trained[name].double() - weight.detach() + step).abs()
            assert (apart[weight.grad.abs() > 1e-7] < 2e-5).all(), name
    (line,) = fx.read_metrics(job.out)
    assert line["chosen_nll"] == pytest.approx(float(total.detach()) / tokens, rel=1e-5)
    assert len(encoded["chosen_ids"][0]) > settings.sampling.max_new_tokens  # uncut
