import json
import random
import re
from collections import Counter
from dataclasses import replace
from functools import cache, wraps

import pytest
from models_fixtures import CORPUS, write_opt_like_hub

from alignstudy.dialogue import CUE
from alignstudy.errors import EnvironmentFault, GuardError, InputError
from alignstudy.generation import GenerationSettings, generate
from alignstudy.models.batching import run_halving
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Prompt, StopReason, Weights

torch = pytest.importorskip("torch")

NEW = 24


def words(count, source):
    return " ".join(source.choice(" ".join(CORPUS).split()) for _ in range(count))


def asked(number, text, axis="harmless"):
    return Prompt(id=f"{axis}-{number}", axis=axis, text=text)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights whose texts vary; some end by themselves (seed 2)."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder, std=0.2, seed=2)
    return Weights(folder=folder)


@pytest.fixture(scope="module")
def prompts():
    source = random.Random(0)
    lengths = [source.randint(2, 60) for _ in range(24)]
    return [asked(i, f"\n\nHuman: {words(n, source)}{CUE}") for i, n in enumerate(lengths)]


@pytest.fixture(scope="module")
def one_by_one(model, prompts):
    """Greedy tokens by the plainest loop: one prompt, no padding, no cache."""
    return {prompt.text: greedy(model, prompt.text) for prompt in prompts}


@cache
def loaded(weights):
    return load_causal_lm(weights), load_tokenizer(weights.folder)


def greedy(weights, text, new=NEW):
    network, tokenizer = loaded(weights)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        for _ in range(new):
            token = network(input_ids=ids, use_cache=False).logits[:, -1].argmax(-1)
            if token == tokenizer.eos_token_id:
                break
            ids = torch.cat([ids, token[None]], dim=1)
    return ids[0, start:].tolist()


