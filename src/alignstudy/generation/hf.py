"""Prompts and a Hugging Face language model in, responses out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alignstudy import dialogue
from alignstudy.errors import GuardError, InputError
from alignstudy.generation.decoding import (
    SeededNoise,
    StopAtStrings,
    cut,
    decode,
    ending,
    prompt_seed,
)
from alignstudy.loading import (
    context_length,
    length_batches,
    load_causal_lm,
    load_tokenizer,
    run_halving,
    text_stays_open,
    well_formed,
)
from alignstudy.progress import SILENT, Progress
from alignstudy.records import Prompt, Response, StopReason, Weights

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from alignstudy.generation.settings import GenerationSettings

Protocol = Literal["paper", "rigorous"]


def generate(
    weights: Weights,
    prompts: Sequence[Prompt],
    settings: GenerationSettings,
    *,
    protocol: Protocol,
    device: str,
    seed: int,
    progress: Progress = SILENT,
) -> list[Response]:
    """Let a model write after every prompt.

    Prompts go in left-padded batches of similar length; in float32 the responses are those of one
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

    Returns:
        One response a prompt, in the prompts' order.

    Raises:
        GuardError: If a prompt of the rigorous protocol lacks the cue, ids repeat, or the tokenizer
            ends every text itself.
        InputError: If `max_new_tokens` alone fills the model's context.
        EnvironmentFault: If one prompt alone doesn't fit into memory.
    """
    _check_prompts(prompts, protocol)
    writer = _Writer.load(weights, settings, protocol=protocol, device=device, seed=seed)
    asked = [writer.fit(prompt) for prompt in prompts]
    responses: dict[str, Response] = {
        item.prompt.id: _too_long(item) for item in asked if item.tokens is None
    }
    progress.start("generate", total=len(prompts))
    progress.advance(len(responses))
    for batch in writer.batches([item for item in asked if item.tokens is not None]):
        started = time.perf_counter()
        written = run_halving(batch, writer.write, note=progress.note)
        responses |= {response.prompt_id: response for response in written}
        tokens = sum(response.num_tokens for response in written)
        rate = tokens / max(time.perf_counter() - started, 1e-9)
        progress.advance(len(batch), tokens_per_second=rate)
    progress.finish()
    return [responses[prompt.id] for prompt in prompts]


@dataclass(frozen=True)
class _Asked:
    """A prompt as the model sees it; no tokens: it can't be made to fit."""

    prompt: Prompt
    tokens: tuple[int, ...] | None
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class _Writer:
    """A loaded model, and the rules that it writes by."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: GenerationSettings
    protocol: Protocol
    seed: int
    eos: frozenset[int]
    room: int

    @classmethod
    def load(
        cls, weights: Weights, settings: GenerationSettings, *, protocol: Protocol,
        device: str, seed: int,
    ) -> _Writer:  # fmt: skip
        """Load the model; an adapter's base brings the tokenizer."""
        tokenizer = load_tokenizer(weights.base or weights.folder)
        text_stays_open(tokenizer)
        adapted = load_causal_lm(weights, dtype=settings.dtype, device=device)
        # PEFT's own generate rewrites the generation settings; the model inside has the adapter.
        model = adapted.get_base_model() if weights.base is not None else adapted
        room = context_length(model.config) - settings.max_new_tokens
        if room < 1:
            raise InputError(
                f"max_new_tokens {settings.max_new_tokens} leaves no room for a prompt",
                why=f"the model reads {context_length(model.config)} tokens in all",
                mend="set fewer generation.max_new_tokens",
            )
        return cls(
            model=model, tokenizer=tokenizer, settings=settings, protocol=protocol, seed=seed,
            eos=_eos_ids(model, tokenizer), room=room,
        )  # fmt: skip

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """The texts that end a response."""
        if self.settings.stop_strings is not None:
            return self.settings.stop_strings
        return dialogue.STOP_STRINGS if self.protocol == "rigorous" else ()

    def fit(self, prompt: Prompt) -> _Asked:
        """Tokenize a prompt, dropping its oldest turns until it fits."""
        text: str | None = prompt.text
        while text is not None:
            tokens = tuple(self.tokenizer(well_formed(text), verbose=False)["input_ids"])
            if len(tokens) <= self.room:
                return _Asked(prompt, tokens, truncated=text is not prompt.text)
            text = _drop_oldest(text)
        return _Asked(prompt, None, truncated=False)

    def batches(self, asked: Sequence[_Asked]) -> list[list[_Asked]]:
        """Group prompts of similar length."""
        new = self.settings.max_new_tokens
        by_device = 8 if self.model.device.type == "cpu" else 64
        numbers = length_batches(
            [len(item.tokens or ()) + new for item in asked],
            batch_size=self.settings.batch_size or by_device,
            max_batch_tokens=self.settings.max_batch_tokens,
        )
        return [[asked[number] for number in batch] for batch in numbers]

    def write(self, batch: Sequence[_Asked]) -> list[Response]:
        """Generate one batch."""
        import torch

        tensors = self.tokenizer.pad(
            {"input_ids": [list(item.tokens or ()) for item in batch]},
            padding_side="left", return_tensors="pt",
        ).to(self.model.device)  # fmt: skip
        length = tensors["input_ids"].shape[1]
        stops = StopAtStrings(self.tokenizer, self.stop_strings, length)
        with torch.inference_mode():
            tokens = self.model.generate(
                input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"],
                generation_config=self._generation_config(),
                stopping_criteria=[stops] if self.stop_strings else [],
                logits_processor=self._logits_processors(batch),
            )  # fmt: skip
        rows = tokens[:, length:].tolist()
        return [
            self._response(item, row, stopped_at=stops.ended_at.get(number))
            for number, (item, row) in enumerate(zip(batch, rows, strict=True))
        ]

    def _generation_config(self) -> GenerationConfig:
        """Give all that generation depends on; nothing comes from the checkpoint's own file."""
        from transformers import GenerationConfig

        # `generate` fills what is left open from the model's: leave it nothing to fill in.
        self.model.generation_config = GenerationConfig()
        return GenerationConfig(
            max_new_tokens=self.settings.max_new_tokens, do_sample=False, num_beams=1,
            eos_token_id=sorted(self.eos), pad_token_id=self.tokenizer.pad_token_id,
            use_cache=True, return_dict_in_generate=False,
        )  # fmt: skip

    def _logits_processors(self, batch: Sequence[_Asked]) -> list[Any]:
        """Give what turns the likeliest token into a drawn one."""
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        if not self.settings.do_sample:
            return []
        top_p = self.settings.top_p
        return [
            TemperatureLogitsWarper(self.settings.temperature or 1.0),
            *([TopPLogitsWarper(top_p)] if top_p is not None else []),
            SeededNoise([prompt_seed(self.seed, item.prompt.id) for item in batch]),
        ]

    def _response(self, item: _Asked, row: list[int], *, stopped_at: int | None) -> Response:
        """Cut one row of tokens as the protocol says."""
        end = ending(row, eos=self.eos, stopped_at=stopped_at)
        raw_text = decode(self.tokenizer, end.tokens)
        return Response(
            prompt_id=item.prompt.id,
            axis=item.prompt.axis,
            prompt=item.prompt.text,
            text=cut(
                raw_text,
                stop_strings=self.stop_strings,
                at_role_tags=self.protocol == "rigorous",
            ),
            raw_text=raw_text,
            num_tokens=len(end.tokens),
            stop_reason=end.reason,
            prompt_truncated=item.truncated,
        )


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


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Find the tokens that end a response: the tokenizer's, else the model's."""
    if tokenizer.pad_token_id is None:
        raise GuardError(
            f"the tokenizer of {model.config.name_or_path} has no padding token",
            mend="name its pad_token in special_tokens_map.json",
        )
    if tokenizer.eos_token_id is not None:
        return frozenset({tokenizer.eos_token_id})
    told = model.config.eos_token_id
    if told is None:
        raise GuardError(
            f"neither tokenizer nor model of {model.config.name_or_path} says what ends a text",
            mend="name its eos_token in special_tokens_map.json",
        )
    return frozenset([told] if isinstance(told, int) else told)


def _drop_oldest(text: str) -> str | None:
    """Drop the oldest turns; a prompt that began without a blank line still does."""
    rest = dialogue.drop_oldest_turns(text)
    return rest if rest is None or text.startswith("\n") else rest.lstrip("\n")


def _too_long(item: _Asked) -> Response:
    """Say that a prompt doesn't fit, even as its last turn alone."""
    return Response(
        prompt_id=item.prompt.id, axis=item.prompt.axis, prompt=item.prompt.text, text="",
        raw_text="", num_tokens=0, stop_reason=StopReason.TOO_LONG,
    )  # fmt: skip
