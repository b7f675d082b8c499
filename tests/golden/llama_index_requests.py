"""LlamaIndex's Llava: messages, tools and options in, the backend's request out."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    CitableBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import ImageDocument, ImageNode, MediaResource, Node
from llama_index.core.tools import FunctionTool

from llama_index.llms.llava import Llava
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.langchain_inputs import (
    ADD_ANSWER,
    JSON_SCHEMA,
    OPENAI_TOOL,
    PERSON_ANSWER,
    PNG,
    SAMPLING,
    Person,
    add,
)
from tests.golden.plain import outcome, request_as_dict

ADD = FunctionTool.from_defaults(add)
NOTED = FunctionTool.from_defaults(add, name="sum", description="Sum.\nOf two.")
PROMPT = PromptTemplate("Who is {name}?")
IMAGES: dict[str, Callable[[], ImageBlock]] = {
    "bytes": lambda: ImageBlock(image=PNG),
    "base64": lambda: ImageBlock(image=base64.b64encode(PNG)),
    "file": lambda: ImageBlock(image=io.BytesIO(PNG)),
    "url": lambda: ImageBlock(url=i.DATA_URL),
}
DOCUMENTS: dict[str, Callable[[], Any]] = {
    "ImageBlock": lambda: ImageBlock(image=PNG),
    "ImageNode": lambda: ImageNode(image=i.PNG_BASE64),
    "ImageDocument": lambda: ImageDocument(image=i.PNG_BASE64),
    "Node": lambda: Node(image_resource=MediaResource(data=PNG)),
    "ImageNode with a url": lambda: ImageNode(image_url=i.DATA_URL),
}


def _call(**more: Any) -> ToolCallBlock:
    return ToolCallBlock(**{"tool_call_id": "c1", "tool_name": "add", "tool_kwargs": {}, **more})


def _result(text: str = "3", **more: Any) -> ChatMessage:
    return ChatMessage(text, role="tool", additional_kwargs={"tool_call_id": "c1", **more})


def _older_calls() -> list[ChatMessage]:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    earlier = ChatMessage("", role="assistant", additional_kwargs={"tool_calls": [call]})
    return [ChatMessage("Add."), earlier, _result()]


def _about(make: Callable[[], ImageBlock]) -> list[ChatMessage]:
    return [ChatMessage(blocks=[make(), TextBlock(text="What?")])]


CONVERSATIONS: dict[str, Callable[[], list[ChatMessage]]] = {
    "text": lambda: [ChatMessage("What?")],
    "several turns": lambda: [
        ChatMessage("Be brief.", role="system"),
        ChatMessage("What?"),
        ChatMessage("That.", role="assistant"),
        ChatMessage("Why?"),
    ],
    "other roles": lambda: [
        ChatMessage("Be brief.", role="developer"),
        ChatMessage("What?", role="user"),
        ChatMessage("That.", role="model"),
        ChatMessage("Why?", role="user"),
        ChatMessage("So.", role="chatbot"),
        ChatMessage("Why?", role="user"),
    ],
    "blocks": lambda: [
        ChatMessage(
            blocks=[
                TextBlock(text="One"),
                TextBlock(text="two"),
                ImageBlock(image=PNG),
                TextBlock(text="three"),
            ]
        )
    ],
    "cited and thought": lambda: [
        ChatMessage(
            blocks=[
                CitableBlock(title="t", source="s", content=[TextBlock(text="Cited.")]),
                CachePoint(cache_control={"type": "ephemeral"}),
                TextBlock(text="What?"),
            ]
        ),
        ChatMessage(
            role="assistant", blocks=[ThinkingBlock(content="Hm."), TextBlock(text="That.")]
        ),
        ChatMessage("Why?"),
    ],
    "calls and results": lambda: [
        ChatMessage("Add."),
        ChatMessage(
            role="assistant", blocks=[TextBlock(text="So."), _call(tool_kwargs={"a": 1, "b": 2})]
        ),
        _result(name="add"),
    ],
    "calls as text": lambda: [
        ChatMessage("Add."),
        ChatMessage(role="assistant", blocks=[_call(tool_kwargs='{"a": 1}')]),
        _result(),
    ],
    "older calls": _older_calls,
    "a result without a call": lambda: [
        ChatMessage("Add."),
        ChatMessage("3", role="tool", additional_kwargs={"name": "add"}),
    ],
    "a nameless result": lambda: [ChatMessage("Add."), ChatMessage("3", role="function")],
    **{f"image: {name}": partial(_about, make) for name, make in IMAGES.items()},
}

Ask = Callable[[Llava], Any]


def requests_of(ask: Ask, script: str = "ok", **options: Any) -> Any:
    """Return the requests that something makes of the backend, or its error."""
    backend = ScriptedBackend([script])

    def run() -> list[dict[str, Any]]:
        ask(Llava(backend=backend, **options))
        return [request_as_dict(request) for request in backend.requests]

    return outcome(run)


def _chat(
    make: Callable[[], list[ChatMessage]], script: str = "ok", **options: Any
) -> Callable[[], Any]:
    return partial(requests_of, lambda llm: llm.chat(make(), **options), script)


def _question(script: str = "ok", **options: Any) -> Callable[[], Any]:
    return _chat(lambda: [ChatMessage("What?")], script, **options)


def _tools(script: str = ADD_ANSWER, tool: FunctionTool = ADD, **options: Any) -> Callable[[], Any]:
    return partial(
        requests_of, lambda llm: llm.chat_with_tools([tool], user_msg="Add.", **options), script
    )


def _complete(make: Callable[[], Any]) -> Callable[[], Any]:
    return partial(requests_of, lambda llm: llm.complete("What?", image_documents=[make()]))


CHOICES: Mapping[str, Any] = {
    "any": "any",
    "required": "required",
    "True": True,
    "name": "add",
    "dict": {"type": "function", "function": {"name": "add"}},
}
FREE_CHOICES: Mapping[str, Any] = {"auto": "auto", "None": None, "none": "none", "False": False}

CASES: dict[str, Callable[[], Any]] = {
    **{f"chat: {name}": _chat(make) for name, make in CONVERSATIONS.items()},
    **{f"complete: {name}": _complete(make) for name, make in DOCUMENTS.items()},
    "complete: text": partial(requests_of, lambda llm: llm.complete("What?")),
    "complete: own prompt": partial(
        requests_of,
        lambda llm: llm.complete("What?"),
        completion_to_prompt=lambda text: f"<<{text}>>",
    ),
    "complete: formatted": partial(
        requests_of,
        lambda llm: llm.complete("What?", formatted=True),
        completion_to_prompt=lambda text: f"<<{text}>>",
    ),
    "fields": partial(requests_of, lambda llm: llm.complete("What?"), **SAMPLING),
    "fields by other names": partial(
        requests_of, lambda llm: llm.complete("What?"), model_name="7b", context_window=512
    ),
    "options of a call": _question(**SAMPLING),
    **{
        f"tool choice: {name}": _question(ADD_ANSWER, tools=[ADD], tool_choice=value)
        for name, value in CHOICES.items()
    },
    **{
        f"tool choice: {name}": _question(tools=[ADD], tool_choice=value)
        for name, value in FREE_CHOICES.items()
    },
    "tools: several": _question(tools=[ADD, NOTED, OPENAI_TOOL]),
    "tools: one call at most": _question(tools=[ADD], allow_parallel_tool_calls=False),
    "tools: lenient": _question(tools=[ADD], strict=False),
    "format: a class": _question(PERSON_ANSWER, response_format=Person),
    "format: json_schema": _question('{"n": 1}', response_format=JSON_SCHEMA),
    "format: json_object": _question("{}", response_format={"type": "json_object"}),
    "chat with tools": _tools(),
    "chat with tools: required": _tools(tool_required=True),
    "chat with tools: choice": _tools(tool_choice="add"),
    "chat with tools: parallel": _tools(allow_parallel_tool_calls=True),
    "chat with tools: own description": _tools("No.", NOTED),
    "chat with tools: history": _tools(chat_history=[ChatMessage("Be brief.", role="system")]),
    "structured predict": partial(
        requests_of,
        lambda llm: llm.structured_predict(Person, PROMPT, name="Ada"),
        PERSON_ANSWER,
    ),
    "structured LLM": partial(
        requests_of,
        lambda llm: llm.as_structured_llm(Person).chat([ChatMessage("Who?")]),
        PERSON_ANSWER,
    ),
}
