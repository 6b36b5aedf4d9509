"""A server's answers are believed only where they are the model's, and kept one by one."""

import json
import os
import random
import re
import sys
from dataclasses import replace
from pathlib import Path

import completions_server
import existing_models
import pytest
from completions_server import Model, send, serving
from models_fixtures import CORPUS, write_opt_like_hub

from alignstudy.dialogue import CUE
from alignstudy.errors import EnvironmentFault, GuardError, InputError
from alignstudy.generation import GenerationSettings, generate
from alignstudy.generation.served.answers import _as_texts
from alignstudy.generation.served.process import find_server
from alignstudy.generation.writer import Asked
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Prompt, StopReason, Weights

torch = pytest.importorskip("torch")

NEW = 16
SCRIPT = f"{sys.executable} {completions_server.__file__} {{model}} {{port}}"


def words(count, source):
    return " ".join(source.choice(" ".join(CORPUS).split()) for _ in range(count))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights whose texts vary; some end by themselves (seed 2)."""
    folder = tmp_path_factory.mktemp("opt")
    write_opt_like_hub(folder, std=0.2, seed=2)
    return Weights(folder=folder)


@pytest.fixture(scope="module")
def prompts():
    source = random.Random(0)
    texts = [f"\n\nHuman: {words(source.randint(2, 60), source)}{CUE}" for _ in range(12)]
    return [Prompt(id=f"harmless-{n}", axis="harmless", text=text) for n, text in enumerate(texts)]


def run(weights, prompts, *, work=None, facts=None, seed=0, **settings):
    asked = GenerationSettings(**({"max_new_tokens": NEW} | settings))
    return generate(weights, prompts, asked, protocol="rigorous", device="cpu", seed=seed,
                    work=work, facts=facts)  # fmt: skip


def by(server, weights, prompts, **options):
    return run(weights, prompts, engine="openai", base_url=server.url, **options)


def on_demand(change=None, **options):
    """Answer as a server that loads the folder which a request names.

    Args:
        change: What is made of each answer.
        options: Of the model.
    """
    loaded = {}

    def answer(body, handler):
        if body["model"] not in loaded:
            loaded[body["model"]] = Model(body["model"], **options)
        made = loaded[body["model"]].complete(body)
        send(handler, change(body, made) if change else made)

    return answer


def edited(**parts):
    """Change the counts and the choice of answers to the study's own questions."""

    def change(body, made):
        if body["max_tokens"] == NEW and body.get("stop"):
            made["choices"][0] |= {k: v for k, v in parts.items() if k in made["choices"][0]}
            made["usage"] |= {k: v for k, v in parts.items() if k in made["usage"]}
        return made

    return change


def test_its_responses_are_those_of_this_process(model, prompts):
    facts = {}
    with serving(on_demand()) as server:
        found = by(server, model, prompts, facts=facts)
        asked = {json.dumps(body["prompt"]) for _, _, body in server.requests}
    own = run(model, prompts)
    assert found == own
    assert {each.stop_reason for each in own} >= {StopReason.CAP, StopReason.EOS}
    assert len(asked) == len(prompts)
    assert facts == {
        "server": "4 of 4 greedy answers are this process' own (float32)",
        "served_model": "tiny",
    }


def test_an_end_at_the_very_cap_is_an_end(model, prompts):
    """transformers' server calls it `length`, as if the response had been cut."""
    ended = [each for each in run(model, prompts) if each.stop_reason is StopReason.EOS]
    new = ended[0].num_tokens + 1

    def cap(body, made):
        if made["usage"]["completion_tokens"] == body["max_tokens"]:
            made["choices"][0]["finish_reason"] = "length"
        return made

    own = run(model, prompts, max_new_tokens=new)
    assert ended[0] in own
    with serving(on_demand(cap)) as server:
        assert by(server, model, prompts, max_new_tokens=new) == own


def test_stop_strings_end_responses(model, prompts):
    """The server leaves them out of texts, as vLLM does; what judges read is the same."""
    with serving(on_demand()) as server:
        found = by(server, model, prompts, stop_strings=["e", "zz"])
    own = run(model, prompts, stop_strings=["e", "zz"])
    assert [r.text for r in found] == [r.text for r in own]
    assert [r.stop_reason for r in found] == [r.stop_reason for r in own]
    assert [r.num_tokens for r in found] == [r.num_tokens for r in own]
    assert StopReason.STOP_STRING in {r.stop_reason for r in own}


def test_a_chat_template_is_asked_by_its_tokens(tmp_path, prompts):
    weights = Weights(folder=existing_models.write_chat_model(tmp_path / "chat"))
    with serving(on_demand()) as server:
        assert by(server, weights, prompts) == run(weights, prompts)


