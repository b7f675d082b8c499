"""Agents and graphs: many turns, several tools, images by handles, small checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from PIL import Image
from pydantic import BaseModel

from langchain_llava import ChatLlava, image_block
from langchain_llava import compat as langchain
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images.store import shared_store
from llava_tools.testing import ScriptedBackend

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
def fetch_image(animal: str) -> list[dict[str, Any]]:
    """Fetch an image of an animal."""
    return [image_block(Image.new("RGB", (32, 32), "orange")), {"type": "text", "text": animal}]


def script(request: Request) -> str:
    """Call both tools, then count the images and repeat the sum."""
    results = [message for message in request.messages if message.role == "tool"]
    if not results:
        cat = write_call(ToolCall("", "fetch_image", {"animal": "cat"}))
        return cat + "\n" + write_call(ToolCall("", "add", {"a": 20, "b": 22}))
    images = [image for message in request.messages for image in message.images]
    return f"{len(images)} image(s), {results[-1].text}"


def test_agent_receives_images_from_tools() -> None:
    backend = ScriptedBackend(script)
    agent = create_agent(ChatLlava(backend=backend), [fetch_image, add])
    question = HumanMessage([image_block(Image.new("RGB", (16, 16), "red")), "Fetch and add."])
    messages = agent.invoke({"messages": [question]})["messages"]
    assert [type(message) for message in messages] == [
        HumanMessage, AIMessage, ToolMessage, ToolMessage, AIMessage,
    ]  # fmt: skip
    assert messages[-1].text == "2 image(s), 42"
    _, _, first, second = backend.requests[-1].messages
    assert (len(first.images), first.text, second.text) == (1, "cat", "42")


def test_agent_answers_with_structured_output() -> None:
    class Sum(BaseModel):
        total: int

    def answer(request: Request) -> str:
        if request.messages[-1].role != "tool":
            return write_call(ToolCall("", "add", {"a": 1, "b": 2}))
        total = {"total": int(request.messages[-1].text)}
        # langchain from 1.1 on reads in the profile that the model enforces schemas itself.
        assert request.constraint is not None
        by_tool = any(tool.name == "Sum" for tool in request.constraint.tools)
        return write_call(ToolCall("", "Sum", total)) if by_tool else json.dumps(total)

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


def test_twenty_turns_with_a_large_image_make_small_checkpoints(large_image: bytes) -> None:
    def answer(request: Request) -> str:
        last = request.messages[-1]
        if last.role == "tool":
            return f"That is {last.text}."
        return write_call(ToolCall("", "add", {"a": len(request.messages), "b": 1}))

    backend = ScriptedBackend(answer)
    app = graph(ChatLlava(backend=backend), [add, fetch_image])
    config = {"configurable": {"thread_id": "1"}}
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
    # All checkpoints together are smaller than the image.
    stored = sum(len(value) for _, value in saver.blobs.values())
    assert stored < len(large_image)


def test_calls_name_only_images_of_the_conversation() -> None:
    red, blue = (image_block(Image.new("RGB", (9, 9), colour)) for colour in ("red", "blue"))

    def naming(handle: str) -> Callable[[Request], str]:
        return lambda request: write_call(ToolCall("", "zoom", {"image": handle}))

    question = HumanMessage([red, blue, "Look closer at the blue one."])
    model = ChatLlava(backend=ScriptedBackend(naming(blue["file_id"]))).bind_tools([ZOOM])
    (call,) = model.invoke([question]).tool_calls
    assert shared_store().get(call["args"]["image"]).size == (9, 9)
    model = ChatLlava(backend=ScriptedBackend(naming("img_" + "0" * 24))).bind_tools([ZOOM])
    with pytest.raises(langchain.ModelError, match="not one of"):
        model.invoke([question])
