"""Errors of servers and connections, and retries."""

from __future__ import annotations

import pytest

from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.errors import (
    AnswerTimeoutError,
    ContextOverflowError,
    LlavaToolsError,
    ModelError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
    ServerError,
)
from llava_tools.remote import RemoteBackend
from llava_tools.remote.errors import retry_after
from tests.fake_server import FakeServer
from tests.remote.requests import QUESTION, Connect, Serve, full_answer


@pytest.mark.parametrize("fault", [429, 500, 503])
def test_request_is_retried_before_its_first_chunk(
    serve: Serve, connect: Connect, fault: int
) -> None:
    server = serve("fine")
    server.faults = [fault, fault]
    assert full_answer(connect(server), Request(QUESTION)).text == "fine"


@pytest.mark.parametrize(
    ("fault", "error_class", "message"),
    [
        (429, QueueFullError, "is overloaded: busy"),
        (500, ServerError, "failed \\(500\\): busy"),
        (400, RequestError, "refused the request: busy"),
        (402, ModelError, "requires payment: busy"),
        (404, ModelNotFoundError, "no such model"),
        (405, ModelNotFoundError, "no such model or address: busy"),
        ("html", ServerError, "not answer with a chat completion"),
    ],
)
def test_lasting_failure_is_an_error(
    serve: Serve,
    connect: Connect,
    fault: int | str,
    error_class: type[LlavaToolsError],
    message: str,
) -> None:
    server = serve()
    backend = connect(server)
    server.faults = [fault] * 3
    with pytest.raises(error_class, match=message) as caught:
        full_answer(backend, Request(QUESTION))
    assert "\n" not in str(caught.value)
    server.faults = []
    assert full_answer(backend, Request(QUESTION)).text == "ok"


@pytest.mark.parametrize("status", [400, 402, 405, 409, 410, 418, 431, 451])
def test_refusal_is_not_retried(serve: Serve, connect: Connect, status: int) -> None:
    server = serve()
    backend = connect(server)
    server.faults = [status, 500]
    with pytest.raises(LlavaToolsError, match=": busy") as caught:
        full_answer(backend, Request(QUESTION))
    assert not caught.value.retryable
    assert server.faults == [500]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 599])
def test_passing_failure_is_retryable(serve: Serve, connect: Connect, status: int) -> None:
    server = serve()
    backend = connect(server, retry_delays=())
    server.faults = [status]
    with pytest.raises(LlavaToolsError, match=": busy") as caught:
        full_answer(backend, Request(QUESTION))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("drop", "broke the connection"),
        ("short", "ended the answer before"),
        ("noise", "not answer with a chat completion"),
        ("error", "out of memory"),
    ],
)
def test_failure_within_an_answer_is_not_retried(
    serve: Serve, connect: Connect, fault: str, message: str
) -> None:
    server = serve("one two three four")
    backend = connect(server)
    server.faults = [fault]
    stream = backend.stream(Request(QUESTION))
    assert next(stream).text == "one"
    with pytest.raises(ServerError, match=message):
        list(stream)
    assert len(server.requests) == 1
    assert full_answer(backend, Request(QUESTION)).text == "one two three four"


def test_retry_after_header_is_read(serve: Serve, connect: Connect) -> None:
    server = serve()
    backend = connect(server, retry_delays=())
    server.faults = ["later"]
    with pytest.raises(QueueFullError) as caught:
        full_answer(backend, Request(QUESTION))
    assert retry_after(caught.value) == 7
    assert retry_after(QueueFullError("")) == 0


def test_silent_server_times_out(serve: Serve, connect: Connect) -> None:
    server = serve()
    backend = connect(server, read_timeout=0.3)
    server.faults = ["silent"]
    with pytest.raises(AnswerTimeoutError, match="silent for too long"):
        full_answer(backend, Request(QUESTION))
    assert len(server.requests) == 1


def test_unreachable_server_is_an_error() -> None:
    with FakeServer() as server:
        url = server.url
    with pytest.raises(ServerError, match="cannot be reached") as caught:
        RemoteBackend(url, retry_delays=())
    assert caught.value.retryable


def test_context_overflow_is_an_error_unless_max_tokens_is_a_default(
    serve: Serve, connect: Connect
) -> None:
    backend = connect(serve("one two three", context_length=60))
    assert full_answer(backend, Request(QUESTION)).text == "one two three"  # without max_tokens=512
    with pytest.raises(ContextOverflowError, match="maximum context length is 60"):
        full_answer(backend, Request(QUESTION, SamplingParams(max_tokens=50)))
    with pytest.raises(ContextOverflowError):
        full_answer(backend, Request((Message("user", ("word " * 80,)),)))
