from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from llava_tools.core.outputs import Chunk
from llava_tools.core.requests import Request
from llava_tools.errors import MemoryExhaustedError
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.ollama.samples import (
    CALL,
    IMAGE,
    LOOK,
    OTHER,
    base64_of,
    chat_body,
    lines_of,
)

PATH = "/api/chat"


def request_of(make_client: MakeClient, body: dict[str, Any]) -> Request:
    """Return the request that the backend got for a body."""
    backend = ScriptedBackend()
    response = make_client(backend).post(PATH, json=body)
    assert response.status_code == 200, response.text
    return backend.requests[-1]


def error_of(make_client: MakeClient, body: Any, status: int = 400) -> str:
    response = make_client().post(PATH, json=body)
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"}
    return str(response.json()["error"])


def test_an_answer_is_streamed_by_default(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    *chunks, last = lines_of(client.post(PATH, json=chat_body()))
    assert [chunk["message"] for chunk in chunks] == [
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": " red"},
        {"role": "assistant", "content": " ball"},
    ]
    assert {chunk["done"] for chunk in chunks} == {False}
    assert {chunk["model"] for chunk in (*chunks, last)} == {"llava"}
    assert last["message"] == {"role": "assistant", "content": ""}
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "stop", 3)
    assert last["prompt_eval_count"] > 3
    durations = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
    assert all(isinstance(last[name], int) and last[name] >= 0 for name in durations)
    assert last["total_duration"] > 0
    assert datetime.fromisoformat(last["created_at"]).tzinfo is not None


def test_a_whole_answer_is_one_object(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    response = client.post(PATH, json=chat_body(stream=False))
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["message"] == {"role": "assistant", "content": "a red ball"}
    assert (answer["done"], answer["done_reason"], answer["eval_count"]) == (True, "stop", 3)


def test_a_body_without_content_type_is_read(make_client: MakeClient) -> None:
    data = json.dumps(chat_body(stream=False)).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # as curl -d sends
    response = make_client().post(PATH, content=data, headers=headers)
    assert response.json()["message"]["content"] == "ok"


def test_an_answer_at_the_limit_ends_with_length(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["one two three"]))
    body = chat_body(stream=False, options={"num_predict": 2})
    answer = client.post(PATH, json=body).json()
    assert (answer["message"]["content"], answer["done_reason"]) == ("one two", "length")


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_images_are_opened_and_precede_the_text(make_client: MakeClient, prefix: str) -> None:
    body = chat_body()
    body["messages"][0]["images"] = [prefix + base64_of(IMAGE), prefix + base64_of(OTHER)]
    (message,) = request_of(make_client, body).messages
    assert message.content == (IMAGE, OTHER, "What?")


def test_an_image_is_named_by_its_handle_later(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    for source in (base64_of(IMAGE), IMAGE.handle):
        message = {"role": "user", "content": "What?", "images": [source]}
        lines_of(client.post(PATH, json={"model": "llava", "messages": [message]}))
    assert backend.requests[-1].messages == backend.requests[-2].messages


@pytest.mark.parametrize("source", ["no base64!", "aGVsbG8=", "http://127.0.0.1/a.png", "img.png"])
def test_unusable_images_are_errors(make_client: MakeClient, source: str) -> None:
    body = chat_body()
    body["messages"][0]["images"] = [source]
    assert error_of(make_client, body)


def test_an_image_of_the_assistant_is_an_error(make_client: MakeClient) -> None:
    message = {"role": "assistant", "content": "Here.", "images": [base64_of(IMAGE)]}
    assert "assistant message has an image" in error_of(
        make_client, {"model": "llava", "messages": [message]}
    )


def test_earlier_messages_are_translated(make_client: MakeClient) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi.", "thinking": "A greeting."},
        {"role": "user", "content": "Bye."},
    ]
    request = request_of(make_client, {"model": "llava", "messages": messages})
    assert [(m.role, m.text) for m in request.messages] == [
        ("system", "Be brief."),
        ("user", "Hello."),
        ("assistant", "Hi."),
        ("user", "Bye."),
    ]


def test_tool_calls_come_whole_and_before_the_end(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend([CALL]))
    *_, call, last = lines_of(client.post(PATH, json=chat_body(tools=[LOOK])))
    (made,) = call["message"]["tool_calls"]
    assert made["function"] == {"index": 0, "name": "look", "arguments": {"question": "What?"}}
    assert made["id"]
    assert (call["done"], last["done"], last["done_reason"]) == (False, True, "stop")


def test_tool_calls_of_a_whole_answer(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend([CALL]))
    answer = client.post(PATH, json=chat_body(tools=[LOOK], stream=False)).json()
    (call,) = answer["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"question": "What?"}
    assert answer["message"]["content"] == ""


@pytest.mark.parametrize(
    "fields",
    [[{}, {}], [{"tool_name": "zoom"}, {"tool_name": "look"}], [{"tool_call_id": "b"}, {}]],
)
def test_results_of_tools_answer_the_calls(
    make_client: MakeClient, fields: list[dict[str, str]]
) -> None:
    calls = [
        {"id": "a", "function": {"name": "look", "arguments": {"question": "What?"}}},
        {"id": "b", "function": {"name": "zoom", "arguments": {}}},
    ]
    if fields[0] != {"tool_call_id": "b"}:
        calls = [{"function": call["function"]} for call in calls]
    messages = [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "content": str(i), **field} for i, field in enumerate(fields)),
    ]
    *_, assistant, first, second = request_of(
        make_client, {"model": "llava", "messages": messages}
    ).messages
    look, zoom = assistant.tool_calls
    assert (look.name, look.arguments, zoom.name) == ("look", {"question": "What?"}, "zoom")
    expected = (look.id, zoom.id) if fields == [{}, {}] else (zoom.id, look.id)
    assert (first.tool_call_id, second.tool_call_id) == expected
    assert look.id != zoom.id


