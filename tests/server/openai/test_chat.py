from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from PIL import Image

from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.outputs import Chunk
from llava_tools.errors import ContextOverflowError, MemoryExhaustedError
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient
from tests.server.openai.failing_backend import FailingBackend, replace_backend
from tests.server.openai.requests import IMAGE, LOOK, URL, conversation

PATH = "/v1/chat/completions"
ZOOM = {"type": "function", "function": {"name": "zoom"}}
CALL = write_call(ToolCall("", "look", {"question": "What?"}))


def events(response: Any) -> list[Any]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_an_answer_has_openai_form(make_client: MakeClient) -> None:
    response = make_client(ScriptedBackend(["a red ball"])).post(PATH, json=conversation())
    answer = response.json()
    assert response.status_code == 200
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["object"], answer["model"]) == ("chat.completion", "scripted")
    assert answer["choices"] == [
        {
            "index": 0,
            "logprobs": None,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "a red ball", "refusal": None},
        }
    ]
    usage = answer["usage"]
    assert usage["completion_tokens"] == 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + 3
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0, "image_tokens": 0}


def test_a_stream_has_role_content_and_end(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    chunks = events(client.post(PATH, json=conversation(stream=True)))
    choices = [chunk["choices"][0] for chunk in chunks]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": " red"},
        {"content": " ball"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


def test_a_stream_with_usage_ends_with_a_chunk_of_it(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a red ball"]))
    options = {"include_usage": True}
    chunks = events(client.post(PATH, json=conversation(stream=True, stream_options=options)))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": URL, "detail": "high"}},
        {"type": "image_url", "image_url": URL},
    ],
)
def test_images_are_opened(make_client: MakeClient, block: dict[str, Any]) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    content = [{"type": "text", "text": "What?"}, block]
    assert client.post(PATH, json=conversation(content)).status_code == 200
    assert list(backend.requests[-1].messages[0].content) == ["What?", IMAGE]
    # The user's store keeps it, so that its handle names it from now on.
    again = [{"type": "image_url", "image_url": {"url": IMAGE.handle}}]
    assert client.post(PATH, json=conversation(again)).status_code == 200
    assert list(backend.requests[-1].messages[0].content) == [IMAGE]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.org/cat.png", "this server fetches none"),
        ("/etc/passwd", "neither a data: URL nor the handle of an image"),
        ("data:image/png;base64,AAAA", "not an image"),
        ("img_0123456789abcdef01234567", "img_0123456789abcdef01234567"),
    ],
)
def test_unusable_images_are_refused(make_client: MakeClient, url: str, message: str) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    response = make_client().post(PATH, json=conversation(content))
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "invalid_image")
    assert message in error["message"]


@pytest.mark.parametrize(
    ("content", "param", "message"),
    [
        (5, "messages.0.content", "should be a valid string"),
        ([{"type": "text", "text": 5}], "messages.0.content.0.text", "should be a valid string"),
        ([{"type": "image_url", "image_url": {}}], "messages.0.content.0.image_url.url", "missing"),
        ([{"type": "text", "text": "a", "x": 1}], "messages.0.content.0.x", "unknown"),
        ([{"type": "video"}], "messages.0.content.0", "'text', 'image_url'"),
        ([{}], "messages.0.content.0", "discriminator 'type'"),
    ],
)
def test_the_place_of_an_error_is_that_in_the_body(
    make_client: MakeClient, content: Any, param: str, message: str
) -> None:
    error = make_client().post(PATH, json=conversation(content)).json()["error"]
    assert error["param"] == param
    assert message in error["message"]


def test_a_conversation_is_translated(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "look", "arguments": '{"question": "What?"}'},
    }
    old_call = {"name": "zoom", "arguments": ""}
    image = {"type": "image_url", "image_url": {"url": URL}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "What?", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": [image]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {"role": "user", "content": "Zoom."},
        {"role": "assistant", "function_call": old_call},
        {"role": "function", "name": "zoom", "content": "done"},
    ]
    response = make_client(backend).post(PATH, json={"messages": messages})
    assert response.status_code == 200, response.text
    got = backend.requests[-1].messages
    assert [message.role for message in got] == [
        "system", "user", "assistant", "tool", "assistant", "user", "assistant", "tool",
    ]  # fmt: skip
    assert got[0].content == ("Be brief.",)
    assert got[2].content == ()
    assert got[2].tool_calls == (ToolCall("call_1", "look", {"question": "What?"}),)
    assert (got[3].content, got[3].tool_call_id) == ((IMAGE,), "call_1")
    assert got[4].content == ("No.",)
    assert got[6].tool_calls == (ToolCall("", "zoom", {}),)
    assert (got[7].content, got[7].name) == (("done",), "zoom")


