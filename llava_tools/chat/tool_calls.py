"""The text of tool descriptions, tool calls and tool results.

LLaVA 1.5 was not trained to call tools and has no tokens for it, so the protocol is plain text:

- the system turn lists the tools' signatures (see `signatures`) and the form of the answer;
- a call is ``<tool_call>{"name": "look", "arguments": {"question": "..."}}</tool_call>``; a line
  break separates several. Many open models were trained on this layout, and servers can parse it.
  Only generated text is parsed: the same characters in a message or a tool's result stay text;
- a result is ``Result of look: ...`` in the user's turn, a failure ``Error of look: ...``; its
  further lines are indented, so that none reads as another result or turn;
- if a tool takes images, a turn with images begins with ``Pictures: img_..., img_...``.

The embedded model is trained on exactly this text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pydantic_core import to_jsonable_python

from llava_tools.chat import signatures
from llava_tools.core.constraints import Constraint, ToolCall
from llava_tools.images import ImageRef

OPEN_TAG = "<tool_call>"
CLOSE_TAG = "</tool_call>"
SEPARATOR = "\n"

_FORM = f'{OPEN_TAG}{{"name": ..., "arguments": {{...}}}}{CLOSE_TAG}'


def instructions(constraint: Constraint) -> str:
    """Return the description of tools and of the answer's form for the system turn; "" for none."""
    tools = constraint.callable_tools
    parts: list[str] = []
    if tools:
        parts.append("Tools:")
        parts += [signatures.of_tool(tool) for tool in tools]
        if constraint.tool_choice == "any":
            parts.append(f"Answer with a tool call: {_FORM}")
        elif constraint.requires_call:
            parts.append(f"Answer with a call of {constraint.tool_choice}: {_FORM}")
        else:
            parts.append(f"Call a tool when it helps: {_FORM}")
    if constraint.schema is not None and constraint.describe and not constraint.requires_call:
        lead = "Otherwise answer" if tools else "Answer"
        parts.append(f"{lead} in JSON: {signatures.of_schema(constraint.schema)}")
    return "\n".join(parts)


def write_call(call: ToolCall) -> str:
    """Return a call in the model's form."""
    arguments = write_json(call.arguments)
    return f'{OPEN_TAG}{{"name": {write_json(call.name)}, "arguments": {arguments}}}{CLOSE_TAG}'


def write_turn(text: str, calls: tuple[ToolCall, ...]) -> str:
    """Return the text and the calls of an assistant's turn."""
    return SEPARATOR.join([*([text] if text else []), *map(write_call, calls)])


def write_result(name: str, text: str, *, error: bool) -> str:
    """Return a tool's result or error for the user's turn; lines after the first are indented."""
    indented = "  ".join(text.splitlines(keepends=True))
    return f"{'Error' if error else 'Result'} of {signatures.one_line(name)}: {indented}"


def write_handles(images: Iterable[ImageRef]) -> str:
    """Return the line with the handles of a turn's images, in order."""
    return f"Pictures: {', '.join(image.handle for image in images)}"


#: Dates, numbers and objects of Python as JSON: arguments of a history's calls may hold any.
_as_json = partial(to_jsonable_python, bytes_mode="base64", fallback=str)


def write_json(value: Any) -> str:
    """Return JSON in the spacing of the grammar and the training data, without escapes."""
    plain = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(plain, ensure_ascii=False, separators=(", ", ": "), default=_as_json)
