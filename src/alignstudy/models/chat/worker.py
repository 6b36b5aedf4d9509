"""The process in which chat templates are rendered: no secrets, no files, little memory and time.

A template is a stranger's program. Jinja's sandbox keeps it from code and files, not from loops
without end or texts without bounds; this process may be killed for those, the study's may not.

It is run as a file, so that it starts in a tenth of a second: it imports Jinja and nothing of this
package. Requests and answers are JSON, each after its length in four bytes.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MEMORY = 1 << 30
"""Bytes of address space."""

MORE_TEXT, LEAST_TEXT = 64, 1 << 16
"""A text has at most so many times the letters of dialogue and template, and so many more."""

SHOWN = 300
"""Letters of a template's own complaint that are passed on."""


class _GenerationBlocks(Extension):
    """Renders what stands between `generation` and `endgeneration`: marks for training code."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _Dict:
    """`dict` without the attributes of a class."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:  # noqa: ANN401
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:  # noqa: ANN401
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` without names that Python keeps for itself."""

    def __init__(*args: Any, **values: Any) -> None:  # noqa: ANN401 - `self` may be a value
        own, *given = args
        found = dict(*given, **values)
        for name in found:
            _refuse_private(name)
        Namespace.__init__(own, found)

    def __setitem__(self, name: str, value: Any) -> None:  # noqa: ANN401
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace holds no names such as {name[:SHOWN]!r}")


def _raise(message: object) -> None:
    raise TemplateError(str(message))


def _to_json(
    value: Any,  # noqa: ANN401
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@lru_cache(maxsize=4)
def compiled(template: str) -> Template:
    """Compile a template as transformers does, for what such templates are written for."""
    made: Environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationBlocks, "jinja2.ext.loopcontrols"],
    )
    made.filters["tojson"] = _to_json
    made.globals |= {"raise_exception": _raise, "dict": _Dict(), "namespace": _Namespace}
    return made.from_string(template)


def render(request: dict[str, Any], seconds: float) -> Iterator[dict[str, str]]:
    """Render each dialogue of a request: its `text`, why it is `refused`, or what it `exceeds`.

    Where one takes more seconds of this process, the kernel ends it by SIGPROF.
    """
    for messages in request["dialogues"]:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield _one(compiled(request["template"]), messages, request)
        except MemoryError:
            yield {"exceeds": "asks for more memory than it may have"}
        except RecursionError:
            yield {"exceeds": "goes on within itself without end"}
        except TemplateError as error:
            yield {"refused": str(error)[:SHOWN]}
        except Exception as error:  # whatever a template does wrong
            yield {"refused": f"{type(error).__name__}: {error}"[:SHOWN]}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _one(
    template: Template, messages: list[dict[str, str]], request: dict[str, Any]
) -> dict[str, str]:
    given = sum(len(value) for message in messages for value in message.values())
    room = MORE_TEXT * (given + len(request["template"])) + LEAST_TEXT
    written = []
    for piece in template.generate(
        messages=messages, tools=None, documents=None, **request["variables"]
    ):
        written.append(piece)
        room -= len(piece)
        if room < 0:
            return {"exceeds": f"writes more than {MORE_TEXT} times what it is given"}
    return {"text": "".join(written)}


def read_message(stream: BinaryIO) -> Any:  # noqa: ANN401 - JSON
    """Read a message; None at the end of the stream, or where it is cut."""
    head = stream.read(4)
    size = int.from_bytes(head, "big")
    body = stream.read(size) if len(head) == 4 else b""
    return json.loads(body) if body and len(body) == size else None


def write_message(stream: BinaryIO, message: object) -> None:
    """Write a message."""
    body = json.dumps(message).encode("ascii")
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def _confine() -> None:
    """Take from this process what rendering doesn't need."""
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0}
    if sys.platform == "linux":  # elsewhere it isn't heeded, or refused
        limits[resource.RLIMIT_AS] = MEMORY
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def main(seconds: float) -> None:
    """Answer requests until there are no more."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    _confine()
    while (request := read_message(source)) is not None:
        write_message(sink, list(render(request, seconds)))


if __name__ == "__main__":
    main(float(sys.argv[1]))