def test_sampling_parameters_are_passed_on(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    fields = {
        "max_completion_tokens": 7,
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "repetition_penalty": 1.1,
        "seed": 3,
        "stop": "\n",
        "logprobs": True,
        "top_logprobs": 2,
    }
    assert make_client(backend).post(PATH, json=conversation(**fields)).status_code == 200
    sampling = backend.requests[-1].sampling
    expected = {name: value for name, value in fields.items() if name != "max_completion_tokens"}
    expected |= {"max_tokens": 7, "stop": ("\n",)}
    assert {name: getattr(sampling, name) for name in expected} == expected


def test_harmless_fields_and_nulls_change_nothing(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    harmless = {
        "user": "ada", "metadata": {"a": "b"}, "store": True, "service_tier": "auto",
        "prompt_cache_key": "k", "safety_identifier": "s", "reasoning_effort": "low",
        "verbosity": "low", "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0,
        "logit_bias": {}, "top_k": -1, "modalities": ["text"],
    }  # fmt: skip
    nulls = dict.fromkeys(
        ("stop", "seed", "max_tokens", "tools", "tool_choice", "response_format", "logprobs")
    )
    assert client.post(PATH, json=conversation(**harmless, **nulls)).status_code == 200
    assert client.post(PATH, json=conversation()).status_code == 200
    assert backend.requests[-1] == backend.requests[-2]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -1}, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"temprature": 1}, "temprature"),
        ({"messages": []}, "messages"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
    ],
)
def test_impossible_fields_are_named(
    make_client: MakeClient, fields: dict[str, Any], param: str
) -> None:
    response = make_client().post(
        PATH, json=conversation(**{"messages": conversation()["messages"]} | fields)
    )
    error = response.json()["error"]
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)


@pytest.mark.parametrize(
    ("choice", "expected", "names"),
    [
        (None, "auto", ["look", "zoom"]),
        ("auto", "auto", ["look", "zoom"]),
        ("none", "none", ["look", "zoom"]),
        ("required", "any", ["look", "zoom"]),
        ({"type": "function", "function": {"name": "look"}}, "look", ["look", "zoom"]),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [LOOK]}},
            "any",
            ["look"],
        ),
    ],
)
def test_tools_and_their_choice_constrain_the_answer(
    make_client: MakeClient, choice: Any, expected: str, names: list[str]
) -> None:
    backend = ScriptedBackend(["ok" if expected in ("auto", "none") else CALL])
    fields = {"tools": [LOOK, ZOOM], "tool_choice": choice, "parallel_tool_calls": False}
    response = make_client(backend).post(PATH, json=conversation(**fields))
    assert response.status_code == 200, response.text
    constraint = backend.requests[-1].constraint
    assert (constraint.tool_choice, [tool.name for tool in constraint.tools]) == (expected, names)
    assert not constraint.parallel_tool_calls
    assert constraint.tools[0].parameters == LOOK["function"]["parameters"]


@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "function", "function": {"name": "look"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [LOOK]}},
        {"type": "allowed_tools"},
        {"type": "custom", "custom": {"name": "look"}},
    ],
)
def test_a_choice_that_names_no_tool_is_refused(make_client: MakeClient, choice: Any) -> None:
    response = make_client().post(PATH, json=conversation(tool_choice=choice))
    assert response.status_code == 400, response.text


