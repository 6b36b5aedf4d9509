"""KL, entropy and implicit rewards, against exact enumeration and the plainest loops."""

import json
import math
import random
import shutil
import time
from dataclasses import replace

import methods_fixtures as fx
import numpy as np
import pytest
from models_fixtures import CORPUS, write_opt_like_hub
from pydantic import ValidationError

from alignstudy.dialogue import CUE
from alignstudy.errors import DataError, GuardError, InputError
from alignstudy.generation.diagnostics import DiagnosticSettings, diverge
from alignstudy.generation.implicit import implicit_accuracy
from alignstudy.generation.logprobs import token_scores
from alignstudy.generation.sampling import Continuation, ask, sample
from alignstudy.methods.batches.encode import encode_preferences, preference_ids
from alignstudy.models.digests import weights_digest
from alignstudy.models.folder import ADAPTER_RECORD
from alignstudy.models.load import load_causal_lm
from alignstudy.models.rendering import load_rendering, rendering_of
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.progress import SILENT
from alignstudy.records import Pair, Prompt, Weights

AXES = ("harmless", "helpful")

torch = pytest.importorskip("torch")


def words(count, source):
    return " ".join(source.choice(" ".join(CORPUS).split()) for _ in range(count))


def moved(base, folder, *, noise, seed=1):
    """Copy a model, with noise on every weight."""
    shutil.copytree(base, folder)
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.manual_seed(seed)
    drawn = {k: (v.float() + noise * torch.randn(v.shape)).half() for k, v in tensors.items()}
    torch.save(drawn, folder / "pytorch_model.bin")
    return Weights(folder=folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base of 261 tokens, and a policy near it; samples end by themselves now and then."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder / "base", std=0.3, seed=2, vocab_size=261)
    return moved(folder / "base", folder / "policy", noise=0.05), Weights(folder=folder / "base")


@pytest.fixture(scope="module")
def prompts():
    source = random.Random(0)
    return [
        Prompt(
            id=f"{axis}-{i}",
            axis=axis,
            text=f"\n\nHuman: {words(source.randint(1, 9), source)}{CUE}",
        )
        for axis in AXES
        for i in range(8)
    ]


def measure(policy, base, prompts, *, rng_seed=0, **settings):
    given = DiagnosticSettings(**({"max_new_tokens": 12, "draws": 200} | settings))
    return diverge(policy, base, prompts, given, model="m", seed=3, device="cpu", rng_seed=rng_seed)


def figures(found):
    return [found.entropy_per_token, found.kl_per_token, found.kl_per_sequence,
            found.kl_per_sequence_k3]  # fmt: skip


def distributions(weights, prefixes):
    """Next-token probabilities after equally long prefixes, in float64."""
    network = load_causal_lm(weights, dtype="float64")
    with torch.no_grad():
        return network(input_ids=torch.tensor(prefixes)).logits[:, -1].softmax(-1).numpy()


def exact(policy, base, text):
    """Enumerate all sequences of at most two tokens: expected entropy, KL by token, KL."""
    tokenizer = load_tokenizer(policy.folder)
    start = tokenizer(text)["input_ids"]
    eos = tokenizer.eos_token_id
    p1, q1 = (distributions(weights, [start])[0] for weights in (policy, base))
    after = [[*start, token] for token in range(len(p1))]
    p2, q2 = (distributions(weights, after) for weights in (policy, base))
    h1, h2 = -(p1 * np.log(p1)).sum(), -(p2 * np.log(p2)).sum(axis=1)
    kl1, kl2 = (p1 * np.log(p1 / q1)).sum(), (p2 * np.log(p2 / q2)).sum(axis=1)
    k3 = q1 / p1 - 1 - np.log(q1 / p1)
    goes_on = np.arange(len(p1)) != eos
    return (
        (p1 * np.where(goes_on, (h1 + h2) / 2, h1)).sum(),
        (p1 * np.where(goes_on, (k3 + kl2) / 2, k3)).sum(),
        kl1 + (p1 * kl2)[goes_on].sum(),
        p1[eos],
    )


def test_estimates_agree_with_exact_enumeration(models):
    policy, base = models
    text = f"\n\nHuman: a{CUE}"
    entropy, by_token, kl, ends = exact(policy, base, text)
    assert ends > 0.002  # so that ended samples matter
    assert kl > 0.05
    n = 1500
    asked = [Prompt(id=f"p{i}", axis="helpful", text=text) for i in range(n)]
    found = measure(policy, base, asked, n=n, max_new_tokens=2, batch_size=250)
    expected = [entropy, by_token, kl, kl]
    for estimate, value in zip(figures(found), expected, strict=True):
        error = (estimate.high - estimate.low) / (2 * 1.96)
        assert abs(estimate.value - value) < 4 * error
        assert error < 0.1 * value
        assert estimate.n == n


def test_a_model_does_not_diverge_from_itself(models, prompts):
    policy, _ = models
    found = measure(policy, policy, prompts, n=8)
    for estimate in figures(found)[1:]:
        assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


def test_the_base_has_an_entropy_but_no_divergence(models, prompts):
    policy, base = models
    alone = measure(policy, None, prompts, n=8)
    assert (alone.kl_per_token, alone.kl_per_sequence, alone.kl_per_sequence_k3) == (None,) * 3
    assert alone.implicit_accuracy is None
    assert alone.entropy_per_token == measure(policy, base, prompts, n=8).entropy_per_token
    assert (alone.model, alone.seed, alone.n) == ("m", 3, 16)


def test_prompts_are_those_that_both_models_can_read(tmp_path):
    base = fx.write_llama(tmp_path / "base", tokenizer_from=fx.write_opt(tmp_path / "opt"))
    longer = shutil.copytree(base, tmp_path / "longer")
    config = json.loads((longer / "config.json").read_text()) | {"max_position_embeddings": 512}
    (longer / "config.json").write_text(json.dumps(config))
    texts = ["a", "b", "a" * 300]
    asked = [Prompt(id=t, axis="helpful", text=f"\n\nHuman: {t}{CUE}") for t in texts]
    alone = measure(Weights(folder=longer), None, asked, n=3)
    both = measure(Weights(folder=longer), Weights(folder=base), asked, n=3)
    assert (alone.n, both.n) == (3, 2)
    assert "1 prompts were too long" in both.note


def test_batches_change_nothing(models, prompts):
    policy, base = models
    whole = measure(policy, base, prompts, n=8, batch_size=16)
    for batch_size in (1, 5):
        parts = measure(policy, base, prompts, n=8, batch_size=batch_size)
        for one, other in zip(figures(whole), figures(parts), strict=True):
            assert one.value == pytest.approx(other.value, rel=1e-4, abs=1e-6)
            assert one.low == pytest.approx(other.low, rel=1e-3, abs=1e-6)


def test_the_same_seed_draws_the_same_and_another_does_not(models, prompts):
    policy, base = models
    first = measure(policy, base, prompts, n=8)
    assert measure(policy, base, prompts, n=8) == first
    assert measure(policy, base, prompts, n=8, rng_seed=1) != first


def test_only_the_first_prompts_of_each_axis_are_asked(models, prompts):
    policy, base = models
    kept = [prompt for prompt in prompts if int(prompt.id.split("-")[1]) < 3]
    found = measure(policy, base, prompts, n=3)
    assert found.n == 6
    assert found == measure(policy, base, kept, n=8)


def test_near_duplicates_are_resampled_as_one(models, prompts):
    policy, base = models
    alike = [replace(prompt, cluster="one") for prompt in prompts if prompt.axis == "helpful"]
    found = measure(policy, base, alike, n=8)
    assert found.kl_per_token.low == found.kl_per_token.value == found.kl_per_token.high


def one_by_one(weights, row):
    """Log-probabilities and entropies by the plainest way: a prefix at a time, float64."""
    network = load_causal_lm(weights, dtype="float64")
    logps, entropies = [], []
    with torch.no_grad():
        for at, token in enumerate(row.tokens):
            prefix = torch.tensor([[*row.prompt, *row.tokens[:at]]])
            logits = network(input_ids=prefix, use_cache=False).logits[0, -1].log_softmax(-1)
            logps.append(float(logits[token]))
            entropies.append(float(-(logits.exp() * logits).sum()))
    return logps, entropies


def test_scores_of_tokens_are_those_of_one_prefix_at_a_time(models):
    policy, _ = models
    source = random.Random(3)
    rows = [
        Continuation(
            prompt=tuple(source.randrange(4, 260) for _ in range(source.randint(1, 40))),
            tokens=tuple(source.randrange(260) for _ in range(source.randint(1, 12))),
        )
        for _ in range(9)
    ]
    network = load_causal_lm(policy)
    found = token_scores(network, rows, batch_size=4, progress=SILENT)
    for row, scores in zip(rows, found, strict=True):
        logps, entropies = one_by_one(policy, row)
        assert scores.logps == pytest.approx(logps, abs=1e-4)
        assert scores.entropies == pytest.approx(entropies, abs=1e-4)


def drawn(weights, prompts, *, batch_size, new=20):
    rendering = load_rendering(weights.folder)
    asks = [ask(prompt, rendering, room=200, rng_seed=0) for prompt in prompts]
    return sample(
        load_causal_lm(weights),
        asks,
        rendering,
        max_new_tokens=new,
        batch_size=batch_size,
        progress=SILENT,
    )


def test_samples_are_the_same_in_any_batch_and_end_with_their_end(models, prompts):
    many = [replace(p, id=f"{p.id}-{i}") for i in range(6) for p in prompts]
    rows = drawn(models[0], many, batch_size=96)
    assert drawn(models[0], many, batch_size=7) == rows
    eos = load_tokenizer(models[0].folder).eos_token_id
    assert all(1 <= len(row.tokens) <= 20 for row in rows)
    assert all(eos not in row.tokens[:-1] for row in rows)
    ended = [row for row in rows if row.tokens[-1] == eos]
    assert 0 < len(ended) < len(rows)
    assert all(len(row.tokens) == 20 for row in rows if row not in ended)


def test_samples_follow_the_whole_distribution(models):
    """No truncation: unlikely tokens come as often as they should (chi-squared)."""
    text = f"\n\nHuman: a{CUE}"
    asked = [Prompt(id=f"p{i}", axis="helpful", text=text) for i in range(3000)]
    rows = drawn(models[0], asked, batch_size=500, new=1)
    seen = np.bincount([row.tokens[0] for row in rows], minlength=261)
    start = load_tokenizer(models[0].folder)(text)["input_ids"]
    expected = 3000 * distributions(models[0], [start])[0]
    rare = expected < 5
    observed = np.append(seen[~rare], seen[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    chi2 = ((observed - wanted) ** 2 / wanted).sum()
    freedom = len(wanted) - 1
    assert seen[rare].sum() > 0
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


def test_a_long_prompt_loses_its_oldest_turns_and_one_that_never_fits_is_noted(models):
    policy, base = models
    tokenizer = load_tokenizer(policy.folder)
    short = f"\n\nHuman: hello{CUE}"
    long = f"\n\nHuman: {'x ' * 200}{CUE} Yes.{short}"
    asked = ask(
        Prompt(id="a", axis="helpful", text=long),
        load_rendering(policy.folder),
        room=99,
        rng_seed=0,
    )
    assert asked.tokens == tuple(tokenizer(short)["input_ids"])
    never = f"\n\nHuman: {'x ' * 300}{CUE}"
    given = [Prompt(id=f"p{i}", axis="helpful", text=t) for i, t in enumerate((never, short))]
    found = measure(policy, base, given)
    assert (found.n, found.note) == (1, "1 prompts were too long to sample after")
    with pytest.raises(InputError, match="none of 1 prompts"):
        measure(policy, base, given[:1])


def test_models_of_two_vocabularies_are_refused(models, prompts, tmp_path):
    write_opt_like_hub(tmp_path / "other", vocab_size=300)
    with pytest.raises(GuardError, match="different vocabularies"):
        measure(models[0], Weights(folder=tmp_path / "other"), prompts)


def test_weights_that_are_no_numbers_are_refused(models, prompts, tmp_path):
    broken = moved(models[1].folder, tmp_path / "broken", noise=math.nan)
    with pytest.raises(GuardError, match="not finite"):
        measure(models[0], broken, prompts)


def test_an_adapter_is_measured_as_its_merged_model(models, prompts, tmp_path):
    from peft import LoraConfig, get_peft_model

    base = models[1].folder
    config = LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
    torch.manual_seed(5)
    tuned = get_peft_model(load_causal_lm(models[1]), config)
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    tuned.save_pretrained(adapter, save_embedding_layers=False)
    record = {"base": "a base", "base_weights_sha256": weights_digest(base)}
    (adapter / ADAPTER_RECORD).write_text(json.dumps(record))
    tuned.merge_and_unload().save_pretrained(merged)
    load_tokenizer(base).save_pretrained(merged)
    by_adapter = measure(Weights(folder=adapter, base=base), models[1], prompts, n=4)
    by_merged = measure(Weights(folder=merged), models[1], prompts, n=4)
    assert by_adapter.kl_per_sequence.value > 0.05
    for one, other in zip(figures(by_adapter), figures(by_merged), strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-3)


def test_temperature_is_no_setting():
    with pytest.raises(ValidationError, match="temperature"):
        DiagnosticSettings(temperature=0.7)
    with pytest.raises(ValidationError, match="n"):
        DiagnosticSettings(n=1)


def test_a_hundred_samples_take_seconds(models, prompts):
    policy, base = models
    many = [replace(p, id=f"{p.id}-{i}") for i in range(7) for p in prompts]
    started = time.process_time()
    assert measure(policy, base, many, n=50, max_new_tokens=48, batch_size=50).n == 100
    assert time.process_time() - started < 30


@pytest.fixture(scope="module")
def pairs():
    source = random.Random(4)
    return [
        Pair(
            id=f"v:{i}",
            prompt=f"\n\nHuman: {words(source.randint(1, 12), source)}{CUE}",
            chosen=" " + words(source.randint(1, 9), source),
            rejected=" " + words(source.randint(1, 9), source),
        )
        for i in range(12)
    ]


def accuracy(models, pairs, max_length=None):
    return implicit_accuracy(
        *models, pairs, encode=preference_ids, max_length=max_length, device="cpu"
    )


@pytest.mark.parametrize("max_length", [None, 60])
def test_implicit_accuracy_is_that_of_the_plainest_loop(models, pairs, max_length):
    tokenizer = load_tokenizer(models[0].folder)
    columns = encode_preferences(
        pairs, rendering_of(tokenizer), max_length=max_length or 256
    ).columns
    encoded = zip(
        *(columns[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")), strict=True
    )
    rows = [Continuation(prompt=prompt, tokens=ids) for prompt, *both in encoded for ids in both]
    ours, theirs = ([sum(one_by_one(w, row)[0]) for row in rows] for w in models)
    ratios = [one - other for one, other in zip(ours, theirs, strict=True)]
    wins = sum(ratios[i] > ratios[i + 1] for i in range(0, len(ratios), 2))
    assert 0 < wins < len(rows) / 2
    found = accuracy(models, pairs, max_length)
    assert found.n == len(rows) // 2
    assert found.value == pytest.approx(100.0 * wins / found.n)
    assert found.low < found.value < found.high


def test_with_the_pair_turned_round_the_accuracy_is_the_rest(models, pairs):
    turned = [replace(pair, chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    assert accuracy(models, turned).value == pytest.approx(100 - accuracy(models, pairs).value)


def test_a_policy_that_is_its_reference_prefers_nothing(models, pairs):
    policy, _ = models
    assert accuracy((policy, policy), pairs).value == 50.0


def test_pairs_that_cannot_be_measured_are_refused_or_left_out(models, pairs):
    with pytest.raises(DataError, match="v:0 has no rejected"):
        accuracy(models, [replace(pairs[0], rejected=None)])
    with pytest.raises(GuardError, match="don't end in"):
        accuracy(models, [replace(pairs[0], prompt="Human: hello")])
    with pytest.raises(DataError, match="no row is left"):
        accuracy(models, pairs, max_length=3)
    with pytest.raises(DataError, match="no row is left"):
        accuracy(models, [])
    long = replace(pairs[0], id="long", prompt=f"\n\nHuman: {'x ' * 300}{CUE}")
    assert accuracy(models, [long, *pairs]).n == len(pairs)


def test_the_record_survives_json(models, prompts):
    from dataclasses import asdict

    found = measure(*models, prompts, n=4)
    assert json.loads(json.dumps(asdict(found)))["kl_per_token"]["n"] == 8
