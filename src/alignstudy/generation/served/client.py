"""Requests to a server of OpenAI's completions API; of its answers nothing is taken on trust.

Whatever goes wrong is an error in words: no name, nobody there, no answer in time, an answer that
breaks off, that is no JSON, that says something else than it was asked. No proxy is used, no
redirection followed: prompts and key go to the address that the study names, or nowhere.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPMessage,
    HTTPSConnection,
    IncompleteRead,
)
from typing import Any
from urllib.parse import urlsplit

from alignstudy.errors import EnvironmentFault, InputError, shortened
from alignstudy.generation.served.completion import Completion, read_completion
from alignstudy.generation.settings import API_KEY
from alignstudy.redaction import REDACTED, redacted

BUSY = (429, 503)
"""Statuses of a server that will answer later."""

TRIES, LONGEST_WAIT = 5, 60.0
"""Requests that a busy server is sent at most; seconds that are waited between two at most."""

MOST_BYTES = 1 << 24
"""Of one answer."""

DROPS = 2
"""Dropped connections after which a request is sent again: a queue may have been full."""

_QUOTED = 200


class RefusedRequestError(EnvironmentFault):
    """The server finds fault with a request itself (HTTP 400 or 422)."""


class DroppedError(EnvironmentFault):
    """The connection ended before there was an answer."""


class Client:
    """Sends requests to one server; several threads may.

    Args:
        base_url: Where its API is: `http://host:port/v1`.
        timeout: Seconds that one request may take in all.

    Raises:
        InputError: If the environment holds a key that can't be sent.
    """

    def __init__(self, base_url: str, *, timeout: float) -> None:
        self.base_url, self._timeout = base_url, timeout
        self._path = urlsplit(base_url).path
        self._key = os.environ.get(API_KEY, "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise InputError(
                f"the environment variable {API_KEY} holds no key",
                why="a key is of letters, digits and signs that can be sent in a header",
                hint=f"set {API_KEY} again, or unset it where the server asks for none",
            )
        self._live: set[socket.socket] = set()
        self._closed = threading.Event()

    def complete(self, body: Mapping[str, object]) -> Completion:
        """Ask for one completion.

        Raises:
            RefusedRequestError: If the server finds fault with the request.
            EnvironmentFault: If there is no answer, or none that can be understood.
        """
        status, data = self._patiently(body)
        if status == 200:
            return read_completion(self._json(data), said=self._quote(data))
        raise self._refusal(status, data)

    def _patiently(self, body: Mapping[str, object]) -> tuple[int, bytes]:
        """Send a request, again where the server is busy or drops the connection."""
        for tried in range(1, TRIES + 1):
            wait = 2.0 ** (tried - 1)
            try:
                status, headers, data = self._send("POST", f"{self._path}/completions", body)
            except DroppedError:
                if tried > DROPS or self._closed.is_set():
                    raise
            else:
                if status not in BUSY or tried == TRIES:
                    break
                wait = _asked_wait(headers, wait)
            self._closed.wait(wait)
        return status, data

    def presence(self) -> None:
        """Ask whether the server is there, and takes the key.

        Raises:
            EnvironmentFault: If it isn't.
        """
        status, _, data = self._send("GET", f"{self._path}/models")
        if status in (401, 403, 502, *BUSY):
            raise self._refusal(status, data)

    def is_up(self) -> bool:
        """Whether it says that it is ready; one that has no such page is, once it answers."""
        try:
            status, *_ = self._send("GET", "/health")
        except EnvironmentFault:
            return False
        return status < 500

    def close(self) -> None:
        """Break off all requests, and send no more."""
        self._closed.set()
        for each in tuple(self._live):
            _shut(each)

    def _send(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> tuple[int, HTTPMessage, bytes]:
        """Send a request; return status, headers and body."""
        parts = urlsplit(self.base_url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=self._timeout)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode("ascii")
        with self._faults(), self._connected(connection):
            connection.request(method, path, data, headers)
            with connection.getresponse() as answer:
                read = answer.read(MOST_BYTES + 1)
                if answer.length and len(read) <= MOST_BYTES:
                    raise IncompleteRead(read, answer.length)
        if len(read) > MOST_BYTES:
            raise self._fault(f"answers with more than {MOST_BYTES:,} bytes")
        return answer.status, answer.headers, read

    @contextmanager
    def _connected(self, connection: HTTPConnection) -> Iterator[None]:
        """Connect; whatever a server does, the connection ends when its time is over."""
        late = threading.Event()

        def end() -> None:
            late.set()
            _shut(connected)

        connection.connect()
        connected: socket.socket = connection.sock
        self._live.add(connected)
        timer = threading.Timer(self._timeout, end)
        timer.daemon = True
        timer.start()
        try:
            if self._closed.is_set():
                raise ConnectionAbortedError("the work was given up")
            yield
            if late.is_set():  # an answer of no stated length just ends
                raise TimeoutError
        except (OSError, HTTPException) as error:
            raise (TimeoutError() if late.is_set() else error) from error
        finally:
            timer.cancel()
            self._live.discard(connected)
            connection.close()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what the network raises into words."""
        try:
            yield
        except TimeoutError as error:
            why = "raise generation.request_timeout, or look at what the server is doing"
            raise self._fault(f"gave no answer in {self._timeout:g} seconds", hint=why) from error
        except socket.gaierror as error:
            raise self._fault("has a name that leads nowhere", why=str(error)) from error
        except ConnectionRefusedError as error:
            raise self._fault("isn't there: nothing listens at its port") from error
        except ssl.SSLError as error:
            raise self._fault("can't be trusted (TLS)", why=str(error)) from error
        except ConnectionError as error:
            why = f"{type(error).__name__}: {error}"
            raise self._fault("gave no answer", why=why, kind=DroppedError) from error
        except (OSError, HTTPException) as error:
            why = f"{type(error).__name__}: {error}"
            raise self._fault("broke off in the middle of an answer", why=why) from error

    def _json(self, data: bytes) -> Any:  # noqa: ANN401 - JSON
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            why = f"it sent: {self._quote(data)}" if data.strip() else "it sent nothing"
            raise self._fault("answers with what is no JSON", why=why) from error

    def _refusal(self, status: int, data: bytes) -> EnvironmentFault:
        """Return the error of an HTTP status."""
        hints = {
            401: f"put the key that it wants into the environment variable {API_KEY}",
            403: f"put the key that it wants into the environment variable {API_KEY}",
            404: "base_url is for servers that load the folder which a request names; one that"
            " serves a single model is started for each by `serve`; look at the path (/v1), too",
            429: "lower generation.parallel_requests",
            503: "wait until it is ready, or lower generation.parallel_requests",
        }
        kind = RefusedRequestError if status in (400, 422) else EnvironmentFault
        hint = hints.get(status, "look at the server's own log")
        said = self._quote(data)
        return self._fault(f"answers with HTTP status {status}", why=said, hint=hint, kind=kind)

    def _fault(
        self,
        what: str,
        *,
        why: str = "",
        hint: str = "look at the server and at generation.base_url, then run again",
        kind: type[EnvironmentFault] = EnvironmentFault,
    ) -> EnvironmentFault:
        return kind(f"the server {self.base_url} {what}", why=why, hint=hint)

    def _quote(self, data: bytes) -> str:
        """Return the beginning of what a server said, without secrets."""
        text = " ".join(data[: 50 * _QUOTED].decode("utf-8", "replace").split())
        text = text.replace(self._key, REDACTED) if self._key else text
        return shortened(redacted(text), _QUOTED)


def _shut(connected: socket.socket) -> None:
    """End a connection under whoever waits for it; it may have ended by itself."""
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _asked_wait(headers: HTTPMessage, otherwise: float) -> float:
    """Return the seconds that a busy server asks to wait, within bounds."""
    asked = headers.get("Retry-After", "").strip()
    return min(float(asked) if asked.isdecimal() else otherwise, LONGEST_WAIT)
