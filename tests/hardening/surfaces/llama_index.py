"""Names in LlamaIndex's blocks and nodes, in calls of its tools, and in what embeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.schema import Document, ImageNode, MediaResource
from pydantic import ValidationError

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava
from llava_tools.errors import RequestError
from llava_tools.images.store import ImageStore
from tests.hardening.surfaces.direct import TOOL_ARGUMENTS, tool_call
from tests.hardening.surfaces.surface import (
    Access,
    FrameworkRefusalError,
    Reach,
    Surface,
    make_backend,
    refusals,
)

#: Names of surfaces whose URLs are pydantic's, which follow the URL standard.
BROWSER_URLS = {"ImageBlock url", "Document url"}
#: Blocks with a name, and what paths and URLs in them may lead to.
BLOCKS: dict[str, tuple[Callable[[str], ImageBlock], Reach, Reach]] = {
    "ImageBlock url": (lambda name: ImageBlock(url=name), "none", "all"),
    "ImageBlock path": (lambda name: ImageBlock(path=name), "allowed", "none"),
}
#: Nodes with a name, and what paths and URLs in them may lead to.
NODES: dict[str, tuple[Callable[[str], Any], Reach, Reach]] = {
    "ImageNode image_url": (lambda name: ImageNode(image_url=name), "none", "all"),
    "ImageNode image_path": (lambda name: ImageNode(image_path=name), "all", "none"),
    "ImageNode image": (lambda name: ImageNode(image=name), "none", "none"),
    "ImageNode metadata": (
        lambda name: ImageNode(metadata={"file_path": name}), "allowed", "all",
    ),
    "Document url": (
        lambda name: Document(image_resource=MediaResource(url=name)), "none", "all",
    ),
    "Document path": (
        lambda name: Document(image_resource=MediaResource(path=name)), "all", "none",
    ),
}  # fmt: skip


def surfaces(access: Access, stack: ExitStack) -> Iterator[Surface]:
    """Yield the surfaces of LlamaIndex."""
    options: dict[str, Any] = {
        "image_store": ImageStore(),
        "allowed_hosts": access.hosts,
        "allowed_directories": access.directories,
    }
    llm = LlamaIndexLlava(backend=make_backend(), **options)

    def chatted(make: Callable[[str], ImageBlock], *, wait: bool = False) -> Callable[[str], str]:
        def send(name: str) -> str:
            blocks = [_make(make, name), TextBlock(text="What colour?")]
            messages = [ChatMessage(role="user", blocks=blocks)]
            with refusals():
                answer = asyncio.run(llm.achat(messages)) if wait else llm.chat(messages)
            return str(answer.message.content)

        return send

    def completed(make: Callable[[str], Any]) -> Callable[[str], str]:
        def send(name: str) -> str:
            node = _make(make, name)
            with refusals():
                return str(llm.complete("What colour?", image_documents=[node]))

        return send

    for kind, (block, paths, urls) in BLOCKS.items():
        yield Surface(f"LlamaIndex {kind}", chatted(block), paths, urls, kind in BROWSER_URLS)
    chatted_async = chatted(BLOCKS["ImageBlock url"][0], wait=True)
    yield Surface("LlamaIndex achat", chatted_async, "none", "all", browser_urls=True)
    for kind, (node, paths, urls) in NODES.items():
        yield Surface(f"LlamaIndex {kind}", completed(node), paths, urls, kind in BROWSER_URLS)
    yield from _tools(access)

    def embedded(name: str) -> str:
        node = _make(NODES["ImageNode image_url"][0], name)
        with refusals():
            return str([item.embedding for item in LlavaEmbedding()([node])])

    yield Surface("LlavaEmbedding", embedded, "none", "all")


def _make(make: Callable[[str], Any], name: str) -> Any:
    try:
        return make(name)
    except (ValidationError, OSError) as error:  # pydantic looks at paths, too
        raise FrameworkRefusalError("The class of the framework takes no such name.") from error


def _tools(access: Access) -> Iterator[Surface]:
    spec = LlavaToolSpec(
        Llava(backend=make_backend()),
        image_store=ImageStore(),
        allowed_directories=access.directories,
        allowed_hosts=access.hosts,
    )
    tools = {tool.metadata.name: tool for tool in spec.to_tool_list()}

    def called(tool: str) -> Callable[[str], str]:
        def send(name: str) -> str:
            with refusals(RequestError):
                return str(tools[tool].call(**tool_call(tool, name)))

        return send

    def awaited(name: str) -> str:
        with refusals(RequestError):
            return str(asyncio.run(tools["look"].acall(**tool_call("look", name))))

    for tool in TOOL_ARGUMENTS:
        yield Surface(f"LlavaToolSpec {tool}", called(tool), "allowed", "allowed")
    yield Surface("LlavaToolSpec look, async", awaited, "allowed", "allowed")
