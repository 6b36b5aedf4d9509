"""What a server says that a model wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from alignstudy.errors import EnvironmentFault, shortened


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a server says that a model wrote.

    Attributes:
        text: After the prompt.
        finish: "stop": an end token or a stop string came; "length": the most tokens.
        num_tokens: That were written, by the server's count.
        prompt_tokens: That were read, by the server's count.
        stopped_by: The stop string that ended it, where the server says so.
        model: The model's name, as the server has it.
    """

    text: str
    finish: Literal["stop", "length"]
    num_tokens: int
    prompt_tokens: int
    stopped_by: str | None = None
    model: str = ""


def read_completion(answer: Any, *, said: str) -> Completion:  # noqa: ANN401 - JSON
    """Read an answer; `said` quotes it.

    Raises:
        EnvironmentFault: If it isn't what a completion is.
    """
    if not isinstance(answer, dict):
        raise _odd("is no JSON object", said)
    if answer.get("error") or answer.get("object") == "error":
        raise _odd("is an error, with HTTP status 200", said)
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        number = len(choices) if isinstance(choices, list) else "no"
        raise _odd(f"has {number} choices and not one", said)
    (choice,) = choices
    text, finish = choice.get("text"), choice.get("finish_reason")
    by = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM's word, and SGLang's
    if not isinstance(text, str) or text != _encodable(text):
        raise _odd("has no text, or none that can be written", said)
    if finish not in ("stop", "length"):
        raise _odd(f"ended for another reason than its end or its length: {finish!r}", said)
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    written, read = counts.get("completion_tokens"), counts.get("prompt_tokens")
    if type(written) is not int or type(read) is not int or min(written, read) < 0:
        raise _odd("doesn't say how many tokens were read and written (usage)", said)
    return Completion(
        text=text,
        finish=finish,
        num_tokens=written,
        prompt_tokens=read,
        stopped_by=by if isinstance(by, str) else None,
        model=_encodable(shortened(str(answer.get("model", "")), 200)),
    )


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _odd(what: str, said: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the server's answer {what}",
        why=f"it says: {said}",
        hint="use a server of OpenAI's completions API (POST /v1/completions)",
    )
