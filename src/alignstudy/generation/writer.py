"""A loaded model that answers prompts, and the rules that it writes by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import write_on
from alignstudy.generation.decoding import StopStrings, cut, decode, ending, prompt_seed
from alignstudy.generation.packed import pack
from alignstudy.generation.rules import Rules, Text
from alignstudy.generation.settings import GenerationSettings
from alignstudy.models.load import load_plain_lm
from alignstudy.models.rendering import Rendering, load_rendering
from alignstudy.models.templates import Template
from alignstudy.models.tokenizers import padding_id
from alignstudy.records import Prompt, Response, StopReason, Weights

Protocol = Literal["paper", "rigorous"]


@dataclass(frozen=True)
class Asked:
    """A prompt as the model sees it; no tokens: it can't be made to fit.

    Attributes:
        sample: Which of the responses to the prompt is to be written, from 0.
    """

    prompt: Prompt
    tokens: tuple[int, ...] | None
    truncated: bool
    sample: int


@dataclass(frozen=True)
class Task:
    """All that a writer is made of: small, so that another process can make the same.

    Attributes:
        weights: The model.
        settings: How to write.
        protocol: Which rules hold.
        device: Where to run.
        seed: Of the draws.
        template: How prompts are written; see `template_of`.
    """

    weights: Weights
    settings: GenerationSettings
    protocol: Protocol
    device: str
    seed: int
    template: str

    def stop_strings(self, template: Template) -> tuple[str, ...]:
        """Return the texts that end a response."""
        if self.settings.stop_strings is not None:
            return self.settings.stop_strings
        return template.stop_strings if self.protocol == "rigorous" else ()


Write = Callable[[Sequence[Asked], Callable[[str], None]], Iterator[Response]]


def load_writer(task: Task, rows: int, most_tokens: int) -> Write:
    """Load the model; return what yields the responses to prompts as each is written.

    An adapter's base brings the tokenizer.

    Args:
        task: What to write.
        rows: Most prompts at once.
        most_tokens: Most tokens at once.
    """
    weights, settings = task.weights, task.settings
    rendering = load_rendering(weights.base or weights.folder, task.template)
    tokenizer, stop_strings = rendering.tokenizer, task.stop_strings(rendering.template)
    model = load_plain_lm(weights, dtype=settings.dtype, device=task.device)
    eos = rendering.ends
    drawing = partial(Choice, temperature=settings.temperature, top_p=settings.top_p)
    products = pack(model)

    def write(asked: Sequence[Asked], note: Callable[[str], None]) -> Iterator[Response]:
        rules = Rules(
            max_new_tokens=settings.max_new_tokens,
            eos=eos,
            pad=padding_id(tokenizer),
            stops=StopStrings(tokenizer, stop_strings) if stop_strings else None,
            choose=drawing if settings.do_sample else lambda _: Choice(),
            rewrite=settings.dtype == "float32",
            rows=rows,
            most_tokens=most_tokens,
            note=note,
            products=products,
        )
        texts = [
            Text(tokens=item.tokens or (), seed=prompt_seed(task.seed, item.prompt.id, item.sample))
            for item in asked
        ]
        for number, row in write_on(model, texts, rules):
            end = ending(row.tokens, eos=eos, stopped_at=row.stopped_at)
            raw_text = decode(tokenizer, end.tokens)
            ended = len(end.tokens), end.reason
            yield as_response(asked[number], raw_text, *ended, task=task, rendering=rendering)

    return write


def load_list_writer(
    task: Task, rows: int, most_tokens: int
) -> Callable[[Sequence[Asked], Callable[[str], None]], list[Response]]:
    """Load the model; return what returns all responses to prompts, as another process does."""
    write = load_writer(task, rows, most_tokens)
    return lambda asked, note: list(write(asked, note))


def as_response(
    item: Asked,
    raw_text: str,
    num_tokens: int,
    reason: StopReason,
    *,
    task: Task,
    rendering: Rendering,
) -> Response:
    """Return what was written after a prompt, cut as the protocol says.

    Args:
        item: The prompt.
        raw_text: All that was written.
        num_tokens: Of it, without the token that ended it.
        reason: Why it ended.
        task: What was asked.
        rendering: How prompts were written.
    """
    template = rendering.template
    text = cut(raw_text, stop_strings=task.stop_strings(template))
    return Response(
        prompt_id=item.prompt.id,
        axis=item.prompt.axis,
        prompt=item.prompt.text,
        text=(template.cut(text) if task.protocol == "rigorous" else text).strip(),
        raw_text=raw_text,
        num_tokens=num_tokens,
        stop_reason=reason,
        prompt_truncated=item.truncated,
        sample=item.sample,
    )


def too_long(item: Asked) -> Response:
    """Return the empty response to a prompt that doesn't fit, even as its last turn alone."""
    return Response(
        prompt_id=item.prompt.id,
        axis=item.prompt.axis,
        prompt=item.prompt.text,
        text="",
        raw_text="",
        num_tokens=0,
        stop_reason=StopReason.TOO_LONG,
        sample=item.sample,
    )
