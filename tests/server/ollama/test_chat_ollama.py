"""LangChain's ChatOllama and OllamaEmbeddings against a server on a port."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from pydantic import BaseModel

from tests.server.live_server import LiveServer
from tests.server.ollama.live import live_server
from tests.server.ollama.samples import IMAGE, base64_of


class Ball(BaseModel):
    """A ball."""

    colour: str
    size: int


@tool
def look(question: str) -> str:
    """Look at the image."""
    return question


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with live_server() as running:
        yield running


@pytest.fixture
def model(server: LiveServer) -> ChatOllama:
    return ChatOllama(
        model="llava",
        base_url=server.url,
        validate_model_on_init=True,
        temperature=0.0,
        num_predict=64,
        num_ctx=4096,
        top_k=40,
        top_p=0.9,
        seed=1,
        repeat_penalty=1.1,
        repeat_last_n=64,
        keep_alive="5m",
        reasoning=False,
    )


def _question(*blocks: Any) -> HumanMessage:
    return HumanMessage([{"type": "text", "text": "What is it?"}, *blocks])


def test_invoke(model: ChatOllama) -> None:
    answer = model.invoke([SystemMessage("Be brief."), HumanMessage("What is it?")])
    assert answer.content == "user has 0 images and 3 words"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 7
    assert answer.response_metadata["done_reason"] == "stop"


def test_stream(model: ChatOllama) -> None:
    chunks = list(model.stream("What is it?"))
    assert "".join(str(chunk.content) for chunk in chunks) == "user has 0 images and 3 words"
    assert len(chunks) >= 7


async def test_async(model: ChatOllama) -> None:
    expected = "user has 0 images and 3 words"
    assert (await model.ainvoke("What is it?")).content == expected
    chunks = [str(chunk.content) async for chunk in model.astream("What is it?")]
    assert "".join(chunks) == expected


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": f"data:image/png;base64,{base64_of(IMAGE)}"},
        {"type": "image_url", "image_url": {"url": base64_of(IMAGE)}},
        {"type": "image", "base64": base64_of(IMAGE), "mime_type": "image/png"},
    ],
)
def test_images(model: ChatOllama, block: dict[str, Any]) -> None:
    assert model.invoke([_question(block)]).content == "user has 1 images and 3 words"


def test_tools(model: ChatOllama) -> None:
    bound = model.bind_tools([look])
    question = HumanMessage("What is it?")
    answer = bound.invoke([question])
    assert isinstance(answer, AIMessage)
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("look", {"question": "What?"})
    result = ToolMessage("red", tool_call_id=call["id"])
    assert bound.invoke([question, answer, result]).content == "It is red, says look"


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_structured_output(model: ChatOllama, method: Any) -> None:
    if method == "function_calling":
        # Ollama has no tool_choice; the model may answer in words, which gives None.
        structured = model.with_structured_output(look.args_schema, method=method)
        assert structured.invoke("What is it?").question == "What?"  # type: ignore[union-attr]
        return
    structured = model.with_structured_output(Ball, method=method)
    assert structured.invoke("Which ball?") == Ball(colour="red", size=3)


def test_logprobs(server: LiveServer) -> None:
    model = ChatOllama(model="llava", base_url=server.url, logprobs=True)
    answer = model.invoke("What is it?")
    tokens = [item["token"] for item in answer.response_metadata["logprobs"]]
    assert "".join(tokens) == answer.content


def test_embeddings(server: LiveServer) -> None:
    embeddings = OllamaEmbeddings(model="llava", base_url=server.url)
    assert embeddings.embed_query("a") == [0.6, 0.8]
    assert embeddings.embed_documents(["a", "b"]) == [[0.6, 0.8], [0.6, 0.8]]


def test_other_models_are_not_there(server: LiveServer) -> None:
    with pytest.raises(ValueError, match="llava:tiny"):
        ChatOllama(model="gemma3", base_url=server.url, validate_model_on_init=True)
