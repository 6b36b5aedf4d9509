"""How turns become text for a language model: its tokenizer's chat template, tags, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from alignstudy.dialogue import STOP_STRINGS, Turn, cut_at_role_tag, parse_turns, without_system
from alignstudy.errors import InputError
from alignstudy.models.chat.renderer import Refusal, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUTO = "auto"
FILE = "jinja:"
"""Begins a template that is given as Jinja text, after a study named a file."""

FIXED_DATE = "{%- macro strftime_now(format) -%}26 Jul 2024{%- endmacro %}"
"""Some templates write today's date into the text: no result may depend on the day. This is the
date that Llama's write where they know none."""

_MARK = "{#- alignstudy: %s -#}"
_HH = """{%- set ns = namespace(system='') -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{%- set ns.system = message['content'].strip() + '\\n\\n' -%}
{%- elif message['role'] == 'user' -%}
{{- '\\n\\nHuman: ' + ns.system + message['content'].strip() -}}{%- set ns.system = '' -%}
{%- else -%}{{- '\\n\\nAssistant: ' + message['content'].strip() -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\\n\\nAssistant:' -}}{%- endif -%}"""
_NONE = """{%- for message in messages -%}
{{- message['content'].strip() + ('' if loop.last and not add_generation_prompt else '\\n\\n') -}}
{%- endfor -%}"""
_WRITTEN = {"hh": _HH, "none": _NONE}
"""What a saved folder's chat template says of models that were trained without one."""

