"""The folder that a server is given: one model's full weights, and nothing that would change it."""

from __future__ import annotations

import shutil
from pathlib import Path

from alignstudy.generation.writer import Task
from alignstudy.models.load import load_causal_lm, no_loading_bar
from alignstudy.models.rendering import Rendering
from alignstudy.models.tokenizers import load_tokenizer, padding_id


def write_model(task: Task, rendering: Rendering, out: Path) -> None:
    """Write what a server loads: an adapter merged, in the precision that it is to compute in.

    Servers take their defaults from generation_config.json: penalties and samplers that the model's
    owner put there would apply to every request, and its end tokens alone would end responses. The
    one that is written has the study's, and no others. (transformers' server draws only where
    `do_sample` is in it, whatever temperature a request has.)

    Args:
        task: What is asked.
        rendering: Names the tokens that end a response.
        out: A folder to make, and to replace if it is there.
    """
    import torch
    from transformers import GenerationConfig

    weights, settings = task.weights, task.settings
    shutil.rmtree(out, ignore_errors=True)
    model = load_causal_lm(weights)
    if weights.base is not None:
        model = model.merge_and_unload(safe_merge=True)
    drawn = {"do_sample": True, "temperature": settings.temperature or 1.0, "top_k": 0}
    if settings.top_p is not None:
        drawn["top_p"] = settings.top_p
    model.generation_config = GenerationConfig(
        eos_token_id=sorted(rendering.ends),
        pad_token_id=padding_id(rendering.tokenizer),
        **(drawn if settings.do_sample else {}),
    )
    out.mkdir(parents=True)
    with no_loading_bar():
        model.to(getattr(torch, settings.dtype)).save_pretrained(out)
    _write_tokenizer(weights.base or weights.folder, out)


def _write_tokenizer(folder: Path, out: Path) -> None:
    """Write a tokenizer that adds nothing to a text: prompts are sent with their beginnings."""
    tokenizer = load_tokenizer(folder, check_rows=False)
    for name in ("add_bos_token", "add_eos_token"):
        if hasattr(tokenizer, name):
            setattr(tokenizer, name, False)
    if tokenizer.is_fast:
        tokenizer.backend_tokenizer.post_processor = None
    tokenizer.save_pretrained(out)
