"""Tool calls as text: how the model is told of tools, writes calls, and reads results.

LLaVA was never trained to call tools and has no token for it, so the whole protocol is text of
the ordinary conversation:

- the system turn lists the tools in signatures (signatures.py) and says how to answer;
- a call is ``<tool_call>{"name": "look", "arguments": {"question": "..."}}</tool_call>``, several
  are separated by a line break. It is the layout that many open models were trained on, and that
  servers have parsers for. Only what the model generates is ever read as a call: the same letters
  in a user's text or a tool's result stay text;
- a result is ``Result of look: ...`` in the user's turn, a failure ``Error of look: ...``;
- where a tool takes images, a turn with images begins ``Images: img_..., img_...``.

The embedded model is trained on exactly this text. Pure: needs neither torch nor a tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from llava_tools.chat import signatures
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.images import ImageRef

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
BETWEEN = "\n"

_FORM = f'{OPEN}{{"name": ..., "arguments": {{...}}}}{CLOSE}'


def instructions(constraint: Constraint) -> str:
    """Return what the system turn says of tools and of the form of the answer; "" if nothing."""
    tools = constraint.callable
    parts: list[str] = []
    if tools:
        parts.append("Tools:")
        parts += [signatures.of_tool(tool) for tool in tools]
        if constraint.tool_choice == "any":
            parts.append(f"Answer with a tool call: {_FORM}")
        elif constraint.forced:
            parts.append(f"Answer with a call of {constraint.tool_choice}: {_FORM}")
        else:
            parts.append(f"Call a tool when it helps: {_FORM}")
    if constraint.schema is not None and constraint.describe and not constraint.forced:
        lead = "Otherwise answer" if tools else "Answer"
        parts.append(f"{lead} in JSON: {signatures.of_schema(constraint.schema)}")
    return "\n".join(parts)


def write_call(call: ToolCall) -> str:
    """Return a call as the model writes it."""
    arguments = write_json(call.arguments)
    return f'{OPEN}{{"name": {write_json(call.name)}, "arguments": {arguments}}}{CLOSE}'


def write_turn(text: str, calls: tuple[ToolCall, ...]) -> str:
    """Return an assistant's turn of words and calls."""
    return BETWEEN.join([*([text] if text else []), *map(write_call, calls)])


def write_result(name: str, text: str, *, error: bool) -> str:
    """Return what a tool gave back as the model reads it."""
    return f"{'Error' if error else 'Result'} of {name}: {text}"


def write_handles(images: Iterable[ImageRef]) -> str:
    """Return how the model is told what a turn's images are called, in their order."""
    return f"Pictures: {', '.join(image.handle for image in images)}"


def write_json(value: Any) -> str:
    """Return JSON in the one spacing that grammar and training use, letters unescaped."""
    plain = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(plain, ensure_ascii=False, separators=(", ", ": "))
