"""OpenAI's own client against a server on a port."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from llava_tools import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.server.live_server import LiveServer
from tests.server.openai.requests import IMAGE_BLOCK, LOOK, TEXT_BLOCK, URL

openai = pytest.importorskip("openai")


class Ball(BaseModel):
    colour: str
    size: int


def _script(request: Request) -> str:
    """Answer by what the request constrains: a call, an object, or words."""
    constraint = request.constraint
    if constraint.requires_call:
        return write_call(ToolCall("", "look", {"question": "What?"}))
    if constraint.schema is not None:
        return '{"colour": "red", "size": 3}'
    last = request.messages[-1]
    return f"{last.role} has {len(last.images)} images and {len(last.text.split())} words"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    model = Llava(backend=ScriptedBackend(_script))
    with LiveServer(model, ScriptedEmbedder(), api_keys=("first-key",)) as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[Any]:
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="first-key", max_retries=0
    ) as connected:
        yield connected


@pytest.fixture
async def async_client(server: LiveServer) -> Any:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="first-key", max_retries=0
    ) as connected:
        yield connected


CALL: Any = {
    "role": "assistant",
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ],
}
CONVERSATIONS: list[tuple[list[Any], str]] = [
    ([{"role": "user", "content": "one two"}], "user has 0 images and 2 words"),
    ([{"role": "user", "content": [TEXT_BLOCK]}], "user has 0 images and 3 words"),
    ([{"role": "user", "content": [TEXT_BLOCK, IMAGE_BLOCK]}], "user has 1 images and 3 words"),
    ([{"role": "user", "content": [IMAGE_BLOCK] * 2}], "user has 2 images and 0 words"),
    (
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one"}],
        "user has 0 images and 1 words",
    ),
    (
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "two"},
            {"role": "user", "content": "three"},
        ],
        "user has 0 images and 1 words",
    ),
    (
        [
            {"role": "user", "content": "one"},
            CALL,
            {"role": "tool", "tool_call_id": "c1", "content": "four five"},
        ],
        "tool has 0 images and 2 words",
    ),
    (
        [
            {"role": "user", "content": "one"},
            CALL,
            {"role": "tool", "tool_call_id": "c1", "content": [TEXT_BLOCK, IMAGE_BLOCK]},
        ],
        "tool has 1 images and 3 words",
    ),
]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.7, "seed": 1, "top_p": 0.9, "max_tokens": 50},
    {"max_completion_tokens": 50, "user": "ada", "stop": ["never"], "n": 1},
]


@pytest.mark.parametrize(("messages", "expected"), CONVERSATIONS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_answers(client: Any, messages: list[Any], expected: str, settings: dict[str, Any]) -> None:
    answer = client.chat.completions.create(model="scripted", messages=messages, **settings)
    assert answer.choices[0].message.content == expected
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == len(expected.split())


@pytest.mark.parametrize(("messages", "expected"), CONVERSATIONS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_streams(client: Any, messages: list[Any], expected: str, settings: dict[str, Any]) -> None:
    options: Any = {"include_usage": True}
    stream = client.chat.completions.create(
        model="scripted", messages=messages, stream=True, stream_options=options, **settings
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == expected
    assert chunks[-1].usage.completion_tokens == len(expected.split())


@pytest.mark.parametrize(("messages", "expected"), CONVERSATIONS)
async def test_answers_and_streams_in_an_event_loop(
    async_client: Any, messages: list[Any], expected: str
) -> None:
    create: Callable[..., Any] = async_client.chat.completions.create
    answer = await create(model="scripted", messages=messages)
    assert answer.choices[0].message.content == expected
    stream = await create(model="scripted", messages=messages, stream=True)
    text = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(text) == expected


ASK: Any = [{"role": "user", "content": "What?"}]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look"}}])
@pytest.mark.parametrize("parallel", [True, False])
def test_tool_calls(client: Any, choice: Any, parallel: bool) -> None:
    answer = client.chat.completions.create(
        model="scripted",
        messages=ASK,
        tools=[LOOK],
        tool_choice=choice,
        parallel_tool_calls=parallel,
    )
    (call,) = answer.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == (
        "look",
        {"question": "What?"},
    )
    # The message may be sent back as it is.
    result = {"role": "tool", "tool_call_id": call.id, "content": "a ball"}
    again = client.chat.completions.create(
        model="scripted", messages=[*ASK, answer.choices[0].message, result], tools=[LOOK]
    )
    assert again.choices[0].message.content == "tool has 0 images and 2 words"


def test_streamed_tool_calls_are_accumulated(client: Any) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=ASK, tools=[LOOK], tool_choice="required"
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    (call,) = final.choices[0].message.tool_calls
    assert call.function.parsed_arguments == {"question": "What?"}


def test_answers_are_parsed_into_pydantic_models(client: Any) -> None:
    answer = client.chat.completions.parse(model="scripted", messages=ASK, response_format=Ball)
    assert answer.choices[0].message.parsed == Ball(colour="red", size=3)


def test_streams_are_parsed_into_pydantic_models(client: Any) -> None:
    with client.chat.completions.stream(
        model="scripted", messages=ASK, response_format=Ball
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Ball(colour="red", size=3)


def test_log_probabilities(client: Any) -> None:
    answer = client.chat.completions.create(
        model="scripted", messages=ASK, logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == answer.choices[0].message.content
    assert bytes(tokens[0].bytes).decode() == tokens[0].token


RESPONSE_INPUTS: list[tuple[Any, str]] = [
    ("one two", "user has 0 images and 2 words"),
    ([{"role": "user", "content": "one two"}], "user has 0 images and 2 words"),
    (
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "one"},
                    {"type": "input_image", "image_url": URL, "detail": "auto"},
                ],
            }
        ],
        "user has 1 images and 1 words",
    ),
]
FLAT_TOOL: Any = {"type": "function", **LOOK["function"]}


@pytest.mark.parametrize(("items", "expected"), RESPONSE_INPUTS)
def test_responses(client: Any, items: Any, expected: str) -> None:
    response = client.responses.create(model="scripted", input=items)
    assert (response.output_text, response.status) == (expected, "completed")
    events = list(client.responses.create(model="scripted", input=items, stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == expected
    assert events[-1].response.output_text == expected


@pytest.mark.parametrize(("items", "expected"), RESPONSE_INPUTS)
async def test_responses_in_an_event_loop(async_client: Any, items: Any, expected: str) -> None:
    response = await async_client.responses.create(model="scripted", input=items)
    assert response.output_text == expected
    stream = await async_client.responses.create(model="scripted", input=items, stream=True)
    events = [event async for event in stream]
    assert events[-1].response.output_text == expected


def test_responses_with_tools_can_be_continued(client: Any) -> None:
    first = client.responses.create(
        model="scripted", input="What?", tools=[FLAT_TOOL], tool_choice="required"
    )
    (call,) = first.output
    assert json.loads(call.arguments) == {"question": "What?"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "a ball"}
    items = [{"role": "user", "content": "What?"}, *first.output, result]
    second = client.responses.create(model="scripted", input=items, tools=[FLAT_TOOL])
    assert second.output_text == "tool has 0 images and 2 words"


def test_responses_are_parsed_into_pydantic_models(client: Any) -> None:
    response = client.responses.parse(model="scripted", input="What?", text_format=Ball)
    assert response.output_parsed == Ball(colour="red", size=3)
    with client.responses.stream(model="scripted", input="What?", text_format=Ball) as stream:
        assert stream.get_final_response().output_parsed == Ball(colour="red", size=3)


def test_models_are_listed(client: Any) -> None:
    assert "scripted" in [model.id for model in client.models.list()]
    assert client.models.retrieve("scripted").owned_by == "llava-tools"


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
def test_embeddings(client: Any, encoding_format: Any) -> None:
    options = {"encoding_format": encoding_format} if encoding_format else {}
    answer = client.embeddings.create(model="scripted", input=["a", "bb"], **options)
    vectors = [item.embedding for item in answer.data]
    if encoding_format == "base64":
        vectors = [list(struct.unpack("<2f", base64.b64decode(vector))) for vector in vectors]
    assert vectors == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"model": "gpt-5"}, "NotFoundError"),
        ({"n": 2}, "BadRequestError"),
        ({"temperature": -1}, "BadRequestError"),
        ({"max_tokens": 10**6}, "BadRequestError"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_their_classes(
    client: Any, fields: dict[str, Any], error: str, stream: bool
) -> None:
    arguments = {"model": "scripted", "messages": ASK, "stream": stream} | fields
    with pytest.raises(getattr(openai, error)):
        client.chat.completions.create(**arguments)


def test_a_wrong_key_is_an_authentication_error(server: LiveServer) -> None:
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(model="scripted", messages=ASK)


def test_leaving_a_stream_stops_the_generation() -> None:
    steps = threading.Semaphore(1)
    backend = ScriptedBackend(["one two three"])
    with (
        LiveServer(Llava(backend=backend)) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="-", max_retries=0) as client,
    ):
        backend._pause = steps.acquire  # type: ignore[assignment]
        stream = client.chat.completions.create(model="scripted", messages=ASK, stream=True)
        next(iter(stream))
        stream.close()
        while server.service.admission.pending:  # each request lets the server's loop run
            client.get("../health", cast_to=object)
        assert backend.closed_early == 1
        steps.release(10)
