import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignstudy.generation import GenerationSettings
from alignstudy.generation.decoding import cut, ending, prompt_seed
from alignstudy.models.batching import length_batches
from alignstudy.models.templates import Template
from alignstudy.models.tokenizers import well_formed
from alignstudy.records import StopReason
from alignstudy.study.graph.fingerprint import fingerprint_value

EOS = frozenset({2})
URL = {"base_url": "http://localhost:8000/v1"}


def test_defaults_are_the_rigorous_protocols():
    settings = GenerationSettings()
    assert (settings.max_new_tokens, settings.do_sample, settings.dtype) == (256, False, "float32")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": 0.0, "do_sample": True},
        {"top_p": 1.5, "do_sample": True},
        {"temperature": 0.7},
        {"top_p": 0.9},
        {"stop_strings": [""]},
        {"batch_size": 0},
        {"dtype": "int8"},
        {"num_samples": 0, "do_sample": True},
        {"num_samples": 3},
        {"num_beams": 4},
        {"engine": "vllm"},
        {"engine": "openai"},
        {"engine": "openai", **URL, "serve": "serve {model} {port}"},
        {"engine": "openai", "base_url": "localhost:8000"},
        {"engine": "openai", "base_url": "ftp://localhost/v1"},
        {"engine": "openai", "base_url": "http://local host/v1"},
        {"engine": "openai", "base_url": "http://a..b/v1"},
        {"engine": "openai", "base_url": "http://localhost/\n/v1"},
        {"engine": "openai", "base_url": "http://localhost/vé"},
        {"engine": "openai", "base_url": "http://[::1/v1"},
        {"engine": "openai", "base_url": "http:///v1"},
        {"engine": "openai", "base_url": "http://localhost:x/v1"},
        {"engine": "openai", "base_url": "http://me:secret@localhost/v1"},
        {"engine": "openai", "base_url": "http://localhost/v1?key=secret"},
        {"engine": "openai", "serve": "vllm serve {model}"},
        {"engine": "openai", "serve": "vllm serve --port {port}"},
        {"engine": "openai", "serve": "vllm serve '{model} {port}"},
        {"engine": "openai", **URL, "request_timeout": 0.0},
        {"engine": "openai", **URL, "parallel_requests": 0},
        {"engine": "openai", **URL, "batch_size": 4},
        {"engine": "openai", **URL, "max_batch_tokens": 100},
        URL,
        {"serve": "serve {model} {port}"},
        {"parallel_requests": 4},
        {"request_timeout": 5.0},
    ],
)
def test_settings_without_effect_or_meaning_are_refused(wrong):
    with pytest.raises(ValidationError):
        GenerationSettings(**wrong)


def test_a_server_is_named_or_started_and_written_out_in_full():
    named = GenerationSettings(engine="openai", base_url="http://localhost:8000/v1/")
    assert named.base_url == "http://localhost:8000/v1"
    started = GenerationSettings(engine="openai", serve="vllm serve {model} --port {port}")
    for settings in (named, started, GenerationSettings()):
        assert GenerationSettings(**settings.model_dump()) == settings


def test_who_generates_is_in_the_key_and_how_long_one_waits_is_not():
    named = GenerationSettings(engine="openai", **URL)
    patient = named.model_copy(update={"request_timeout": 5.0})
    others = [
        GenerationSettings(),
        named.model_copy(update={"base_url": "http://other/v1"}),
        GenerationSettings(engine="openai", serve="vllm serve {model} --port {port}"),
    ]
    key = fingerprint_value(named)
    assert fingerprint_value(patient) == key
    assert key not in [fingerprint_value(each) for each in others]


def test_settings_are_importable_without_torch():
    code = (
        "import sys, alignstudy.generation, alignstudy.judges;"
        "print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("generated", "stopped_at", "tokens", "reason"),
    [
        ([5, 6, 7], None, (5, 6, 7), StopReason.CAP),
        ([5, 2, 1, 1], None, (5,), StopReason.EOS),
        ([2, 1, 1], None, (), StopReason.EOS),
        ([5, 6, 2], None, (5, 6), StopReason.EOS),
        ([5, 1, 6], None, (5, 1, 6), StopReason.CAP),
        ([5, 6, 1, 1], 2, (5, 6), StopReason.STOP_STRING),
        ([5, 6, 2, 1], 2, (5, 6), StopReason.STOP_STRING),
        ([5, 2, 6, 1], 3, (5,), StopReason.EOS),
    ],
)
def test_a_response_ends_by_token_position(generated, stopped_at, tokens, reason):
    end = ending(generated, eos=EOS, stopped_at=stopped_at)
    assert (end.tokens, end.reason) == (tokens, reason)


@pytest.mark.parametrize(
    ("raw", "stops", "text"),
    [
        (" Sure.\n\nHuman: And", ("\n\nHuman:",), " Sure."),
        (" Sure.\n\nHuman: And", (), " Sure.\n\nHuman: And"),
        ("one END two STOP", ("STOP", "END"), "one "),
        ("", ("x",), ""),
    ],
)
def test_responses_are_cut_at_the_first_stop_string(raw, stops, text):
    assert cut(raw, stop_strings=stops) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (" Sure.\n\nHuman: And", " Sure."),
        (" Sure.\nHuman: And", " Sure."),
        ("\n\nHuman: hi", ""),
        ("Human: hi", ""),
    ],
)
def test_responses_are_cut_at_role_tags_where_prompts_are_written_with_them(raw, text):
    assert Template(None, "hh").cut(raw).strip() == text.strip()
    assert Template(None, "chat", "x").cut(raw) == raw
    assert Template(None, "none").cut(raw) == raw


def test_draws_of_a_prompt_hang_on_seed_and_id_only():
    assert prompt_seed(0, "harmless-1") == prompt_seed(0, "harmless-1")
    seeds = {prompt_seed(seed, f"harmless-{i}") for seed in range(10) for i in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_each_sample_has_draws_of_its_own_and_the_first_those_of_one_alone():
    assert prompt_seed(0, "harmless-1", 0) == prompt_seed(0, "harmless-1")
    assert len({prompt_seed(0, f"harmless-{i}", k) for i in range(100) for k in range(10)}) == 1000


@given(
    st.lists(st.integers(1, 50), max_size=40),
    st.integers(1, 9),
    st.integers(1, 300),
)
def test_every_row_is_in_one_batch_that_keeps_the_budget(lengths, batch_size, budget):
    batches = length_batches(lengths, batch_size=batch_size, max_batch_tokens=budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
    ordered = [lengths[row] for batch in batches for row in batch]
    assert ordered == sorted(lengths, reverse=True)


@given(st.text(st.characters(exclude_categories=())))
def test_well_formed_text_can_be_encoded_and_sound_text_stays(text):
    sound = well_formed(text)
    sound.encode("utf-8")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return
    assert sound == text


def test_lone_surrogates_become_visible_and_pairs_are_joined():
    assert well_formed("a\ud800b") == "a\ufffdb"
    assert well_formed("\ud83d\ude00") == "\U0001f600"
