"""No error and no log shows a key, a header or a password, even if the server repeats it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import LlavaToolsError
from llava_tools.remote.transport import Connection
from tests.remote.hostile_server import STOP, chunk, events, http, logprobs, words
from tests.remote.requests import QUESTION, ServeBytes, connect_url, full_answer

KEY = "key-that-is-secret"
HEADER = "header-that-is-secret"


def _error(message: Any, status: str = "500 Error") -> bytes:
    return http(json.dumps({"error": {"message": message}}), status)


ECHOES: dict[str, Callable[[str], Any]] = {
    "an error": lambda request: _error(request),
    "a refusal": lambda request: _error(request, "400 Bad"),
    "a refused key": lambda request: _error(request, "401 Unauthorized"),
    "too many": lambda request: _error(request, "429 Busy"),
    "another form": lambda request: http(json.dumps({"detail": [{"x": request}]}), "422 X"),
    "plain text": lambda request: http(request, "500 Error", content_type="text/plain"),
    "a location": lambda request: http("", "307 T", location=f"http://h/{KEY}?{HEADER}"),
    "a stream": lambda request: events(words(), {"error": {"message": request}}),
    "a stream with a status": lambda request: events({"error": {"message": request, "code": 400}}),
    "a finish reason": lambda request: events(chunk(delta={}, finish_reason=request)),
    "a number": lambda request: events(chunk(delta={"content": "x"}, token_ids=[KEY]), STOP),
    "a token": lambda request: events(logprobs(token=KEY, logprob="x" + HEADER), STOP),
    "cut in two": lambda request: _error("x" * 290 + KEY),
}


@pytest.mark.parametrize("name", ECHOES)
def test_no_error_shows_a_secret(
    serve_bytes: ServeBytes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")  # httpcore's debug messages have the headers of answers
    url = serve_bytes(ECHOES[name]).url.replace("://", "://me:pass-word@")
    connection = Connection({"X-Team": HEADER})
    backend = connect_url(url, api_key=KEY, connection=connection)
    with pytest.raises(LlavaToolsError) as caught:
        full_answer(backend, Request(QUESTION, SamplingParams(logprobs=True)))
    backend.close()
    error: BaseException | None = caught.value
    shown = caplog.text + repr(connection)
    while error is not None:
        shown += f"{error} {error!r}"
        error = error.__cause__
    for secret in (KEY, HEADER, "pass-word", "bWU6cGFzcy13b3Jk", "key-", "header-that"):
        assert secret not in shown


def test_debug_messages_show_no_key(
    serve_bytes: ServeBytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    server = serve_bytes(events(words(), STOP))
    url = server.url.replace("://", "://me:pass-word@")
    backend = connect_url(url, api_key=KEY, connection=Connection({"X-Team": HEADER}))
    full_answer(backend, Request(QUESTION))
    backend.close()
    assert "Basic bWU6cGFzcy13b3Jk" in server.requests[-1]
    assert caplog.text
    for secret in (KEY, HEADER, "pass-word", "bWU6"):
        assert secret not in caplog.text
