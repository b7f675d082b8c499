"""Artifacts of visual tools in LangGraph's checkpoints are restored as what they were."""

from __future__ import annotations

import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.messages import ToolCall as Called
from langchain_core.messages.utils import convert_to_messages
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from PIL import Image

from langchain_llava import ChatLlava, LlavaEmbeddings, LlavaPageRetriever, LlavaToolkit
from llava_tools import Llava
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images.store import shared_store
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import RESULT_TYPES, ToolResult
from llava_tools.tools.locate import LocateResult
from tests.langchain.visual_tools import ARGUMENTS, SCRIPTS, WIDE, TwoPages


def message_of(name: str) -> ToolMessage:
    """Return the message of a tool's call."""
    backend = ScriptedBackend([SCRIPTS.get(name, "ok")])
    kit = LlavaToolkit(llm=Llava(backend=backend), tools=(name,), index=TwoPages())
    handle = kit.add(WIDE)
    arguments: dict[str, Any] = {"image": handle, **ARGUMENTS.get(name, {})}
    if name == "compare":
        arguments = {"images": [handle, handle], **ARGUMENTS[name]}
    if name == "find":
        arguments = {"query": "coffee"}
    if name == "show_evidence":
        arguments = {"image": handle, **ARGUMENTS["look"]}
    (tool,) = kit.get_tools()
    message = tool.invoke(Called(name=name, args=arguments, id="1", type="tool_call"))
    assert isinstance(message, ToolMessage)
    assert isinstance(message.artifact, ToolResult)
    return message


def through(serializer: JsonPlusSerializer, message: ToolMessage) -> ToolMessage:
    kind, data = serializer.dumps_typed({"messages": [message]})
    assert kind == "msgpack"
    (restored,) = serializer.loads_typed((kind, data))["messages"]
    assert isinstance(restored, ToolMessage)
    return restored


@pytest.mark.parametrize("name", RESULT_TYPES)
def test_artifact_is_restored_as_it_was(name: str) -> None:
    message = message_of(name)
    restored = through(JsonPlusSerializer(pickle_fallback=False), message)
    assert type(restored.artifact) is type(message.artifact) is RESULT_TYPES[name]
    assert restored.artifact == message.artifact
    assert restored.content == message.content == str(restored.artifact)


@pytest.mark.parametrize("name", RESULT_TYPES)
def test_strict_serializer_restores_the_registered_types(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    message = message_of(name)
    allowed = JsonPlusSerializer(allowed_msgpack_modules=list(RESULT_TYPES.values()))
    with caplog.at_level(logging.WARNING):
        assert through(allowed, message).artifact == message.artifact
    assert not caplog.records
    strict = JsonPlusSerializer(allowed_msgpack_modules=None)
    data = through(strict, message).artifact
    assert isinstance(data, dict)
    assert RESULT_TYPES[name].model_validate(data) == message.artifact


@pytest.mark.parametrize("name", RESULT_TYPES)
def test_artifact_is_restored_from_json(name: str) -> None:
    message = message_of(name)
    data = json.loads(message.model_dump_json())["artifact"]
    assert RESULT_TYPES[name].model_validate(data) == message.artifact
    (copied,) = convert_to_messages([message.model_dump()])
    assert isinstance(copied, ToolMessage)
    assert copied.artifact == message.artifact


def test_restored_box_displays_on_its_image() -> None:
    message = message_of("locate")
    artifact = through(JsonPlusSerializer(), message).artifact
    assert isinstance(artifact, LocateResult)
    assert artifact.box == (100, 100, 200, 200)
    assert artifact.image in shared_store()
    png = artifact._repr_png_()
    assert png is not None
    assert png == message.artifact._repr_png_()
    assert Image.open(io.BytesIO(png)).size == (400, 200)


def plan(request: Request) -> str:
    if request.messages[-1].role == "tool":
        return "Found."
    (handle,) = image_handles.handles_in(request.messages)
    return write_call(ToolCall("", "locate", {"image": handle, "thing": "the car"}))


async def test_agent_that_goes_on_from_a_checkpoint_has_the_artifact() -> None:
    kit = LlavaToolkit(llm=ChatLlava(backend=ScriptedBackend([SCRIPTS["locate"]])))
    saver = InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=False))
    planner = ChatLlava(backend=ScriptedBackend(plan))
    agent = create_agent(planner, kit.get_tools(), checkpointer=saver)
    thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
    question = HumanMessage(f"Where is the car in {kit.add(WIDE)}?")
    await agent.ainvoke({"messages": [question]}, thread)
    other = create_agent(planner, kit.get_tools(), checkpointer=saver)
    state = (await other.aget_state(thread)).values["messages"]
    (message,) = [item for item in state if isinstance(item, ToolMessage)]
    assert isinstance(message.artifact, LocateResult)
    assert message.artifact.box == (100, 100, 200, 200)
    assert other.invoke({"messages": [HumanMessage("Sure?")]}, thread)["messages"][-1].text


def test_objects_that_were_used_can_be_pickled(tmp_path: Path) -> None:
    model = ChatLlava(max_tokens=2)
    model.invoke("Hi")
    embeddings = LlavaEmbeddings()
    vector = embeddings.embed_query("a star")
    kit = LlavaToolkit(llm=model, tools=("look",))
    (tool,) = kit.get_tools()
    bound = model.bind_tools(kit.get_tools())
    retriever = LlavaPageRetriever(index=tmp_path)
    items: list[Any] = [model, embeddings, kit, tool, bound, retriever]
    for item in items:
        again = pickle.loads(pickle.dumps(item))
        assert type(again) is type(item)
        if item is embeddings:
            assert again.embed_query("a star") == vector
        if item is tool:
            assert again.resolver.add(WIDE) in shared_store()
