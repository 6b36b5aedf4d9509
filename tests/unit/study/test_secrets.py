"""Secrets in a study: neither kept nor told, whatever they stand in."""

import json

import pytest

from alignstudy import Study
from alignstudy.cli import console
from alignstudy.errors import InputError
from alignstudy.redaction import REDACTED, redacted, redacted_in, told_apart
from alignstudy.study.graph.fingerprint import digest, fingerprint_value
from alignstudy.study.run.publishing import StudyTexts

SECRETS = {
    "hugging face": "hf_" + "Ab1" * 11,
    "openai": "sk-proj-" + "Ab1-_" * 8,
    "anthropic": "sk-ant-api03-" + "xY7" * 10,
    "amazon": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2" * 9,
    "github fine-grained": "github_pat_" + "11ABC_" * 8,
    "gitlab": "glpat-" + "x1Y2z3" * 4,
    "slack": "xoxb-" + "123456789-" * 2 + "abc",
    "google": "AIza" + "Sy_-9" * 7,
}
PLACES = ("# token of mine: {}", "note: {}", "'{}'", "https://user:{}@example.org/data",
          "https://{}@hub.example.org/x", "https://example.org/?token={}&x=1", "Bearer {}",
          "token={}", '{{"key": "{}"}}')  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("place", PLACES)
def test_tokens_are_taken_out_wherever_they_stand(secret, place):
    text = redacted(place.format(secret))
    assert secret[6:] not in text
    assert REDACTED in text
    assert redacted(text) == text, "a second look takes no more"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("password: correct-horse-battery", f"password: {REDACTED}"),
        ("# HF_TOKEN=abcdefgh1234", f"# HF_TOKEN={REDACTED}"),
        ("wandb_api_key: 0123456789abcdef # mine", f"wandb_api_key: {REDACTED} # mine"),
        ("https://me:pw@host/x", f"https://{REDACTED}@host/x"),
        ("client_secret='s3cr3ts3cr3t'", f"client_secret='{REDACTED}'"),
    ],
)
def test_what_is_called_a_secret_is_one(text, kept):
    assert redacted(text) == kept


@pytest.mark.parametrize(
    "text",
    ["eos_token: <|endoftext|>", "max_new_tokens: 50", "tokenizer: {vocab_size: 400}",
     "pad_token: '[PAD-TOKEN-1]'", "source: Anthropic/hh-rlhf", "risk-averse-and-long-1",
     "keys: [a, b]",     "token: ${HF_TOKEN}", "ask-me-anything-12345678", "https://huggingface.co/owner/name",
     "monkey: bananas-and-more", "sk-learn", "the key: it is a word", "secret: [redacted]"],
)  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


def test_keys_of_studies_hold_no_secret_and_still_differ():
    texts = [f"https://user:{name}-password@host/data" for name in ("first", "second")]
    assert len({digest(fingerprint_value(text)) for text in texts}) == 2
    assert not any("password" in told_apart(text) for text in texts)
    assert fingerprint_value("plain") == "plain"


def test_data_is_redacted_in_depth():
    token = SECRETS["hugging face"]
    found = redacted_in({"a": [token, {"b": (f"x {token}", 3, None)}], "c": 1.5})
    assert found == {"a": [REDACTED, {"b": [f"x {REDACTED}", 3, None]}], "c": 1.5}


def test_b4_a_study_is_kept_without_the_secrets_of_its_comments_and_values(tmp_path):
    token = SECRETS["hugging face"]
    path = tmp_path / "s.yaml"
    path.write_text(
        f"# {token}\nstudy: s\nbase: https://me:{token}@hub/x\ndata: {{source: world}}\n"
        "methods: {sft: {}}\nrecipes: {base: [], sft: [sft]}\njudges: [{use: length}]\n"
    )
    study = Study.load(path)
    texts = StudyTexts.of(study.settings, study.text)
    assert not any(token in text for text in texts.files.values())
    assert all(REDACTED in text for text in texts.files.values())
    assert len(texts.notes) == 2
    assert "take it out of the study" in texts.notes[0]


def test_what_is_printed_holds_none(capsys):
    token = SECRETS["github"]
    assert token not in console.safe(f"unknown key '{token}'")
    console.say_json({"why": f"given {token}"})
    assert json.loads(capsys.readouterr().out) == {"why": f"given {REDACTED}"}


@pytest.mark.parametrize("before", [0, 1_150, 1_185, 1_199, 4_790])
def test_no_refusal_is_cut_in_the_middle_of_a_secret(before):
    text = f"{'x' * before} hf_{'a1B2' * 9} {'y' * 9_000}"
    told = str(InputError(text, why=text, hint=text))
    assert "a1B2" not in told
    assert len(told) < 2_000
