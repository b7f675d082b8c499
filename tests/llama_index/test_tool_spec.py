"""`LlavaToolSpec`: the visual tools in LlamaIndex, called directly and by agents."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.tool_spec.base import BaseToolSpec
from llama_index_instrumentation import get_dispatcher
from PIL import Image

from llama_index.llms.llava import Llava as Planner
from llama_index.llms.llava.image_handles import handles_in
from llama_index.llms.llava.tools import tool_dict
from llama_index.tools.llava import LlavaToolSpec
from llava_tools import Llava, open_image
from llava_tools.chat import image_handles
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Request
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef
from llava_tools.images.store import ImageStore
from llava_tools.retrieval import Hit
from llava_tools.testing import ScriptedBackend
from llava_tools.tools import TOOLS
from llava_tools.tools.look import TextResult

NAVY = Image.new("RGB", (400, 200), "navy")


def _spec(*script: str, **options: Any) -> LlavaToolSpec:
    backend = ScriptedBackend(script or ("dark blue",))
    return LlavaToolSpec(Llava(backend=backend), image_store=ImageStore(), **options)


def _tool(spec: LlavaToolSpec, name: str) -> FunctionTool:
    (tool,) = spec.to_tool_list([name])
    return tool


def test_tools_have_the_descriptions_and_schemas_of_llava_tools() -> None:
    tools = _spec().to_tool_list()
    assert [tool.metadata.name for tool in tools] == list(TOOLS)
    for tool in tools:
        spec = TOOLS[tool.metadata.get_name()]
        assert tool.metadata.description == spec.description
        assert tool_dict(tool)["function"]["parameters"] == spec.arguments.model_json_schema()
    assert [t.metadata.name for t in _spec(tools=["zoom"]).to_tool_list()] == ["zoom"]


class _Index:
    """An index with one page."""

    def search(self, query: str, k: int) -> list[Hit]:
        return [Hit("a.pdf", 2, 1.0, "", query, "", NAVY.size, "")][:k]

    def open(self, hit: Hit) -> ImageRef:
        return open_image(NAVY)


async def test_an_index_adds_the_tool_find() -> None:
    spec = _spec(index=_Index())
    assert [tool.metadata.name for tool in spec.to_tool_list()] == [*TOOLS, "find"]
    output = await _tool(spec, "find").acall(query="coffee")
    (page,) = json.loads(output.content)["pages"]
    assert (page["document"], page["page"], page["snippet"]) == ("a.pdf", 2, "coffee")
    output = _tool(spec, "look").call(image=page["image"], question="Which colour?")
    assert json.loads(output.content) == {"text": "dark blue"}
    with pytest.raises(RequestError, match="needs an index"):
        _spec(tools=["find"])


async def test_a_call_returns_short_json_and_the_result() -> None:
    spec = _spec()
    arguments = {"image": spec.add(NAVY), "question": "Which colour?"}
    tool = _tool(spec, "look")
    for output in (tool.call(**arguments), await tool.acall(**arguments)):
        assert json.loads(output.content) == {"text": "dark blue"}
        assert output.raw_output == TextResult(text="dark blue")


def test_wrong_arguments_and_unknown_tools_raise() -> None:
    tool = _tool(_spec(), "look")
    with pytest.raises(ImageError, match="no picture"):
        tool.call(image="/etc/passwd", question="Which colour?")
    with pytest.raises(RequestError, match="question"):
        tool.call(image="img_0")
    with pytest.raises(RequestError, match="lock"):
        _spec(tools=["lock"])
    with pytest.raises(RequestError, match="lock"):
        _spec().to_tool_list(["lock"])
    with pytest.raises(RequestError, match="tools='look' is not possible"):
        LlavaToolSpec(tools="look")


@pytest.mark.parametrize("llm", [MockLLM(), 7], ids=["another LLM", "a number"])
def test_another_model_is_not_replaced_by_the_embedded_one(llm: Any) -> None:
    with pytest.raises(RequestError, match=f"llm is a .*{type(llm).__name__}"):
        LlavaToolSpec(llm)


def test_metadata_can_be_replaced() -> None:
    metadata = ToolMetadata("Schau.", "look", fn_schema=TOOLS["look"].arguments)
    (tool,) = _spec().to_tool_list([("look", "alook")], {"look": metadata})
    assert tool.metadata.description == "Schau."


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, dict):
        names = (
            {"title", "additionalProperties", "description"}
            if "properties" in schema
            else {"title"}
        )
        return {key: _without_titles(value) for key, value in schema.items() if key not in names}
    return [_without_titles(part) for part in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("name", [*TOOLS, "find"])
@pytest.mark.parametrize("anywhere", [False, True])
def test_functions_have_the_parameters_of_their_tools(
    name: str, anywhere: bool, tmp_path: Path
) -> None:
    spec = _spec(index=_Index(), allowed_directories=[tmp_path] if anywhere else [])
    tool = _tool(spec, name)
    assert tool.metadata.fn_schema is not None
    expected = _without_titles(tool.metadata.fn_schema.model_json_schema())
    expected.pop("description", None)  # the docstring of the class
    functions = [getattr(spec, name), getattr(spec, f"a{name}"), tool.real_fn, tool.async_fn]
    for function in functions:
        made = FunctionTool.from_defaults(function)
        assert made.metadata.fn_schema is not None
        assert _without_titles(made.metadata.fn_schema.model_json_schema()) == expected
        assert made.metadata.name == name
        assert tool.metadata.description in (function.__doc__ or "")
        assert all(
            parameter.kind is inspect.Parameter.KEYWORD_ONLY
            for parameter in inspect.signature(function).parameters.values()
        )


async def test_an_mcp_server_of_the_functions_has_typed_parameters() -> None:
    spec = _spec()
    handle = spec.add(NAVY)
    server = pytest.importorskip("mcp.server.mcpserver").MCPServer("llava")
    for name in spec.spec_functions:
        server.add_tool(getattr(spec, f"a{name}"))
    (look, *_) = await server.list_tools()
    described = look.model_dump(by_alias=True)
    assert (described["name"], described["description"]) == ("look", TOOLS["look"].description)
    schema = described["inputSchema"]
    assert schema["required"] == ["image", "question"]
    assert schema["properties"]["image"]["pattern"] == image_handles.PATTERN
    assert schema["properties"]["image"]["description"] == "Handle of the picture: img_..."
    result = await server.call_tool("look", {"image": handle, "question": "Which colour?"})
    assert "dark blue" in str(result)


async def test_functions_return_the_text_for_an_agent() -> None:
    spec = _spec(index=_Index())
    arguments = {"image": spec.add(NAVY), "question": "Which colour?"}
    for text in (spec.look(**arguments), await spec.alook(**arguments)):
        assert json.loads(text) == {"text": "dark blue"}
    with pytest.raises(RequestError, match="question"):
        spec.look(image=arguments["image"])
    (page,) = json.loads(spec.find(query="coffee"))["pages"]
    assert page["image"].startswith("img_")
    with pytest.raises(AttributeError, match="lock"):
        _ = spec.lock
    with pytest.raises(AttributeError, match="zoom"):
        _ = _spec(tools=["look"]).zoom
    tools = BaseToolSpec.to_tool_list(spec)  # what LlamaIndex makes of functions by name
    assert [tool.metadata.name for tool in tools] == spec.spec_functions


class _Events(BaseEventHandler):
    """Keeps the chats' events."""

    chats: list[Any] = []  # noqa: RUF012

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        if isinstance(event, LLMChatStartEvent | LLMChatEndEvent):
            self.chats.append(event)


