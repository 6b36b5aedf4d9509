"""Dialogues as token ids: the one place where prompts and responses are joined.

Training, log-probabilities and generation take ids from here, so that what is learnt follows the
very tokens that will be asked, and what is learnt as the end is what stops generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alignstudy.dialogue import drop_oldest_turns
from alignstudy.errors import GuardError
from alignstudy.models.folder import read_config_json, read_json
from alignstudy.models.templates import AUTO, Template, probe_template, template_of
from alignstudy.models.tokenizers import load_tokenizer, named_panics, text_stays_open, well_formed
from alignstudy.records import GuardOutcome

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Rendering:
    """A template on the tokenizer of a language model.

    Attributes:
        tokenizer: The model's, as its folder gives it.
        template: How turns are written.
        configured: Tokens that the model's configurations name as ends.
        num_rows: Tokens that the model has embeddings of; None: not known.
    """

    tokenizer: PreTrainedTokenizerBase
    template: Template
    configured: frozenset[int] = frozenset()
    num_rows: int | None = None

    @cached_property
    def end(self) -> int:
        """The token that is learnt as the end of a response.

        Raises:
            GuardError: If nothing names one.
        """
        named = self.template.end
        if named is None:
            named = self.tokenizer.eos_token_id
        if named is None and self.configured:
            named = min(self.configured)
        if named is None:
            raise GuardError(
                "nothing names the token that ends a text",
                why="neither the tokenizer nor config.json or generation_config.json has an end"
                " token; a model that never sees one doesn't learn to stop",
                hint="set eos_token in the model folder's tokenizer_config.json",
            )
        return int(named)

    @property
    def ends(self) -> frozenset[int]:
        """All tokens that end a response: what is learnt, and what anything else names."""
        own = self.tokenizer.eos_token_id
        return self.configured | {self.end} | ({int(own)} if own is not None else set())

    def outcome(self) -> GuardOutcome:
        """Return what prompts are written by, and what ends a response.

        Raises:
            GuardError: If the tokenizer appends a token to every text.
            InputError: If its chat template takes more time, memory or room than any has need of.
        """
        if self.template.kind == "chat":
            probe_template(self.tokenizer, self.template.jinja)
        else:
            text_stays_open(self.tokenizer)
        ends = ", ".join(f"{self._name(token)} ({token})" for token in sorted(self.ends))
        detail = (
            f"prompts are written by {self.template.in_words}; a response is learnt to end with"
            f" {self._name(self.end)} ({self.end}), and generation stops at {ends}"
        )
        return GuardOutcome(guard="template", passed=True, detail=detail)

    def prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the ids of prompts, given in notation, after which the assistant writes."""
        return self._ids(self.template.prompts(prompts), first=True)

    def joined(
        self, prompts: Sequence[str], responses: Sequence[Sequence[str]]
    ) -> Iterator[tuple[list[int], list[list[int]], bool]]:
        """Yield the ids of each prompt and of what follows it, ends included.

        Prompt and response are tokenized together, which is how text is read; where a token would
        reach across the border, apart: the prompt's ids are always those that generation asks.

        Args:
            prompts: In notation.
            responses: To each prompt, its own number of them.

        Yields:
            The prompt's ids, each response's, and whether one had to be tokenized apart.
        """
        texts = self.template.prompts(prompts)
        asked = self._ids(texts, first=True)
        answers = [[self.template.response(text) for text in each] for each in responses]
        wholes = iter(
            self._ids(
                [text + a for text, each in zip(texts, answers, strict=True) for a in each],
                first=True,
            )
        )
        for prompt, each in zip(asked, answers, strict=True):
            found, apart = [], False
            for answer in each:
                whole = next(wholes)
                if whole[: len(prompt)] == prompt:
                    ids = whole[len(prompt) :]
                else:
                    ids, apart = self._ids([answer], first=False)[0], True
                found.append([*ids, self.end])
            yield prompt, found, apart

    def apart(
        self, prompts: Sequence[str], responses: Sequence[Sequence[str]]
    ) -> Iterator[tuple[list[int], list[list[int]], bool]]:
        """Yield the same, all tokenized apart and without a beginning, as TRL 0.16 did."""
        asked = self._ids(list(prompts), first=False)
        flat = iter(self._ids([text for each in responses for text in each], first=False))
        for prompt, each in zip(asked, responses, strict=True):
            yield prompt, [[*next(flat), self.end] for _ in each], True

    def text_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of plain documents, ends included."""
        return [[*ids, self.end] for ids in self._ids(texts, first=True, plain=True)]

    def fitting(self, prompt: str, *, room: int) -> tuple[tuple[int, ...] | None, bool]:
        """Return a prompt's ids, without its oldest turns where it has more than `room` tokens.

        A prompt that began without a blank line still does.

        Returns:
            The ids, None if not even the last turn fits; and whether turns were dropped.
        """
        rest: str | None = prompt
        while rest is not None:
            (ids,) = self.prompt_ids([rest])
            if len(ids) <= room:
                return tuple(ids), rest is not prompt
            shorter = drop_oldest_turns(rest)
            rest = shorter if shorter is None or rest.startswith("\n") else shorter.lstrip("\n")
        return None, False

    def _ids(self, texts: Sequence[str], *, first: bool, plain: bool = False) -> list[list[int]]:
        """Tokenize; what the tokenizer begins texts with is added unless a template writes it."""
        if not texts:
            return []
        begins = first and (plain or self.template.kind != "chat")
        with named_panics():
            encoded: Any = self.tokenizer(
                [well_formed(text) for text in texts],
                add_special_tokens=begins,
                padding=False,
                truncation=False,
                verbose=False,
            )["input_ids"]
        rows = [list(ids) for ids in encoded]
        if self.num_rows is not None:
            self._check_known(rows, texts)
        return rows

    def _check_known(self, rows: Sequence[Sequence[int]], texts: Sequence[str]) -> None:
        for ids, text in zip(rows, texts, strict=True):
            beyond = [token for token in ids if token >= (self.num_rows or 0)]
            if beyond:
                raise GuardError(
                    f"a text holds the token {self._name(beyond[0])} ({beyond[0]}), of which the"
                    " model has no embedding",
                    why=f"its embedding has {self.num_rows} rows; the text is {text[:60]!r}",
                    hint="leave that text out, or use the tokenizer that belongs to the model",
                )

    def _name(self, token: int) -> str:
        return str(self.tokenizer.convert_ids_to_tokens(token))


def load_rendering(folder: Path, template: str = AUTO) -> Rendering:
    """Load a language model's tokenizer with a template; see `template_of`.

    Raises:
        InputError: If the folder holds no tokenizer, or no template where one is asked for.
        GuardError: If it asks for code of its own.
        DamagedArtefactError: If a file of it can't be read.
    """
    return rendering_of(load_tokenizer(folder, check_rows=False), template, folder)


def rendering_of(
    tokenizer: PreTrainedTokenizerBase, template: str = AUTO, folder: Path | None = None
) -> Rendering:
    """Return a template on a loaded tokenizer; the model's folder tells its ends and rows."""
    ends: set[int] = set()
    num_rows = None
    if folder is not None:
        config = read_json(folder / "config.json")
        num_rows = _rows_of(config)
        for named in (config, _generation_config(folder)):
            value = named.get("eos_token_id")
            given = value if isinstance(value, list) else [value]
            ends |= {token for token in given if type(token) is int and token >= 0}
    return Rendering(tokenizer, template_of(tokenizer, template), frozenset(ends), num_rows)


def _rows_of(config: dict[str, Any]) -> int | None:
    inner = config.get("text_config")
    found = config.get("vocab_size", inner.get("vocab_size") if isinstance(inner, dict) else None)
    return found if type(found) is int else None


def _generation_config(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    return read_config_json(path) if path.is_file() else {}
