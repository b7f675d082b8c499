from __future__ import annotations

import json
from typing import Any

import pytest

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.outputs import Chunk
from llava_tools.errors import MemoryExhaustedError
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.openai.failing_backend import FailingBackend, replace_backend
from tests.server.openai.requests import IMAGE, LOOK, URL

PATH = "/v1/responses"
TOOL = {"type": "function", **LOOK["function"]}
CALL = write_call(ToolCall("", "look", {"question": "What?"}))


def events(response: Any) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    parsed = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        parsed.append(event)
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


def test_a_response_has_openai_form(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    answer = client.post(PATH, json={"input": "What?", "store": True}).json()
    assert (answer["object"], answer["status"], answer["model"]) == (
        "response",
        "completed",
        "scripted",
    )
    (item,) = answer["output"]
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [
        {"type": "output_text", "text": "a red ball", "annotations": [], "logprobs": []}
    ]
    assert answer["usage"]["output_tokens"] == 3
    assert answer["usage"]["input_tokens_details"]["cached_tokens"] == 0
    assert answer["store"] is False


def test_the_events_of_a_text(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red"]))
    got = events(client.post(PATH, json={"input": "What?", "stream": True}))
    assert [event["type"].removeprefix("response.") for event in got] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["delta"] for event in got if "delta" in event] == ["a", " red"]
    item = got[-2]["item"]
    assert got[-1]["response"]["output"] == [item]
    assert {event["item_id"] for event in got if "item_id" in event} == {item["id"]}
    assert got[0]["response"]["output"] == []


def test_the_events_of_a_tool_call(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend([CALL]))
    fields = {"input": "What?", "tools": [TOOL], "tool_choice": "required"}
    got = events(client.post(PATH, json={**fields, "stream": True}))
    kinds = [event["type"].removeprefix("response.") for event in got]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert set(kinds[3:-3]) == {"function_call_arguments.delta"}
    assert kinds[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    arguments = "".join(event["delta"] for event in got if "delta" in event)
    assert json.loads(arguments) == {"question": "What?"}
    assert got[-3]["arguments"] == arguments
    (item,) = got[-1]["response"]["output"]
    assert (item["type"], item["name"], item["arguments"]) == ("function_call", "look", arguments)
    (whole,) = client.post(PATH, json=fields).json()["output"]
    assert (whole["name"], whole["arguments"]) == ("look", arguments)


def test_an_answer_that_is_cut_off_is_incomplete(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    answer = client.post(PATH, json={"input": "What?", "max_output_tokens": 2}).json()
    assert answer["status"] == "incomplete"
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["output"][0]["content"][0]["text"] == "a red"


def test_an_error_after_the_first_token_ends_the_response(make_client: MakeClient) -> None:
    client = make_client()
    replace_backend(client, FailingBackend([Chunk("a", (1,))], MemoryExhaustedError("Full.")))
    got = events(client.post(PATH, json={"input": "What?", "stream": True}))
    assert [event["type"] for event in got[-2:]] == ["error", "response.failed"]
    assert (got[-2]["code"], got[-2]["message"]) == ("out_of_memory", "Full.")
    assert got[-1]["response"]["error"]["message"] == "Full."


def test_items_become_a_conversation(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    output = {"type": "output_text", "text": "Looking.", "annotations": [], "logprobs": []}
    items = [
        {"role": "developer", "content": "Be brief."},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What?"},
                {"type": "input_image", "image_url": URL, "detail": "auto"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "id": "m", "status": "completed", "role": "assistant",
         "content": [output]},
        {"type": "function_call", "id": "fc", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "look", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c1", "output": "a ball"},
        {"type": "function_call_output", "call_id": "c2",
         "output": [{"type": "input_image", "image_url": URL}]},
    ]  # fmt: skip
    fields = {"input": items, "instructions": "Be kind."}
    response = make_client(backend).post(PATH, json=fields)
    assert response.status_code == 200, response.text
    got = backend.requests[-1].messages
    roles = ["system", "system", "user", "assistant", "tool", "tool"]
    assert [message.role for message in got] == roles
    assert got[0].content == ("Be kind.",)
    assert got[2].content == ("What?", IMAGE)
    assert got[3].content == ("Looking.",)
    assert got[3].tool_calls == (ToolCall("c1", "look", {}), ToolCall("c2", "look", {"a": 1}))
    assert (got[5].content, got[5].tool_call_id) == ((IMAGE,), "c2")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "any"),
        ({"type": "function", "name": "look"}, "look"),
        ({"type": "allowed_tools", "mode": "required", "tools": [TOOL]}, "any"),
    ],
)
def test_tool_choices(make_client: MakeClient, choice: Any, expected: str) -> None:
    backend = ScriptedBackend([CALL])
    fields = {"input": "What?", "tools": [TOOL], "tool_choice": choice}
    response = make_client(backend).post(PATH, json=fields)
    assert response.status_code == 200, response.text
    constraint = backend.requests[-1].constraint
    assert (constraint.tool_choice, constraint.strict) == (expected, True)


def test_a_text_format_constrains_the_answer(make_client: MakeClient) -> None:
    backend = ScriptedBackend(['{"a": 1}'])
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}
    response = make_client(backend).post(PATH, json={"input": "a", "text": {"format": form}})
    assert response.json()["text"]["format"] == form
    constraint = backend.requests[-1].constraint
    assert (constraint.schema, constraint.strict) == (schema, True)


def test_log_probabilities_are_included_on_request(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a b"]))
    fields = {"input": "What?", "include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (item,) = client.post(PATH, json=fields).json()["output"]
    assert [token["token"] for token in item["content"][0]["logprobs"]] == ["a", " b"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input.0"),
        ({"input": []}, "input"),
        ({"truncation": "auto"}, "truncation"),
    ],
)  # fmt: skip
def test_what_needs_a_store_is_refused(
    make_client: MakeClient, fields: dict[str, Any], param: str
) -> None:
    response = make_client().post(PATH, json={"input": "What?"} | fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param, response.json()
