"""LlamaIndex's agents finish tasks that need an image, scripted and with the embedded model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
)
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from pydantic import Field, create_model

from llama_index.llms.llava import Llava
from llava_tools import open_image
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images import ImageRef
from llava_tools.images.store import shared_store
from llava_tools.testing import ScriptedBackend

NIGHT = Path(__file__).parent.parent.parent / "examples" / "pictures" / "night.png"
ASK = "What colour is the star?"


@pytest.fixture
def night() -> ImageRef:
    """An image with a yellow star, known by its handle."""
    image = open_image(NIGHT)
    shared_store().add(image)
    return image


def _show(image: str) -> list[ImageBlock | TextBlock]:
    """Open an image, to look at it."""
    found = shared_store().get(image)
    return [ImageBlock(image=found.data), TextBlock(text=ASK)]


def _tool() -> FunctionTool:
    """`_show`, whose argument can only be an image of the conversation."""
    handle = Field(pattern=image_handles.PATTERN)
    arguments = create_model("show", image=(str, handle))
    return FunctionTool.from_defaults(_show, name="show", fn_schema=arguments)


def _handle(request: Request) -> str:
    """The first handle that the conversation names."""
    found = re.search(r"img_[0-9a-f]{24}", " ".join(m.text for m in request.messages))
    assert found
    return found[0]


def _call(name: str, **arguments: str) -> str:
    return write_call(ToolCall("", name, arguments))


async def _run(agent: Any, asked: str | ChatMessage) -> tuple[AgentOutput, Sequence[AgentStream]]:
    handler = agent.run(user_msg=asked, max_iterations=5)
    steps = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
    return await handler, steps


@pytest.mark.parametrize("whole", [FunctionAgent, AgentWorkflow])
async def test_a_planner_sees_the_image_that_a_tool_returned(night: ImageRef, whole: type) -> None:
    def plan(request: Request) -> str:
        if request.messages[-1].role == "tool":
            return "It is yellow." if request.messages[-1].images == (night,) else "I see nothing."
        return _call("show", image=_handle(request))

    backend = ScriptedBackend(plan)
    tool = _tool()
    agent: Any = FunctionAgent(name="eyes", llm=Llava(backend=backend), tools=[tool])
    if whole is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="eyes")
    result, steps = await _run(agent, f"{ASK} See {night.handle}.")
    assert result.response.content == "It is yellow."
    (call,) = result.tool_calls
    assert (call.tool_name, call.tool_kwargs) == ("show", {"picture": night.handle})
    assert steps[-1].response == "It is yellow."
    assert any(step.tool_calls for step in steps)
    first, second = backend.requests
    assert first.constraint.tool_choice == "auto"
    assert [m.role for m in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].tool_calls[0].id == second.messages[2].tool_call_id


async def test_agents_hand_over_to_each_other(night: ImageRef) -> None:
    def plan(request: Request) -> str:
        names = {tool.name for tool in request.constraint.tools}
        if "show" not in names:
            return _call("handoff", to_agent="eyes", reason="It has to be seen.")
        if request.messages[-1].images:
            return "yellow"
        return _call("show", image=_handle(request))

    llm = Llava(backend=ScriptedBackend(plan))
    boss = FunctionAgent(name="boss", description="Plans.", llm=llm, can_handoff_to=["eyes"])
    eyes = FunctionAgent(
        name="eyes",
        description="Looks.",
        llm=llm,
        tools=[_tool()],
        can_handoff_to=[],
    )
    workflow = AgentWorkflow(agents=[boss, eyes], root_agent="boss")
    result, _ = await _run(workflow, f"{ASK} See {night.handle}.")
    assert result.response.content == "yellow"
    assert result.current_agent_name == "eyes"


async def test_handles_carry_what_react_agents_drop(night: ImageRef) -> None:
    """The planner is scripted, the eyes are the embedded model."""
    eyes = Llava()

    def find(what: str) -> list[ImageBlock | TextBlock]:
        """Find an image."""
        return [ImageBlock(image=night.data), TextBlock(text=f"Found {night.handle}.")]

    def look(image: str, question: str) -> str:
        """Answer a question about an image."""
        found = ImageBlock(image=shared_store().get(image).data)
        return str(eyes.complete(question, image_documents=[found]))

    def plan(request: Request) -> str:
        assert not any(message.images for message in request.messages)  # ReActAgent drops them
        last = request.messages[-1].text
        if not last.startswith("Observation:"):
            return 'Thought: I need it.\nAction: find\nAction Input: {"what": "star"}'
        if "img_" in last:
            arguments = f'{{"picture": "{_handle(request)}", "question": "{ASK}"}}'
            return f"Thought: I look.\nAction: look\nAction Input: {arguments}"
        return f"Thought: I know.\nAnswer: {last.removeprefix('Observation: ')}"

    agent = ReActAgent(
        llm=Llava(backend=ScriptedBackend(plan)),
        tools=[FunctionTool.from_defaults(find), FunctionTool.from_defaults(look)],
    )
    result, _ = await _run(agent, ASK)
    assert result.response.content == "yellow"


@pytest.mark.parametrize("whole", [FunctionAgent, AgentWorkflow])
async def test_the_embedded_model_opens_a_image_and_looks_at_it(
    night: ImageRef, whole: type
) -> None:
    tool = _tool()
    agent: Any = FunctionAgent(name="eyes", llm=Llava(), tools=[tool], initial_tool_choice="show")
    if whole is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="eyes")
    result, _ = await _run(agent, f"{ASK} Look at {night.handle}.")
    assert result.response.content == "yellow"
    assert [call.tool_name for call in result.tool_calls] == ["show"]


async def test_the_embedded_model_as_a_react_agent(night: ImageRef) -> None:
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    agent = ReActAgent(llm=Llava(), tools=[FunctionTool.from_defaults(shout)])
    asked = ChatMessage(blocks=[ImageBlock(image=night.data), TextBlock(text=ASK)])
    result, _ = await _run(agent, asked)
    assert result.response.content == "yellow"
    assert not result.tool_calls


@pytest.mark.parametrize("whole", [FunctionAgent, AgentWorkflow])
async def test_the_embedded_model_chooses_to_look(night: ImageRef, whole: type) -> None:
    """It may answer at once, but has no image until it calls the tool."""
    agent: Any = FunctionAgent(name="eyes", llm=Llava(), tools=[_tool()])
    if whole is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="eyes")
    result, _ = await _run(agent, f"{ASK} See {night.handle}.")
    assert [call.tool_kwargs for call in result.tool_calls] == [{"picture": night.handle}]
    assert result.response.content == "yellow"
