"""A server with a scripted model, and what tests read of its results."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

from mcp import Client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent
from PIL import Image

from llava_tools import Llava
from llava_tools.core.requests import Request
from llava_tools.server.mcp import McpServer
from llava_tools.testing import Script, ScriptedBackend
from tests.strategies import encoded

WIDE = encoded(Image.new("RGB", (400, 200), "navy"), "PNG")
TALL = encoded(Image.new("RGB", (100, 300), "red"), "PNG")

#: For each visual tool: its arguments but the image, and the data of its result.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "look": ({"question": "What is it?"}, {"text": "blue", "cut_off": False}),
    "describe": (
        {"detail": "brief"},
        {"text": "a sea", "cut_off": False, "width": 400, "height": 200},
    ),
    "read_text": ({}, {"text": "STOP", "cut_off": False}),
    "locate": (
        {"thing": "the car"},
        {"box": [100, 100, 200, 200], "certainty": 0.75, "width": 400, "height": 200},
    ),
    "count": ({"things": "cars"}, {"count": 3}),
    "compare": ({"question": "What is it?"}, {"same": True, "answers": ["blue", "blue"]}),
    "choose": (
        {"question": "Which?", "labels": ["yes", "no"]},
        {"label": "yes", "probabilities": {"yes": 0.75, "no": 0.25}},
    ),
    "zoom": (
        {"box": [0, 0, 40, 20], "question": "What is it?"},
        {"image": None, "width": 40, "height": 20, "answer": "blue"},
    ),
}
#: The model's answers, by words of the prompt.
ANSWERS = {
    "What is it?": "blue",
    "one-sentence caption": "a sea",
    "text is written": "STOP",
    "bounding box": "[0.25, 0.5, 0.5, 0.75]",
    "How many cars": "3",
}


def respond(request: Request) -> str:
    """Answer as `ANSWERS` has it, or with "ok"."""
    text = request.messages[-1].text
    return next((answer for words, answer in ANSWERS.items() if words in text), "ok")


def make_backend(script: Script = respond, **options: Any) -> ScriptedBackend:
    """Return a model that answers from a script, and prefers yes to no by 3 to 1."""
    chances = {"yes": 0.75, "no": 0.25}
    return ScriptedBackend(
        script, scores=lambda request, label: math.log(chances[label.lower()]), **options
    )


def make_server(**options: Any) -> McpServer:
    """Return a server whose model answers as `ANSWERS` has it."""
    return McpServer(Llava(backend=make_backend()), **options)


async def add(client: Client, data: bytes = WIDE) -> str:
    """Send an image, and return its handle."""
    result = await client.call_tool("add_image", {"data": base64.b64encode(data).decode()})
    return str(data_of(result)["image"])


async def call_every_tool(client: Client) -> None:
    """Call each visual tool, and compare its data with those of `CALLS`."""
    wide, tall = await add(client), await add(client, TALL)
    for name, (arguments, expected) in CALLS.items():
        images = {"images": [wide, tall]} if name == "compare" else {"image": wide}
        data = data_of(await client.call_tool(name, images | arguments))
        if name == "zoom":
            expected = expected | {"image": data["image"]}
        assert data == expected


def data_of(result: Any) -> dict[str, Any]:
    """Return the data of a call that succeeded."""
    assert isinstance(result, CallToolResult)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    data: dict[str, Any] = result.structured_content
    return data


async def tools_of(client: Client) -> dict[str, Any]:
    """Return the tools that a server lists, by name."""
    return {tool.name: tool for tool in (await client.list_tools()).tools}


async def read(client: Client, handle: str) -> Any:
    """Return the contents of an image as a resource."""
    (contents,) = (await client.read_resource(f"image://{handle}")).contents
    return contents


def text_of(result: Any) -> str:
    """Return the text of a result."""
    (block,) = [block for block in result.content if isinstance(block, TextContent)]
    return block.text


def error_of(result: Any) -> str:
    """Return the text of a call that failed."""
    assert result.is_error
    return text_of(result)


def images_of(result: Any) -> list[Image.Image]:
    """Return the images of a result."""
    blocks = [block for block in result.content if isinstance(block, ImageContent)]
    assert {block.mime_type for block in blocks} <= {"image/jpeg"}
    return [Image.open(io.BytesIO(base64.b64decode(block.data))) for block in blocks]


def links_of(result: Any) -> list[str]:
    """Return the URIs that a result links to."""
    return [block.uri for block in result.content if isinstance(block, ResourceLink)]
