"""Weak planners of `create_agent` finish: calls that bring nothing new, calls that are cut off."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import wrap_model_call
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.errors import GraphRecursionError
from PIL import Image
from pydantic import BaseModel

from langchain_llava import ChatLlava, image_block
from langchain_llava import compat as langchain
from langchain_llava.planner_middleware import OutputErrorMiddleware, RepeatedCallMiddleware
from llava_tools.core.requests import Request
from llava_tools.errors import OutputError, RequestError
from llava_tools.testing import ScriptedBackend
from tests.langchain.tools import call

RUNS = pytest.mark.parametrize("run", ["invoke", "ainvoke", "stream", "astream"])


@tool
def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is dark"


@tool
def get_weather(town: str) -> str:
    """Get the weather in a town."""
    return "rain"


@tool
def search(query: str) -> str:
    """Search the web."""
    return "No results."


def _counter() -> BaseTool:
    numbers = itertools.count(1)

    @tool
    def count() -> str:
        """Count up."""
        return str(next(numbers))

    return count


async def _run(agent: Any, run: str, question: str = "What is there?") -> list[Any]:
    """Return the messages of a run."""
    state = {"messages": [HumanMessage(question)]}
    if run == "invoke":
        return list(agent.invoke(state)["messages"])
    if run == "ainvoke":
        return list((await agent.ainvoke(state))["messages"])
    if run == "stream":
        return list(list(agent.stream(state, stream_mode="values"))[-1]["messages"])
    states = [item async for item in agent.astream(state, stream_mode="values")]
    return list(states[-1]["messages"])


def _stubborn(request: Request) -> str:
    """Make the same call as long as it is possible."""
    names = {tool.name for tool in request.constraint.callable_tools}
    if "look" in names:
        return call("look", place="here")
    return "I see nothing new."


def _agent(
    script: Any, tools: list[Any], middleware: list[Any], **options: Any
) -> tuple[Any, ScriptedBackend]:
    backend = ScriptedBackend(script)
    model = ChatLlava(backend=backend, **options)
    return create_agent(model, tools, middleware=middleware), backend


@RUNS
@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_a_planner_that_repeats_itself_answers(run: str, limit: int) -> None:
    agent, _ = _agent(_stubborn, [look], [RepeatedCallMiddleware(limit)])
    messages = await _run(agent, run)
    assert [message.text for message in messages if message.type == "tool"] == [
        "here is dark"
    ] * limit
    assert messages[-1].text == "I see nothing new."


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
def test_a_planner_that_repeats_itself_answers_with_structure(strategy: Any) -> None:
    class Seen(BaseModel):
        what: str

    def plan(request: Request) -> str:
        names = {tool.name for tool in request.constraint.callable_tools}
        if "look" in names:
            return call("look", place="here")
        return call("Seen", what="dust") if names else '{"what": "dust"}'

    model = ChatLlava(backend=ScriptedBackend(plan))
    agent = create_agent(
        model, [look], middleware=[RepeatedCallMiddleware()], response_format=strategy(Seen)
    )
    state = agent.invoke({"messages": [HumanMessage("What is there?")]})
    assert state["structured_response"] == Seen(what="dust")
    assert len([m for m in state["messages"] if m.text == "here is dark"]) == 2


def test_other_tools_are_still_offered() -> None:
    def plan(request: Request) -> str:
        names = [tool.name for tool in request.constraint.callable_tools]
        if "look" in names and "1" not in request.messages[-1].text:
            return call("look", place="here")
        return call("count") if request.messages[-1].text != "1" else f"Left: {names}"

    agent, _ = _agent(plan, [look, _counter()], [RepeatedCallMiddleware()])
    messages = agent.invoke({"messages": [HumanMessage("Go.")]})["messages"]
    results = [message.text for message in messages if isinstance(message, ToolMessage)]
    assert results == ["here is dark", "here is dark", "1"]
    # The new result of `count` brings `look` back.
    assert messages[-1].text == "Left: ['look', 'count']"


def test_equal_calls_with_new_results_go_on() -> None:
    def plan(request: Request) -> str:
        return "Five." if request.messages[-1].text == "5" else call("count")

    agent, _ = _agent(plan, [_counter()], [RepeatedCallMiddleware()])
    messages = agent.invoke({"messages": [HumanMessage("Count to 5.")]})["messages"]
    assert messages[-1].text == "Five."
    assert len([message for message in messages if message.type == "tool"]) == 5


@pytest.mark.parametrize(("colours", "calls"), [(["red", "blue", "green"], 3), (["red"] * 3, 2)])
def test_results_differ_by_their_images(colours: list[str], calls: int) -> None:
    images = iter(colours)

    @tool
    def watch() -> list[dict[str, Any]]:
        """Take an image."""
        return [image_block(Image.new("RGB", (8, 8), next(images)))]

    def plan(request: Request) -> str:
        seen = sum(len(message.images) for message in request.messages)
        return call("watch") if request.constraint.callable_tools and seen < 3 else "Done."

    agent, _ = _agent(plan, [watch], [RepeatedCallMiddleware()])
    messages = agent.invoke({"messages": [HumanMessage("Watch.")]})["messages"]
    assert len([message for message in messages if message.type == "tool"]) == calls


def test_the_users_next_message_offers_all_tools_again() -> None:
    agent, backend = _agent(_stubborn, [look], [RepeatedCallMiddleware()])
    messages = agent.invoke({"messages": [HumanMessage("Go.")]})["messages"]
    agent.invoke({"messages": [*messages, HumanMessage("Again.")]})
    offered = [len(request.constraint.callable_tools) for request in backend.requests]
    assert offered == [1, 1, 0, 1, 1, 0]


def test_planners_of_other_providers_are_guarded_too() -> None:
    class Planner(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

    calls = (AIMessage("", tool_calls=[{"name": "look", "args": {"place": "here"}, "id": str(n)}])
             for n in range(2))  # fmt: skip
    planner = Planner(messages=iter([*calls, AIMessage("Done.")]))
    offered = []

    class Recorder(RepeatedCallMiddleware):
        def _narrowed(self, request: Any) -> Any:
            narrowed: Any = super()._narrowed(request)
            offered.append([tool.name for tool in narrowed.tools])
            return narrowed

    agent = create_agent(planner, [look], middleware=[Recorder()])
    assert agent.invoke({"messages": [HumanMessage("Go.")]})["messages"][-1].text == "Done."
    assert offered == [["look"], ["look"], []]


def test_an_impossible_limit_raises() -> None:
    with pytest.raises(RequestError, match="0 equal results"):
        RepeatedCallMiddleware(0)


def _talkative(request: Request) -> str:
    """Write a call that is too long, until the limit is mentioned."""
    last = request.messages[-1].text
    if request.messages[-1].role == "tool":
        return "It is dark."
    words = "here" if "cut off" in last else "in the very far corner of this old house"
    return call("look", place=words)


@RUNS
async def test_a_call_that_was_cut_off_goes_back_to_the_model(run: str) -> None:
    agent, backend = _agent(_talkative, [look], [OutputErrorMiddleware()], max_tokens=8)
    messages = await _run(agent, run)
    assert [type(message) for message in messages] == [
        HumanMessage, AIMessage, ToolMessage, AIMessage,
    ]  # fmt: skip
    assert messages[-1].text == "It is dark."
    first, second, _ = backend.requests
    assert second.messages[:-2] == first.messages
    attempt, hint = second.messages[-2:]
    written = '<tool_call>{"name": "look", "arguments": {"place": "in the very'
    assert (attempt.role, hint.role) == ("assistant", "user")
    assert attempt.text.startswith(written)
    assert hint.text == "Error: A tool call was cut off by max_tokens. Try again, more briefly."


@RUNS
async def test_a_second_refusal_is_raised(run: str) -> None:
    def plan(request: Request) -> str:
        return call("look", place="in the very far corner of this old house")

    agent, backend = _agent(plan, [look], [OutputErrorMiddleware()], max_tokens=8)
    with pytest.raises(OutputError, match="cut off by max_tokens") as caught:
        await _run(agent, run)
    assert isinstance(caught.value, langchain.ModelError)
    assert len(backend.requests) == 2


def test_without_the_middleware_the_run_ends() -> None:
    agent, backend = _agent(_talkative, [look], [], max_tokens=8)
    with pytest.raises(OutputError, match="cut off by max_tokens") as caught:
        agent.invoke({"messages": [HumanMessage("Go.")]})
    assert caught.value.text.startswith('<tool_call>{"name": "look"')
    assert len(backend.requests) == 1


@wrap_model_call
def _force_calls(request: Any, handler: Any) -> Any:
    """Have the model call a tool as long as there is one, as a planner does that never stops."""
    return handler(request.override(tool_choice="any") if request.tools else request)


@pytest.mark.slow
def test_the_embedded_model_forced_to_call_finishes() -> None:
    question: Any = {"messages": [HumanMessage("What is the weather in Oslo?")]}
    limited: Any = {"recursion_limit": 12}
    with pytest.raises(GraphRecursionError):
        create_agent(ChatLlava(), [get_weather], middleware=[_force_calls]).invoke(
            question, limited
        )
    middleware = [RepeatedCallMiddleware(), _force_calls]
    agent = create_agent(ChatLlava(), [get_weather], middleware=middleware)
    messages = agent.invoke(question, limited)["messages"]
    calls = [
        call["args"] for message in messages[:-1] for call in getattr(message, "tool_calls", ())
    ]
    assert calls == [{"town": "Oslo"}] * 2
    assert messages[-1].text
    assert not messages[-1].tool_calls


def test_the_embedded_model_answers_after_a_call_was_cut_off() -> None:
    question: Any = {"messages": [HumanMessage("Search the web for cats and dogs and horses.")]}
    model = ChatLlava(max_tokens=18)
    with pytest.raises(OutputError, match="cut off by max_tokens"):
        create_agent(model, [search]).invoke(question)
    agent = create_agent(model, [search], middleware=[OutputErrorMiddleware()])
    messages = agent.invoke(question)["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage]
    assert messages[-1].text
