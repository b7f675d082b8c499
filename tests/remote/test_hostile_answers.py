"""What a server should not answer: each is one clear error, soon, and within bounds of memory."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from llava_tools.core.requests import Request, SamplingParams
from llava_tools.errors import AnswerTimeoutError, LlavaToolsError, RequestError, ServerError
from llava_tools.remote import transport
from llava_tools.remote.errors import ERRORS_BY_CODE
from tests.remote.hostile_answers import BROKEN, GZIP, READ, SLOW
from tests.remote.hostile_server import (
    DEEP,
    STOP,
    chunk,
    endless,
    event,
    events,
    head,
    http,
    logprobs,
    words,
)
from tests.remote.requests import QUESTION, Ask, ServeBytes, connect_url, full_answer

KEY = "key-that-is-secret"


@pytest.mark.parametrize("name", READ)
def test_unusual_answers_are_read(ask: Ask, name: str) -> None:
    answer = ask(READ[name])
    assert (answer.text, answer.finish_reason) == ("ok", "stop")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        *((reason, "stop") for reason in ("eos_token", "stop_sequence", "end_turn", "eos")),
        *((reason, "stop") for reason in ("STOP", "COMPLETE", "tool_calls", "function_call")),
        *((reason, "length") for reason in ("max_tokens", "MAX_TOKENS", "model_length")),
    ],
)
def test_finish_reasons_of_other_apis_are_read(ask: Ask, reason: str, expected: str) -> None:
    answer = ask(events(words(), chunk(delta={}, finish_reason=reason)))
    assert (answer.text, answer.finish_reason) == ("ok", expected)


@pytest.mark.parametrize("reason", ["content_filter", "abort", "error", "cancelled"])
def test_an_answer_that_was_broken_off_is_an_error(ask: Ask, reason: str) -> None:
    with pytest.raises(ServerError, match=f"ended the answer with '{reason}'"):
        ask(events(words(), chunk(delta={}, finish_reason=reason)))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_answers_are_errors(ask: Ask, name: str) -> None:
    with pytest.raises(ServerError) as caught:
        ask(BROKEN[name])
    assert str(caught.value).startswith("The server ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "entry",
    [
        {"logprob": None},
        {"logprob": "x"},
        {"logprob": []},
        {"logprob": 5.0},
        {"token": None},
        {"token": ["x"]},
        {"top_logprobs": 5},
        {"top_logprobs": ["x"]},
        {"top_logprobs": [{"token": "x"}]},
        {"top_logprobs": [{"token": "x", "logprob": 1e999}]},
    ],
)
def test_broken_logprobs_are_errors(ask: Ask, entry: dict[str, Any]) -> None:
    wanted = SamplingParams(logprobs=True, top_logprobs=2)
    assert ask(events(logprobs(), STOP), wanted).logprobs[0].logprob == -1
    answer = events(logprobs(**entry), STOP).replace(b"Infinity", b"1e999")
    with pytest.raises(ServerError):
        ask(answer, wanted)
    assert ask(answer).text == "ok", "where nobody wants them, they are not read"


def test_what_comes_after_an_answer_is_not_bounded(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_EVENT_BYTES", 0)
    assert ask(endless(b": more\n" * 9000, events(words(), STOP))).text == "ok"


def test_more_alternatives_than_wanted_are_left_out(ask: Ask) -> None:
    many = [{"token": str(number), "logprob": -1.0} for number in range(1000)]
    wanted = SamplingParams(logprobs=True, top_logprobs=2)
    answer = ask(events(logprobs(top_logprobs=many), STOP), wanted)
    assert [token for token, _ in answer.logprobs[0].top] == ["0", "1"]


@pytest.mark.parametrize("name", SLOW)
def test_slow_answers_time_out(ask: Ask, name: str) -> None:
    with pytest.raises(AnswerTimeoutError):
        ask(SLOW[name], read_timeout=0.3, answer_timeout=0.6)


def test_memory_is_bounded(ask: Ask) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ServerError, match=r"more than 8,388,608 bytes in one event"):
            ask(endless(b"x" * 2**20))
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 Other", "307 T", "308 P"])
def test_redirects_are_not_followed(serve_bytes: ServeBytes, ask: Ask, status: str) -> None:
    other = serve_bytes(events(words(), STOP))
    target = other.url.replace("://", "://me:pass-word@")
    with pytest.raises(RequestError, match="redirects are not followed") as caught:
        ask(http("", status, location=target), api_key=KEY)
    assert other.requests == []
    assert "pass-word" not in str(caught.value)
    assert other.url in str(caught.value)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "//", "http://[", "x" * 9000, "", "http://h/\x1b[2J", "http://h:x/"],
)
def test_strange_redirects_are_not_followed(ask: Ask, location: str) -> None:
    with pytest.raises(LlavaToolsError) as caught:
        ask(http("", "307 Temporary Redirect", location=location))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "busy"}}, "busy"),
        ({"error": "busy"}, "busy"),
        ({"message": "busy"}, "busy"),
        ({"detail": "busy"}, "busy"),
        ({"detail": [{"msg": "busy"}]}, "busy"),
        ("busy", "busy"),
        ([1], r"\[1\]"),
        (None, "None"),
        ({"error": {"message": "\x1b[2Jbusy\u202e"}}, r"\\x1b\[2Jbusy"),
        ({"error": {"message": "x" * 100_000}}, "x…"),
    ],
)
def test_errors_are_shown_in_one_line(ask: Ask, body: Any, message: str) -> None:
    with pytest.raises(ServerError, match=message) as caught:
        ask(http(json.dumps(body), "503 Unavailable"))
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        endless(b"x" * 65536, head("500 Error")),
        http(GZIP, "500 Error", content_encoding="gzip"),
        http(DEEP, "500 Error"),
        http("", "500 Error"),
        http("x", "500 " + "E" * 5000),
        head("500 Error", retry_after="9" * 5000),
    ],
)
def test_large_errors_are_errors(ask: Ask, answer: Any) -> None:
    with pytest.raises(ServerError, match=r"failed \(500\)"):
        ask(answer)


def test_lone_surrogates_of_an_answer_are_replaced(ask: Ask) -> None:
    assert ask(events(words("a\ud800b"), STOP)).text == "a\ufffdb"


def test_a_client_that_has_enough_leaves(serve_bytes: ServeBytes) -> None:
    server = serve_bytes(endless(event(words()) * 100))
    backend = connect_url(server.url)
    with pytest.raises(ServerError, match="events"):
        full_answer(backend, Request(QUESTION))
    assert server.closed.wait(10)
    backend.close()


@pytest.mark.parametrize("code", [*ERRORS_BY_CODE, 5, 429, [], {}, None, True, 1e300, "x" * 9000])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tool_calls": 5},
        {"tool_calls": "x"},
        {"tool_calls": [5, {"arguments": 5}, {"arguments": "{}"}], "text": 5},
        {"message": []},
        {"message": {"a": 1}},
    ],
)
def test_errors_with_strange_codes_are_errors(
    ask: Ask, code: object, fields: dict[str, Any]
) -> None:
    error = {"error": {"message": "busy", "code": code, **fields}}
    whole = json.dumps(error)
    for answer in (http(whole, "400 Bad"), http(whole, "500 X"), events(error)):
        with pytest.raises(LlavaToolsError) as caught:
            ask(answer)
        assert getattr(caught.value, "tool_calls", ()) == ()
