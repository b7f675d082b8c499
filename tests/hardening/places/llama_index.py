"""Texts in LlamaIndex's messages, tools, formats and prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from llama_index.core.base.llms.types import (
    CitableBlock,
    CitationBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.prompts.default_prompts import DEFAULT_TEXT_QA_PROMPT
from llama_index.core.schema import MetadataMode, TextNode
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput

from llama_index.llms.llava import Llava as LlamaIndexLlava
from llama_index.selectors.llava import LlavaSingleSelector
from llava_tools.testing import ScriptedBackend
from tests.hardening.places.place import JSON_FIELDS, NOTHING, PHOTO, Place, json_fields

_QUESTION = ChatMessage(role="user", content="What?")
_WELL = ChatMessage(role="user", content="Well?")


def _message(role: str, *blocks: Any, **kwargs: Any) -> ChatMessage:
    blocks_ = [TextBlock(text=block) if isinstance(block, str) else block for block in blocks]
    return ChatMessage(role=role, blocks=blocks_, additional_kwargs=kwargs)


def _result(*blocks: Any, call: Any = None, **kwargs: Any) -> list[ChatMessage]:
    call = call or ToolCallBlock(tool_call_id="c", tool_name="look", tool_kwargs={"a": 1})
    kwargs = {"tool_call_id": "c", **kwargs}
    return [
        _QUESTION,
        _message("assistant", call),
        _message("tool", *(blocks or ["fine"]), **kwargs),
    ]


def _called(**fields: Any) -> list[ChatMessage]:
    fields = {"tool_call_id": "c", "tool_name": "look", "tool_kwargs": {}, **fields}
    return _result(call=ToolCallBlock(**fields), tool_call_id=fields["tool_call_id"])


def _output(text: str) -> list[ChatMessage]:
    """Return a conversation with what a tool returned, as agents write it."""
    output = ToolOutput(content=text, tool_name="look", raw_input={}, raw_output=text)
    return _result(*output.blocks)


def _older_call(**function: Any) -> list[ChatMessage]:
    call = {"id": "c", "function": {"name": "look", "arguments": "{}", **function}}
    return [
        _QUESTION,
        _message("assistant", "", tool_calls=[call]),
        _message("tool", "fine", tool_call_id="c"),
    ]


def _nodes(text: str, name: str = "a.pdf") -> str:
    """Return the prompt of a query engine over retrieved nodes."""
    nodes = [TextNode(text=part, metadata={"file_name": name}) for part in (text, "b")]
    context = "\n\n".join(node.get_content(metadata_mode=MetadataMode.LLM) for node in nodes)
    return str(DEFAULT_TEXT_QA_PROMPT.format(context_str=context, query_str="What?"))


#: Conversations with a text, by its place: those where it is a speaker's own.
SPOKEN: dict[str, Callable[[str], list[ChatMessage]]] = {
    "system": lambda text: [_message("system", text), _QUESTION],
    "developer": lambda text: [_message("developer", text), _QUESTION],
    "user": lambda text: [_message("user", f"{text}?")],
    "user's blocks": lambda text: [
        _message("user", text[:3], ImageBlock(image=PHOTO), text[3:], "?")
    ],
    "two blocks": lambda text: [_message("user", f"a{text[:3]}", f"{text[3:]}?")],
    "two users": lambda text: [_message("user", f"a{text[:3]}"), _message("user", f"{text[3:]}?")],
    "a citable block": lambda text: [
        _message("user", CitableBlock(title="t", source="s", content=[TextBlock(text=text)]), "?")
    ],
    "assistant": lambda text: [_QUESTION, _message("assistant", f"a {text}"), _WELL],
    "model": lambda text: [_QUESTION, _message("model", f"a {text}"), _WELL],
    "chatbot": lambda text: [_QUESTION, _message("chatbot", f"a {text}"), _WELL],
    "the last assistant": lambda text: [_QUESTION, _message("assistant", f"a {text}")],
}
#: The others: the text is in a result, in a name, in a call, or nowhere.
WRITTEN: dict[str, Callable[[str], list[ChatMessage]]] = {
    "name of a user": lambda text: [_message("user", "What?", name=text)],
    "title of a citable block": lambda text: [
        _message("user", CitableBlock(title=text, source=text, content=[TextBlock(text="a")]), "?")
    ],
    "source of a citation": lambda text: [
        _QUESTION,
        _message(
            "assistant",
            CitationBlock(
                cited_content=TextBlock(text="a"), source=text, title=text,
                additional_location_info={},
            ),
        ),
        _WELL,
    ],
    "thinking": lambda text: [
        _QUESTION, _message("assistant", ThinkingBlock(content=text), "a"), _WELL
    ],
    "id of a call": lambda text: _called(tool_call_id=text),
    "name of a call": lambda text: _called(tool_name=text),
    "arguments of a call": lambda text: _called(tool_kwargs={text: [text, {"a": text}]}),
    "arguments in JSON": lambda text: _called(tool_kwargs=f"x{text}"),
    "name of an older call": lambda text: _older_call(name=text),
    "arguments of an older call": lambda text: _older_call(arguments={text: text}),
    "tool": lambda text: _result(text),
    "tool's blocks": lambda text: _result(f"a{text[:3]}", text[3:], ImageBlock(image=PHOTO)),
    "tool's output": _output,
    "name of a tool's result": lambda text: _result(name=text),
    "result without a call": lambda text: [_QUESTION, _message("tool", text)],
    "name of a result without a call": lambda text: [_QUESTION, _message("tool", "a", name=text)],
    "function": lambda text: [_QUESTION, _message("function", text, name="f")],
    "name of a function": lambda text: [_QUESTION, _message("function", "fine", name=text)],
}  # fmt: skip


def places(backend: ScriptedBackend) -> Iterator[tuple[str, Place]]:
    """Yield the places of LlamaIndex by their names."""
    llm = LlamaIndexLlava(backend=backend)
    for lines, conversations in ((False, SPOKEN), (True, WRITTEN)):
        for name, make in conversations.items():
            yield name, Place(lambda text, make=make: llm.chat(make(text)), lines)
    yield "completion", Place(lambda text: llm.complete(f"{text}?"), False)
    yield "awaited", Place(lambda text: asyncio.run(llm.acomplete(f"{text}?")), False)
    template = PromptTemplate("About {a}: what?")
    yield "variable of a prompt", Place(lambda text: llm.predict(template, a=text), False)
    yield "nodes", Place(lambda text: llm.complete(_nodes(text)), False)
    yield "metadata of a node", Place(lambda text: llm.complete(_nodes("a", text)), False)

    def bound(name: str = "look", description: str = "Looks.") -> object:
        tool = FunctionTool(print, ToolMetadata(description, name))
        return llm.chat_with_tools([tool], "What?")

    yield "name of a tool", Place(lambda text: bound(text))
    yield "description of a tool", Place(lambda text: bound(description=text))

    def formatted(schema: dict[str, Any], name: str = "form") -> object:
        form = {"name": name, "schema": {**NOTHING, **schema}}
        return llm.complete("?", response_format={"type": "json_schema", "json_schema": form})

    yield "name of a format", Place(lambda text: formatted({}, text))
    for field in JSON_FIELDS:
        yield f"format: {field}", Place(lambda text, f=field: formatted(json_fields(text)[f]))

    def selected(name: str, description: str) -> object:
        options = [ToolMetadata(description, name), ToolMetadata("Another.", "b")]
        return LlavaSingleSelector(llm).select(options, "What?")

    yield "name of an option", Place(lambda text: selected(text, "One."))
    yield "description of an option", Place(lambda text: selected("a", text))
