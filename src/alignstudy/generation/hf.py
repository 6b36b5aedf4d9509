"""Prompts and a Hugging Face language model in, responses out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from alignstudy import dialogue
from alignstudy.errors import GuardError, InputError
from alignstudy.generation.packed import MOST_ROWS
from alignstudy.generation.served.answers import answers
from alignstudy.generation.settings import GenerationSettings
from alignstudy.generation.writer import (
    Asked,
    Protocol,
    Task,
    load_list_writer,
    load_writer,
    too_long,
)
from alignstudy.models.load import built, read_config
from alignstudy.models.rendering import load_rendering
from alignstudy.models.templates import AUTO
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Prompt, Response, Weights
from alignstudy.runtime.device import context_length
from alignstudy.runtime.pool import WorkerPool, workers_that_pay

_GPU_ROWS = 256

_CPU_TOKENS = 8192
"""Of a batch on a CPU, whose keys and values come from memory at every step."""

_FLOPS = 6e10
"""Arithmetic operations a second of a fast core: the work is taken for rather too little."""

_BATCHES = 2
"""Of a worker's portion, at least, where there are so many."""

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
    template: str = AUTO,
    work: Path | None = None,
    facts: dict[str, str] | None = None,
) -> list[Response]:
    """Write `num_samples` responses after every prompt; return them in the prompts' order.

    In float32 they are those of one prompt at a time. They begin after the prompt's last token; the
    published notebook cut the decoded text at `len(prompt)` characters. Protocol "paper": no stop
    strings, the text stripped. "rigorous": prompts end in the cue; where they are written with role
    tags, generation stops at them and the text is cut there. Where prompt and response together
    pass the model's context, the oldest turns are dropped.

    Args:
        weights: The model.
        prompts: In any order; ids differ.
        settings: How to write.
        protocol: Which rules hold.
        device: Where to run; see `pick_device`.
        seed: Of draws; each response has its own stream.
        progress: Advanced with every response.
        workers: Most processes to spread the work over, where that pays.
        template: How prompts are written; see `template_of`.
        work: Folder in which a server's responses outlive a kill.
        facts: Filled with what a server showed of itself.

    Raises:
        GuardError: If a prompt lacks the cue, ids repeat, the tokenizer ends texts itself, or a
            server's answers aren't the model's.
        InputError: If `max_new_tokens` alone fills the model's context.
        EnvironmentFault: If memory is short, a worker was killed, or a server gave no answer.
    """
    _check_prompts(prompts, protocol)
    folder = weights.base or weights.folder
    room, parameters = _room_and_parameters(folder, settings.max_new_tokens)
    rendering = load_rendering(folder, template)
    rendering.outcome()
    read = [(prompt, *rendering.fitting(prompt.text, room=room)) for prompt in prompts]
    asked = [Asked(*each, sample) for each in read for sample in range(settings.num_samples)]
    responses = {_key(item): too_long(item) for item in asked if item.tokens is None}
    fitting = [item for item in asked if item.tokens is not None]
    progress.start("generate", total=len(asked))
    progress.advance(len(responses))
    task = Task(weights, settings, protocol, device, seed, template)
    if settings.engine == "openai":
        responses |= answers(task, fitting, work=work, progress=progress, facts=facts)
    else:
        workers = _processes(task, fitting, parameters, workers)
        responses |= _answers(task, fitting, workers=workers, progress=progress)
    progress.finish()
    return [responses[_key(item)] for item in asked]


def _processes(task: Task, asked: Sequence[Asked], parameters: int, most: int) -> int:
    """Return how many processes pay; only on a CPU more than one does."""
    if task.device != "cpu":
        return 1
    new, held = task.settings.max_new_tokens, _HELD * parameters
    tokens = sum(len(item.tokens or ()) + new for item in asked)
    seconds = 2 * parameters * tokens / _FLOPS
    return workers_that_pay(seconds, asked=most, tasks=len(asked), held=held)