def test_a_tool_call_is_returned_whole_and_in_chunks(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend([CALL]))
    fields = conversation(tools=[LOOK], tool_choice="required")
    choice = client.post(PATH, json=fields).json()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["type"], call["function"]["name"]) == ("function", "look")
    assert json.loads(call["function"]["arguments"]) == {"question": "What?"}
    chunks = events(client.post(PATH, json={**fields, "stream": True}))
    deltas = [item for c in chunks for item in c["choices"][0]["delta"].get("tool_calls", ())]
    assert [item.get("function", {}).get("name") for item in deltas if "id" in item] == ["look"]
    assert {item["index"] for item in deltas} == {0}
    arguments = "".join(item["function"]["arguments"] for item in deltas)
    assert json.loads(arguments) == {"question": "What?"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("strict", "expected"), [(True, True), (False, False), (None, False), ("absent", False)]
)
def test_a_json_schema_constrains_the_answer(
    make_client: MakeClient, strict: Any, expected: bool
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    named = {"name": "answer", "schema": schema} | (
        {} if strict == "absent" else {"strict": strict}
    )
    backend = ScriptedBackend(['{"a": 1}'])
    fields = {"response_format": {"type": "json_schema", "json_schema": named}}
    response = make_client(backend).post(PATH, json=conversation(**fields))
    assert response.json()["choices"][0]["message"]["content"] == '{"a": 1}'
    constraint = backend.requests[-1].constraint
    assert (constraint.schema, constraint.strict) == (schema, expected)


@pytest.mark.parametrize(
    ("form", "schema"), [({"type": "text"}, None), ({"type": "json_object"}, {"type": "object"})]
)
def test_other_formats(make_client: MakeClient, form: dict[str, Any], schema: Any) -> None:
    backend = ScriptedBackend(["{}"])
    assert (
        make_client(backend).post(PATH, json=conversation(response_format=form)).status_code == 200
    )
    assert backend.requests[-1].constraint.schema == schema


def test_log_probabilities_have_bytes(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["é b"]))
    fields = conversation(logprobs=True)
    choice = client.post(PATH, json=fields).json()["choices"][0]
    expected = [
        {"token": "é", "logprob": 0.0, "bytes": [195, 169], "top_logprobs": []},
        {"token": " b", "logprob": 0.0, "bytes": [32, 98], "top_logprobs": []},
    ]
    assert choice["logprobs"] == {"content": expected, "refusal": None}
    chunks = events(client.post(PATH, json={**fields, "stream": True}))
    parts = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert [item for part in parts if part for item in part["content"]] == expected


def test_token_ids_are_returned_on_request(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["a b"]))
    fields = conversation(return_token_ids=True)
    assert client.post(PATH, json=fields).json()["choices"][0]["token_ids"] == [0, 1]
    chunks = events(client.post(PATH, json={**fields, "stream": True}))
    ids = [chunk["choices"][0].get("token_ids", []) for chunk in chunks]
    assert [number for part in ids for number in part] == [0, 1]


@pytest.mark.parametrize(
    ("name", "status"), [("scripted", 200), ("gpt-4o", 200), ("gpt-5", 404), ("", 404)]
)
def test_only_the_served_model_may_be_requested(
    make_client: MakeClient, name: str, status: int
) -> None:
    client = make_client(model_names=("gpt-4o",))
    response = client.post(PATH, json=conversation(model=name))
    assert response.status_code == status
    if status == 200:
        assert response.json()["model"] == name
    else:
        assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_token_has_a_status(
    make_client: MakeClient, stream: bool
) -> None:
    client = make_client()
    replace_backend(client, FailingBackend([], ContextOverflowError("Too long.", "Shorten it.")))
    response = client.post(PATH, json=conversation(stream=stream))
    assert (response.status_code, response.json()["error"]) == (
        400,
        {
            "message": "Too long. Shorten it.",
            "type": "invalid_request_error",
            "param": None,
            "code": "context_length_exceeded",
        },
    )


def test_an_error_after_the_first_token_is_an_event(make_client: MakeClient) -> None:
    client = make_client()
    replace_backend(client, FailingBackend([Chunk("a", (1,))], MemoryExhaustedError("Full.")))
    chunks = events(client.post(PATH, json=conversation(stream=True)))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks[:-1]] == ["", "a"]
    assert chunks[-1]["error"]["code"] == "out_of_memory"


def test_an_image_of_pixels_keeps_its_handle(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    client = make_client(backend)
    pixels = open_image(Image.new("RGB", (8, 8), "blue"))
    url = f"data:image/png;base64,{base64.b64encode(pixels.data).decode()}"
    block = {"type": "image_url", "image_url": {"url": url, "handle": pixels.handle}}
    assert client.post(PATH, json=conversation([block])).status_code == 200
    assert backend.requests[-1].messages[0].content == (pixels,)
    again = {"type": "image_url", "image_url": pixels.handle}
    assert client.post(PATH, json=conversation([again])).status_code == 200
    forged = {"type": "image_url", "image_url": {"url": URL, "handle": pixels.handle}}
    assert client.post(PATH, json=conversation([forged])).status_code == 400


def test_the_result_of_a_tool_may_be_an_error(make_client: MakeClient) -> None:
    backend = ScriptedBackend()
    result = {
        "role": "tool",
        "tool_call_id": "",
        "name": "look",
        "content": "No.",
        "is_error": True,
    }
    response = make_client(backend).post(PATH, json={"messages": [result]})
    assert response.status_code == 200, response.text
    message = backend.requests[-1].messages[0]
    assert (message.name, message.is_error) == ("look", True)


def test_the_stop_string_is_named(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(["one END two"]))
    chunks = events(client.post(PATH, json=conversation(stream=True, stop=["END"])))
    assert chunks[-1]["choices"][0]["stop_reason"] == "END"
