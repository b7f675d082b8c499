"""Ollama's own client against a server on a port."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ollama
import pytest
from pydantic import BaseModel

from llava_tools import Llava
from llava_tools.testing import ScriptedBackend
from tests.server.live_server import LiveServer
from tests.server.ollama.live import live_server
from tests.server.ollama.samples import IMAGE, LOOK, base64_of


class Ball(BaseModel):
    colour: str
    size: int


def look(question: str) -> str:
    """Look at the image.

    Args:
        question: What to look for.
    """
    return question


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server() as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> ollama.Client:
    return ollama.Client(server.url)


def test_chat(client: ollama.Client) -> None:
    response = client.chat("llava", [{"role": "user", "content": "What is it?"}])
    assert response.message.content == "user has 0 images and 3 words"
    assert (response.done, response.done_reason, response.model) == (True, "stop", "llava")
    assert response.eval_count == 7
    assert response.prompt_eval_count
    assert response.total_duration


def test_chat_streams(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "What is it?"}]
    *chunks, last = client.chat("llava:latest", messages, stream=True)
    text = "".join(chunk.message.content or "" for chunk in chunks)
    assert (text, len(chunks)) == ("user has 0 images and 3 words", 7)
    assert (last.done, last.eval_count) == (True, 7)


@pytest.mark.parametrize("kind", ["bytes", "path", "text path", "base64"])
def test_images(client: ollama.Client, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(IMAGE.data)
    images: dict[str, Any] = {
        "bytes": IMAGE.data,
        "path": path,
        "text path": str(path),
        "base64": base64_of(IMAGE),
    }
    message = {"role": "user", "content": "What is it?", "images": [images[kind]] * 2}
    expected = "user has 2 images and 3 words"
    assert client.chat("llava", [message]).message.content == expected
    assert client.generate("llava", "What is it?", images=message["images"]).response == expected


def test_generate(client: ollama.Client) -> None:
    response = client.generate("llava", "What is it?", system="Be brief.", options={"seed": 1})
    assert response.response == "user has 0 images and 3 words"
    assert (response.context, response.done_reason) == (None, "stop")


def test_generate_streams(client: ollama.Client) -> None:
    *chunks, last = client.generate("llava", "What is it?", stream=True)
    assert "".join(chunk.response or "" for chunk in chunks) == "user has 0 images and 3 words"
    assert last.done


def test_a_schema_is_the_format(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Which ball?"}]
    schema = Ball.model_json_schema()
    chat = client.chat("llava", messages, format=schema)
    assert Ball.model_validate_json(chat.message.content or "") == Ball(colour="red", size=3)
    generated = client.generate("llava", "Which ball?", format=schema)
    assert Ball.model_validate_json(generated.response or "") == Ball(colour="red", size=3)


@pytest.mark.parametrize("tool", [look, LOOK])
@pytest.mark.parametrize("streams", [False, True])
def test_tools_are_called_and_answered(client: ollama.Client, tool: Any, streams: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is it?"}]
    if streams:
        chunks = client.chat("llava", messages, tools=[tool], stream=True)
        (message,) = [chunk.message for chunk in chunks if chunk.message.tool_calls]
    else:
        message = client.chat("llava", messages, tools=[tool]).message
    (call,) = message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("look", {"question": "What?"})
    messages += [message, {"role": "tool", "content": "red", "tool_name": "look"}]
    assert client.chat("llava", messages, tools=[tool]).message.content == "It is red, says look"


def test_results_without_a_name_answer_the_call(client: ollama.Client) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is it?"}]
    message = client.chat("llava", messages, tools=[look]).message
    messages += [message, {"role": "tool", "content": "red"}]
    assert client.chat("llava", messages).message.content == "It is red, says look"


def test_logprobs(client: ollama.Client) -> None:
    response = client.generate("llava", "What is it?", logprobs=True)
    tokens = [item.token for item in response.logprobs or ()]
    assert "".join(tokens) == response.response


def test_embed(client: ollama.Client) -> None:
    assert client.embed("llava", ["a", "b"]).embeddings == [[0.6, 0.8], [0.6, 0.8]]
    assert client.embeddings("llava", "a").embedding == [0.6, 0.8]


def test_the_library(client: ollama.Client) -> None:
    (model,) = client.list().models
    assert model.model == "llava:tiny"
    shown = client.show(model.model)
    assert shown.capabilities == ["completion", "vision", "tools"]
    assert (shown.modelinfo or {})["llava.context_length"] == 4096
    (running,) = client.ps().models
    assert running.name == "llava:tiny"
    assert running.expires_at is not None
    assert running.expires_at > datetime.now(UTC)
    assert client.pull("llava").status == "success"
    assert [step.status for step in client.pull("llava", stream=True)] == ["success"]


def test_load(client: ollama.Client) -> None:
    assert client.generate("llava").done_reason == "load"
    assert client.chat("llava", []).done_reason == "load"


def test_errors_have_their_status(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'gemma3' not found") as caught:
        client.chat("gemma3", [{"role": "user", "content": "?"}])
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as caught:
        next(client.generate("llava", "?", think=True, stream=True))
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as caught:
        client.delete("llava")
    assert caught.value.status_code == 403


def test_a_stream_that_is_left_stops_the_generation() -> None:
    steps = threading.Semaphore(1)
    backend = ScriptedBackend(["one two three"])
    with LiveServer(Llava(backend=backend)) as server:
        backend._pause = steps.acquire  # type: ignore[assignment]
        client = ollama.Client(server.url)
        stream = client.generate("llava", "?", stream=True)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        while server.service.admission.pending:  # each request lets the server's loop run
            client.list()
        steps.release(10)
    assert backend.closed_early == 1


def test_a_key_is_sent_as_a_header() -> None:
    model = Llava(backend=ScriptedBackend())
    with LiveServer(model, api_keys=("first-key",)) as server:
        headers = {"Authorization": "Bearer first-key"}
        client = ollama.Client(server.url, headers=headers)
        assert client.generate("llava", "?").response == "ok"
        with pytest.raises(ollama.ResponseError) as caught:
            ollama.Client(server.url).list()
        assert caught.value.status_code == 401


async def test_the_async_client(server: LiveServer) -> None:
    client = ollama.AsyncClient(server.url)
    messages = [{"role": "user", "content": "What is it?", "images": [IMAGE.data]}]
    expected = "user has 1 images and 3 words"
    assert (await client.chat("llava", messages)).message.content == expected
    stream = await client.chat("llava", messages, stream=True)
    assert "".join([chunk.message.content or "" async for chunk in stream]) == expected
    generated = await client.generate("llava", "What is it?", images=[IMAGE.data])
    assert generated.response == expected
    assert (await client.embed("llava", "a")).embeddings == [[0.6, 0.8]]
    assert (await client.list()).models[0].model == "llava:tiny"
