"""Whatever a server does over real HTTP, the client says in words what was wrong, in time."""

import socket
import threading
import time

import pytest
from completions_server import completion, send, serving

from alignstudy.errors import EnvironmentFault, InputError
from alignstudy.generation.served.client import Client, RefusedRequestError
from alignstudy.generation.served.completion import Completion
from alignstudy.generation.settings import API_KEY

GOOD = completion("a cat", written=2, read=3)


def changed(**parts):
    return {key: value for key, value in (GOOD | parts).items() if value is not None}


def choice(**parts):
    return changed(choices=[GOOD["choices"][0] | parts])


def ask(answer, *, timeout=20.0):
    with serving(answer) as server:
        return Client(server.url, timeout=timeout).complete({"prompt": [1]})


def fault_of(answer, **options):
    with pytest.raises(EnvironmentFault) as raised:
        ask(answer, **options)
    return raised.value


def test_a_completion_is_read():
    found = ask(lambda body, handler: send(handler, GOOD))
    assert found == Completion(
        text="a cat", finish="length", num_tokens=2, prompt_tokens=3, model="tiny"
    )


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b'{"choices": [{"te', "no JSON"),
        (b"", "no JSON"),
        (b"<html>Bad Gateway</html>", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        ([], "no JSON object"),
        ({}, "no choices"),
        ({"error": {"message": "model not loaded"}}, "is an error, with HTTP status 200"),
        ({"object": "error", "message": "no"}, "is an error, with HTTP status 200"),
        (changed(choices=[]), "0 choices"),
        (changed(choices=[{}]), "no text"),
        (changed(choices=GOOD["choices"] * 2), "2 choices"),
        (choice(text=None), "no text"),
        (choice(text=["a"]), "no text"),
        (
            b'{"choices": [{"text": "\\ud800", "finish_reason": "stop"}]}',
            "none that can be written",
        ),
        (choice(finish_reason="content_filter"), "'content_filter'"),
        (choice(finish_reason=None), "None"),
        (changed(usage=None), "how many tokens"),
        (changed(usage={"prompt_tokens": 3}), "how many tokens"),
        (changed(usage={"prompt_tokens": 3, "completion_tokens": -1}), "how many tokens"),
        (changed(usage={"prompt_tokens": 3, "completion_tokens": True}), "how many tokens"),
        (changed(usage={"prompt_tokens": "3", "completion_tokens": 2}), "how many tokens"),
    ],
)
def test_answers_of_another_shape_are_refused(sent, told):
    assert told in str(fault_of(lambda body, handler: send(handler, sent)))


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (400, RefusedRequestError, "status 400"),
        (422, RefusedRequestError, "status 422"),
        (401, EnvironmentFault, API_KEY),
        (404, EnvironmentFault, "the folder which a request names"),
        (500, EnvironmentFault, "status 500"),
        (307, EnvironmentFault, "status 307"),
    ],
)
def test_a_status_is_told_with_what_the_server_says(status, kind, told):
    said = {"detail": "x" * 500, "last": "end"}
    fault = fault_of(lambda body, handler: send(handler, said, status, Location="http://other/"))
    assert type(fault) is kind
    assert told in str(fault)
    assert "xxx" in fault.why
    assert len(fault.why) <= 200


def test_a_server_that_is_busy_is_asked_again():
    waits = iter([429, 503])

    def answer(body, handler):
        status = next(waits, 200)
        send(handler, GOOD, status, Retry_After="0")

    assert ask(answer).text == "a cat"


def test_a_server_that_stays_busy_is_given_up():
    tries = []

    def answer(body, handler):
        tries.append(body)
        send(handler, b"later", 503, Retry_After="0")

    assert "status 503" in str(fault_of(answer))
    assert len(tries) == 5


def test_an_answer_that_never_comes_ends_in_time():
    started = time.monotonic()
    fault = fault_of(lambda body, handler: time.sleep(5), timeout=0.3)
    assert "no answer in 0.3 seconds" in str(fault)
    assert "request_timeout" in fault.hint
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("length", ["1000", None])
def test_an_answer_that_trickles_ends_in_time(length):
    """Every piece comes before a socket's time is over; the whole doesn't."""

    def answer(body, handler):
        handler.send_response(200)
        if length:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.1)

    started = time.monotonic()
    assert "no answer in 0.4 seconds" in str(fault_of(answer, timeout=0.4))
    assert time.monotonic() - started < 3


def test_an_answer_that_breaks_off_is_told():
    def answer(body, handler):
        send(handler, b'{"choices"', Content_Length="1000")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    assert "broke off" in str(fault_of(answer))


def test_a_dropped_connection_is_tried_again_and_then_told(monkeypatch):
    monkeypatch.setattr("alignstudy.generation.served.client.DROPS", 1)
    drops = iter([True])

    def once(body, handler):
        if next(drops, False):
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            send(handler, GOOD)

    assert ask(once).text == "a cat"
    drop = fault_of(lambda body, handler: handler.connection.shutdown(socket.SHUT_RDWR))
    assert "gave no answer" in str(drop)


def test_nobody_there_is_told():
    with socket.socket() as held:
        held.bind(("localhost", 0))
        port = held.getsockname()[1]
    client = Client(f"http://localhost:{port}/v1", timeout=5)
    for act in (client.presence, lambda: client.complete({})):
        with pytest.raises(EnvironmentFault, match="nothing listens"):
            act()
    assert not client.is_up()


def test_a_name_that_leads_nowhere_is_told():
    with pytest.raises(EnvironmentFault, match="leads nowhere"):
        Client("http://no-such-host.invalid/v1", timeout=20).presence()


def test_too_long_an_answer_is_refused(monkeypatch):
    monkeypatch.setattr("alignstudy.generation.served.client.MOST_BYTES", 1000)
    assert "more than 1,000 bytes" in str(
        fault_of(lambda body, handler: send(handler, b" " * 2000))
    )


def test_the_key_is_sent_and_never_told(monkeypatch):
    """A server may repeat what it was sent."""
    monkeypatch.setenv(API_KEY, "open sesame 42")

    def answer(body, handler):
        send(handler, {"detail": f"bad key: {handler.headers['Authorization']}"}, 401)

    with serving(answer) as server:
        with pytest.raises(EnvironmentFault) as raised:
            Client(server.url, timeout=5).complete({})
        assert server.requests[0][1]["Authorization"] == "Bearer open sesame 42"
    assert "sesame" not in str(raised.value)
    assert "bad key" in raised.value.why


@pytest.mark.parametrize("key", ["two\nlines", "clé", "bell\x07"])
def test_a_key_that_no_header_holds_is_told(monkeypatch, key):
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(InputError, match=API_KEY) as raised:
        Client("http://localhost/v1", timeout=5)
    assert key not in str(raised.value)


def test_no_proxy_sees_a_request(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://localhost:9")
    assert ask(lambda body, handler: send(handler, GOOD)).text == "a cat"


def test_closing_ends_what_waits_and_sends_no_more():
    with serving(lambda body, handler: time.sleep(5)) as server:
        client = Client(server.url, timeout=20)
        faults = []

        def wait():
            try:
                client.complete({})
            except EnvironmentFault as error:
                faults.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for each in threads:
            each.start()
        while len(server.requests) < 3:
            time.sleep(0.01)
        started = time.monotonic()
        client.close()
        for each in threads:
            each.join()
        assert time.monotonic() - started < 2
        assert len(faults) == 3
        with pytest.raises(EnvironmentFault):
            client.complete({})
        assert len(server.requests) == 3
