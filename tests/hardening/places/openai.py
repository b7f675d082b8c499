"""Bodies of OpenAI's API with a text."""

from __future__ import annotations

import json
from typing import Any

from tests.hardening.places.bodies import IMAGE, QUESTION, URL, WELL, Make, text_block
from tests.hardening.places.place import NOTHING


def chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": list(messages), **fields}


def _called(call: dict[str, Any], **result: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}, **call}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "fine", **result}
    return chat(QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]}, result)


def _function(name: str = "look", arguments: str = "{}") -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


def with_tool(**fields: Any) -> dict[str, Any]:
    function = {"name": "look", "description": "Looks.", "parameters": NOTHING, **fields}
    return chat(QUESTION, tools=[{"type": "function", "function": function}])


def with_format(**fields: Any) -> dict[str, Any]:
    form = {"name": "form", "schema": NOTHING, **fields}
    return chat(QUESTION, response_format={"type": "json_schema", "json_schema": form})


#: Bodies of chat completions with a text, by its place: those where it is a speaker's own.
CHAT_SPOKEN: dict[str, Make] = {
    "system": lambda text: chat({"role": "system", "content": text}, QUESTION),
    "developer's blocks": lambda text: chat(
        {"role": "developer", "content": [text_block("a"), text_block(text)]}, QUESTION
    ),
    "user": lambda text: chat({"role": "user", "content": f"{text}?"}),
    "user's blocks": lambda text: chat(
        {
            "role": "user",
            "content": [text_block(text[:3]), IMAGE, text_block(text[3:]), text_block("?")],
        }
    ),
    "assistant": lambda text: chat(QUESTION, {"role": "assistant", "content": f"a {text}"}, WELL),
    "refusal": lambda text: chat(
        QUESTION, {"role": "assistant", "content": None, "refusal": f"a {text}"}, WELL
    ),
    "a refusal's block": lambda text: chat(
        QUESTION,
        {"role": "assistant", "content": [{"type": "refusal", "refusal": f"a {text}"}]},
        WELL,
    ),
}
#: The others.
CHAT_WRITTEN: dict[str, Make] = {
    "name of a user": lambda text: chat({**QUESTION, "name": text}),
    "name of a system": lambda text: chat(
        {"role": "system", "content": "a", "name": text}, QUESTION
    ),
    "name of an assistant": lambda text: chat(
        QUESTION, {"role": "assistant", "content": "a", "name": text}, WELL
    ),
    "role": lambda text: chat({"role": f"x{text}", "content": "a"}, QUESTION),
    "id of a call": lambda text: _called({"id": text}),
    "name of a call": lambda text: _called(_function(text)),
    "arguments of a call": lambda text: _called(_function(arguments=json.dumps({text: [text]}))),
    "arguments that are no JSON": lambda text: _called(_function(arguments=f"x{text}")),
    "an older call": lambda text: chat(
        QUESTION,
        {"role": "assistant", "content": None,
         "function_call": {"name": text, "arguments": json.dumps({text: text})}},
        {"role": "function", "name": text, "content": "fine"},
    ),
    "tool": lambda text: _called({}, content=text),
    "tool's blocks": lambda text: _called({}, content=[text_block("a"), text_block(text), IMAGE]),
    "tool's error": lambda text: _called({}, content=text, is_error=True),
    "name of a tool's result": lambda text: _called({}, name=text),
    "function": lambda text: chat(QUESTION, {"role": "function", "name": "f", "content": text}),
    "name of a function": lambda text: chat(
        QUESTION, {"role": "function", "name": text, "content": "fine"}
    ),
    "name of a tool": lambda text: with_tool(name=text),
    "description of a tool": lambda text: with_tool(description=text),
    "choice": lambda text: {
        **with_tool(name=text), "tool_choice": {"type": "function", "function": {"name": text}},
    },
    "name of a format": lambda text: with_format(name=text),
    "description of a format": lambda text: with_format(description=text),
    "handle of an image": lambda text: chat(
        {"role": "user",
         "content": [{"type": "image_url", "image_url": {"url": URL, "handle": text}}]}
    ),
    "id of a user": lambda text: chat(QUESTION, user=text, metadata={text: text}),
    "stop": lambda text: chat(QUESTION, stop=[text]),
}  # fmt: skip


def _respond(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"input": list(items) or "What?", **fields}


def _response_call(output: Any = "fine", **call: Any) -> dict[str, Any]:
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}", **call}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
    return _respond(QUESTION, call, result)


#: Bodies of responses.
RESPONSES_SPOKEN: dict[str, Make] = {
    "input": lambda text: {"input": f"{text}?"},
    "instructions": lambda text: _respond(instructions=text),
    "input_text": lambda text: _respond(
        {"role": "user", "content": [text_block(text, "input_text"), text_block("?", "input_text")]}
    ),
    "developer": lambda text: _respond({"role": "developer", "content": text}, QUESTION),
    "output_text": lambda text: _respond(
        QUESTION, {"role": "assistant", "content": [text_block(f"a {text}", "output_text")]}, WELL
    ),
}
RESPONSES_WRITTEN: dict[str, Make] = {
    "id of a call": lambda text: _response_call(call_id=text),
    "name of a call": lambda text: _response_call(name=text),
    "arguments of a call": lambda text: _response_call(arguments=json.dumps({text: text})),
    "output": _response_call,
    "output's blocks": lambda text: _response_call(
        [text_block("a", "input_text"), text_block(text, "input_text")]
    ),
    "reasoning": lambda text: _respond(
        QUESTION, {"type": "reasoning", "summary": [], "content": [text]}, WELL
    ),
    "name of a tool": lambda text: _respond(tools=[{"type": "function", "name": text}]),
    "description of a tool": lambda text: _respond(
        tools=[{"type": "function", "name": "look", "description": text}]
    ),
    "name of a format": lambda text: _respond(
        text={"format": {"type": "json_schema", "name": text, "description": text,
                         "schema": NOTHING}}
    ),
    "previous_response_id": lambda text: _respond(previous_response_id=text),
    "prompt": lambda text: _respond(prompt={"id": text}),
}  # fmt: skip