def test_an_adapter_is_served_merged(model, prompts, tmp_path):
    from peft import LoraConfig, get_peft_model

    from alignstudy.models.digests import weights_digest
    from alignstudy.models.folder import ADAPTER_RECORD
    from alignstudy.models.load import load_causal_lm

    torch.manual_seed(1)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(load_causal_lm(model), lora).save_pretrained(
        tmp_path / "adapter", save_embedding_layers=False
    )
    record = {"base_weights_sha256": weights_digest(model.folder), "base": "tiny"}
    (tmp_path / "adapter" / ADAPTER_RECORD).write_text(json.dumps(record))
    weights = Weights(folder=tmp_path / "adapter", base=model.folder)
    with serving(on_demand()) as server:
        assert by(server, weights, prompts) == run(weights, prompts) != run(model, prompts)


def test_what_the_models_owner_put_into_generation_config_is_not_served(model, prompts, tmp_path):
    """Penalties there would change every response of vLLM and of transformers' server."""
    folder = write_copy(model.folder, tmp_path / "penalized")
    config = {"repetition_penalty": 5.0, "min_new_tokens": 3, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(config))
    seen = []

    def look(body, made):
        seen.append(json.loads(Path(body["model"], "generation_config.json").read_text()))
        return made

    with serving(on_demand(look)) as server:
        assert by(server, Weights(folder=folder), prompts) == run(model, prompts)
    assert "repetition_penalty" not in seen[0]
    assert seen[0]["eos_token_id"] == [2]


def write_copy(folder, to):
    import shutil

    shutil.copytree(folder, to)
    return to


@pytest.mark.parametrize(
    "wrong",
    ["other weights", "cut prompts", "other precision", "never ends"],
)
def test_a_server_that_speaks_for_another_model_is_refused(model, prompts, tmp_path, wrong):
    other = tmp_path / "other"
    write_opt_like_hub(other, std=0.2, seed=3)
    options = {
        "cut prompts": {"most_read": 20}, "other precision": {"dtype": "bfloat16"},
    }.get(wrong, {})  # fmt: skip
    loaded = []

    def answer(body, handler):
        if not loaded:
            named = other if wrong == "other weights" else body["model"]
            # The guard needs no ends of the folder's own: a server may have none.
            if wrong == "other weights":
                (other / "generation_config.json").write_text('{"eos_token_id": [2]}')
            loaded.append(Model(named, **options))
            if wrong == "never ends":
                loaded[0].ends = set()
        made = loaded[0].complete(body)
        if wrong == "cut prompts":  # it doesn't even say so
            made["usage"]["prompt_tokens"] = len(body["prompt"])
        send(handler, made)

    with serving(answer) as server, pytest.raises(GuardError, match="doesn't write what") as raised:
        by(server, model, prompts, max_new_tokens=24)
    assert "likeliest text is" in raised.value.why
    assert "generation.dtype" in raised.value.hint


def test_other_weights_are_refused_in_bfloat16_too(model, prompts, tmp_path):
    other = tmp_path / "other"
    write_opt_like_hub(other, std=0.2, seed=3)
    (other / "generation_config.json").write_text('{"eos_token_id": [2]}')
    wrong = Model(other, dtype="bfloat16")
    with serving(wrong) as server, pytest.raises(GuardError, match="doesn't write what"):
        by(server, model, prompts, dtype="bfloat16")


def test_a_served_precision_that_is_said_is_accepted(model, prompts):
    facts = {}
    with serving(on_demand(dtype="bfloat16")) as server:
        by(server, model, prompts, dtype="bfloat16", facts=facts)
    assert "(bfloat16)" in facts["server"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (edited(prompt_tokens=5), "read 5 tokens of a prompt"),
        (edited(completion_tokens=NEW + 1), f"wrote {NEW + 1} tokens where {NEW} were allowed"),
        (edited(completion_tokens=3, finish_reason="length"), "was cut after 3 tokens"),
        (edited(text="x" * 5000), "has 5000 letters"),
        (edited(text="so\n\nHuman: " + "and on " * 6), "writes on after a stop string"),
    ],
)
def test_answers_that_contradict_the_request_are_refused(model, prompts, change, told):
    with serving(on_demand(change)) as server, pytest.raises(GuardError, match=told):
        by(server, model, prompts)


def test_draws_are_the_servers_own_and_one_that_draws_nothing_is_refused(model, prompts):
    drawn = {"do_sample": True, "num_samples": 2, "temperature": 0.7, "top_p": 0.9}
    with serving(on_demand()) as server:
        found = by(server, model, prompts, **drawn)
        bodies = [body for *_, body in server.requests if body.get("temperature") == 0.7]
    assert len(found) == 2 * len(prompts)
    assert len({each.raw_text for each in found}) > len(prompts)
    assert {body["top_p"] for body in bodies} == {0.9}
    assert len({body["seed"] for body in bodies}) == len(found)
    for deaf in (frozenset({"stop"}), frozenset({"stop", "temperature"})):
        with serving(on_demand(heeds=deaf)) as server, pytest.raises(GuardError, match="draw"):
            by(server, model, prompts, **drawn)