_ANSWER = "alignstudysentinel"
_ROLES_SHOWN = 12
_ROLES = {"system": "system", "human": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Template:
    """A way to write turns, on a tokenizer.

    Attributes:
        tokenizer: The model's.
        kind: "chat", "hh" (Human: and Assistant: tags) or "none" (words alone).
        jinja: Of "chat": the template's text; "" of the others.
        own: Whether it is the tokenizer's own.
    """

    tokenizer: PreTrainedTokenizerBase
    kind: Literal["chat", "hh", "none"]
    jinja: str = ""
    own: bool = True

    def prompt(self, prompt: str) -> str:
        """Write a prompt, given in notation, as the text after which the assistant writes."""
        return self.prompts([prompt])[0]

    def prompts(self, prompts: Sequence[str]) -> list[str]:
        """Write several; a chat template writes them together faster."""
        if self.kind == "hh":
            return [without_system(prompt) for prompt in prompts]
        dialogues = [self._turns(prompt) for prompt in prompts]
        if self.kind == "none":
            return ["".join(f"{turn.text}\n\n" for turn in turns) for turns in dialogues]
        return self._write(dialogues, add_generation_prompt=True)

    def _turns(self, prompt: str) -> list[Turn]:
        turns = [turn for turn in parse_turns(prompt) if turn != Turn("assistant", "")]
        turns = turns or [Turn("human", prompt.strip())]
        if self.kind == "chat" and turns[0].role == "system" and not self._knows_system:
            return list(parse_turns(without_system(prompt)))[: len(turns) - 1]
        return turns

    def response(self, response: str) -> str:
        """Write a response as it follows the prompt; in notation it has its space before it."""
        return response if self.kind == "hh" else response.strip()

    @cached_property
    def end(self) -> int | None:
        """The token by which a turn of the assistant's ends; None: the template names none."""
        if self.kind != "chat":
            return None
        turns = [Turn("human", "Hello"), Turn("assistant", _ANSWER)]
        rest = self._write([turns])[0].rpartition(_ANSWER)[2]
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        found = self.tokenizer(rest, add_special_tokens=False)["input_ids"]
        return next((int(token) for token in found if token in special), None)

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Texts that begin a further turn, where tokens don't."""
        return STOP_STRINGS if self.kind == "hh" else ()

    def cut(self, text: str) -> str:
        """Cut a response before a further turn that the model wrote itself."""
        return cut_at_role_tag(text) if self.kind == "hh" else text

    @property
    def in_words(self) -> str:
        """What it is."""
        if self.kind == "chat":
            return "the tokenizer's own chat template" if self.own else "the study's chat template"
        return {"hh": "Human: and Assistant: tags", "none": "no template"}[self.kind]

    def to_save(self) -> str | None:
        """Return the chat template for a model's folder; None: the one that is there."""
        if self.kind == "chat":
            return None if self.own else self.jinja
        begins = self.tokenizer.bos_token_id in self.tokenizer("a")["input_ids"][:1]
        first = "{{- bos_token -}}" if begins and self.tokenizer.bos_token is not None else ""
        return _MARK % self.kind + first + _WRITTEN[self.kind]

    @cached_property
    def _knows_system(self) -> bool:
        turns = [Turn("system", _ANSWER), Turn("human", "Hello")]
        written, refusal = write_dialogues(
            self.tokenizer, self.jinja, [turns], add_generation_prompt=True
        )
        return refusal is None and _ANSWER in written[0]

    def _write(
        self, dialogues: Sequence[Sequence[Turn]], *, add_generation_prompt: bool = False
    ) -> list[str]:
        written, refusal = write_dialogues(
            self.tokenizer, self.jinja, dialogues, add_generation_prompt=add_generation_prompt
        )
        if refusal is not None:
            roles = ", ".join(turn.role for turn in dialogues[refusal.at][:_ROLES_SHOWN])
            raise InputError(
                "the chat template refuses a dialogue",
                why=f"{refusal.why}; its turns are {roles}",
                hint="leave such rows out, or set template: hh, none or a file of your own",
            )
        return written


def probe_template(tokenizer: PreTrainedTokenizerBase, jinja: str) -> None:
    """Write a few dialogues, so that a template without bounds is met before there is work to lose.

    Raises:
        InputError: If it is one. What it refuses to write is no fault.
    """
    asked, answered = Turn("human", "Hello"), Turn("assistant", "Yes.")
    long = [Turn("human", "old words " * 2000), answered] * 20
    for turns in ([asked], [Turn("system", "Be kind."), asked], [asked, answered, asked], long):
        write_dialogues(tokenizer, jinja, [turns], add_generation_prompt=True)


def write_dialogues(
    tokenizer: PreTrainedTokenizerBase,
    jinja: str,
    dialogues: Sequence[Sequence[Turn]],
    *,
    add_generation_prompt: bool = False,
) -> tuple[list[str], Refusal | None]:
    """Write dialogues by a chat template, as the tokenizer's `apply_chat_template` does.

    The template is a stranger's program: it never runs in this process. See `render`.
    """
    named = tokenizer.special_tokens_map.items()
    special = {k: [*map(str, v)] if isinstance(v, list) else str(v) for k, v in named}
    messages = [[{"role": _ROLES[t.role], "content": t.text} for t in turns] for turns in dialogues]
    return render(jinja, messages, **special, add_generation_prompt=add_generation_prompt)


def template_of(tokenizer: PreTrainedTokenizerBase, asked: str) -> Template:
    """Return the template that a study asks for.

    Args:
        tokenizer: The model's.
        asked: "auto" (the tokenizer's own where it has one, else tags), "chat", "hh", "none", or
            Jinja text after `FILE`.

    Raises:
        InputError: If the tokenizer has no chat template and one is asked for.
    """
    found = tokenizer.chat_template
    own = ""
    if found and (isinstance(found, str) or "default" in found):  # of several the default
        own = str(tokenizer.get_chat_template())
    marked = next((kind for kind in _WRITTEN if own.startswith(_MARK % kind)), None)
    if asked == AUTO:
        asked = marked or ("chat" if own else "hh")
    if asked == "hh" or asked == "none":
        return Template(tokenizer, "hh" if asked == "hh" else "none")
    jinja = asked.removeprefix(FILE) if asked.startswith(FILE) else own
    if not jinja:
        raise InputError(
            "the tokenizer has no chat template",
            why="`template: chat` writes prompts as the tokenizer's own template does",
            hint="use template: hh or none, or name a file with a Jinja template",
        )
    dated = FIXED_DATE + jinja if "strftime_now" in jinja else jinja
    return Template(tokenizer, "chat", dated, own=jinja == own)
