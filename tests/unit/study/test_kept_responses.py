"""Responses that were written before a kill are used again only where all of them are there."""

import pytest

from alignstudy.generation import GenerationSettings
from alignstudy.records import Prompt, Response, StopReason, write_rows
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
    path = tmp_path / "responses-0.jsonl"
    rows = [
        Response(prompt_id=prompt.id, axis=prompt.axis, prompt=prompt.text, text="é", raw_text="é",
                 num_tokens=1, stop_reason=StopReason.EOS, sample=sample)
        for prompt in PROMPTS for sample in range(2)
    ]  # fmt: skip
    write_rows(path, rows)
    return path, rows


def test_a_whole_part_is_used_again(kept):
    path, rows = kept
    assert ASKED._kept(path, PROMPTS) == rows


def test_a_part_that_lost_anything_is_not(kept):
    """An empty file, one that ends early at any byte, one with other prompts: written again."""
    path, _ = kept
    whole = path.read_bytes()
    assert ASKED._kept(path, PROMPTS[::-1]) is None
    for end in range(len(whole) - 1):  # without its last line break it is whole
        path.write_bytes(whole[:end])
        assert ASKED._kept(path, PROMPTS) is None, end
    path.unlink()
    assert ASKED._kept(path, PROMPTS) is None
