"""ChatLlava: LangChain's messages, tools and options in, the backend's request out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from langchain_llava import ChatLlava
from llava_tools.testing import ScriptedBackend
from tests.golden import inputs as i
from tests.golden.langchain_inputs import (
    ADD_ANSWER,
    ANTHROPIC_TOOL,
    CONVERSATIONS,
    IMAGE_BLOCKS,
    JSON_SCHEMA,
    METHODS,
    OPENAI_TOOL,
    PERSON_ANSWER,
    SAMPLING,
    TOOLS,
    Person,
    Weather,
    add,
    block_message,
    shout,
)
from tests.golden.plain import outcome, request_as_dict

Bind = Mapping[str, Any]


def request_of(
    messages: Any,
    script: str = "ok",
    tools: Sequence[Any] | None = None,
    bound: Bind | None = None,
    call: Bind | None = None,
    **options: Any,
) -> Any:
    """Return the requests that one `invoke` makes of the backend, or its error."""
    backend = ScriptedBackend([script], context_length=16_000)

    def ask() -> list[dict[str, Any]]:
        model: Any = ChatLlava(backend=backend, **options)
        if tools is not None:
            model = model.bind_tools(tools, **(bound or {}))
        model.invoke(messages() if callable(messages) else messages, **(call or {}))
        return [request_as_dict(request) for request in backend.requests]

    return outcome(ask)


def structured_request(form: Any, script: str, **options: Any) -> list[dict[str, Any]]:
    backend = ScriptedBackend([script])
    ChatLlava(backend=backend).with_structured_output(form, **options).invoke("Who?")
    return [request_as_dict(request) for request in backend.requests]


def _bound(script: str = "ok", tools: Sequence[Any] = (add,), **bound: Any) -> Callable[[], Any]:
    return partial(request_of, "What?", script, tools, bound)


def _choices() -> dict[str, Callable[[], Any]]:
    name = {"type": "function", "function": {"name": "add"}}
    forced = {"any": "any", "required": "required", "True": True, "name": "add", "dict": name}
    other = {"Anthropic tool": {"type": "tool", "name": "add"}, "Anthropic any": {"type": "any"}}
    free = {"auto": "auto", "None": None, "none": "none", "False": False}
    return {
        **{key: _bound(ADD_ANSWER, tool_choice=v) for key, v in {**forced, **other}.items()},
        **{key: _bound(tool_choice=value) for key, value in free.items()},
    }


CASES: dict[str, Callable[[], Any]] = {
    **{
        f"image block: {name}": partial(request_of, block_message("What?", block))
        for name, block in IMAGE_BLOCKS.items()
    },
    **{f"messages: {name}": partial(request_of, make) for name, make in CONVERSATIONS.items()},
    "own system sentence": partial(request_of, "What?", system="Be brief."),
    "empty system sentence": partial(request_of, "What?", system=""),
    "own system sentence beside one": partial(
        request_of, [("system", "Be kind."), ("human", "What?")], system="Be brief."
    ),
    "fields": partial(request_of, "What?", **SAMPLING),
    "fields by other names": partial(
        request_of, "What?", model_name="7b", stop_sequences=["END", "x"]
    ),
    "options of a call": partial(request_of, "What?", call=SAMPLING, max_tokens=3, seed=1),
    "stop as one string": partial(request_of, "What?", stop="END"),
    **{f"tool choice: {name}": make for name, make in _choices().items()},
    **{
        f"tool: {name}": _bound(tools=[tool])
        for name, tool in {
            "function": add,
            "pydantic": Person,
            "TypedDict": Weather,
            "LangChain tool": shout,
            "OpenAI dict": OPENAI_TOOL,
            "Anthropic dict": ANTHROPIC_TOOL,
        }.items()
    },
    "several tools": _bound(tools=TOOLS),
    "one call at most": _bound(parallel_tool_calls=False),
    "strict": _bound(strict=True),
    "not strict": _bound(strict=False),
    "tools and a format": _bound(PERSON_ANSWER, response_format=Person),
    "tools of a call": partial(
        request_of, "What?", ADD_ANSWER, call={"tools": [add], "tool_choice": "any"}
    ),
    "format: json_schema": partial(
        request_of, "What?", '{"n": 1}', call={"response_format": JSON_SCHEMA}
    ),
    "format: json_object": partial(
        request_of, "What?", "{}", call={"response_format": {"type": "json_object"}}
    ),
    "format: text": partial(request_of, "What?", call={"response_format": {"type": "text"}}),
    "format: a class": partial(
        request_of, "What?", PERSON_ANSWER, call={"response_format": Person}
    ),
    "format: a schema": partial(
        request_of, "What?", '{"n": 1}', call={"response_format": i.NUMBER}
    ),
    **{
        f"structured: {name}": partial(structured_request, Person, script, method=method)
        for name, (method, script) in METHODS.items()
    },
    "structured: TypedDict": partial(structured_request, Weather, '{"place": "x", "unit": "c"}'),
    "structured: a schema": partial(structured_request, i.NUMBER, '{"n": 1}'),
    "structured: an OpenAI tool": partial(structured_request, OPENAI_TOOL, '{"n": 1}'),
    "structured: any JSON": partial(structured_request, None, "{}", method="json_mode"),
    "structured: not strict": partial(structured_request, Person, PERSON_ANSWER, strict=False),
}