def test_a_result_without_a_call_needs_a_name(make_client: MakeClient) -> None:
    messages = [{"role": "user", "content": "What?"}, {"role": "tool", "content": "red"}]
    body: dict[str, Any] = {"model": "llava", "messages": messages}
    assert "answers no call" in error_of(make_client, body)
    messages[1]["tool_name"] = "look"
    assert request_of(make_client, body).messages[-1].name == "look"


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (None, None),
        ("", None),
        ("json", {"type": "object"}),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            {"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
    ],
)
def test_format_is_the_schema_of_the_answer(
    make_client: MakeClient, value: Any, schema: Any
) -> None:
    backend = ScriptedBackend(lambda request: '{"a":1}' if request.constraint.schema else "ok")
    lines_of(make_client(backend).post(PATH, json=chat_body(format=value)))
    assert backend.requests[-1].constraint.schema == schema


def test_unknown_formats_are_refused(make_client: MakeClient) -> None:
    assert "format" in error_of(make_client, chat_body(format="xml"))


def test_logprobs_are_written(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a ball"]))
    answer = client.post(PATH, json=chat_body(logprobs=True, stream=False)).json()
    assert answer["logprobs"] == [
        {"token": "a", "logprob": 0.0, "bytes": [97], "top_logprobs": []},
        {
            "token": " ball",
            "logprob": 0.0,
            "bytes": [32, 98, 97, 108, 108],
            "top_logprobs": [],
        },
    ]
    chunks = lines_of(client.post(PATH, json=chat_body(logprobs=True)))
    assert [chunk.get("logprobs", [{}])[0].get("token") for chunk in chunks] == ["a", " ball", None]


@pytest.mark.parametrize("think", [False, None, "none"])
def test_no_thinking_is_taken(make_client: MakeClient, think: Any) -> None:
    assert request_of(make_client, chat_body(think=think))


@pytest.mark.parametrize("think", [True, "low", "high"])
def test_thinking_is_refused(make_client: MakeClient, think: Any) -> None:
    assert '"llava" does not support thinking' in error_of(make_client, chat_body(think=think))


def test_fields_of_ollama_that_change_nothing_are_taken(make_client: MakeClient) -> None:
    body = chat_body(
        truncate=True, shift=False, _debug_render_only=False, runner="", options=None, tools=None
    )
    assert request_of(make_client, body)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temprature": 1}, "temprature"),
        ({"messages": "What?"}, "messages"),
        ({"messages": [{"role": "robot", "content": "?"}]}, "role"),
        ({"model": None}, "model"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tool"),
        ({"options": {"num_predict": "many"}}, "max_tokens"),
        ({"format": {"type": "nonsense"}}, "schema"),
    ],
)
def test_impossible_bodies_are_refused(
    make_client: MakeClient, fields: dict[str, Any], message: str
) -> None:
    assert message in error_of(make_client, chat_body(**fields))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
def test_no_json_is_an_error(make_client: MakeClient, data: bytes) -> None:
    response = make_client().post(PATH, content=data)
    assert response.status_code == 400
    assert response.json().keys() == {"error"}


def test_unknown_models_are_not_found(make_client: MakeClient) -> None:
    message = error_of(make_client, chat_body(model="gemma3"), 404)
    assert message.startswith("model 'gemma3' not found")


class _FailingStream:
    """A stream that fails after some chunks."""

    def __init__(self, *chunks: Chunk) -> None:
        self._chunks = list(chunks)

    def __iter__(self) -> _FailingStream:
        return self

    def __next__(self) -> Chunk:
        if not self._chunks:
            raise MemoryExhaustedError("Too little memory.", "Try again.")
        return self._chunks.pop(0)

    def close(self) -> None:
        """End nothing."""


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_before_the_first_chunk_has_a_status(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    monkeypatch.setattr(backend, "stream", lambda request: _FailingStream())
    response = client.post(PATH, json=chat_body(stream=stream))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert response.json() == {"error": "Too little memory. Try again."}


def test_an_error_after_the_start_is_a_line(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    monkeypatch.setattr(backend, "stream", lambda request: _FailingStream(Chunk("a")))
    first, last = lines_of(client.post(PATH, json=chat_body()))
    assert first["message"]["content"] == "a"
    assert last == {"error": "Too little memory. Try again."}


def test_requests_are_refused_while_the_model_is_loading(make_client: MakeClient) -> None:
    client = make_client()
    client.app.state.service._loaded.clear()  # type: ignore[attr-defined]
    response = client.post(PATH, json=chat_body())
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "being loaded" in response.json()["error"]