def run(weights, prompts, protocol="rigorous", seed=0, **settings):
    return generate(
        weights, prompts, GenerationSettings(**({"max_new_tokens": NEW} | settings)),
        protocol=protocol, device="cpu", seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("protocol", ["paper", "rigorous"])
def test_batched_tokens_equal_one_prompt_at_a_time(model, prompts, one_by_one, protocol):
    responses = run(model, prompts, protocol, batch_size=7)
    tokenizer = load_tokenizer(model.folder)
    assert [r.prompt_id for r in responses] == [p.id for p in prompts]
    for prompt, response in zip(prompts, responses, strict=True):
        tokens = one_by_one[prompt.text]
        assert response.raw_text == tokenizer.decode(tokens, skip_special_tokens=True)
        assert response.num_tokens == len(tokens)
        expected = StopReason.CAP if len(tokens) == NEW else StopReason.EOS
        assert response.stop_reason is expected
        assert response.prompt == prompt.text
    assert len({r.raw_text for r in responses}) == len(prompts)
    assert Counter(r.stop_reason for r in responses)[StopReason.EOS] >= 2


@pytest.mark.parametrize("batch_size", [1, 3, 24])
def test_batches_change_nothing(model, prompts, batch_size):
    few = run(model, prompts, batch_size=batch_size, max_batch_tokens=2000)
    assert few == run(model, prompts, batch_size=8)


def test_cutting_by_tokens_agrees_with_the_published_cut_by_characters(model):
    source = random.Random(1)
    texts = [f"Human: {words(9, source)}" for _ in range(6)]
    texts += ["Human: wait . what ?\n\nAssistant: I 'm here , n't I ?\n\nHuman: caf\u00e9 \u2026 !"]
    prompts = [asked(i, text) for i, text in enumerate(texts)]
    network, tokenizer = load_causal_lm(model), load_tokenizer(model.folder)
    for prompt, response in zip(prompts, run(model, prompts, "paper"), strict=True):
        inputs = tokenizer(prompt.text, return_tensors="pt")
        outputs = network.generate(**inputs, max_new_tokens=NEW, do_sample=False, pad_token_id=1)
        whole = tokenizer.decode(outputs[0], skip_special_tokens=True)
        assert response.text == whole[len(prompt.text) :].strip()


def test_published_prompts_survive_tokenizing(model, paper_dir):
    """So cutting by tokens is cutting by characters on every prompt of the published study."""
    tokenizer = load_tokenizer(model.folder)
    for file in sorted((paper_dir / "prompts").glob("*.json")):
        texts = json.loads(file.read_text(encoding="utf-8"))
        assert len(texts) == 50
        for text in texts:
            ids = tokenizer(text, verbose=False)["input_ids"]
            assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_paper_protocol_takes_the_prompt_as_it_is(model):
    prompt = asked(0, "Human: What is the capital of France?")
    tokens = greedy(model, prompt.text)
    (response,) = run(model, [prompt], "paper")
    tokenizer = load_tokenizer(model.folder)
    assert response.text == tokenizer.decode(tokens, skip_special_tokens=True).strip()
    with pytest.raises(GuardError, match="don't end in the cue"):
        run(model, [prompt], "rigorous")


def test_a_stop_string_ends_its_own_response_only(model, prompts):
    free = run(model, prompts)
    tokenizer = load_tokenizer(model.folder)
    stop = next(
        r.raw_text[at : at + 2] for r in free for at in (9,)
        if "\ufffd" not in r.raw_text[at : at + 2] and len(r.raw_text) > 12
    )  # fmt: skip
    stopped = run(model, prompts, stop_strings=[stop], batch_size=24)
    assert Counter(r.stop_reason for r in stopped)[StopReason.STOP_STRING] >= 1
    for before, after in zip(free, stopped, strict=True):
        if stop not in before.raw_text:
            assert after == before
            continue
        assert after.stop_reason is StopReason.STOP_STRING
        assert before.raw_text.startswith(after.raw_text)
        assert stop in after.raw_text
        assert after.text == before.raw_text.partition(stop)[0].strip()
        tokens = greedy(model, after.prompt)[: after.num_tokens]
        assert tokenizer.decode(tokens, skip_special_tokens=True) == after.raw_text
        assert stop not in tokenizer.decode(tokens[:-1], skip_special_tokens=True)


def test_rigorous_stops_at_role_tags_and_cuts_there(model, monkeypatch):
    from transformers import OPTForCausalLM

    tokenizer = load_tokenizer(model.folder)
    script = tokenizer(" Yes.\n\nHuman: kill", add_special_tokens=False)["input_ids"] * 9
    forward, step = OPTForCausalLM.forward, 0

    def scripted(self, input_ids=None, **others):
        nonlocal step
        step = 0 if input_ids.shape[1] > 1 else step + 1
        output = forward(self, input_ids=input_ids, **others)
        output.logits[:, -1] = 0.0
        output.logits[:, -1, script[step]] = 1.0
        return output

    monkeypatch.setattr(OPTForCausalLM, "forward", scripted)
    prompt = asked(0, "\n\nHuman: ok?" + CUE)
    (rigorous,) = run(model, [prompt])
    assert rigorous.text == "Yes."
    assert rigorous.raw_text == " Yes.\n\nHuman:"
    assert rigorous.stop_reason is StopReason.STOP_STRING
    (paper,) = run(model, [prompt], "paper")
    assert paper.stop_reason is StopReason.CAP
    assert paper.text.startswith("Yes.\n\nHuman: kill Yes.")
    (unstopped,) = run(model, [prompt], stop_strings=[])
    assert (unstopped.text, unstopped.stop_reason) == ("Yes.", StopReason.CAP)


@pytest.mark.parametrize("protocol", ["paper", "rigorous"])
def test_long_prompts_lose_their_oldest_turns(model, protocol):
    source = random.Random(3)
    old = f"\n\nHuman: {words(70, source)}\n\nAssistant: {words(40, source)}"
    last = "\n\nHuman: What is bread?" + CUE
    long, short = asked(0, old + last), asked(1, last)
    endless = asked(2, f"\n\nHuman: {words(300, source)}{CUE}")
    if protocol == "paper":
        long, short, endless = (replace(p, text=p.text.strip()) for p in (long, short, endless))
    cut, whole, lost = run(model, [long, short, endless], protocol)
    assert cut.prompt_truncated
    assert not whole.prompt_truncated
    assert cut.prompt == long.text
    assert (cut.raw_text, cut.num_tokens) == (whole.raw_text, whole.num_tokens)
    assert lost.stop_reason is StopReason.TOO_LONG
    assert (lost.text, lost.raw_text, lost.num_tokens) == ("", "", 0)


def test_the_context_is_filled_to_its_last_position(tmp_path):
    write_opt_like_hub(tmp_path, std=0.2, seed=2, max_position_embeddings=48)
    weights, tokenizer = Weights(folder=tmp_path), load_tokenizer(tmp_path)
    text = "Human: "
    while len(tokenizer(text)["input_ids"]) < 48 - NEW:
        text += "#"
    fits, over = run(weights, [asked(0, text), asked(1, text + "#")], "paper")
    assert fits.stop_reason is not StopReason.TOO_LONG
    assert not fits.prompt_truncated
    assert over.stop_reason is StopReason.TOO_LONG
    with pytest.raises(InputError, match="leaves no room"):
        run(weights, [asked(0, text)], "paper", max_new_tokens=48)


def test_draws_hang_on_seed_and_prompt_not_on_the_batch(model, prompts):
    sampling = {"do_sample": True, "temperature": 1.3, "top_p": 0.95}
    together = run(model, prompts, seed=5, batch_size=24, **sampling)
    alone = run(model, prompts[::-1], seed=5, batch_size=1, **sampling)
    assert together == alone[::-1]
    other = run(model, prompts, seed=6, **sampling)
    assert sum(a.raw_text != b.raw_text for a, b in zip(together, other, strict=True)) > 20
    greedy_texts = {r.raw_text for r in run(model, prompts)}
    assert not greedy_texts & {r.raw_text for r in together}


def test_a_sample_is_the_same_whatever_the_batch_and_the_number_of_samples(model, prompts):
    sampling = {"do_sample": True, "temperature": 1.3, "seed": 5}
    three = run(model, prompts, num_samples=3, batch_size=10, **sampling)
    assert [(r.prompt_id, r.sample) for r in three] == [
        (p.id, k) for p in prompts for k in range(3)
    ]
    assert three == run(model, prompts, num_samples=3, batch_size=1, **sampling)
    assert three[::3] == run(model, prompts, **sampling)
    texts = [{r.raw_text for r in three if r.prompt_id == p.id} for p in prompts]
    assert sum(len(found) == 3 for found in texts) > 20


def test_draws_follow_the_models_probabilities(model):
    text = "\n\nHuman: bread?" + CUE
    tokenizer, network = load_tokenizer(model.folder), load_causal_lm(model)
    with torch.no_grad():
        logits = network(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    likely = torch.softmax(logits / 0.5, dim=-1)
    copies = [asked(i, text) for i in range(1500)]
    drawn = run(
        model, copies, max_new_tokens=1, do_sample=True, temperature=0.5, batch_size=500
    )  # fmt: skip
    top = int(likely.argmax())
    share = sum(r.raw_text == tokenizer.decode([top]) for r in drawn) / len(drawn)
    wanted = float(likely[top])
    assert 0.02 < wanted < 0.98
    assert abs(share - wanted) < 5 * (wanted * (1 - wanted) / len(drawn)) ** 0.5
    assert run(model, copies[:40], max_new_tokens=1, do_sample=True, top_p=1e-6) == run(
        model, copies[:40], max_new_tokens=1
    )


def test_the_checkpoints_own_generation_settings_are_not_followed(model, prompts, tmp_path):
    for file in model.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    surprise = {
        "do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "num_beams": 3,
        "max_length": 9, "no_repeat_ngram_size": 1, "min_new_tokens": 20,
        "suppress_tokens": [260, 261], "forced_eos_token_id": 2,
    }  # fmt: skip
    (tmp_path / "generation_config.json").write_text(json.dumps(surprise))
    assert run(Weights(folder=tmp_path), prompts[:8]) == run(model, prompts[:8])


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_every_end_that_a_folder_names_ends_a_response(file, model, prompts, tmp_path):
    """As chat models do: the end of a turn beside the end of a text."""
    for each in model.folder.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    plain = run(model, prompts[:8])
    tokenizer = load_tokenizer(model.folder)
    ids = tokenizer(prompts[0].text, return_tensors="pt")["input_ids"]
    written = load_causal_lm(model).generate(ids, max_new_tokens=4, do_sample=False)
    first = int(written[0, -1])
    values = json.loads((tmp_path / file).read_text()) if (tmp_path / file).exists() else {}
    (tmp_path / file).write_text(json.dumps(values | {"eos_token_id": [2, first]}))
    found = run(Weights(folder=tmp_path), prompts[:8])
    assert found[0].stop_reason == "eos"
    assert found[0].num_tokens <= 3
    assert plain[0].raw_text.startswith(found[0].raw_text)


def test_an_adapter_writes_as_its_merged_model_does(model, prompts, tmp_path):
    from peft import LoraConfig, get_peft_model

    from alignstudy.models.digests import weights_digest
    from alignstudy.models.folder import ADAPTER_RECORD

    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = get_peft_model(load_causal_lm(model), lora)
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    tuned.save_pretrained(adapter, save_embedding_layers=False)
    record = {"base_weights_sha256": weights_digest(model.folder), "base": "tiny"}
    (adapter / ADAPTER_RECORD).write_text(json.dumps(record))
    tuned.merge_and_unload().save_pretrained(merged)
    load_tokenizer(model.folder).save_pretrained(merged)
    by_adapter = run(Weights(folder=adapter, base=model.folder), prompts[:6])
    assert by_adapter == run(Weights(folder=merged), prompts[:6])
    assert by_adapter != run(model, prompts[:6])


class Listener:
    def __init__(self):
        self.total, self.done, self.notes, self.rates = None, 0, [], []

    def start(self, what, total=None):
        self.total = total

    def advance(self, done, **figures):
        self.done += done
        self.rates += [figures[name] for name in figures]

    def finish(self):
        self.notes.append("finished")

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize(("memory_lasts", "takes_positions"), [(0, True), (40, True), (0, False)])
def test_memory_shortage_halves_the_batch_and_keeps_results(
    model, prompts, monkeypatch, memory_lasts, takes_positions
):
    from transformers import OPTForCausalLM

    whole = run(model, prompts, batch_size=8)
    original, calls = OPTForCausalLM.forward, []

    def cramped(self, input_ids, **others):
        calls.append(len(input_ids))
        if len(input_ids) > 3 and len(calls) > memory_lasts:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return original(self, input_ids=input_ids, **others)

    if takes_positions:  # as models do whose rows lie side by side
        cramped = wraps(original)(cramped)
    monkeypatch.setattr(OPTForCausalLM, "forward", cramped)
    heard = Listener()
    settings = GenerationSettings(max_new_tokens=NEW, batch_size=8)
    halved = generate(
        model, prompts, settings, protocol="rigorous", device="cpu", seed=0, progress=heard
    )
    assert halved == whole
    assert (heard.total, heard.done) == (24, 24)
    assert [*dict.fromkeys(heard.notes)] == [
        "out of memory with 8 rows at once: going on with 4",
        "out of memory with 4 rows at once: going on with 2",
        "finished",
    ]
    assert all(rate > 0 for rate in heard.rates)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_halving_ends_at_one_row(error):
    def run_rows(limit):
        def attempt(rows):
            if len(rows) > limit:
                raise error
            return [row * 10 for row in rows]

        return attempt

    notes = []
    assert run_halving(range(7), run_rows(2), note=notes.append) == [0, 10, 20, 30, 40, 50, 60]
    assert notes
    with pytest.raises(EnvironmentFault, match="one row alone"):
        run_halving([1, 2], run_rows(0), note=notes.append)


def test_other_faults_are_not_taken_for_want_of_memory():
    def broken(rows):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_halving([1, 2], broken, note=print)


def test_broken_unicode_and_written_out_special_tokens_do_no_harm(model):
    texts = ["Human: a \ud800 b", "Human: say </s> twice", "Human: \x00 \U0001f600"]
    responses = run(model, [asked(i, text) for i, text in enumerate(texts)], "paper")
    assert all(r.num_tokens > 0 for r in responses)
    assert not any(re.search("</s>|<pad>", r.text) for r in responses)


def test_repeated_ids_are_refused_and_no_prompts_give_no_responses(model, prompts):
    with pytest.raises(GuardError, match="same id"):
        run(model, [prompts[0], prompts[0]])
    assert run(model, []) == []
