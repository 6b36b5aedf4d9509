"""A server that is started for one model and stopped after it."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alignstudy.errors import EnvironmentFault, InputError, shortened
from alignstudy.generation.served.client import Client
from alignstudy.generation.settings import GenerationSettings
from alignstudy.runtime import leash

_PAUSE = 0.2
_LOOK = 30.0
_LAST = "its last words are: "
_QUOTED = 600


def command_for(serve: str, *, model: str, port: int) -> list[str]:
    """Return the words of a command that serves a model at a port.

    Raises:
        InputError: If this machine has no such program.
    """
    words = [
        word.replace("{model}", model).replace("{port}", str(port)) for word in shlex.split(serve)
    ]
    if shutil.which(words[0]) is None:
        raise InputError(
            f"generation.serve: there is no program '{words[0]}' here",
            hint="install it (its environment must be active), or give its whole path",
        )
    return words


@contextmanager
def started(serve: str, model: Path, *, log: Path, timeout: float) -> Iterator[str]:
    """Start a server, wait until it is ready, and stop it when the block ends.

    It ends when this process does, too, however that ends.

    Args:
        serve: The command; see `command_for`.
        model: The folder that it serves.
        log: Where its output goes.
        timeout: Seconds that its start may take.

    Yields:
        The address of its API.

    Raises:
        InputError: If there is no such program.
        EnvironmentFault: If it ends, or isn't ready in time.
    """
    port = _free_port()
    words = command_for(serve, model=str(model), port=port)
    base_url = f"http://localhost:{port}/v1"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, leash.__file__, *words],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_start(child, base_url, log, timeout)
        yield base_url
    except EnvironmentFault as error:
        if child.poll() is not None and not error.why.startswith(_LAST):
            error.why += f"; it ended with exit code {child.returncode}; {_last_words(log)}"
        raise
    finally:
        assert child.stdin is not None
        child.stdin.close()  # the leash ends the server, whether or not that is waited for
        with suppress(subprocess.TimeoutExpired):
            child.wait(2 * leash.GRACE)


def find_server(settings: GenerationSettings) -> str:
    """Return how a study's server is reached, or started, after a look whether it can be.

    Raises:
        InputError: If there is no such program.
        EnvironmentFault: If nobody is there, or the key isn't taken.
    """
    if settings.serve is not None:
        (program, *_) = command_for(settings.serve, model="MODEL", port=0)
        return f"{program} is started for each model"
    Client(str(settings.base_url), timeout=min(_LOOK, settings.request_timeout)).presence()
    return f"{settings.base_url} answers; it must load the folder that a request names"


def _last_words(log: Path) -> str:
    """Quote the end of a server's log, in a line."""
    text = " ".join(log.read_bytes()[-20 * _QUOTED :].decode("utf-8", "replace").split())
    return f"{_LAST}{text[-_QUOTED:] or 'nothing'}"


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("localhost", 0))
        port: int = held.getsockname()[1]
    return port


def _await_start(child: subprocess.Popen[bytes], base_url: str, log: Path, timeout: float) -> None:
    client, end = Client(base_url, timeout=timeout), time.monotonic() + timeout
    while not client.is_up():
        if (code := child.poll()) is not None:
            raise _not_started(f"ended with exit code {code} before it was ready", child, log)
        if time.monotonic() > end:
            raise _not_started(f"wasn't ready in {timeout:g} seconds", child, log)
        time.sleep(_PAUSE)


def _not_started(what: str, child: subprocess.Popen[bytes], log: Path) -> EnvironmentFault:
    command = shortened(shlex.join(child.args[2:]), 300)  # type: ignore[index, arg-type]
    return EnvironmentFault(
        f"the server {what}: {command}",
        why=_last_words(log),
        hint=f"try the command by itself; its whole output is in {log}",
    )
