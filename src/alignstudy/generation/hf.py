"""Prompts and a Hugging Face language model in, responses out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from alignstudy import dialogue
from alignstudy.errors import GuardError, InputError
from alignstudy.generation.costs import MOST_ROWS, Costs, costs_of
from alignstudy.generation.writer import Asked, Protocol, Task, load_writer, too_long
from alignstudy.loading import (
    context_length,
    length_batches,
    load_tokenizer,
    text_stays_open,
    well_formed,
)
from alignstudy.loading.batching import plan_batches
from alignstudy.loading.kernels import Kernels
from alignstudy.loading.spreading import START_UP, workers_that_pay
from alignstudy.loading.workers import WorkerPool
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Prompt, Response, Weights

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from alignstudy.generation.settings import GenerationSettings

_GPU_ROWS = 64
_LEAST_CUTS = 8
"""A CPU's work is cut into so many batches at least, whatever the workers: they end together."""


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

    Prompts go in batches that are planned to cost least; in float32 the responses are those of one
    prompt at a time. A response is what follows the prompt's last token: the published notebook
    cut the decoded text at `len(prompt)` characters instead, which gives the same unless decoding
    the prompt doesn't give it back (special tokens written out, broken Unicode).

    Protocol "paper": the prompt as it is, no stop strings, the text stripped. Protocol "rigorous":
    prompts end in the cue, generation stops at role tags, the text is cut at the first of them.
    Where prompt and response together pass the model's context, the oldest turns are dropped.

    Args:
        weights: The model.
        prompts: In any order; ids differ.
        settings: How to write.
        protocol: Which rules hold.
        device: Where to run; see `pick_device`.
        seed: Of the draws, with `do_sample`; each prompt has its own stream.
        progress: Told after every batch.
        workers: Most processes to spread the work over, on a CPU and where that pays.
        kernels: What was measured of this CPU, to plan batches by; None: a usual one.
        start_up: Seconds that workers take to start, which spreading must win back.

    Returns:
        One response a prompt, in the prompts' order.

    Raises:
        GuardError: If a prompt of the rigorous protocol lacks the cue, ids repeat, or the tokenizer
            ends every text itself.
        InputError: If `max_new_tokens` alone fills the model's context.
        EnvironmentFault: If one prompt alone doesn't fit into memory, or a worker was killed.
    """
    _check_prompts(prompts, protocol)
    asked, costs = _asked(weights, prompts, settings, kernels)
    responses = {item.prompt.id: too_long(item) for item in asked if item.tokens is None}
    batches = _batches([item for item in asked if item.tokens is not None], settings, costs, device)
    task = Task(
        weights=weights, settings=settings, protocol=protocol, device=device, seed=seed,
        costs=costs if device == "cpu" else None,
    )  # fmt: skip
    many = _workers(batches, costs, settings, device, asked=workers, start_up=start_up)
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
    """Give the responses of each batch, as batches finish."""
    if workers > 1:
        load = partial(load_writer, task)
        with WorkerPool[list[Asked], list[Response]](load, workers=workers) as pool:
            for _, written in pool.run(batches, note=progress.note):
                yield written
    elif batches:
        answer = load_writer(task)
        for batch in batches:
            yield answer(batch, progress.note)


def _batches(
    asked: Sequence[Asked], settings: GenerationSettings, costs: Costs, device: str
) -> list[list[Asked]]:
    """Group prompts: by what a batch costs on a CPU, by length on a GPU. The longest come first."""
    new = settings.max_new_tokens
    lengths = [len(item.tokens or ()) + new for item in asked]
    if device != "cpu":
        numbers = length_batches(
            lengths, batch_size=settings.batch_size or _GPU_ROWS,
            max_batch_tokens=settings.max_batch_tokens,
        )  # fmt: skip
    else:
        even = max(_LEAST_CUTS, -(-len(asked) // _LEAST_CUTS))
        numbers = plan_batches(
            lengths, cost=costs.step, batch_size=settings.batch_size or min(MOST_ROWS, even),
            max_batch_tokens=min(settings.max_batch_tokens, costs.most_tokens),
        )  # fmt: skip
    return [[asked[number] for number in batch] for batch in numbers]


def _workers(
    batches: Sequence[Sequence[Asked]],
    costs: Costs,
    settings: GenerationSettings,
    device: str,
    *,
    asked: int,
    start_up: float,
) -> int:
    """Give the processes that the work is worth."""
    if asked == 1 or device != "cpu":
        return 1
    shapes = [(len(batch), max(len(item.tokens or ()) for item in batch)) for batch in batches]
    seconds = sum(
        costs.reading(*shape) + settings.max_new_tokens * costs.step(*shape) for shape in shapes
    )
    memory = max(
        (rows * (longest + settings.max_new_tokens) for rows, longest in shapes), default=0
    )
    held = 4 * (2 * costs.parameters + costs.cached * memory)
    return workers_that_pay(seconds, asked=asked, tasks=len(batches), held=held, start_up=start_up)


def _room(costs: Costs, settings: GenerationSettings) -> int:
    """Give the most tokens of a prompt."""
    room = context_length(costs.config) - settings.max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt",
            why=f"the model reads {context_length(costs.config)} tokens in all",
            mend="set fewer generation.max_new_tokens",
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
        raise GuardError("two prompts have the same id", mend="give every prompt an id of its own")
    bare = [prompt.id for prompt in prompts if not prompt.text.endswith(dialogue.CUE)]
    if protocol == "rigorous" and bare:
        raise GuardError(
            f"{len(bare)} prompts don't end in the cue {dialogue.CUE!r}, the first is {bare[0]}",
            why="the models were trained to write after the cue",
            mend="end each prompt in the cue, or use the paper protocol, which adds none",
        )
