"""Prompts by chat template, tags or none; tokenizers as they are; ends learnt and obeyed."""

import json
import os
import shutil
from pathlib import Path

import methods_fixtures as fx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judges_fixtures import LLAMA_TEMPLATE, MISTRAL_TEMPLATE

from alignstudy.data.files.reading import read
from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import UnusableRow
from alignstudy.data.select.selection import RowSelection
from alignstudy.dialogue import Turn, render
from alignstudy.errors import GuardError, InputError
from alignstudy.generation import GenerationSettings, generate
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.loop.train import train
from alignstudy.methods.sft import SFTSettings
from alignstudy.models.rendering import load_rendering
from alignstudy.models.templates import FILE
from alignstudy.records import Pair, Prompt, Weights

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""
SMALL = {"max_length": 96, "max_steps": 2, "learning_rate": 1e-3, "dropout": "off"}
SYSTEM, ASKED, ANSWERED = Turn("system", "Be kind."), Turn("human", "Hi"), Turn("assistant", "Yes.")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain")
    return fx.write_llama(root / "llama", tokenizer_from=fx.write_opt(root / "opt"))


def variant(plain, folder, *, template="", tokens=(), beyond=False, **config):
    """Copy a model folder with other words in its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(plain, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokens:
        tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    if template:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if tokens and not beyond:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        model.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text()) | config
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    return folder


CHAT_TOKENS = ("<|im_start|>", "<|im_end|>")


@pytest.fixture(scope="module")
def chat(plain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat") / "model"
    return variant(plain, folder, template=CHATML, tokens=CHAT_TOKENS)


# Tokenizers as they are.


@pytest.mark.parametrize(
    "config",
    [{"pad_token": ...}, {"pad_token": "</s>"}, {"padding_side": "left"}, {"pad_token": "<unk>"}],
    ids=["no pad token", "pad = end", "left", "pad = unknown"],
)
@pytest.mark.parametrize("settings", [SFTSettings(**SMALL), DPOSettings(**SMALL)])
def test_padding_is_masked_by_its_place(config, settings, plain, tmp_path):
    folder = variant(plain, tmp_path / "other", **config)
    curves, answers = [], []
    for name, parent in (("plain", plain), ("other", folder)):
        train(fx.make_job(settings, parent, tmp_path / name))
        curves.append(fx.read_metrics(tmp_path / name / "out"))
        answers.append(written(tmp_path / name / "out"))
    assert curves[0] == curves[1]
    assert answers[0] == answers[1]


def written(folder, template="auto", new=6, **given):
    prompts = [Prompt(id=p.id, axis="helpful", text=p.prompt) for p in fx.make_pairs(4)]
    settings = GenerationSettings(max_new_tokens=new, **given)
    return generate(
        Weights(folder=folder), prompts, settings, protocol="rigorous", device="cpu", seed=0,
        template=template,
    )  # fmt: skip


def test_no_beginning_is_added_where_the_tokenizer_has_none(plain, tmp_path):
    folder = variant(plain, tmp_path / "other", bos_token=...)
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["post_processor"] = None
    path.write_text(json.dumps(values))
    rendering, usual = load_rendering(folder), load_rendering(plain)
    prompt = fx.make_pairs(1)[0].prompt
    assert [usual.tokenizer.bos_token_id, *rendering.prompt_ids([prompt])[0]] == (
        usual.prompt_ids([prompt])[0]
    )
    for settings in (SFTSettings(**SMALL), DPOSettings(**SMALL)):
        train(fx.make_job(settings, folder, tmp_path / settings.method))
    assert len(written(folder)) == 4


def test_tokens_beyond_the_embedding_are_in_nobodys_way_unless_a_text_holds_one(plain, tmp_path):
    folder = variant(plain, tmp_path / "other", tokens=("<extra>",), beyond=True)
    settings = SFTSettings(**SMALL)
    train(fx.make_job(settings, folder, tmp_path / "fine"))
    assert len(written(folder)) == 4
    rows = [*fx.make_pairs(3), Pair(id="odd", prompt=render([ASKED], cue=True),
            chosen=" See <extra> here", rejected=" No")]  # fmt: skip
    with pytest.raises(GuardError, match=r"holds the token <extra> \(\d+\)") as caught:
        train(fx.make_job(settings, folder, tmp_path / "odd", rows=rows))
    assert "rows; the text is" in caught.value.why


# Chat templates.


@pytest.mark.parametrize(
    ("template", "turns", "same"),
    [
        (CHATML, [SYSTEM, ASKED], True),
        (CHATML, [ASKED, ANSWERED, Turn("human", "And?")], True),
        (LLAMA_TEMPLATE, [ASKED], False),  # no generation prompt of its own
        (MISTRAL_TEMPLATE, [ASKED, ANSWERED, Turn("human", "And?")], True),
    ],
    ids=["system", "turns", "llama", "mistral"],
)
def test_a_prompt_is_what_the_template_writes(template, turns, same, plain, tmp_path):
    folder = variant(plain, tmp_path / "chat", template=template, tokens=CHAT_TOKENS)
    rendering = load_rendering(folder)
    roles = {"human": "user", "assistant": "assistant", "system": "system"}
    messages = [{"role": roles[turn.role], "content": turn.text} for turn in turns]
    prompt = render(turns, cue=True)
    ids = rendering.prompt_ids([prompt])[0]
    assert rendering.template.kind == "chat"
    if same:
        expected = rendering.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        assert ids == list(expected["input_ids"])
    begin = rendering.tokenizer.bos_token_id
    assert (ids[0] == begin) == ("bos_token" in template)
    assert ids[1] != begin
    text = rendering.template.prompt(prompt)
    assert all(turn.text in text for turn in turns)
    assert "Human:" not in text


def test_a_system_turn_goes_into_the_first_turn_where_a_template_knows_none(plain, tmp_path):
    folder = variant(plain, tmp_path / "chat", template=MISTRAL_TEMPLATE)
    rendering = load_rendering(folder)
    text = rendering.template.prompt(render([SYSTEM, ASKED], cue=True))
    assert text == f"{rendering.tokenizer.bos_token}[INST] Be kind.\n\nHi [/INST]"


def test_what_is_learnt_as_the_end_stops_generation(chat, tmp_path):
    rendering = load_rendering(chat)
    end = rendering.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert rendering.end == end
    assert rendering.ends == {end, rendering.tokenizer.eos_token_id}
    settings = SFTSettings(max_length=96, learning_rate=3e-2, num_train_epochs=30)
    rows = [Pair(id=p.id, prompt=p.prompt, chosen=" OK", rejected=None) for p in fx.make_pairs(4)]
    result = train(fx.make_job(settings, chat, tmp_path, rows=rows))
    told = next(outcome for outcome in result.guards if outcome.guard == "template")
    assert f"<|im_end|> ({end})" in told.detail
    assert "own chat template" in told.detail
    for response in written(tmp_path / "out", new=24):
        assert (response.text, response.stop_reason) == ("OK", "eos")


def test_training_and_generation_see_the_same_ids(chat):
    rendering = load_rendering(chat)
    pairs = fx.make_pairs(5)
    settings = DPOSettings(max_length=96)
    columns = fx.encode(fx.make_job(settings, chat, chat / "job", rows=pairs), rendering.tokenizer)
    for pair, ids in zip(pairs, columns.columns["prompt_ids"], strict=True):
        assert rendering.fitting(pair.prompt, room=96) == (tuple(ids), False)
    answered = rendering.tokenizer.decode(columns.columns["chosen_ids"][0])
    assert answered == f"{pairs[0].chosen.strip()}<|im_end|>"


def test_a_long_prompt_loses_its_oldest_turns_and_keeps_its_system_turn(chat):
    rendering = load_rendering(chat)
    turns = [SYSTEM, Turn("human", "old " * 30), Turn("assistant", "yes"), ASKED]
    short = rendering.prompt_ids([render([SYSTEM, ASKED], cue=True)])[0]
    found, cut = rendering.fitting(render(turns, cue=True), room=len(short))
    assert (found, cut) == (tuple(short), True)


def test_hh_and_none_leave_the_template_alone(chat):
    prompt = render([SYSTEM, ASKED, ANSWERED, Turn("human", "And?")], cue=True)
    hh = load_rendering(chat, "hh").template
    assert hh.prompt(prompt) == (
        "\n\nHuman: Be kind.\n\nHi\n\nAssistant: Yes.\n\nHuman: And?\n\nAssistant:"
    )
    assert hh.stop_strings
    none = load_rendering(chat, "none").template
    assert none.prompt(prompt) == "Be kind.\n\nHi\n\nYes.\n\nAnd?\n\n"
    assert none.stop_strings == ()
    assert (hh.response(" a "), none.response(" a ")) == (" a ", "a")


def test_a_chat_template_that_is_not_there_is_refused(plain):
    with pytest.raises(InputError, match="has no chat template") as caught:
        load_rendering(plain, "chat")
    assert "template: hh or none" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ("auto", "chat", "own chat template"),
        ("hh", "hh", "tags"),
        ("none", "none", "no template"),
        (FILE + MISTRAL_TEMPLATE, "chat", "own chat template"),
    ],
    ids=["auto", "hh", "none", "file"],
)
def test_a_trained_folder_holds_the_template_that_it_was_trained_with(
    asked, kind, words, chat, tmp_path
):
    """Whoever loads it by `auto`, or serves it by its own template, asks as was learnt."""
    for name, settings in {"sft": SFTSettings(**SMALL), "dpo": DPOSettings(**SMALL)}.items():
        train(fx.make_job(settings, chat, tmp_path / name, template=asked))
        saved = load_rendering(tmp_path / name / "out")
        assert saved.template.kind == kind
        assert words in saved.outcome().detail
        turns = [ASKED, ANSWERED, Turn("human", "And?")]
        prompt = render(turns, cue=True)
        assert saved.prompt_ids([prompt]) == load_rendering(chat, asked).prompt_ids([prompt])
        roles = {"human": "user", "assistant": "assistant"}
        messages = [{"role": roles[turn.role], "content": turn.text} for turn in turns]
        served = saved.tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        assert list(served["input_ids"]) == saved.prompt_ids([prompt])[0]


WORDS = st.text("ab .\n", min_size=1).map(str.strip).filter(bool)


@given(words=st.lists(WORDS, min_size=1, max_size=5), system=st.none() | WORDS)
def test_the_saved_tags_write_what_training_read(words, system, plain):
    words = words if len(words) % 2 else words[:-1]  # the last is the human's
    roles = ["human", "assistant"] * 3
    turns = [Turn(role, text) for role, text in zip(roles, words, strict=False)]
    turns = [Turn("system", system), *turns] if system else turns
    roles = {"human": "user", "assistant": "assistant", "system": "system"}
    messages = [{"role": roles[turn.role], "content": turn.text} for turn in turns]
    for kind in ("hh", "none"):
        rendering = load_rendering(plain, kind)
        text = rendering.tokenizer.apply_chat_template(
            messages, chat_template=rendering.template.to_save(), tokenize=False,
            add_generation_prompt=True,
        )  # fmt: skip
        expected = rendering.template.prompt(render(turns, cue=True))
        assert text == rendering.tokenizer.bos_token + expected


HH = Path(os.environ.get("ALIGNSTUDY_HH_DIR", "../shared/data/hh-rlhf"))


@pytest.mark.skipif(not HH.is_dir(), reason="the real HH-RLHF rows are not here")
def test_tags_write_real_dialogues_letter_by_letter(plain):
    template, used = load_rendering(plain, "hh").template, 0
    for subset in sorted(path.name for path in HH.iterdir() if path.is_dir()):
        for row in read(HH, RowSelection(subsets=(subset,), split="test")):
            try:
                pair = parse_row(row, fmt="hh").record
            except UnusableRow:
                continue
            for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
                written = template.prompt(pair.prompt) + template.response(text)
                assert written == row.fields[side]
            used += 1
    assert used > 8000