def _key(item: Asked) -> tuple[str, int]:
    return item.prompt.id, item.sample


def too_long_prompts(
    prompts: Sequence[Prompt], folder: Path, new: int, *, template: str
) -> list[Prompt]:
    """Return the prompts that a model can't be asked with room for `new` tokens."""
    room, _ = _room_and_parameters(folder, new)
    rendering = load_rendering(folder, template)
    return [p for p in prompts if rendering.fitting(p.text, room=room)[0] is None]


def _check_prompts(prompts: Sequence[Prompt], protocol: Protocol) -> None:
    """Refuse prompts with one id, and rigorous ones without the cue."""
    if len({prompt.id for prompt in prompts}) != len(prompts):
        raise GuardError("two prompts have the same id", hint="give every prompt an id of its own")
    bare = [prompt.id for prompt in prompts if not prompt.text.endswith(dialogue.CUE)]
    if protocol == "rigorous" and bare:
        raise GuardError(
            f"{len(bare)} prompts don't end in the cue {dialogue.CUE!r}, the first is {bare[0]}",
            why="the models were trained to write after the cue",
            hint="end each prompt in the cue, or use the paper protocol, which adds none",
        )


def _room_and_parameters(folder: Path, new: int) -> tuple[int, int]:
    """Return the most tokens of a prompt, and a model's parameters; no weight is loaded.

    Raises:
        InputError: If the configuration describes no model, or no prompt fits.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(folder)
    model = built(folder, AutoModelForCausalLM, config)
    context = context_length(config)
    if new >= context:
        raise InputError(
            f"max_new_tokens {new} leaves no room for a prompt",
            why=f"the model reads {context} tokens in all",
            hint="set fewer generation.max_new_tokens",
        )
    return context - new, sum(parameter.numel() for parameter in model.parameters())


def rows_at_once(device: str, number: int, settings: GenerationSettings) -> tuple[int, int]:
    """Return the most texts of a batch, of so many, and its most tokens."""
    rows, most_tokens = _GPU_ROWS, settings.max_batch_tokens
    if device == "cpu":
        rows, most_tokens = min(MOST_ROWS, number), min(most_tokens, _CPU_TOKENS)
    return settings.batch_size or rows, most_tokens


def _answers(
    task: Task, asked: Sequence[Asked], *, workers: int, progress: Progress
) -> dict[tuple[str, int], Response]:
    """Write the responses, by prompt and number; report the speed."""
    import torch

    limits = rows_at_once(task.device, -(-len(asked) // workers), task.settings)
    responses: dict[tuple[str, int], Response] = {}
    tokens, started = 0, time.perf_counter()
    with ExitStack() as stack:
        answers: Iterator[list[Response]] = iter(())
        if workers > 1:
            load = partial(load_list_writer, task, *limits)
            pool: WorkerPool[list[Asked], list[Response]] = stack.enter_context(
                WorkerPool(load, workers=workers, threads=torch.get_num_threads())
            )
            answers = pool.map(_portions(asked, workers, limits[0]), note=progress.note)
        elif asked:
            answers = ([each] for each in load_writer(task, *limits)(asked, progress.note))
        for written in answers:
            responses |= {(response.prompt_id, response.sample): response for response in written}
            tokens += sum(response.num_tokens for response in written)
            rate = tokens / max(time.perf_counter() - started, 1e-9)
            progress.advance(len(written), tokens_per_second=rate)
    return responses


def _portions(asked: Sequence[Asked], workers: int, rows: int) -> list[list[Asked]]:
    """Deal prompts out to workers, each portion with as many long ones as any other.

    A portion is several batches, so that few rows stand idle at its end.
    """
    number = workers * max(1, len(asked) // (_BATCHES * rows * workers))
    by_length = sorted(asked, key=lambda item: -len(item.tokens or ()))
    return [by_length[at::number] for at in range(number)]
