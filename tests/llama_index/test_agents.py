"""LlamaIndex's agents finish tasks that need an image, scripted and with the embedded model."""

from __future__ import annotations

import re
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

NIGHT = Path(__file__).parent.parent.parent / "examples" / "images" / "night.png"
ASK = "What colour is the star?"


@pytest.fixture
def night() -> ImageRef:
    """An image with a yellow star, stored under its handle."""
    image = open_image(NIGHT)
    shared_store().add(image)
    return image


def _show(image: str) -> list[ImageBlock | TextBlock]:
    """Open an image, to look at it."""
    return [ImageBlock(image=shared_store().get(image).data), TextBlock(text=ASK)]


def _tool() -> FunctionTool:
    """`_show`, whose argument can only be a handle that the conversation names."""
    handle = Field(pattern=image_handles.PATTERN)
    arguments = create_model("show", image=(str, handle))
    return FunctionTool.from_defaults(_show, name="show", fn_schema=arguments)


def _handle(request: Request) -> str:
    """The first handle that the conversation names."""
    match = re.search(r"img_[0-9a-f]{24}", " ".join(m.text for m in request.messages))
    assert match
    return match[0]


def _call(name: str, **arguments: str) -> str:
    return write_call(ToolCall("", name, arguments))


async def _run(agent: Any, message: str | ChatMessage) -> tuple[AgentOutput, list[AgentStream]]:
    handler = agent.run(user_msg=message, max_iterations=5)
    steps = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
    return await handler, steps


@pytest.mark.parametrize("agent_type", [FunctionAgent, AgentWorkflow])
async def test_a_planner_sees_the_image_that_a_tool_returned(
    night: ImageRef, agent_type: type
) -> None:
    def plan(request: Request) -> str:
        if request.messages[-1].role == "tool":
            return "It is yellow." if request.messages[-1].images == (night,) else "I see nothing."
        return _call("show", image=_handle(request))

    backend = ScriptedBackend(plan)
    tool = _tool()
    agent: Any = FunctionAgent(name="looker", llm=Llava(backend=backend), tools=[tool])
    if agent_type is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="looker")
    result, steps = await _run(agent, f"{ASK} See {night.handle}.")
    assert result.response.content == "It is yellow."
    (call,) = result.tool_calls
    assert (call.tool_name, call.tool_kwargs) == ("show", {"image": night.handle})
    assert steps[-1].response == "It is yellow."
    assert any(step.tool_calls for step in steps)
    first, second = backend.requests
    assert first.constraint.tool_choice == "auto"
    assert [m.role for m in second.messages] == ["user", "assistant", "tool"]
    assert second.messages[1].tool_calls[0].id == second.messages[2].tool_call_id


async def test_agents_hand_off_to_each_other(night: ImageRef) -> None:
    def plan(request: Request) -> str:
        names = {tool.name for tool in request.constraint.tools}
        if "show" not in names:
            return _call("handoff", to_agent="looker", reason="It needs vision.")
        if request.messages[-1].images:
            return "yellow"
        return _call("show", image=_handle(request))

    llm = Llava(backend=ScriptedBackend(plan))
    planner = FunctionAgent(
        name="planner", description="Plans.", llm=llm, can_handoff_to=["looker"]
    )
    looker = FunctionAgent(
        name="looker",
        description="Looks.",
        llm=llm,
        tools=[_tool()],
        can_handoff_to=[],
    )
    workflow = AgentWorkflow(agents=[planner, looker], root_agent="planner")
    result, _ = await _run(workflow, f"{ASK} See {night.handle}.")
    assert result.response.content == "yellow"
    assert result.current_agent_name == "looker"


async def test_handles_pass_images_through_react_agents(night: ImageRef) -> None:
    """The planner is scripted; the embedded model looks at the image."""
    vision_model = Llava()

    def find(what: str) -> list[ImageBlock | TextBlock]:
        """Find an image."""
        return [ImageBlock(image=night.data), TextBlock(text=f"Found {night.handle}.")]

    def look(image: str, question: str) -> str:
        """Answer a question about an image."""
        block = ImageBlock(image=shared_store().get(image).data)
        return str(vision_model.complete(question, image_documents=[block]))

    def plan(request: Request) -> str:
        assert not any(message.images for message in request.messages)  # ReActAgent drops them
        last = request.messages[-1].text
        if not last.startswith("Observation:"):
            return 'Thought: I need it.\nAction: find\nAction Input: {"what": "star"}'
        if "img_" in last:
            arguments = f'{{"image": "{_handle(request)}", "question": "{ASK}"}}'
            return f"Thought: I look.\nAction: look\nAction Input: {arguments}"
        return f"Thought: I know.\nAnswer: {last.removeprefix('Observation: ')}"

    agent = ReActAgent(
        llm=Llava(backend=ScriptedBackend(plan)),
        tools=[FunctionTool.from_defaults(find), FunctionTool.from_defaults(look)],
    )
    result, _ = await _run(agent, ASK)
    assert result.response.content == "yellow"


@pytest.mark.parametrize("agent_type", [FunctionAgent, AgentWorkflow])
async def test_the_embedded_model_opens_an_image_and_looks_at_it(
    night: ImageRef, agent_type: type
) -> None:
    tool = _tool()
    agent: Any = FunctionAgent(name="looker", llm=Llava(), tools=[tool], initial_tool_choice="show")
    if agent_type is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="looker")
    result, _ = await _run(agent, f"{ASK} Look at {night.handle}.")
    assert result.response.content == "yellow"
    assert [call.tool_name for call in result.tool_calls] == ["show"]


async def test_the_embedded_model_as_a_react_agent(night: ImageRef) -> None:
    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    agent = ReActAgent(llm=Llava(), tools=[FunctionTool.from_defaults(shout)])
    message = ChatMessage(blocks=[ImageBlock(image=night.data), TextBlock(text=ASK)])
    result, _ = await _run(agent, message)
    assert result.response.content == "yellow"
    assert not result.tool_calls


@pytest.mark.parametrize("agent_type", [FunctionAgent, AgentWorkflow])
async def test_the_embedded_model_chooses_to_look(night: ImageRef, agent_type: type) -> None:
    """It may answer at once, but has no image until it calls the tool."""
    agent: Any = FunctionAgent(name="looker", llm=Llava(), tools=[_tool()])
    if agent_type is AgentWorkflow:
        agent = AgentWorkflow(agents=[agent], root_agent="looker")
    result, _ = await _run(agent, f"{ASK} See {night.handle}.")
    assert [call.tool_kwargs for call in result.tool_calls] == [{"image": night.handle}]
    assert result.response.content == "yellow"
