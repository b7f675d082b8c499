"""This project's own client, `Llava(base_url=…)`: nothing differs from an engine in the process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from PIL import Image, ImageDraw

from llava_tools import Llava
from llava_tools.chat.image_handles import PATTERN
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.backend import Backend
from llava_tools.core.constraints import Constraint, ToolCall, ToolSpec
from llava_tools.core.outputs import Answer, Chunk
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import answer
from llava_tools.errors import (
    ContextOverflowError,
    ImageError,
    LlavaToolsError,
    MemoryExhaustedError,
    ModelNotFoundError,
    OutputError,
    QueueFullError,
    RequestError,
    SchemaError,
)
from llava_tools.images import open_image
from llava_tools.remote import RemoteBackend
from llava_tools.testing import ScriptedBackend
from tests.server.live_server import LiveServer
from tests.server.openai.failing_backend import FailingBackend

LOOK = ToolSpec(
    "look",
    "Looks at an image.",
    {
        "type": "object",
        "properties": {
            "image": {"type": "string", "pattern": PATTERN},
            "question": {"type": "string"},
        },
        "required": ["question"],
        "additionalProperties": False,
    },
)
COUNT = ToolSpec("count")
BALL = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "size": {"type": "integer"}},
    "required": ["colour", "size"],
    "additionalProperties": False,
}


def _drawing(colour: str) -> Image.Image:
    image = Image.new("RGB", (120, 90), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 70, 70), fill=colour)
    return image


PIXELS = open_image(_drawing("red"))
FILE = open_image(open_image(_drawing("blue")).data)
ASK = (Message("user", (FILE, "What is it?")),)
TALK = (
    Message("system", ("Be brief.",)),
    Message("user", (PIXELS, "What <image> is </s> it?", FILE, "And this?")),
    Message(
        "assistant", ("I look.",), (ToolCall("c1", "look", {"question": "é", "n": [1, 2.5, None]}),)
    ),
    Message("tool", ("two\nlines",), tool_call_id="c1"),
    Message("tool", (FILE, "failed"), name="look", is_error=True),
)
REQUESTS = {
    "a question": Request(ASK, SamplingParams(max_tokens=12)),
    "the default of max_tokens": Request(ASK),
    "a conversation": Request(TALK, SamplingParams(max_tokens=12)),
    "sampling": Request(ASK, SamplingParams(12, 0.8, 0.9, 20, seed=3, repetition_penalty=1.2)),
    "log-probabilities": Request(ASK, SamplingParams(8, logprobs=True, top_logprobs=3)),
    "a stop string": Request(ASK, SamplingParams(12, stop=("e", "zz"))),
    "a required call": Request(
        ASK, SamplingParams(), Constraint((LOOK, COUNT), "any", parallel_tool_calls=False)
    ),
    "a named call": Request(TALK, SamplingParams(), Constraint((LOOK, COUNT), "look")),
    "tools that may be called": Request(ASK, SamplingParams(), Constraint((LOOK, COUNT))),
    "tools that may not be called": Request(ASK, SamplingParams(9), Constraint((LOOK,), "none")),
    "a schema": Request(ASK, SamplingParams(64), Constraint(schema=BALL)),
    "a schema that is not described": Request(
        ASK, SamplingParams(64), Constraint(schema=BALL, describe=False)
    ),
    "a schema that cannot be enforced": Request(
        ASK, SamplingParams(64), Constraint(schema={**BALL, "minProperties": 2}, strict=False)
    ),
}


@pytest.fixture(scope="module")
def tiny() -> Iterator[tuple[Backend, RemoteBackend]]:
    """The embedded model in this process, and through a server."""
    model = Llava("tiny")
    with LiveServer(model) as server:
        remote = RemoteBackend(f"{server.url}/v1")
        yield model.backend, remote
        remote.close()


def _facts(result: Answer) -> dict[str, Any]:
    """Return what must be equal; ids of calls and times differ, and cached tokens by the order."""
    return {
        "text": result.text,
        "tokens": result.token_ids,
        "logprobs": result.logprobs,
        "reason": result.finish_reason,
        "calls": [(call.name, dict(call.arguments)) for call in result.tool_calls],
        "usage": (
            result.usage.prompt_tokens,
            result.usage.completion_tokens,
            result.usage.image_tokens,
        ),
        "best_effort": result.best_effort,
    }


@pytest.mark.parametrize("name", REQUESTS)
def test_answers_are_equal(tiny: tuple[Backend, RemoteBackend], name: str) -> None:
    direct, remote = (answer(backend, REQUESTS[name]) for backend in tiny)
    assert _facts(remote) == _facts(direct)
    assert direct.token_ids


@pytest.mark.parametrize("name", REQUESTS)
def test_counts_of_tokens_are_equal(tiny: tuple[Backend, RemoteBackend], name: str) -> None:
    direct, remote = (backend.count_tokens(REQUESTS[name]) for backend in tiny)
    assert remote == direct


@pytest.mark.parametrize("name", ["a question", "a conversation", "a required call"])
def test_scores_are_equal(tiny: tuple[Backend, RemoteBackend], name: str) -> None:
    direct, remote = (backend.score(REQUESTS[name], ["Yes", "No", "a ball"]) for backend in tiny)
    assert remote == pytest.approx(direct, abs=1e-4)


@pytest.mark.parametrize("text", ["a red ball", "<image> and </s>", "é\n\n  x", ""])
def test_token_ids_are_equal(tiny: tuple[Backend, RemoteBackend], text: str) -> None:
    direct, remote = (backend.token_ids(text) for backend in tiny)
    assert remote == direct


def test_a_request_arrives_as_it_was_sent() -> None:
    backend = ScriptedBackend(["ok"])
    requests = [r for r in REQUESTS.values() if not r.constraint.requires_call]
    requests = [r for r in requests if r.constraint.schema is None]
    with LiveServer(Llava(backend=backend)) as server:
        backend.requests.clear()
        remote = RemoteBackend(f"{server.url}/v1")
        for request in requests:
            answer(remote, request)
        remote.close()
    for got, sent in zip(backend.requests, requests, strict=True):
        assert got.messages == sent.messages
        assert got.sampling == sent.sampling
        assert got.constraint == (sent.constraint if sent.constraint.tools else Constraint())


def _connect(server: LiveServer) -> RemoteBackend:
    return RemoteBackend(f"{server.url}/v1", retry_delays=())


_LATE_ERRORS = [MemoryExhaustedError("No memory.", "Wait."), OutputError("Cut off.")]
_EARLY_ERRORS = [
    *_LATE_ERRORS,
    ContextOverflowError("Too long.", "Shorten it."),
    ImageError("Damaged."),
    SchemaError("Not enforced."),
    RequestError("Impossible."),
    QueueFullError("Full."),
]


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        *(([], error) for error in _EARLY_ERRORS),
        *(([Chunk("a", (1,))], error) for error in _LATE_ERRORS),
    ],
)
def test_errors_keep_their_class_and_message(
    chunks: Sequence[Chunk], error: LlavaToolsError
) -> None:
    model = Llava(backend=ScriptedBackend())
    with LiveServer(model) as server:
        remote = _connect(server)
        model._backend = FailingBackend(chunks, error)
        with pytest.raises(LlavaToolsError, match=error.message) as caught:
            answer(remote, Request(ASK))
        remote.close()
    assert type(caught.value) is type(error)
    assert error.hint in str(caught.value)


def test_what_was_written_is_in_the_error() -> None:
    call = ToolCall("c1", "count", {"n": 1})
    with LiveServer(Llava(backend=(backend := ScriptedBackend()))) as server:
        remote = _connect(server)
        error = OutputError("Cut off.", "", "<tool_call>", (call,))
        server.service.model._backend = FailingBackend([Chunk("a", (1,))], error)
        with pytest.raises(OutputError) as caught:
            answer(remote, Request(ASK))
        remote.close()
    assert (caught.value.text, caught.value.tool_calls) == ("<tool_call>", (call,))
    assert backend.closed_early == 0


def test_further_names_of_the_model_are_one_model() -> None:
    with LiveServer(Llava(backend=ScriptedBackend()), model_names=("gpt-4o", "b")) as server:
        remote = _connect(server)
        assert remote.model_name == "gpt-4o"
        remote.close()
        named = RemoteBackend(f"{server.url}/v1", model="scripted")
        assert (named.model_name, answer(named, Request(ASK)).text) == ("scripted", "ok")
        named.close()
        with pytest.raises(ModelNotFoundError):
            RemoteBackend(f"{server.url}/v1", model="gpt-5")


def test_streamed_calls_come_in_chunks() -> None:
    call = write_call(ToolCall("", "count", {}))
    with LiveServer(Llava(backend=ScriptedBackend([call]))) as server:
        remote = _connect(server)
        request = Request(ASK, constraint=Constraint((COUNT,), "any"))
        chunks = list(remote.stream(request))
        remote.close()
    pieces = [piece for chunk in chunks for piece in chunk.tool_call_chunks]
    assert [piece.name for piece in pieces if piece.id] == ["count"]
    assert json.loads("".join(piece.arguments for piece in pieces)) == {}
    assert chunks[-1].finish_reason == "tool_calls"
