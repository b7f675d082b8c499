"""No error and no log shows a key, a header or a password, even if the server repeats it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumps

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import LlavaToolsError
from llava_tools.options import EngineOptions
from llava_tools.remote import connect
from llava_tools.remote.transport import Connection
from tests.remote.hostile_server import STOP, chunk, events, http, logprobs, words
from tests.remote.requests import QUESTION, Serve, ServeBytes, connect_url, full_answer

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


@pytest.mark.parametrize("place", ["options", "Llava", "ChatLlava", "LlamaIndex"])
def test_credentials_of_a_url_are_sent_and_not_shown(serve: Serve, place: str) -> None:
    server = serve("ok")
    url = server.url.replace("http://", "http://me:pass%2Dword@")
    if place == "options":
        options = EngineOptions(base_url=url)
        backend = connect(options)
        shown = f"{options!r} {options.base_url}"
        full_answer(backend, Request(QUESTION))
        backend.close()
    elif place == "Llava":
        with Llava(base_url=url) as model:
            shown = f"{model!r} {model.options!r} {model.backend!r}"
            model.ask("What?")
    elif place == "ChatLlava":
        chat = ChatLlava(base_url=url)
        shown = f"{chat!r} {chat} {dumps(chat)} {chat._identifying_params} {chat.model_dump()}"
        chat.invoke("What?")
        chat.close()
    else:
        llm = LlamaIndexLlava(base_url=url)
        shown = f"{llm!r} {llm} {llm.to_json()} {llm.metadata} {llm.model_dump()}"
        llm.complete("What?")
        llm.close()
    assert server.url in shown or place == "Llava"
    for secret in ("pass-word", "pass%2Dword", "bWU6cGFzcy13b3Jk", "me:"):
        assert secret not in shown
    assert {headers["authorization"] for headers in server.headers} == {"Basic bWU6cGFzcy13b3Jk"}


@pytest.mark.parametrize(
    "url", ["http://me:pass-word@h ost/v1", "http://me:pass-word@h/v1?x", "me:pass-word@h"]
)
def test_no_message_about_a_url_shows_its_password(url: str) -> None:
    creators: list[Callable[[], object]] = [
        lambda: Llava(base_url=url),
        lambda: ChatLlava(base_url=url),
        lambda: LlamaIndexLlava(base_url=url),
        lambda: connect_url(url),
    ]
    for create in creators:
        with pytest.raises(LlavaToolsError) as caught:
            create()
        assert "pass-word" not in str(caught.value)
