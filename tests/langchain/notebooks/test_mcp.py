"""Visual tools and images over MCP: a server of its own process, LangChain's adapters as client."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage

from langchain_llava import ChatLlava, with_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend

adapters = pytest.importorskip("langchain_mcp_adapters.client")
pytest.importorskip("mcp.server.fastmcp", reason="the adapters need mcp 1")

STAR = "What colour is the star?"
#: The toolkit's tools, and a tool that returns an image.
SERVER = """
import sys
from langchain_mcp_adapters.tools import to_fastmcp
from mcp.server.fastmcp import FastMCP, Image
from langchain_llava import LlavaToolkit

folder = sys.argv[1]
toolkit = LlavaToolkit(
    tools=("look", "describe"), allowed_directories=(folder,), raise_errors=True
)
server = FastMCP("vision", tools=[to_fastmcp(tool) for tool in toolkit.get_tools()])

@server.tool()
def take_photo(name: str) -> Image:
    "Take a photo."
    return Image(path=f"{folder}/{name}.png")

server.run("stdio")
"""


@pytest.fixture(scope="module")
def tools(image_paths: list[Path]) -> dict[str, Any]:
    arguments = ["-c", SERVER, str(image_paths[0].parent)]
    connection: Any = {"command": sys.executable, "args": arguments, "transport": "stdio"}
    client = adapters.MultiServerMCPClient({"vision": connection})  # each call opens a session
    return {tool.name: tool for tool in asyncio.run(client.get_tools())}


def _plan(tool_name: str, **arguments: Any) -> Any:
    def plan(request: Request) -> str:
        last = request.messages[-1]
        if last.role != "tool":
            return write_call(ToolCall("", tool_name, arguments))
        return f"{len(last.images)} image(s), {last.text}"

    return plan


@pytest.mark.slow
async def test_a_planner_looks_through_mcp(tools: dict[str, Any], night: Path) -> None:
    assert set(tools) == {"look", "describe", "take_photo"}
    planner = ChatLlava(backend=ScriptedBackend(_plan("look", image=str(night), question=STAR)))
    agent = create_agent(planner, list(tools.values()))
    result = await agent.ainvoke({"messages": [HumanMessage(STAR)]})
    assert "yellow" in result["messages"][-1].text


@pytest.mark.slow
async def test_mistakes_come_back_to_the_planner(tools: dict[str, Any]) -> None:
    arguments = {"image": "/etc/passwd", "question": STAR}
    call = {"type": "tool_call", "name": "look", "id": "1", "args": arguments}
    message = await tools["look"].ainvoke(call)
    assert isinstance(message, ToolMessage)
    assert message.status == "error"
    assert "root:" not in message.text


@pytest.mark.slow
async def test_images_of_mcp_tools_are_seen(
    tools: dict[str, Any], model: ChatLlava, night: Path
) -> None:
    backend = ScriptedBackend(_plan("take_photo", name="night"))
    agent = create_agent(ChatLlava(backend=backend), [tools["take_photo"]])
    result = await agent.ainvoke({"messages": [HumanMessage("Take a photo.")]})
    assert result["messages"][-1].text == "1 image(s), "
    (image,) = backend.requests[-1].messages[-1].images
    assert image.data == night.read_bytes()
    # The photo is kept under its handle, and the embedded model answers about it.
    history = with_handles(result["messages"][:-1])
    assert history[-1].content[0]["file_id"] == image.handle
    assert model.invoke([*history, HumanMessage(STAR)]).text == "yellow"
