"""Prompts and a Hugging Face language model in, responses out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from alignstudy import dialogue
from alignstudy.errors import GuardError, InputError
from alignstudy.generation.packed import MOST_ROWS
from alignstudy.generation.writer import Asked, Protocol, Task, load_writer, too_long
from alignstudy.models.batching import length_batches
from alignstudy.models.folder import named_faults
from alignstudy.models.tokenizers import load_tokenizer, text_stays_open, well_formed
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Prompt, Response, Weights
from alignstudy.runtime.device import context_length
from alignstudy.runtime.pool import START_UP, WorkerPool, workers_that_pay

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from alignstudy.generation.settings import GenerationSettings

_GPU_ROWS = 64

_CPU_TOKENS = 4096
"""Of a batch on a CPU, whose keys and values come from memory at every step."""

_FLOPS = 6e10
"""Arithmetic operations a second of a fast core: the work is taken for rather too little."""

_HELD = 12
"""Bytes a process holds for each parameter: it, packed, and keys and values of a batch."""


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
    start_up: float = START_UP,
) -> list[Response]:
    """Write a response after every prompt.

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
        progress: Advanced after every batch.
        workers: Most processes to spread the work over, on a CPU and where that pays.
        start_up: Seconds that workers take to start.

    Returns:
        One response a prompt, in the prompts' order.

    Raises:
        GuardError: If a prompt lacks the cue, ids repeat, or the tokenizer ends texts itself.
        InputError: If `max_new_tokens` alone fills the model's context.
        EnvironmentFault: If one prompt alone doesn't fit into memory, or a worker was killed.
    """
    _check_prompts(prompts, protocol)
    config, parameters = _shape(weights.base or weights.folder)
    tokenizer = load_tokenizer(weights.base or weights.folder)
    text_stays_open(tokenizer)
    room = _room(config, settings)
    asked = [_fit(prompt, tokenizer, room=room) for prompt in prompts]
    responses = {item.prompt.id: too_long(item) for item in asked if item.tokens is None}
    fitting = [item for item in asked if item.tokens is not None]
    most = workers if device == "cpu" else 1
    many = _workers_that_pay(parameters, fitting, settings, workers=most, start_up=start_up)
    batches = _planned(fitting, settings, device=device, workers=many)
    task = Task(weights=weights, settings=settings, protocol=protocol, device=device, seed=seed)
    progress.start("generate", total=len(prompts))
    progress.advance(len(responses))
    with closing(_answered(task, batches, workers=many, progress=progress)) as answered:
        responses |= _collected(answered, progress)
    progress.finish()
    return [responses[prompt.id] for prompt in prompts]


def _shape(folder: Path) -> tuple[PretrainedConfig, int]:
    """Return a model's configuration and its number of parameters; no weight is loaded.

    Raises:
        InputError: If the configuration describes no model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with named_faults(folder), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return config, sum(parameter.numel() for parameter in model.parameters())


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
        import torch

        load, threads = partial(load_writer, task), torch.get_num_threads()
        pool: WorkerPool[list[Asked], list[Response]] = WorkerPool(
            load, workers=workers, threads=threads
        )
        with pool:
            yield from pool.map(batches, note=progress.note)
    elif batches:
        answer = load_writer(task)
        for batch in batches:
            yield answer(batch, progress.note)


def _planned(
    fitting: Sequence[Asked], settings: GenerationSettings, *, device: str, workers: int
) -> list[list[Asked]]:
    """Group prompts by length, the longest first, so that no process is without a batch."""
    rows, most_tokens = _GPU_ROWS, settings.max_batch_tokens
    if device == "cpu":
        rows = min(MOST_ROWS, -(-len(fitting) // workers))
        most_tokens = min(most_tokens, _CPU_TOKENS)
    plan = length_batches(
        [len(item.tokens or ()) + settings.max_new_tokens for item in fitting],
        batch_size=settings.batch_size or rows,
        max_batch_tokens=most_tokens,
    )
    return [[fitting[number] for number in batch] for batch in plan]


def _workers_that_pay(
    parameters: int,
    fitting: Sequence[Asked],
    settings: GenerationSettings,
    *,
    workers: int,
    start_up: float,
) -> int:
    """Return the number of processes that end soonest on a CPU."""
    tokens = sum(len(item.tokens or ()) + settings.max_new_tokens for item in fitting)
    return workers_that_pay(
        2 * parameters * tokens / _FLOPS,
        asked=workers,
        tasks=len(fitting),
        held=_HELD * parameters,
        start_up=start_up,
    )


def _room(config: PretrainedConfig, settings: GenerationSettings) -> int:
    """Return the most tokens of a prompt."""
    room = context_length(config) - settings.max_new_tokens
    if room < 1:
        raise InputError(
            f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt",
            why=f"the model reads {context_length(config)} tokens in all",
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
