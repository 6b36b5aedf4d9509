"""Prompts and a Hugging Face language model in, responses out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from alignstudy import dialogue
from alignstudy.errors import GuardError, InputError
from alignstudy.generation.costs import Costs, costs_of
from alignstudy.generation.cutting import Work, cut
from alignstudy.generation.writer import Asked, Protocol, Task, load_writer, too_long
from alignstudy.models.batching import length_batches
from alignstudy.models.tokenizers import load_tokenizer, text_stays_open, well_formed
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Prompt, Response, Weights
from alignstudy.runtime.device import context_length
from alignstudy.runtime.kernels import Kernels
from alignstudy.runtime.spreading import START_UP
from alignstudy.runtime.workers import WorkerPool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignstudy.generation.settings import GenerationSettings

_GPU_ROWS = 64


def generate(
    weights: Weights,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    protocol: Protocol,
    device: str,
    seed: int,
    progress: Progress = SILENT,
    workers: int = 1,
    kernels: Kernels | None = None,
    start_up: float = START_UP,
) -> list[Response]:
    """Let a model write after every prompt.

    In float32 the responses are those of one prompt at a time. A response is what follows the
    prompt's last token: the published notebook cut the decoded text at `len(prompt)` characters
    instead: the same unless the prompt isn't decoded to itself (special tokens, broken Unicode).

    Protocol "paper": the prompt as it is, no stop strings, the text stripped. "rigorous": prompts
    end in the cue, generation stops at role tags, the text is cut at the first of them. Where
    prompt and response together pass the model's context, the oldest turns are dropped.

    Args:
        weights: The model.
        prompts: In any order; ids differ.
        settings: How to write.
        protocol: Which rules hold.
        device: Where to run; see `pick_device`.
        seed: Of draws; each prompt has its own stream.
        progress: Told after every batch.
        workers: Most processes to spread the work over, on a CPU and where that pays.
        kernels: What was measured of this CPU, to plan by; None: a usual one.
        start_up: Seconds that workers take to start.

    Returns:
        One response a prompt, in the prompts' order.

    Raises:
        GuardError: If a prompt lacks the cue, ids repeat, or the tokenizer ends texts itself.
        InputError: If `max_new_tokens` alone fills the model's context.
        EnvironmentFault: If one prompt alone doesn't fit into memory, or a worker was killed.
    """
    _check_prompts(prompts, protocol)
    asked, costs = _asked(weights, prompts, settings, kernels)
    responses = {item.prompt.id: too_long(item) for item in asked if item.tokens is None}
    fitting = [item for item in asked if item.tokens is not None]
    work = Work([len(item.tokens or ()) for item in fitting], settings, costs)
    plan, many = cut(work, workers, start_up) if device == "cpu" else (_gpu_batches(work), 1)
    batches = [[fitting[number] for number in batch] for batch in plan]
    task = Task(
        weights=weights, settings=settings, protocol=protocol, device=device, seed=seed,
        costs=costs if device == "cpu" else None,
    )  # fmt: skip
    progress.start("generate", total=len(prompts))
    progress.advance(len(responses))
    with closing(_answered(task, batches, workers=many, progress=progress)) as answered:
        responses |= _collected(answered, progress)
    progress.finish()
    return [responses[prompt.id] for prompt in prompts]


def _asked(
    weights: Weights,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    kernels: Kernels | None,
) -> tuple[list[Asked], Costs]:
    """Tokenize all prompts; no weight is loaded for that, nor to know the costs."""
    folder = weights.base or weights.folder
    tokenizer = load_tokenizer(folder)
    text_stays_open(tokenizer)
    costs = costs_of(folder, kernels)
    room = _room(costs, settings)
    return [_fit(prompt, tokenizer, room=room) for prompt in prompts], costs


def _collected(answered: Iterable[list[Response]], progress: Progress) -> dict[str, Response]:
    """Gather the responses by prompt, and tell how fast they come."""
    responses: dict[str, Response] = {}
    started = time.perf_counter()
    for written in answered:
        responses |= {response.prompt_id: response for response in written}
        tokens = sum(response.num_tokens for response in responses.values())
        rate = tokens / max(time.perf_counter() - started, 1e-9)
        progress.advance(len(written), tokens_per_second=rate)
    return responses


def _answered(
    task: Task, batches: list[list[Asked]], *, workers: int, progress: Progress
) -> Generator[list[Response]]:
    """Return the responses of each batch, as batches finish."""
    if workers > 1:
        load = partial(load_writer, task)
        with WorkerPool[list[Asked], list[Response]](load, workers=workers) as pool:
            for _, written in pool.run(batches, note=progress.note):
                yield written
    elif batches:
        answer = load_writer(task)
        for batch in batches:
            yield answer(batch, progress.note)


def _gpu_batches(work: Work) -> list[list[int]]:
    """Group prompts by length, the longest first."""
    settings = work.settings
    return length_batches(
        [length + settings.max_new_tokens for length in work.lengths],
        batch_size=settings.batch_size or _GPU_ROWS, max_batch_tokens=settings.max_batch_tokens,
    )  # fmt: skip


def _room(costs: Costs, settings: GenerationSettings) -> int:
    """Return the most tokens of a prompt."""
    room = context_length(costs.config) - settings.max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt",
            why=f"the model reads {context_length(costs.config)} tokens in all",
            hint="set fewer generation.max_new_tokens",
        )
    return room


def _fit(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, *, room: int) -> Asked:
    """Tokenize a prompt, dropping its oldest turns until it fits."""
    text: str | None = prompt.text
    while text is not None:
        tokens = tuple(tokenizer(well_formed(text), verbose=False)["input_ids"])
        if len(tokens) <= room:
            return Asked(prompt, tokens, truncated=text is not prompt.text)
        text = _drop_oldest(text)
    return Asked(prompt, None, truncated=False)


def _drop_oldest(text: str) -> str | None:
    """Drop the oldest turns; a prompt that began without a blank line still does."""
    rest = dialogue.drop_oldest_turns(text)
    return rest if rest is None or text.startswith("\n") else rest.lstrip("\n")


def _check_prompts(prompts: Sequence[Prompt], protocol: Protocol) -> None:
    """Refuse prompts that can't be told apart, and rigorous ones without the cue."""
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise GuardError("two prompts have the same id", hint="give every prompt an id of its own")
    bare = [prompt.id for prompt in prompts if not prompt.text.endswith(dialogue.CUE)]
    if protocol == "rigorous" and bare:
        raise GuardError(
            f"{len(bare)} prompts don't end in the cue {dialogue.CUE!r}, the first is {bare[0]}",
            why="the models were trained to write after the cue",
            hint="end each prompt in the cue, or use the paper protocol, which adds none",
        )
