"""Texts in calls of MCP, and in results of MCP's tools that a planner reads."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llama_index.core.base.llms.types import TextBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage
from mcp import Client, MCPError
from mcp_types import INTERNAL_ERROR

from langchain_llava import ChatLlava
from llama_index.llms.llava import Llava as LlamaIndexLlava
from llava_tools import Llava
from llava_tools.core.unicode import well_formed
from llava_tools.server.mcp import McpServer
from llava_tools.testing import ScriptedBackend
from tests.hardening.places.place import PHOTO, Place
from tests.hardening.places.tools import ARGUMENTS
from tests.hardening.surfaces.surface import RefusalError


def places(backend: ScriptedBackend, stack: ExitStack) -> Iterator[tuple[str, Place]]:
    """Yield the places of a server for MCP, and of planners that are its clients."""
    answers = [""]
    hostile = ScriptedBackend(lambda request: answers[0], context_length=100_000)
    portal = stack.enter_context(start_blocking_portal())

    def connect(model: ScriptedBackend) -> Callable[[str, dict[str, Any]], Any]:
        server = McpServer(Llava(backend=model))
        client = stack.enter_context(portal.wrap_async_context_manager(Client(server)))

        def call(tool: str, arguments: dict[str, Any]) -> Any:
            try:
                return portal.call(client.call_tool, tool, arguments)
            except MCPError as error:
                if error.code == INTERNAL_ERROR:
                    raise
                raise RefusalError(str(error)) from error
            except UnicodeEncodeError as error:  # the client sends no half characters
                raise RefusalError(str(error)) from error

        return call

    call = connect(backend)
    data = {"data": b64encode(PHOTO).decode()}
    handle = json.loads(call("add_image", data).content[0].text)["image"]

    def called(name: str, text: str) -> None:
        result = call(name.split()[0], ARGUMENTS[name](handle, text))
        if result.is_error and not backend.requests:
            raise RefusalError(" ".join(getattr(block, "text", "") for block in result.content))

    for name in ARGUMENTS:
        yield name, Place(lambda text, name=name: called(name, text), False)

    call_hostile = connect(hostile)
    call_hostile("add_image", data)

    def results(text: str) -> list[str]:
        """Return what a tool of MCP answers if its model answers with a text."""
        answers[0] = well_formed(text)  # as every model's answer
        result = call_hostile("look", {"image": handle, "question": "What?"})
        texts = [block.text for block in result.content if block.type == "text"]
        return [*texts, json.dumps(result.structured_content, ensure_ascii=False)]

    chat, llm = ChatLlava(backend=backend), LlamaIndexLlava(backend=backend)

    def to_langchain(text: str) -> None:
        blocks: list[Any] = [{"type": "text", "text": item} for item in results(text)]
        tool_call = {"name": "look", "args": {}, "id": "c"}
        result = ToolMessage(blocks, tool_call_id="c")
        chat.invoke([HumanMessage("What?"), AIMessage("", tool_calls=[tool_call]), result])

    def to_llama_index(text: str) -> None:
        tool_call = ToolCallBlock(tool_call_id="c", tool_name="look", tool_kwargs={})
        blocks = [TextBlock(text=item) for item in results(text)]
        question = ChatMessage(role="user", content="What?")
        answer = ChatMessage(role="assistant", blocks=[tool_call])
        kwargs = {"tool_call_id": "c"}
        result = ChatMessage(role="tool", blocks=blocks, additional_kwargs=kwargs)
        llm.chat([question, answer, result])

    yield "a result in LangChain", Place(to_langchain)
    yield "a result in LlamaIndex", Place(to_llama_index)
