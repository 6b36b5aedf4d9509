"""Chat templates, rendered by a process beside this one that may be killed."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from alignstudy.errors import EnvironmentFault, InputError

Dialogue = Sequence[Mapping[str, str]]
"""Messages, each with its role and its content."""

SECONDS = 5.0
"""Of a processor, for one dialogue."""

AT_ONCE = 256
"""Dialogues of one request."""

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL")


@dataclass(frozen=True)
class Refusal:
    """A dialogue that the template won't write, or fails on.

    Attributes:
        at: Which of those asked for.
        why: What the template says.
    """

    at: int
    why: str


def render(
    template: str, dialogues: Sequence[Dialogue], **variables: object
) -> tuple[list[str], Refusal | None]:
    """Write dialogues by a chat template, as `apply_chat_template` does.

    Args:
        template: Jinja text.
        dialogues: What is written.
        variables: What the template may ask for beside the messages.

    Returns:
        The texts; and the first refusal, where one was met: they end before it.

    Raises:
        InputError: If the template takes more time, memory or room than any has need of.
        EnvironmentFault: If no process can be started.
    """
    texts: list[str] = []
    for start in range(0, len(dialogues), AT_ONCE):
        asked = {
            "template": template,
            "dialogues": dialogues[start : start + AT_ONCE],
            "variables": variables,
        }
        for answer in _answers(asked):
            if "exceeds" in answer:
                raise _unbounded(answer["exceeds"])
            if "refused" in answer:
                return texts, Refusal(len(texts), answer["refused"])
            texts.append(answer["text"])
    return texts, None


def _unbounded(how: str) -> InputError:
    return InputError(
        "the chat template is no template that can be used",
        why=f"on a dialogue it {how}",
        hint="correct the folder's chat_template, or set template: hh, none or a file of your own",
    )


_lock = Lock()
_idle: subprocess.Popen[bytes] | None = None


def _answers(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """Ask the process beside this one; start one where there is none.

    Raises:
        InputError: If it doesn't outlive the request, nor does another.
    """
    with _lock:
        for _ in range(2):  # it may have been killed for want of memory, by no fault of its own
            answers, ended = _asked(asked)
            if answers is not None:
                return answers
            if ended == -signal.SIGPROF:
                raise _unbounded(f"works longer than {SECONDS:g} s")
    raise _unbounded(f"ends the process that renders it (exit status {ended})")


def _asked(asked: Mapping[str, Any]) -> tuple[list[dict[str, str]] | None, int]:
    """Send a request; return its answers, or the exit status of the process that it ended."""
    from alignstudy.models.chat.worker import read_message, write_message

    global _idle
    process, _idle = _idle or _start(), None
    answers, ended = None, 0
    try:
        with suppress(OSError, ValueError):  # a pipe that broke, or was closed: told by its end
            write_message(process.stdin, asked)  # type: ignore[arg-type]
            answers = read_message(process.stdout)  # type: ignore[arg-type]
    finally:  # whatever interrupts a request, no later one reads its answer
        if answers is None:
            ended = _end(process)
    _idle = process if answers is not None else None
    return answers, ended


def _start() -> subprocess.Popen[bytes]:
    own = {k: v for k, v in os.environ.items() if k in _PASSED_ON or k.startswith("PYTHON")}
    command = [sys.executable, "-P", str(Path(__file__).with_name("worker.py")), str(SECONDS)]
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=nothing, env=own, process_group=0
        )
    except OSError as error:
        raise EnvironmentFault(
            "no process could be started to render the chat template",
            why=error.strerror or str(error),
            hint="free memory, or raise the limit of processes",
        ) from error


def _end(process: subprocess.Popen[bytes]) -> int:
    """End a process that hasn't ended itself, and return its exit status."""
    process.kill()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError, ValueError):
            stream.close()  # type: ignore[union-attr]
    return process.wait()


def leave() -> None:
    """End the process beside this one; the next request starts another."""
    global _idle
    with _lock:
        process, _idle = _idle, None
        if process is not None:
            _end(process)


def _forget() -> None:
    """Drop, in a forked process, what is its parent's: its pipes, without a word into them."""
    global _idle, _lock
    if _idle is not None:
        for stream in (_idle.stdin, _idle.stdout):
            stream.raw.close()  # type: ignore[union-attr]
        _idle.returncode = 0  # another's child is not waited for
    _idle, _lock = None, Lock()


atexit.register(leave)
os.register_at_fork(after_in_child=_forget)
