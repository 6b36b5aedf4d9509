"""Responses that were written before a kill are used again only where they are as written."""

from dataclasses import replace

import pytest

from alignstudy.generation import GenerationSettings
from alignstudy.records import Prompt, Response, StopReason
from alignstudy.study.graph.stage import Stage
from alignstudy.study.stages.generate import Generate
from alignstudy.study.stages.sources import PromptSource

PROMPTS = [Prompt(id=f"p-{n}", axis="sampled", text="Hi") for n in range(3)]
ASKED = Generate(
    name="sample",
    model=Stage(name="model"),
    prompts=PromptSource(name="prompts"),
    settings=GenerationSettings(do_sample=True, num_samples=2),
    protocol="rigorous",
    seed=0,
    template="auto",
)


@pytest.fixture
def kept(tmp_path):
    """A part that was written whole."""
    path = tmp_path / "responses-0.json"
    rows = [
        Response(prompt_id=prompt.id, axis=prompt.axis, prompt=prompt.text, text="é", raw_text="é",
                 num_tokens=1, stop_reason=StopReason.EOS, sample=sample)
        for prompt in PROMPTS for sample in range(2)
    ]  # fmt: skip
    ASKED._keep(path, rows)
    return path, rows


def test_a_whole_part_is_used_again(kept):
    path, rows = kept
    assert ASKED._kept(path, PROMPTS) == rows


def test_a_part_that_lost_anything_is_not(kept):
    """An empty file, one that ends early at any byte, one with other prompts: written again."""
    path, _ = kept
    whole = path.read_bytes()
    assert ASKED._kept(path, PROMPTS[::-1]) is None
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert ASKED._kept(path, PROMPTS) is None, end
    path.unlink()
    assert ASKED._kept(path, PROMPTS) is None


def test_a_part_of_which_one_bit_is_another_is_not(kept):
    """A letter of a response would be judged, and nobody would know."""
    path, _ = kept
    whole = path.read_bytes()
    for at in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        assert ASKED._kept(path, PROMPTS) is None, at


def test_a_part_of_another_model_is_not(kept):
    """Put in its place, it has the same prompts."""
    path, _ = kept
    assert replace(ASKED, seed=1)._kept(path, PROMPTS) is None
