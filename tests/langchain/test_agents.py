"""Agents and graphs: many turns, many tools, images by their handles, small checkpoints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain.agents import create_agent
from langchain_core import exceptions as langchain
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from PIL import Image
from pydantic import BaseModel

from langchain_llava import ChatLlava, image_block, with_handles
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images.store import shared_store
from llava_tools.testing import ScriptedBackend


@pytest.fixture(scope="module")
def large_image() -> bytes:
    """A PNG of over 4 MB."""
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    assert len(file.getvalue()) > 4_000_000
    return file.getvalue()


ZOOM = {
    "name": "zoom",
    "description": "Look closer at a picture.",
    "parameters": {
        "type": "object",
        "properties": {"image": image_handles.ARGUMENT, "times": {"type": "integer"}},
        "required": ["image"],
    },
}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def image_of(animal: str) -> list[dict[str, Any]]:
    """Fetch an image of an animal."""
    return [image_block(Image.new("RGB", (32, 32), "orange")), {"type": "text", "text": animal}]


def script(request: Request) -> str:
    """Fetch an image, add once two images are there, then tell what was seen."""
    results = [message for message in request.messages if message.role == "tool"]
    if not results:
        cat = write_call(ToolCall("", "image_of", {"animal": "cat"}))
        return cat + "\n" + write_call(ToolCall("", "add", {"a": 20, "b": 22}))
    images = [image for message in request.messages for image in message.images]
    return f"{len(images)} picture(s), {results[-1].text}"


def test_an_agent_with_images_from_tools() -> None:
    backend = ScriptedBackend(script)
    agent = create_agent(ChatLlava(backend=backend), [image_of, add])
    asked = HumanMessage([image_block(Image.new("RGB", (16, 16), "red")), "Fetch and add."])
    said = agent.invoke({"messages": [asked]})["messages"]
    assert [type(message) for message in said] == [
        HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage,
    ]  # fmt: skip
    assert said[-1].text == "2 picture(s), 42"
    _, _, first, second = backend.requests[-1].messages
    assert (len(first.images), first.text, second.text) == (1, "cat", "42")


def test_an_agent_that_answers_in_a_form() -> None:
    class Sum(BaseModel):
        total: int

    def answer(request: Request) -> str:
        if request.messages[-1].role != "tool":
            return write_call(ToolCall("", "add", {"a": 1, "b": 2}))
        return json.dumps({"total": int(request.messages[-1].text)})

    agent = create_agent(ChatLlava(backend=ScriptedBackend(answer)), [add], response_format=Sum)
    assert agent.invoke({"messages": [HumanMessage("1 + 2?")]})["structured_response"] == Sum(
        total=3
    )


def graph(model: Any, tools: list[Any]) -> Any:
    """Return a graph of a model that calls tools, with a checkpointer in memory."""
    builder = StateGraph(MessagesState)
    bound = model.bind_tools(tools)
    builder.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition)
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=InMemorySaver())


def test_twenty_turns_about_a_large_image_leave_a_small_checkpoint(large_image: bytes) -> None:
    def answer(request: Request) -> str:
        last = request.messages[-1]
        if last.role == "tool":
            return f"That is {last.text}."
        return write_call(ToolCall("", "add", {"a": len(request.messages), "b": 1}))

    backend = ScriptedBackend(answer)
    app = graph(ChatLlava(backend=backend), [add, image_of])
    config = {"configurable": {"thread_id": "one"}}
    for turn in range(20):
        block = [image_block(large_image)] if turn == 0 else []
        app.invoke({"messages": [HumanMessage([*block, f"Question {turn}"])]}, config)
    assert len(backend.requests) == 40
    assert all(len(request.messages[0].images) == 1 for request in backend.requests)
    (state, *_) = app.get_state_history(config)
    assert len(state.values["messages"]) == 80
    saver = app.checkpointer
    _, latest = saver.serde.dumps_typed(saver.get(config))
    assert len(latest) < 100_000
    stored = sum(len(value) for _, value in saver.blobs.values())
    assert stored < len(large_image), "all checkpoints together are smaller than the picture"


def test_inline_images_become_handles(large_image: bytes) -> None:
    import base64

    data = base64.b64encode(large_image).decode()
    given = [
        HumanMessage([{"type": "image", "base64": data, "mime_type": "image/png"}, "What is it?"]),
        AIMessage("Noise."),
    ]
    told = with_handles(given)
    assert len(str(told)) < 2000
    assert given[0].content[0]["base64"] == data  # type: ignore[index]
    assert told[1] is given[1]
    backend = ScriptedBackend()
    ChatLlava(backend=backend).invoke([*told, HumanMessage("Sure?")])
    ChatLlava(backend=backend).invoke([*given, HumanMessage("Sure?")])
    first, second = (request.messages[0].images for request in backend.requests)
    assert first == second
    assert with_handles(told) == told


def test_a_call_can_only_name_a_image_of_the_conversation() -> None:
    red, blue = (image_block(Image.new("RGB", (9, 9), colour)) for colour in ("red", "blue"))

    def naming(handle: str) -> Callable[[Request], str]:
        return lambda request: write_call(ToolCall("", "zoom", {"image": handle}))

    asked = HumanMessage([red, blue, "Look closer at the blue one."])
    model = ChatLlava(backend=ScriptedBackend(naming(blue["file_id"]))).bind_tools([ZOOM])
    (call,) = model.invoke([asked]).tool_calls
    assert shared_store().get(call["args"]["image"]).size == (9, 9)
    model = ChatLlava(backend=ScriptedBackend(naming("img_" + "0" * 24))).bind_tools([ZOOM])
    with pytest.raises(langchain.ModelError, match="not one of"):
        model.invoke([asked])


def test_an_unknown_handle_says_what_to_do() -> None:
    block = {"type": "image", "file_id": "img_" + "f" * 24}
    with pytest.raises(langchain.ModelInvalidRequestError, match="Give the picture itself"):
        ChatLlava(backend=ScriptedBackend()).invoke([HumanMessage([block, "x"])])


def test_a_image_that_cannot_be_read_is_langchains_error() -> None:
    with pytest.raises(langchain.ModelInvalidRequestError, match="There is no file"):
        image_block("nowhere.png")