@pytest.fixture
def events() -> Iterator[_Events]:
    dispatcher = get_dispatcher()
    handler = _Events(chats=[])
    dispatcher.add_event_handler(handler)
    yield handler
    dispatcher.event_handlers.remove(handler)


CALLS: dict[str, tuple[dict[str, Any], int]] = {
    "look": ({"question": "Which colour?"}, 1),
    "locate": ({"thing": "the sea"}, 2),
    "choose": ({"question": "Which colour?", "labels": ["blue", "red"]}, 1),
    "compare": ({"question": "Which colour?"}, 2),
}


@pytest.mark.parametrize("name", CALLS)
async def test_requests_of_tools_are_chats_of_the_llm(name: str, events: _Events) -> None:
    arguments, chats = CALLS[name]
    script = "[0.1, 0.1, 0.2, 0.2]" if name == "locate" else "dark blue"
    backend = ScriptedBackend([script] * 8, scores=lambda _, label: -float(len(label)))
    counter = TokenCountingHandler()
    store = ImageStore()
    planner = Planner(
        backend=backend, image_store=store, callback_manager=CallbackManager([counter])
    )
    spec = LlavaToolSpec(planner)
    handles = [spec.add(NAVY), spec.add(NAVY.rotate(90, expand=True))]
    assert all(handle in store for handle in handles)
    named = {"images": handles} if name == "compare" else {"image": handles[0]}
    plain = LlavaToolSpec(Llava(backend=backend), image_store=store)
    tool, expected = _tool(spec, name), _tool(plain, name).call(**named, **arguments)
    assert not events.chats
    outputs = [
        tool.call(**named, **arguments),
        await tool.acall(**named, **arguments),
        getattr(spec, name)(**named, **arguments),
    ]
    assert [str(getattr(output, "content", output)) for output in outputs] == [expected.content] * 3
    starts = [event for event in events.chats if isinstance(event, LLMChatStartEvent)]
    assert (len(starts), len(events.chats)) == (3 * chats, 6 * chats)
    assert handles_in(starts[0].messages[0]) == [handles[0]]
    assert len(counter.llm_token_counts) == 3 * chats
    requests = [repr(request) for request in backend.requests]
    assert set(requests) == set(requests[: len(requests) // 4])


async def test_an_agent_corrects_a_wrong_call() -> None:
    spec = _spec()
    handle = spec.add(NAVY)

    def plan(request: Request) -> str:
        (tool,) = request.constraint.tools
        assert tool.parameters["properties"]["image"]["pattern"] == image_handles.PATTERN
        last = request.messages[-1]
        if last.role == "user":
            return write_call(ToolCall("", "look", {"image": missing, "question": "Colour?"}))
        if "no picture" in last.text:
            return write_call(ToolCall("", "look", {"image": handle, "question": "Colour?"}))
        return f"It is {json.loads(last.text)['text']}."

    missing = f"img_{'0' * 24}"
    planner = Planner(backend=ScriptedBackend(plan))
    agent = FunctionAgent(llm=planner, tools=spec.to_tool_list(["look"]))
    run = agent.run(user_msg=f"Which colour has {handle}, or {missing}?")
    results = [e async for e in run.stream_events() if isinstance(e, ToolCallResult)]
    assert [event.tool_output.is_error for event in results] == [True, False]
    result: Any = await run
    assert result.response.content == "It is dark blue."
