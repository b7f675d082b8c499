"""Bodies that nobody sends by accident: refused with a clear error, never a failure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.server.conftest import MakeClient
from tests.server.openai.requests import IMAGE_BLOCK, LOOK, URL, conversation

CHAT = "/v1/chat/completions"
DEEP = "[" * 100_000 + "]" * 100_000


def _call(arguments: str) -> dict[str, Any]:
    function = {"name": "look", "arguments": arguments}
    calls = [{"id": "c", "type": "function", "function": function}]
    return {"messages": [{"role": "assistant", "tool_calls": calls}]}


def _tool(**fields: Any) -> dict[str, Any]:
    return conversation(tools=[{"type": "function", "function": {**LOOK["function"], **fields}}])


def _schema(schema: Any) -> dict[str, Any]:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    return conversation(response_format=form)


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        DEEP.encode(),
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "a"}], "temperature": 1e999}',
        b'{"messages": [{"role": "user", "content": "a"}], "seed": 1' + b"0" * 5000 + b"}",
        *(
            json.dumps(body).encode()
            for body in (
                conversation(None),
                conversation([None]),
                conversation([{"type": "image_url"}]),
                conversation([{"type": "input_audio", "input_audio": {}}]),
                conversation([{"type": "image_url", "image_url": "data:image/png;base64,"}]),
                conversation([{"type": "image_url", "image_url": "data:" + "A" * 10**6}]),
                conversation([{"type": "image_url", "image_url": {"url": URL, "handle": "x"}}]),
                conversation(stop=[""]),
                conversation(stop=[1]),
                conversation(max_tokens=0),
                conversation(max_tokens=10**30),
                conversation(top_logprobs=21, logprobs=True),
                conversation(top_logprobs=2),
                conversation(seed=-1),
                conversation(tools=[LOOK, LOOK]),
                conversation(tools=[LOOK], tool_choice="zoom"),
                conversation(tools=[LOOK], tool_choice={}),
                conversation(tools=[LOOK], tool_choice={"type": "function", "function": []}),
                conversation(
                    tools=[LOOK],
                    tool_choice={
                        "type": "allowed_tools",
                        "allowed_tools": {"mode": [], "tools": [LOOK]},
                    },
                ),
                conversation(response_format={"type": "json_schema"}),
                {"messages": [{"role": "system", "content": [IMAGE_BLOCK]}]},
                {"messages": [{"role": "alien", "content": "a"}]},
                {"messages": [{"content": "a"}]},
                {"messages": [{"role": "tool", "content": "a"}]},
                {"messages": [{"role": "tool", "content": "a", "tool_call_id": "unknown"}]},
                _call("{"),
                _call("[]"),
                _call(DEEP),
                _tool(name=""),
                _tool(name="a" * 200),
                _tool(name="a b"),
                _tool(parameters={"type": "string"}),
                _tool(parameters={"type": "nothing"}),
                _schema({"type": 5}),
                _schema(_nested(40)),
                _schema({"description": "a" * 100_000}),
            )
        ),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_a_hostile_body_is_refused(make_client: MakeClient, data: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = make_client().post(CHAT, content=data, headers=headers)
    error = response.json()["error"]
    assert response.status_code == 400, error
    assert error["type"] == "invalid_request_error"
    assert 0 < len(error["message"]) < 2500


@pytest.mark.parametrize(("items", "message"), [(50_000, "messages.0 = 0"), (200_000, "commas")])
def test_a_long_list_of_wrong_items_is_one_error(
    make_client: MakeClient, items: int, message: str
) -> None:
    response = make_client().post(CHAT, json={"messages": [0] * items})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


def test_a_conversation_has_a_bounded_number_of_messages(make_client: MakeClient) -> None:
    message = {"role": "user", "content": "x"}
    response = make_client().post(CHAT, json={"messages": [message] * 8_193})
    assert response.status_code == 400
    assert "messages" in response.json()["error"]["message"]
    assert "at most 8192 items" in response.json()["error"]["message"]


def test_a_body_that_is_too_large_is_refused(make_client: MakeClient) -> None:
    response = make_client(max_body_bytes=1000).post(CHAT, json=conversation("a" * 1000))
    assert response.status_code == 413


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/embeddings", "/tokenize"])
def test_other_methods_are_refused(make_client: MakeClient, path: str) -> None:
    response = make_client().get(path)
    assert response.status_code == 405
    assert "message" in response.json()["error"]
