"""Many rows written at once on a GPU; skipped where there is none."""

import random

import pytest
import torch
from models_fixtures import write_opt_like_hub

from alignstudy.dialogue import CUE
from alignstudy.generation import GenerationSettings, generate
from alignstudy.records import Prompt, Weights

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("drawn", [{}, {"do_sample": True, "top_p": 0.9, "num_samples": 3}])
def test_tokens_are_those_of_each_prompt_alone(tmp_path, drawn):
    write_opt_like_hub(tmp_path, std=0.2, seed=2)
    source, words = random.Random(0), ["how", "do", "salt", "mix", "not", "with"]
    prompts = [
        Prompt(
            id=str(at), axis="a", text="\n\nHuman: " + " ".join(source.choices(words, k=n)) + CUE
        )
        for at, n in enumerate(range(2, 42))
    ]

    def run(batch_size):
        settings = GenerationSettings(max_new_tokens=24, batch_size=batch_size, **drawn)
        return generate(
            Weights(folder=tmp_path), prompts, settings, protocol="rigorous", device="cuda", seed=1
        )

    together = run(16)
    assert together == run(1)
    assert len({response.text for response in together}) > 1