def test_what_was_answered_before_a_fault_is_not_asked_again(model, prompts, tmp_path):
    own = run(model, prompts)
    whole = on_demand()
    count = []

    def fails(body, handler):
        count.append(body)
        if len(count) > 10:
            send(handler, b"CUDA out of memory", 500)
        else:
            whole(body, handler)

    one_by_one = {"work": tmp_path, "parallel_requests": 1}
    with serving(fails) as server, pytest.raises(EnvironmentFault, match="500") as raised:
        by(server, model, prompts, **one_by_one)
    assert "CUDA out of memory" in raised.value.why
    told = re.match(r"(\d+) of 12 responses", raised.value.kept)
    assert int(told[1]) > 0
    with serving(whole) as server:
        assert by(server, model, prompts, **one_by_one) == own
        again = {str(body["prompt"]) for *_, body in server.requests if body.get("stop")}
        assert len(again) == 12 - int(told[1])
    with serving(fails) as server:  # nothing is left to ask
        assert by(server, model, prompts, **one_by_one) == own
        assert server.requests == []


def test_the_order_of_answers_changes_nothing(model, prompts):
    import time

    whole, source = on_demand(), random.Random(1)

    def late(body, handler):
        time.sleep(source.random() / 20)
        whole(body, handler)

    with serving(late) as server:
        found = by(server, model, prompts, parallel_requests=12)
    assert [each.prompt_id for each in found] == [prompt.id for prompt in prompts]
    assert found == run(model, prompts)


def texts_only():
    """Answer as transformers' server: texts are read, tokens refused."""
    loaded = {}

    def answer(body, handler):
        if not isinstance(body["prompt"], str):
            return send(handler, {"detail": "prompt must be a string."}, 400)
        known = loaded.setdefault(body["model"], [])
        known or known.append(Model(body["model"]))
        ids = known[0].tokenizer(body["prompt"])["input_ids"]
        return send(handler, known[0].complete({**body, "prompt": ids}))

    return answer


def test_a_server_that_takes_texts_reads_the_very_tokens(model, prompts):
    with serving(texts_only()) as server:
        assert by(server, model, prompts) == run(model, prompts)


def test_special_tokens_in_prompts_reach_a_server_that_takes_texts(tmp_path, prompts):
    """Of a chat template's, of a tokenizer that begins texts with one, and of a person's words."""
    weights = Weights(folder=existing_models.write_chat_model(tmp_path / "chat"))
    spelled = replace(prompts[3], text=f"\n\nHuman: What is {existing_models.END} for?{CUE}")
    asked = [*prompts[:3], spelled]
    with serving(texts_only()) as server:
        assert by(server, weights, asked) == run(weights, asked)


def test_tokens_that_no_text_spells_are_refused(model, prompts):
    letters = load_tokenizer(model.folder).convert_tokens_to_ids(["b", "r", "e", "a", "d"])
    asked = [Asked(prompts[3], tuple(letters), False, 0)]
    with pytest.raises(GuardError, match="prompt harmless-3 can't be sent") as raised:
        _as_texts(asked, model.folder)
    assert "takes texts, not tokens" in raised.value.why


@pytest.mark.parametrize("protocol", ["paper"])
def test_the_paper_protocol_is_asked_by_its_letters(model, prompts, protocol):
    asked = {"protocol": protocol, "device": "cpu", "seed": 0}
    with serving(on_demand()) as server:
        settings = GenerationSettings(max_new_tokens=NEW, engine="openai", base_url=server.url)
        found = generate(model, prompts, settings, **asked)
    assert found == generate(model, prompts, GenerationSettings(max_new_tokens=NEW), **asked)


def processes_with(text):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            except OSError:
                continue
            found += [entry.name] if text in line and int(entry.name) != os.getpid() else []
    return found


def test_a_server_is_started_for_a_model_and_stopped(model, prompts, tmp_path):
    found = run(model, prompts, engine="openai", serve=SCRIPT, work=tmp_path)
    assert found == run(model, prompts)
    assert processes_with(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("mishap", "told"),
    [
        ("broken", "no memory for this model, says the server"),
        ("dies", "out of memory, says the server"),
    ],
)
def test_a_server_that_ends_is_quoted(model, prompts, tmp_path, mishap, told):
    with pytest.raises(EnvironmentFault) as raised:
        run(model, prompts, engine="openai", serve=f"{SCRIPT} {mishap}", work=tmp_path)
    assert told in raised.value.why
    assert processes_with(str(tmp_path)) == []


def test_a_server_that_never_is_ready_is_ended(model, prompts, tmp_path):
    sleeper = f"{sys.executable} -c 'import time; time.sleep(600)' {{model}} {{port}}"
    timed = {"serve": sleeper, "request_timeout": 1.0, "work": tmp_path}
    with pytest.raises(EnvironmentFault, match="wasn't ready in 1 seconds"):
        run(model, prompts, engine="openai", **timed)
    assert processes_with(str(tmp_path)) == []


def test_a_program_that_is_not_here_is_told_before_anything():
    settings = GenerationSettings(engine="openai", serve="no-such-server {model} --port {port}")
    with pytest.raises(InputError, match="no program 'no-such-server'"):
        find_server(settings)
