"""Names in LangChain's messages, in calls of its tools, and in what embeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_llava import ChatLlava, LlavaEmbeddings, LlavaToolkit, with_handles
from langchain_llava import compat as langchain
from llava_tools import Llava
from llava_tools.errors import ImageError
from llava_tools.images.store import ImageStore
from tests.hardening.surfaces.direct import TOOL_ARGUMENTS, tool_call
from tests.hardening.surfaces.surface import (
    Access,
    RefusalError,
    Surface,
    colour,
    make_backend,
    refusals,
)

#: Layouts of image blocks with a name.
BLOCKS: dict[str, Callable[[str], dict[str, Any]]] = {
    "image_url": lambda name: {"type": "image_url", "image_url": {"url": name}},
    "image_url as a string": lambda name: {"type": "image_url", "image_url": name},
    "image v1": lambda name: {"type": "image", "url": name},
    "image v0": lambda name: {"type": "image", "source_type": "url", "url": name},
    "image of Anthropic": lambda name: {"type": "image", "source": {"type": "url", "url": name}},
    "input_image": lambda name: {"type": "input_image", "image_url": name},
    "image v1 in base64": lambda name: {"type": "image", "base64": name, "mime_type": "image/png"},
    "image v0 in base64": lambda name: {
        "type": "image", "source_type": "base64", "data": name, "mime_type": "image/png",
    },
    "image v1 by id": lambda name: {"type": "image", "file_id": name},
}  # fmt: skip


def surfaces(access: Access, stack: ExitStack) -> Iterator[Surface]:
    """Yield the surfaces of LangChain."""
    store = ImageStore()
    options: dict[str, Any] = {
        "image_store": store,
        "allowed_hosts": access.hosts,
        "allowed_directories": access.directories,
    }
    chat = ChatLlava(backend=make_backend(), **options)

    def message(block: Callable[[str], dict[str, Any]]) -> Callable[[str], str]:
        def send(name: str) -> str:
            with refusals(ImageError, langchain.LangChainException):
                return str(chat.invoke([HumanMessage([block(name), "What colour?"])]).content)

        return send

    for layout, block in BLOCKS.items():
        urls: Any = "none" if "base64" in layout or "id" in layout else "all"
        yield Surface(f"LangChain {layout}", message(block), "allowed", urls)

    def awaited(name: str) -> str:
        content: list[Any] = [BLOCKS["image_url"](name), "What colour?"]
        with refusals(ImageError, langchain.LangChainException):
            return str(asyncio.run(chat.ainvoke([HumanMessage(content)])).content)

    def result(name: str) -> str:
        call = {"name": "camera", "args": {}, "id": "1"}
        answer = ToolMessage([BLOCKS["image v1"](name)], tool_call_id="1")
        with refusals(ImageError, langchain.LangChainException):
            reply = chat.invoke([HumanMessage("?"), AIMessage("", tool_calls=[call]), answer])
        return str(reply.content)

    def stored(name: str) -> str:
        block = BLOCKS["image v1"](name)
        with refusals(ImageError, langchain.LangChainException):
            (kept,) = with_handles([HumanMessage([block])], store, allowed_hosts=access.hosts)
        return colour(store.get(kept.content[0]["file_id"]))  # type: ignore[index]

    yield Surface("LangChain ainvoke", awaited, "allowed", "all")
    yield Surface("LangChain result of a tool", result, "allowed", "all")
    yield Surface("LangChain with_handles", stored, "none", "all")
    yield from _tools(access)

    def embedded(name: str) -> str:
        with refusals(ImageError, langchain.LangChainException):
            return str(LlavaEmbeddings().embed_image([name]))

    yield Surface("LlavaEmbeddings", embedded, "all", "all")


def _tools(access: Access) -> Iterator[Surface]:
    toolkit = LlavaToolkit(
        llm=Llava(backend=make_backend()),
        image_store=ImageStore(),
        allowed_directories=access.directories,
        allowed_hosts=access.hosts,
    )
    tools = {tool.name: tool for tool in toolkit.get_tools()}

    def called(tool: str, *, wait: bool = False) -> Callable[[str], str]:
        def send(name: str) -> str:
            arguments = tool_call(tool, name)
            call = {"name": tool, "args": arguments, "id": "1", "type": "tool_call"}
            run = tools[tool]
            message = asyncio.run(run.ainvoke(call)) if wait else run.invoke(call)
            if message.status == "error":
                raise RefusalError(message.content)
            return str(message.content)

        return send

    for tool in TOOL_ARGUMENTS:
        yield Surface(f"LlavaToolkit {tool}", called(tool), "allowed", "allowed")
    yield Surface("LlavaToolkit look, async", called("look", wait=True), "allowed", "allowed")
