"""Streaming of agents and graphs: all modes of LangGraph, and all versions of events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from langchain_llava import ChatLlava, image_block

TEA = "What is the price of tea?"
DESCRIPTION = "a yellow star and a white circle on a black background"


@tool
def get_price(item: str) -> str:
    """Get the price of an item."""
    get_stream_writer()({"looking for": item})
    return "4.20"


@pytest.fixture(scope="module")
def agent(model: ChatLlava) -> Any:
    return create_agent(model, [get_price])


@pytest.fixture(scope="module")
def describer(model: ChatLlava) -> Any:
    """An agent without tools; with tools the embedded model describes nothing."""
    return create_agent(model, [])


@pytest.fixture
def question(night: Path) -> HumanMessage:
    return HumanMessage([image_block(night), "Describe the picture."])


def _stream(agent: Any, question: Any, mode: Any, **options: Any) -> list[Any]:
    return list(agent.stream({"messages": [question]}, stream_mode=mode, **options))


def test_values_grow_by_one_message_a_step(agent: Any) -> None:
    states = _stream(agent, HumanMessage(TEA), "values")
    assert [type(state["messages"][-1]) for state in states] == [
        HumanMessage, AIMessage, ToolMessage, AIMessage,
    ]  # fmt: skip


def test_updates_name_the_node(agent: Any) -> None:
    updates = _stream(agent, HumanMessage(TEA), "updates")
    assert [list(update) for update in updates] == [["model"], ["tools"], ["model"]]


def test_messages_are_chunks_of_the_answer(describer: Any, question: HumanMessage) -> None:
    chunks = [chunk for chunk, _ in _stream(describer, question, "messages")]
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert len([chunk for chunk in chunks if chunk.text]) > 5
    assert "".join(chunk.text for chunk in chunks) == DESCRIPTION
    assert len({chunk.id for chunk in chunks}) == 1
    assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) > 5


def test_messages_carry_tool_calls_and_results(agent: Any) -> None:
    messages = _stream(agent, HumanMessage(TEA), "messages")
    first = [m for m, data in messages if data["langgraph_step"] == 1]
    total: AIMessageChunk = sum(first[1:], first[0])
    assert [(c["name"], c["args"]) for c in total.tool_calls] == [("get_price", {"item": "tea"})]
    (result,) = [m for m, _ in messages if isinstance(m, ToolMessage)]
    assert (result.text, result.tool_call_id) == ("4.20", total.tool_calls[0]["id"])


def test_tools_write_custom_events(agent: Any) -> None:
    assert _stream(agent, HumanMessage(TEA), "custom") == [{"looking for": "tea"}]


def test_debug_events_follow_the_tasks(agent: Any) -> None:
    events = _stream(agent, HumanMessage(TEA), "debug")
    names = [event["payload"]["name"] for event in events if event["type"] == "task"]
    assert names == ["model", "tools", "model"]
    assert not any(e["payload"].get("error") for e in events if e["type"] == "task_result")


def test_several_modes_at_once(describer: Any, question: HumanMessage) -> None:
    items = _stream(describer, question, ["values", "updates", "messages", "custom", "debug"])
    assert {mode for mode, _ in items} == {"values", "updates", "messages", "debug"}


def test_subgraphs_stream_the_answer(describer: Any, question: HumanMessage) -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("agent", describer)
    builder.add_edge(START, "agent")
    items = _stream(builder.compile(), question, "messages", subgraphs=True)
    assert all(path[0].startswith("agent:") for path, _ in items)
    assert "".join(chunk.text for _, (chunk, _) in items) == DESCRIPTION


async def test_async_streams_are_the_same(describer: Any, question: HumanMessage) -> None:
    stream = describer.astream({"messages": [question]}, stream_mode="messages")
    assert "".join([chunk.text async for chunk, _ in stream]) == DESCRIPTION


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_events_of_both_versions(
    version: Any, describer: Any, question: HumanMessage
) -> None:
    events = [e async for e in describer.astream_events({"messages": [question]}, version=version)]
    chunks = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    assert "".join(chunk.text for chunk in chunks) == DESCRIPTION
    (end,) = [event for event in events if event["event"] == "on_chat_model_end"]
    assert end["metadata"]["ls_provider"] == "llava"


async def test_events_of_a_tool_call(agent: Any) -> None:
    inputs = {"messages": [HumanMessage(TEA)]}
    events = [event async for event in agent.astream_events(inputs, version="v2")]
    (start,) = [event for event in events if event["event"] == "on_tool_start"]
    (end,) = [event for event in events if event["event"] == "on_tool_end"]
    assert (start["name"], start["data"]["input"]) == ("get_price", {"item": "tea"})
    assert end["data"]["output"].text == "4.20"
    assert len([event for event in events if event["event"] == "on_chat_model_end"]) == 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
class TestEventsV3:
    """Content blocks instead of messages, from the model and from an agent."""

    async def test_the_models_text_streams(self, model: ChatLlava, question: HumanMessage) -> None:
        stream = await model.astream_events([question], version="v3")
        deltas = [delta async for delta in stream.text]
        assert len(deltas) > 5
        assert "".join(deltas) == DESCRIPTION
        message = await stream.output
        assert (message.text, message.response_metadata["finish_reason"]) == (DESCRIPTION, "stop")

    def test_the_models_text_streams_sync(self, model: ChatLlava, question: HumanMessage) -> None:
        stream = model.stream_events([question], version="v3")
        assert "".join(stream.text) == DESCRIPTION
        usage = stream.output.usage_metadata
        assert usage is not None
        assert usage["output_tokens"] > 5

    async def test_an_agents_messages_stream(self, agent: Any) -> None:
        inputs = {"messages": [HumanMessage(TEA)]}
        run = await agent.astream_events(inputs, version="v3")
        messages = [(message, await message.output) async for message in run.messages]
        assert [bool(output.tool_calls) for _, output in messages] == [True, False]
        assert "4.20" in messages[-1][1].text
        state = await run.output()
        assert state["messages"][-1].text == messages[-1][1].text
