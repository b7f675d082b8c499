"""Bodies of Ollama's API with a text."""

from __future__ import annotations

from typing import Any

from tests.hardening.places.bodies import DATA, QUESTION, WELL, Make
from tests.hardening.places.place import NOTHING


def ollama_chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "stream": False, "messages": list(messages), **fields}


def generate(**fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "stream": False, "prompt": "What?", **fields}


def _ollama_call(result: dict[str, Any], **function: Any) -> dict[str, Any]:
    call = {"function": {"name": "look", "arguments": {}, **function}}
    return ollama_chat(
        QUESTION,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "fine", **result},
    )


def with_ollama_tool(**fields: Any) -> dict[str, Any]:
    function = {"name": "look", "description": "Looks.", "parameters": NOTHING, **fields}
    return ollama_chat(QUESTION, tools=[{"type": "function", "function": function}])


#: Bodies of Ollama's chats.
OLLAMA_SPOKEN: dict[str, Make] = {
    "system": lambda text: ollama_chat({"role": "system", "content": text}, QUESTION),
    "user": lambda text: ollama_chat({"role": "user", "content": f"{text}?", "images": [DATA]}),
    "assistant": lambda text: ollama_chat(
        QUESTION, {"role": "assistant", "content": f"a {text}"}, WELL
    ),
}
OLLAMA_WRITTEN: dict[str, Make] = {
    "role": lambda text: ollama_chat({"role": f"x{text}", "content": "a"}, QUESTION),
    "thinking": lambda text: ollama_chat(
        QUESTION, {"role": "assistant", "content": "a", "thinking": text}, WELL
    ),
    "name": lambda text: ollama_chat({**QUESTION, "name": text}),
    "name of a call": lambda text: _ollama_call({}, name=text),
    "arguments of a call": lambda text: _ollama_call({}, arguments={text: [text, {"a": text}]}),
    "tool": lambda text: _ollama_call({"content": text}),
    "tool_name": lambda text: ollama_chat(
        QUESTION, {"role": "tool", "content": "a", "tool_name": text}
    ),
    "name of a result": lambda text: ollama_chat(
        QUESTION, {"role": "tool", "content": "a", "name": text}
    ),
    "tool_call_id": lambda text: _ollama_call({"tool_call_id": text}),
    "name of a tool": lambda text: with_ollama_tool(name=text),
    "description of a tool": lambda text: with_ollama_tool(description=text),
}  # fmt: skip
#: Bodies of Ollama's completions.
GENERATE_SPOKEN: dict[str, Make] = {
    "prompt": lambda text: generate(prompt=f"{text}?", images=[DATA]),
    "system": lambda text: generate(system=text),
}
GENERATE_WRITTEN: dict[str, Make] = {
    "suffix": lambda text: generate(suffix=text),
    "template": lambda text: generate(template=text),
    "raw": lambda text: generate(prompt=text, raw=True),
    "context": lambda text: generate(context=[ord(c) for c in text]),
    "options": lambda text: generate(options={"stop": [text]}),
}
