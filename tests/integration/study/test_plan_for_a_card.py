"""`plan --device-memory`: whether a study fits a card, before anything is fetched or loaded."""

import json

import pytest

from alignstudy.cli.app import main


def planned(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "paper", *words])
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


def fits(capsys, *words):
    """Return the published study's stages that compute on a card, with how they fit it."""
    code, out, _ = planned(capsys, "--json", *words)
    assert code == 0
    stages = json.loads(out)["stages"]
    return {one["stage"]: one["estimate"]["fit"] for one in stages if one["estimate"]["fit"]}


def test_the_published_study_fits_24_gib_as_it_is(capsys):
    found = fits(capsys, "--device-memory", "24GiB")
    assert {name.split("/")[0] for name in found} == {
        *("train", "generate", "diagnose", "score", "assess")
    }
    assert all(words.startswith("fits: ") and "at a time" not in words for words in found.values())


def test_what_gives_way_and_what_would_fit_is_said(capsys):
    found = fits(capsys, "--device-memory", "5 GiB")
    # Of 331 million weights 16 bytes each, and 8 without moments: trained in float32.
    away = "gradient checkpointing and moments in the processor's memory"
    assert found["train/sft/seed-42"] == f"fits with {away}: 3.0 GiB, 1 at a time"
    assert found["train/dpo/seed-42"] == "fits with gradient checkpointing: 2.5 GiB, 1 at a time"
    found = fits(capsys, "--device-memory", "3 GiB")
    assert found["train/sft/seed-42"] == "doesn't fit: 3.0 GiB; lora: {} would"
    packed = ["--set", "methods.sft.lora={}"]
    assert fits(capsys, "--device-memory", "3 GiB", *packed)["train/sft/seed-42"][:4] == "fits"


def test_generation_fits_with_less_precision(capsys):
    found = fits(capsys, "--device-memory", "1.5 GiB")
    assert found["generate/sft/seed-42"] == "doesn't fit: 1.3 GiB; dtype: bfloat16 would"
    half = fits(capsys, "--device-memory", "1.5 GiB", "--set", "generation.dtype=bfloat16")
    assert half["generate/sft/seed-42"].startswith("fits: ")
    assert half["diagnose/sft/seed-42"] == "doesn't fit: 1.3 GiB; a smaller model would"


def test_it_is_said_in_words_too(capsys):
    code, out, _ = planned(capsys, "--device-memory", "3GiB")
    assert code == 0
    assert "on a card of 3 GiB (by formula, see docs/scaling.md):" in out
    assert "train/sft/seed-42: doesn't fit: 3.0 GiB; lora: {} would" in out
    _, plain, _ = planned(capsys)
    assert "on a card" not in plain


def test_a_size_that_is_none_is_refused(capsys):
    code, _, said = planned(capsys, "--device-memory", "H100")
    assert code == 2
    assert "'H100' is no size of a card's memory" in said
