"""No error and no log shows a key, a header or a password, even if the server repeats it."""

from __future__ import annotations

import json
import socket
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.load import dumps

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.core.constraints import Constraint
from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import LlavaToolsError, OutputError
from llava_tools.options import EngineOptions
from llava_tools.remote import connect
from llava_tools.remote.credentials import Connection
from tests.remote.hostile_server import STOP, chunk, events, http, logprobs, words
from tests.remote.requests import QUESTION, SCHEMA, Serve, ServeBytes, connect_url, full_answer

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


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def _header_values(request: str) -> list[str]:
    return [line.partition(": ")[2] for line in request.split("\r\n") if ": " in line]


def test_no_list_of_models_shows_a_secret(serve_bytes: ServeBytes) -> None:
    def models(request: str) -> bytes:
        return http(json.dumps({"data": [{"id": value} for value in _header_values(request)]}))

    with pytest.raises(LlavaToolsError, match=r"It serves: .*Bearer \*\*\*") as caught:
        connect_url(serve_bytes(b"", models).url, api_key=KEY)
    assert KEY not in _shown(caught.value)


def test_no_cause_of_an_error_shows_a_secret(serve_bytes: ServeBytes) -> None:
    server = serve_bytes(b"", other=lambda request: _error(request, "404 Not Found"))
    backend = connect_url(server.url, api_key=KEY)
    with pytest.raises(LlavaToolsError, match="did not report the ids") as caught:
        backend.token_ids("words")
    backend.close()
    assert KEY not in _shown(caught.value)


def test_no_scored_token_shows_a_secret(serve_bytes: ServeBytes) -> None:
    def scores(request: str) -> bytes:
        token = {"logprob": -1.0, "decoded_token": request}
        fields = {"usage": {"prompt_tokens": 1}, "prompt_logprobs": [None, {"5": token}]}
        return http(json.dumps({"choices": [{"message": {"content": "x"}}], **fields}))

    backend = connect_url(serve_bytes(scores).url, api_key=KEY)
    with pytest.raises(LlavaToolsError, match="reads the label") as caught:
        backend.score(Request(QUESTION), ["yes"])
    backend.close()
    assert KEY not in _shown(caught.value)


def test_no_answer_that_violates_its_constraint_shows_a_secret(serve_bytes: ServeBytes) -> None:
    def answer(request: str) -> bytes:
        if '"stream": true' not in request:  # tries what the server enforces
            return _error("no", "400 Bad Request")
        return events(words(json.dumps({"n": _header_values(request)})), STOP)

    backend = connect_url(serve_bytes(answer).url, api_key=KEY)
    with pytest.raises(OutputError, match=r"\*\*\*") as caught:
        full_answer(backend, Request(QUESTION, constraint=Constraint(schema=SCHEMA)))
    backend.close()
    assert KEY not in _shown(caught.value)
    assert KEY not in caught.value.text


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
def test_no_message_about_a_url_shows_its_password(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
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
