"""Texts in LangChain's messages, tools, formats and prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate, format_document
from langchain_core.tools import StructuredTool

from langchain_llava import ChatLlava, LlavaSelector, LlavaToolkit, image_block
from llava_tools.images.store import ImageStore
from llava_tools.testing import ScriptedBackend
from tests.hardening.places.place import JSON_FIELDS, NOTHING, PHOTO, Place, json_fields
from tests.hardening.surfaces.surface import RefusalError

_CALL = {"name": "look", "args": {"question": "?"}, "id": "c"}
_QUESTION = HumanMessage("What?")


def _text(text: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}


def _called(**call: Any) -> list[BaseMessage]:
    called = {**_CALL, **call}
    return [
        _QUESTION,
        AIMessage("", tool_calls=[called]),
        ToolMessage("fine", tool_call_id=called["id"]),
    ]


def _answered(content: Any = "a", **fields: Any) -> list[BaseMessage]:
    return [_QUESTION, AIMessage(content, **fields), HumanMessage("Well?")]


def _result(content: Any = "fine", **fields: Any) -> list[BaseMessage]:
    call = AIMessage("", tool_calls=[_CALL])
    return [_QUESTION, call, ToolMessage(content, tool_call_id="c", **fields)]


def _invalid(**fields: Any) -> list[BaseMessage]:
    call = {"name": "look", "args": "{", "id": "i", "error": "e", **fields}
    return _answered(invalid_tool_calls=[call])


#: Conversations with a text, by its place: those where it is a speaker's own.
SPOKEN: dict[str, Callable[[str], list[BaseMessage]]] = {
    "system": lambda text: [SystemMessage(text), _QUESTION],
    "system's blocks": lambda text: [SystemMessage([_text("a"), _text(text)]), _QUESTION],
    "developer": lambda text: [ChatMessage(text, role="developer"), _QUESTION],
    "human": lambda text: [HumanMessage(f"{text}?")],
    "human's blocks": lambda text: [
        HumanMessage([text[:3], image_block(PHOTO), _text(text[3:]), "?"])
    ],
    "two humans": lambda text: [HumanMessage(f"a{text[:3]}"), HumanMessage(f"{text[3:]}?")],
    "input_text": lambda text: [HumanMessage([_text(f"{text}?", "input_text")])],
    "a result of a search": lambda text: [
        HumanMessage([{"type": "search_result", "content": [_text(text)]}, "?"])
    ],
    "invalid call": lambda text: _invalid(name=text, args=text, error=text),
    "ai": lambda text: _answered(f"a {text}"),
    "ai's blocks": lambda text: _answered([_text(f"a {text}")]),
    "ai's refusal": lambda text: _answered([{"type": "refusal", "refusal": f"a {text}"}]),
    "the last ai": lambda text: [_QUESTION, AIMessage(f"a {text}")],
}
#: The others: the text is in a result, in a name, in a call, or nowhere.
WRITTEN: dict[str, Callable[[str], list[BaseMessage]]] = {
    "role": lambda text: [ChatMessage("a", role=f"x{text}"), _QUESTION],
    "name of a human": lambda text: [HumanMessage("What?", name=text)],
    "name of an ai": lambda text: _answered(name=text),
    "name of a system": lambda text: [SystemMessage("a", name=text), _QUESTION],
    "title of a search": lambda text: [
        HumanMessage([
            {"type": "search_result", "title": text, "source": text, "content": [_text("a")]}, "?"
        ])
    ],
    "id of a call": lambda text: _called(id=text),
    "name of a call": lambda text: _called(name=text),
    "arguments of a call": lambda text: _called(args={text: [text, {"a": text}]}),
    "a block of a call": lambda text: [
        _QUESTION,
        AIMessage([{"type": "tool_use", "id": "c", "name": text, "input": {text: text}}]),
        ToolMessage("fine", tool_call_id="c"),
    ],
    "thinking": lambda text: _answered([{"type": "thinking", "thinking": text}, _text("a")]),
    "tool": _result,
    "tool's blocks": lambda text: _result([_text("a"), _text(text), image_block(PHOTO)]),
    "tool's JSON": lambda text: _result([{"type": "json", "json": {text: [text]}}]),
    "tool's error": partial(_result, status="error"),
    "name of a tool's result": lambda text: _result(name=text),
    "artifact": lambda text: _result(artifact=text),
    "a result in a result": lambda text: _result([{"type": "tool_result", "content": text}]),
    "result of an invalid call": lambda text: [
        *_invalid(name=text)[:2], ToolMessage("fine", tool_call_id="i")
    ],
    "function": lambda text: [_QUESTION, FunctionMessage(text, name="f")],
    "name of a function": lambda text: [_QUESTION, FunctionMessage("fine", name=text)],
}  # fmt: skip

_RAG = ChatPromptTemplate.from_messages(
    [("system", "Use this context:\n{context}"), ("human", "{question}")]
)
_WITH_SOURCE = PromptTemplate.from_template("{source}: {page_content}")


def _documents(text: str, source: str = "a.pdf") -> list[BaseMessage]:
    """Return the prompt of a chain over retrieved documents."""
    documents = [Document(part, metadata={"source": source}) for part in (text, "b")]
    context = "\n\n".join(format_document(document, _WITH_SOURCE) for document in documents)
    return _RAG.invoke({"context": context, "question": "What?"}).to_messages()


def _tool(name: str = "look", description: str = "Looks.", schema: Any = NOTHING) -> Any:
    return StructuredTool(name=name, description=description, args_schema=schema, func=print)


def places(backend: ScriptedBackend) -> Iterator[tuple[str, Place]]:
    """Yield the places of LangChain by their names."""
    store = ImageStore()
    chat = ChatLlava(backend=backend)
    for lines, conversations in ((False, SPOKEN), (True, WRITTEN)):
        for name, make in conversations.items():
            yield name, Place(lambda text, make=make: chat.invoke(make(text)), lines)
    yield "documents", Place(lambda text: chat.invoke(_documents(text)), False)
    yield "source of a document", Place(lambda text: chat.invoke(_documents("a", text)), False)

    def bound(tool: Any) -> object:
        return chat.bind_tools([tool]).invoke("What?")

    yield "name of a tool", Place(lambda text: bound(_tool(name=text)))
    yield "description of a tool", Place(lambda text: bound(_tool(description=text)))
    yield (
        "the tool of a choice",
        Place(lambda text: chat.bind_tools([_tool(text)], tool_choice=text).invoke("What?")),
    )
    yield (
        "name of a format",
        Place(lambda text: _formatted(chat, {"title": text, **NOTHING})),
    )
    for field in JSON_FIELDS:
        yield f"tool: {field}", Place(lambda text, f=field: bound(_tool(schema=_schema(f, text))))
        yield f"format: {field}", Place(lambda text, f=field: _formatted(chat, _schema(f, text)))

    def selected(name: str, description: str) -> object:
        options = {name: description, "b": "Another."}
        return LlavaSelector(llm=chat, options=options).invoke("What?")

    yield "name of an option", Place(lambda text: selected(text, "One."))
    yield "description of an option", Place(lambda text: selected("a", text))
    toolkit = LlavaToolkit(llm=chat, image_store=store, tools=["look"])
    (look,) = toolkit.get_tools()
    handle = image_block(PHOTO, store)["file_id"]

    def looked(text: str) -> None:
        arguments = {"image": handle, "question": text}
        call = {"name": "look", "args": arguments, "id": "c", "type": "tool_call"}
        if (result := look.invoke(call)).status == "error":
            raise RefusalError(result.content)

    yield "argument of the toolkit", Place(looked, False)


def _schema(field: str, text: str) -> dict[str, Any]:
    return {**NOTHING, "title": "form", "description": "A form.", **json_fields(text)[field]}


def _formatted(chat: ChatLlava, schema: dict[str, Any]) -> object:
    form = {"name": str(schema.get("title")), "schema": schema}
    return chat.invoke("What?", response_format={"type": "json_schema", "json_schema": form})
