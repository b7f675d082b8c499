"""What servers do wrong."""

from __future__ import annotations

import pytest

from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    LlavaToolsError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
    ServerError,
)
from llava_tools.remote import RemoteBackend
from llava_tools.remote.errors import wanted_pause
from tests.fake_server import FakeServer
from tests.remote.requests import QUESTION, Connect, Serve, full_answer


@pytest.mark.parametrize("fault", [429, 500, 503])
def test_a_request_is_repeated_before_its_first_token(
    serve: Serve, connect: Connect, fault: int
) -> None:
    server = serve("fine")
    server.faults = [fault, fault]
    assert full_answer(connect(server), Request(QUESTION)).text == "fine"


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (429, QueueFullError, "too much to do: busy"),
        (500, ServerError, "failed \\(500\\): busy"),
        (400, RequestError, "refused the request: busy"),
        (404, ModelNotFoundError, "no such model"),
        ("html", ServerError, "no chat completion"),
    ],
)
def test_what_goes_on_failing_is_told(
    serve: Serve,
    connect: Connect,
    fault: int | str,
    kind: type[LlavaToolsError],
    says: str,
) -> None:
    server = serve()
    backend = connect(server)
    server.faults = [fault] * 3
    with pytest.raises(kind, match=says) as caught:
        full_answer(backend, Request(QUESTION))
    assert "\n" not in str(caught.value)
    server.faults = []
    assert full_answer(backend, Request(QUESTION)).text == "ok"


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("drop", "broke the connection"),
        ("short", "dropped the stream"),
        ("noise", "no chat completion"),
        ("error", "out of memory"),
    ],
)
def test_what_breaks_midway_is_not_repeated(
    serve: Serve, connect: Connect, fault: str, says: str
) -> None:
    server = serve("one two three four")
    backend = connect(server)
    server.faults = [fault]
    stream = backend.stream(Request(QUESTION))
    assert next(stream).text == "one"
    with pytest.raises(ServerError, match=says):
        list(stream)
    assert len(server.requests) == 1
    assert full_answer(backend, Request(QUESTION)).text == "one two three four"


def test_a_server_says_how_long_it_wants_to_be_left_alone(serve: Serve, connect: Connect) -> None:
    server = serve()
    backend = connect(server, pauses=())
    server.faults = ["later"]
    with pytest.raises(QueueFullError) as caught:
        full_answer(backend, Request(QUESTION))
    assert wanted_pause(caught.value) == 7
    assert wanted_pause(QueueFullError("")) == 0


def test_a_silent_server_is_given_up(serve: Serve, connect: Connect) -> None:
    server = serve()
    backend = connect(server, silence=0.3)
    server.faults = ["silent"]
    with pytest.raises(AnswerTimeoutError, match="silent for too long"):
        full_answer(backend, Request(QUESTION))
    assert len(server.requests) == 1


def test_nobody_listens() -> None:
    with FakeServer() as server:
        url = server.url
    with pytest.raises(ServerError, match="cannot be reached") as caught:
        RemoteBackend(url, pauses=())
    assert caught.value.retryable


def test_too_long(serve: Serve, connect: Connect) -> None:
    backend = connect(serve("one two three", context_length=60))
    assert full_answer(backend, Request(QUESTION)).text == "one two three"  # fewer than 512 will do
    with pytest.raises(ContextOverflowError, match="maximum context length is 60"):
        full_answer(backend, Request(QUESTION, SamplingParams(max_tokens=50)))
    with pytest.raises(ContextOverflowError):
        full_answer(backend, Request((Message("user", ("word " * 80,)),)))
