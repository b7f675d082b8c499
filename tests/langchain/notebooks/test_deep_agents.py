"""Deep agents: images in messages and files, and visual tools in a subagent.

Their prompts are longer than the embedded model's context, so the planner is scripted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_llava import ChatLlava, LlavaToolkit, image_block
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend

deepagents = pytest.importorskip("deepagents")

STAR = "What colour is the star?"


def _planner(name: str, **arguments: Any) -> ScriptedBackend:
    """Calls one tool once, and repeats its result."""

    def plan(request: Request) -> str:
        last = request.messages[-1]
        return last.text if last.role == "tool" else write_call(ToolCall("", name, arguments))

    return ScriptedBackend(plan, context_length=100_000)


def test_an_image_stays_in_the_conversation(night: Path) -> None:
    backend = _planner("write_file", file_path="/notes.md", content="There is a star.")
    agent = deepagents.create_deep_agent(ChatLlava(backend=backend))
    result = agent.invoke({"messages": [HumanMessage([image_block(night), STAR])]})
    assert "/notes.md" in result["files"]
    for request in backend.requests:
        (image,) = request.messages[1].images
        assert image.data == night.read_bytes()


def test_the_planner_sees_image_files(night: Path) -> None:
    files = deepagents.backends.FilesystemBackend(root_dir=night.parent, virtual_mode=True)
    backend = _planner("read_file", file_path="/night.png")
    agent = deepagents.create_deep_agent(ChatLlava(backend=backend), backend=files)
    agent.invoke({"messages": [HumanMessage("Look at night.png.")]})
    images = [image for message in backend.requests[-1].messages for image in message.images]
    assert [image.data for image in images] == [night.read_bytes()]


def test_a_subagent_looks_with_visual_tools(night: Path) -> None:
    toolkit = LlavaToolkit(tools=("look",))
    handle = toolkit.add(night)
    looker = _planner("look", image=handle, question=STAR)
    subagent = {
        "name": "looker",
        "description": "Looks at images.",
        "runnable": create_agent(ChatLlava(backend=looker), toolkit.get_tools()),
    }
    task = {"description": f"{STAR} See {handle}.", "subagent_type": "looker"}
    agent = deepagents.create_deep_agent(
        ChatLlava(backend=_planner("task", **task)), subagents=[subagent]
    )
    messages = agent.invoke({"messages": [HumanMessage([image_block(night), STAR])]})["messages"]
    assert "yellow" in messages[-1].text
    assert any(isinstance(message, ToolMessage) for message in messages)


async def test_the_embedded_model_is_a_subagent(model: ChatLlava, night: Path) -> None:
    """The subagent's own graph puts the image beside the question."""

    def show(state: dict[str, Any]) -> dict[str, Any]:
        return {"messages": [HumanMessage([image_block(open_image(night)), STAR])]}

    subagent = {
        "name": "looker",
        "description": "Looks at images.",
        "runnable": show | create_agent(model, []),  # type: ignore[operator]
    }
    backend = _planner("task", description=STAR, subagent_type="looker")
    agent = deepagents.create_deep_agent(ChatLlava(backend=backend), subagents=[subagent])
    result = await agent.ainvoke({"messages": [HumanMessage(STAR)]})
    assert result["messages"][-1].text == "yellow"
