"""A loaded model that answers prompts, and the rules that it writes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from alignstudy import dialogue
from alignstudy.errors import GuardError
from alignstudy.generation.choosing import Choice
from alignstudy.generation.continuing import Rules, Text, Written, write_on
from alignstudy.generation.decoding import StopAtStrings, cut, decode, ending, prompt_seed
from alignstudy.generation.packed import pack
from alignstudy.generation.settings import GenerationSettings
from alignstudy.models.batching import run_halving
from alignstudy.models.load import load_causal_lm
from alignstudy.models.tokenizers import load_tokenizer
from alignstudy.records import Prompt, Response, StopReason, Weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Protocol = Literal["paper", "rigorous"]


@dataclass(frozen=True)
class Asked:
    """A prompt as the model sees it; no tokens: it can't be made to fit."""

    prompt: Prompt
    tokens: tuple[int, ...] | None
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a writer is made of: small, so that another process can make the same.

    Attributes:
        weights: The model.
        settings: How to write.
        protocol: Which rules hold.
        device: Where to run.
        seed: Of the draws.
    """

    weights: Weights
    settings: GenerationSettings
    protocol: Protocol
    device: str
    seed: int

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end a response."""
        if self.settings.stop_strings is not None:
            return self.settings.stop_strings
        return dialogue.STOP_STRINGS if self.protocol == "rigorous" else ()


def load_writer(task: Task) -> Callable[[Sequence[Asked], Callable[[str], None]], list[Response]]:
    """Load the model; return what answers a batch: (prompts, note) -> responses in their order."""
    writer = _Writer.load(task)

    def answer(batch: Sequence[Asked], note: Callable[[str], None]) -> list[Response]:
        return run_halving(batch, writer.write, note=note)

    return answer


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """A loaded model."""

    task: Task
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    rules: Rules

    @classmethod
    def load(cls, task: Task) -> _Writer:
        """Load the model; an adapter's base brings the tokenizer."""
        weights, settings = task.weights, task.settings
        tokenizer = load_tokenizer(weights.base or weights.folder)
        adapted = load_causal_lm(weights, dtype=settings.dtype, device=task.device)
        # PEFT's own generate rewrites the generation settings; the model inside has the adapter.
        model = adapted.get_base_model() if weights.base is not None else adapted
        eos, pad = _eos_and_pad(model, tokenizer)
        stops = partial(StopAtStrings, tokenizer, task.stop_strings)
        rules = Rules(
            max_new_tokens=settings.max_new_tokens,
            eos=eos,
            pad=pad,
            stops=stops if task.stop_strings else None,
            choose=partial(_choice, settings),
            rewrite=settings.dtype == "float32",
            products=pack(model),
        )
        return cls(task=task, model=model, tokenizer=tokenizer, rules=rules)

    def write(self, batch: Sequence[Asked]) -> list[Response]:
        """Answer one batch."""
        seed = self.task.seed
        texts = [
            Text(tokens=item.tokens or (), seed=prompt_seed(seed, item.prompt.id)) for item in batch
        ]
        written = write_on(self.model, texts, self.rules)
        return [self._response(item, row) for item, row in zip(batch, written, strict=True)]

    def _response(self, item: Asked, row: Written) -> Response:
        """Cut one row of tokens as the protocol says."""
        end = ending(row.tokens, eos=self.rules.eos, stopped_at=row.stopped_at)
        raw_text = decode(self.tokenizer, end.tokens)
        return Response(
            prompt_id=item.prompt.id,
            axis=item.prompt.axis,
            prompt=item.prompt.text,
            text=cut(
                raw_text,
                stop_strings=self.task.stop_strings,
                at_role_tags=self.task.protocol == "rigorous",
            ),
            raw_text=raw_text,
            num_tokens=len(end.tokens),
            stop_reason=end.reason,
            prompt_truncated=item.truncated,
        )


def too_long(item: Asked) -> Response:
    """Say that a prompt doesn't fit, even as its last turn alone."""
    return Response(
        prompt_id=item.prompt.id,
        axis=item.prompt.axis,
        prompt=item.prompt.text,
        text="",
        raw_text="",
        num_tokens=0,
        stop_reason=StopReason.TOO_LONG,
    )


def _choice(settings: GenerationSettings, seeds: Sequence[int]) -> Choice:
    """Return what chooses the tokens of a batch."""
    if not settings.do_sample:
        return Choice()
    return Choice(seeds, temperature=settings.temperature, top_p=settings.top_p)


def _eos_and_pad(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[frozenset[int], int]:
    """Find the tokens that end a response (the tokenizer's, else the model's) and that pad."""
    if tokenizer.pad_token_id is None:
        raise GuardError(
            f"the tokenizer of {model.config.name_or_path} has no padding token",
            hint="name its pad_token in special_tokens_map.json",
        )
    if tokenizer.eos_token_id is not None:
        return frozenset({tokenizer.eos_token_id}), tokenizer.pad_token_id
    told = model.config.eos_token_id
    if told is None:
        raise GuardError(
            f"neither tokenizer nor model of {model.config.name_or_path} says what ends a text",
            hint="name its eos_token in special_tokens_map.json",
        )
    return frozenset([told] if isinstance(told, int) else told), tokenizer.pad_token_id
