"""The published study's DPO, update by update, against the versions that its notebooks name."""

import json
import os
from dataclasses import replace
from pathlib import Path

import methods_fixtures as fx
import published_updates as published
import pytest
import torch

from alignstudy.data.formats.parsing import parse_row
from alignstudy.data.formats.row import RawRow
from alignstudy.errors import DataError
from alignstudy.methods import LoRASettings
from alignstudy.methods.dpo import DPOSettings
from alignstudy.methods.faults import quiet_libraries
from alignstudy.methods.loop.assembly import assemble
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.study.settings.load import load_settings

TRUTH = json.loads((Path(published.__file__).parent / "published_updates.json").read_text())
HH = Path(os.environ.get("ALIGNSTUDY_HH_DIR", "../shared/data/hh-rlhf"))
TOKENIZER = Path(os.environ.get("ALIGNSTUDY_TOKENIZER_DIR", "../shared/data/opt-tokenizer"))


def paper_settings():
    """The preset's, with the fixture's steps."""
    asked = load_settings("paper")[1].methods["dpo"]
    given = {name: value for name, value in published.SETTINGS.items() if name != "seed"}
    return DPOSettings(**(asked.model_dump(exclude={"lora"}) | given), lora=asked.lora)


def test_the_preset_asks_for_what_the_notebooks_did():
    settings = paper_settings()
    assert settings.encoding == "published"
    assert (settings.max_prompt_length, settings.max_length) == (512, 1024)
    assert settings.truncation == "keep_end"
    wanted = LoRASettings(**{**published.LORA, "lora_dropout": 0.0})  # switched off by TRL
    assert settings.lora == wanted


