"""Weak planners of LlamaIndex's agents finish: calls that bring nothing new, or are cut off."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.llms import ChatMessage, ChatResponse, ChatResponseAsyncGen, ImageBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import WorkflowRuntimeError
from PIL import Image
from pydantic import ValidationError

from llama_index.agent.llava import LlavaFunctionAgent, LlavaReActAgent
from llama_index.llms.llava import Llava
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import OutputError
from llava_tools.testing import ScriptedBackend

WORKFLOWS = pytest.mark.parametrize("in_workflow", [False, True], ids=["agent", "workflow"])
STREAMING = pytest.mark.parametrize("streaming", [True, False], ids=["streamed", "whole"])


def look(place: str) -> str:
    """Look at a place."""
    return f"{place} is dark"


def get_weather(town: str) -> str:
    """Get the weather in a town."""
    return "rain"


def search(query: str) -> str:
    """Search the web."""
    return "No results."


def _counter() -> Any:
    numbers = itertools.count(1)

    def count() -> str:
        """Count up."""
        return str(next(numbers))

    return count


def _call(name: str, **arguments: Any) -> str:
    return write_call(ToolCall("", name, arguments))


def _stubborn(request: Request) -> str:
    """Make the same call as long as it is possible."""
    names = {tool.name for tool in request.constraint.callable_tools}
    return _call("look", place="here") if "look" in names else "I see nothing new."


def _stubborn_react(request: Request) -> str:
    """Make the same call whenever the prompt is one of a ReAct agent."""
    if "Answer with them." in request.messages[-1].text:
        return "It is dark here."
    return 'Thought: I look.\nAction: look\nAction Input: {"place": "here"}'


async def _run(agent: Any, in_workflow: bool = False, **options: Any) -> AgentOutput:
    if in_workflow:
        agent = AgentWorkflow(agents=[agent], root_agent=agent.name)
    return await agent.run(user_msg="What is there?", **options)  # type: ignore[no-any-return]


def _kwargs(result: AgentOutput) -> list[dict[str, Any]]:
    return [call.tool_kwargs for call in result.tool_calls]


@WORKFLOWS
@STREAMING
@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_a_function_agent_that_repeats_itself_answers(
    in_workflow: bool, streaming: bool, limit: int
) -> None:
    llm = Llava(backend=ScriptedBackend(_stubborn))
    agent = LlavaFunctionAgent(llm=llm, tools=[look], streaming=streaming, repeat_limit=limit)
    result = await _run(agent, in_workflow)
    assert result.response.content == "I see nothing new."
    assert _kwargs(result) == [{"place": "here"}] * limit


@WORKFLOWS
@STREAMING
async def test_a_react_agent_that_repeats_itself_answers(
    in_workflow: bool, streaming: bool
) -> None:
    backend = ScriptedBackend(_stubborn_react)
    agent = LlavaReActAgent(llm=Llava(backend=backend), tools=[look], streaming=streaming)
    memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
    result = await _run(agent, in_workflow, memory=memory)
    assert result.response.content == "It is dark here."
    assert _kwargs(result) == [{"place": "here"}] * 2
    assert backend.requests[-1].messages[-1].text == (
        "Results:\nlook: here is dark\nAnswer with them."
    )
    remembered = memory.get_all()[-1].content or ""
    assert remembered.endswith("Answer: It is dark here.")


@pytest.mark.parametrize("agent_type", [FunctionAgent, ReActAgent])
async def test_llama_indexs_own_agents_end_with_an_error(agent_type: Any) -> None:
    script = _stubborn if agent_type is FunctionAgent else _stubborn_react
    agent = agent_type(llm=Llava(backend=ScriptedBackend(script)), tools=[look])
    with pytest.raises(WorkflowRuntimeError, match="Max iterations"):
        await _run(agent)


async def test_equal_calls_with_new_results_go_on() -> None:
    def plan(request: Request) -> str:
        return "Five." if request.messages[-1].text == "5" else _call("count")

    llm = Llava(backend=ScriptedBackend(plan))
    result = await _run(LlavaFunctionAgent(llm=llm, tools=[_counter()]))
    assert result.response.content == "Five."
    assert len(result.tool_calls) == 5


@pytest.mark.parametrize(("colours", "calls"), [(["red", "blue", "green"], 3), (["red"] * 3, 2)])
async def test_results_differ_by_their_images(colours: list[str], calls: int) -> None:
    images = iter(colours)

    def watch() -> ImageBlock:
        """Take an image."""
        file = io.BytesIO()
        Image.new("RGB", (8, 8), next(images)).save(file, "PNG")
        return ImageBlock(image=file.getvalue())

    def plan(request: Request) -> str:
        seen = sum(len(message.images) for message in request.messages)
        return _call("watch") if request.constraint.callable_tools and seen < 3 else "Done."

    llm = Llava(backend=ScriptedBackend(plan))
    result = await _run(LlavaFunctionAgent(llm=llm, tools=[watch]))
    assert len(result.tool_calls) == calls


async def test_the_next_run_offers_all_tools_again() -> None:
    backend = ScriptedBackend(_stubborn)
    agent = LlavaFunctionAgent(llm=Llava(backend=backend), tools=[look])
    memory = ChatMemoryBuffer.from_defaults(token_limit=4000)
    for _ in range(2):
        await _run(agent, memory=memory)
    offered = [len(request.constraint.callable_tools) for request in backend.requests]
    assert offered == [1, 1, 0, 1, 1, 0]


def _talkative(request: Request) -> str:
    """Write a call that is too long, until the limit is mentioned."""
    last = request.messages[-1]
    if last.role == "tool":
        return "It is dark."
    words = "here" if "cut off" in last.text else "in the very far corner of this old house"
    return _call("look", place=words)


@WORKFLOWS
@STREAMING
async def test_a_call_that_was_cut_off_goes_back_to_the_model(
    in_workflow: bool, streaming: bool
) -> None:
    backend = ScriptedBackend(_talkative)
    llm = Llava(backend=backend, max_tokens=8)
    result = await _run(LlavaFunctionAgent(llm=llm, tools=[look], streaming=streaming), in_workflow)
    assert result.response.content == "It is dark."
    assert _kwargs(result) == [{"place": "here"}]
    first, second, third = backend.requests
    assert second.messages[:-2] == first.messages
    attempt, hint = second.messages[-2:]
    assert (attempt.role, hint.role) == ("assistant", "user")
    assert attempt.text.startswith('<tool_call>{"name": "look", "arguments": {"place": "in the')
    assert hint.text == "Error: A tool call was cut off by max_tokens. Try again, more briefly."
    assert third.messages[: len(second.messages)] == second.messages


async def test_a_second_refusal_is_raised() -> None:
    backend = ScriptedBackend([_call("look", place="in the very far corner of this old house")])
    agent = LlavaFunctionAgent(llm=Llava(backend=backend, max_tokens=8), tools=[look])
    with pytest.raises(OutputError, match="cut off by max_tokens"):
        await _run(agent)
    assert len(backend.requests) == 2


@pytest.mark.parametrize("agent_type", [LlavaFunctionAgent, LlavaReActAgent])
def test_an_impossible_limit_raises(agent_type: Any) -> None:
    with pytest.raises(ValidationError, match="repeat_limit"):
        agent_type(llm=Llava(), tools=[look], repeat_limit=0)


class ForcedLlava(Llava):
    """Calls a tool as long as there is one, as a planner does that never stops."""

    async def astream_chat_with_tools(  # type: ignore[override]
        self, tools: Any, **kwargs: Any
    ) -> ChatResponseAsyncGen:
        kwargs["tool_required"] = bool(tools)
        return await super().astream_chat_with_tools(tools, **kwargs)


@pytest.mark.slow
async def test_the_embedded_model_forced_to_call_finishes() -> None:
    question = "What is the weather in Oslo?"
    agent = LlavaFunctionAgent(llm=ForcedLlava(), tools=[get_weather])
    result: Any = await agent.run(user_msg=question, max_iterations=8)
    assert _kwargs(result) == [{"town": "Oslo"}] * 2
    assert result.response.content
    own = FunctionAgent(llm=ForcedLlava(), tools=[get_weather])
    with pytest.raises(WorkflowRuntimeError, match="Max iterations"):
        await own.run(user_msg=question, max_iterations=8)


async def test_the_embedded_model_answers_after_a_call_was_cut_off() -> None:
    agent = LlavaFunctionAgent(llm=Llava(max_tokens=18), tools=[search])
    result: Any = await agent.run(user_msg="Search the web for cats and dogs and horses.")
    assert result.response.content
    assert not result.tool_calls


async def test_the_embedded_model_as_a_react_agent_finishes() -> None:
    class Stuck(Llava):
        """Makes the same call in every step; the embedded model writes the answer."""

        async def astream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseAsyncGen:
            text = 'Thought: I look.\nAction: look\nAction Input: {"place": "the garden"}'
            message = ChatMessage(text, role="assistant")

            async def responses() -> ChatResponseAsyncGen:
                yield ChatResponse(message=message, delta=text)

            return responses()

    result = await _run(
        LlavaReActAgent(llm=Stuck(max_tokens=40), tools=[FunctionTool.from_defaults(look)])
    )
    assert _kwargs(result) == [{"place": "the garden"}] * 2
    assert result.response.content