@pytest.mark.e2e
@pytest.mark.skipif(not HH.is_dir(), reason="the real HH-RLHF rows are not here")
@pytest.mark.skipif(not TOKENIZER.is_dir(), reason="OPT's tokenizer is not here")
def test_twenty_updates_are_theirs(tmp_path):
    published.write_base(tmp_path / "base", TOKENIZER)
    rows = [
        parse_row(
            RawRow(file="f", line=at, subset="", split="", fields=fields), fmt="hh_prefix"
        ).record
        for at, fields in enumerate(published.read_rows(HH), start=1)
    ]
    assert len(rows) == published.NUM_ROWS
    job = fx.make_job(
        paper_settings(), tmp_path / "base", tmp_path / "job", rows=rows,
        seed=published.SETTINGS["seed"],
    )  # fmt: skip
    tokenizer = load_tokenizer(job.parent)
    seen = []
    with quiet_libraries():
        encoded = fx.encode(job, tokenizer)
        trainer = assemble(job, encoded, tokenizer, precision="fp32").trainer
        published.fill_adapter(trainer.model)
        step = trainer.training_step
        trainer.training_step = lambda model, inputs, *more: (
            seen.append(inputs["row"].tolist()), step(model, inputs, *more)
        )[1]  # fmt: skip
        torch.manual_seed(published.SETTINGS["seed"])
        trainer.train()
    assert encoded.counts["used"] == published.NUM_ROWS
    columns = [encoded.columns[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")]
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(steps) == len(TRUTH) == published.STEPS
    turned = 0
    for numbers, ours, theirs in zip(seen, steps, TRUTH, strict=True):
        ids = [[column[number] for column in columns] for number in numbers]
        assert published.hashed(ids) == theirs["ids"]
        assert ours["learning_rate"] == pytest.approx(theirs["learning_rate"], rel=1e-12)
        # On some processors rounding turns one of OPT's ReLUs on: a gradient is then another.
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
        turned += ours["grad_norm"] != pytest.approx(theirs["grad_norm"], rel=1e-5)
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=6e-5)  # they round to 4 digits
        assert ours["rewards/margins"] == pytest.approx(
            theirs["margin"], abs=2e-5
        )  # of sums of 500
        assert ours["logps/chosen"] == pytest.approx(theirs["logps_chosen"], rel=1e-6)
    assert turned <= 1


def encoded(pairs, parent, tmp_path, **settings):
    job = fx.make_job(DPOSettings(**settings), parent, tmp_path, rows=pairs)
    return fx.encode(job, load_tokenizer(parent))


@pytest.mark.parametrize("length", [24, 30, 200])
def test_a_text_keeps_its_end_and_a_prompt_too(length, tmp_path):
    parent = fx.write_opt(tmp_path / "opt")
    pairs, tokenizer = fx.make_pairs(6), load_tokenizer(parent)
    found = encoded(
        pairs, parent, tmp_path / "job", max_length=length, max_prompt_length=20,
        truncation="keep_end", encoding="published",
    )  # fmt: skip
    assert found.counts["used"] == 6
    for at, pair in enumerate(pairs):
        asked = tokenizer(pair.prompt, add_special_tokens=False)["input_ids"][-20:]
        for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            answer = [*tokenizer(text, add_special_tokens=False)["input_ids"], 2]
            whole = (asked + answer)[-length:]
            prompts = found.columns.get(f"{side}_prompt_ids", found.columns["prompt_ids"])
            assert prompts[at] + found.columns[f"{side}_ids"][at] == whole
            assert len(found.columns[f"{side}_ids"][at]) == min(len(answer), length)


def test_prompts_cut_for_one_response_alone_are_trained_and_referred_so(tmp_path):
    from alignstudy.methods.loop.train import train

    parent = fx.write_opt(tmp_path / "opt")
    whole = encoded(fx.make_pairs(6), parent, tmp_path / "a", max_length=128).columns
    length = len(whole["prompt_ids"][0]) + min(
        len(whole[f"{side}_ids"][0]) for side in ("chosen", "rejected")
    )
    settings = DPOSettings(
        max_length=length, truncation="keep_end", max_steps=1, encoding="published"
    )
    found = encoded(fx.make_pairs(6), parent, tmp_path / "e", **settings.model_dump())
    assert found.columns["chosen_prompt_ids"] != found.columns["rejected_prompt_ids"]
    result = train(fx.make_job(settings, parent, tmp_path / "job", rows=fx.make_pairs(6)))
    assert all(outcome.passed for outcome in result.guards)


def test_rows_that_are_the_same_once_cut_are_left_out_and_counted_unless_published(tmp_path):
    parent = fx.write_opt(tmp_path / "opt")
    pairs, tokenizer = fx.make_pairs(6), load_tokenizer(parent)
    length = len(tokenizer(pairs[0].prompt)["input_ids"]) + 1
    found = encoded(pairs, parent, tmp_path / "a", max_length=length)
    kept = [
        c != r
        for c, r in zip(found.columns["chosen_ids"], found.columns["rejected_ids"], strict=True)
    ]
    assert all(kept)
    assert found.counts["same_when_cut"] + found.counts["used"] + found.counts["too_long"] == 6
    alike = [replace(pair, rejected=f"{pair.chosen} or not") for pair in pairs]
    length = len(tokenizer(pairs[0].prompt)["input_ids"]) + 3
    with pytest.raises(DataError, match="no row is left") as caught:
        encoded(alike[:1], parent, tmp_path / "b", max_length=length)
    assert "in 1 chosen and rejected are the same tokens once cut" in caught.value.why


ASKED = "\n\nHuman: a\n\nAssistant:"


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        (f"{ASKED} I do", f"{ASKED} I don't", f"{ASKED} I d"),  # within a word
        (f"{ASKED} yes", f"{ASKED} no", ASKED),
        ("ab", "abcd", "a"),
        ("same", "same", "sam"),
    ],
)
def test_the_published_prompt_is_what_both_texts_begin_with(chosen, rejected, prompt):
    fields = {"chosen": chosen, "rejected": rejected}
    row = RawRow(file="f", line=1, subset="", split="", fields=fields)
    pair = parse_row(row, fmt="hh_prefix").record
    assert (pair.prompt + pair.chosen, pair.prompt + pair.rejected) == (chosen, rejected)
    assert pair.prompt == prompt
