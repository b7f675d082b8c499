"""Images in tool calls: arguments that name an image can only name one of this conversation.

A tool asks for an image by a string argument with the pattern `PATTERN` (`ARGUMENT` is such a
schema). Where a conversation has images, the model is told their handles, and the argument
narrows to them, so that no call ever names an image that nobody has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.core.requests import Message

#: What handles look like: see `ImageRef.handle`.
PATTERN = "^img_[0-9a-f]{24}$"
#: Schema of an argument that takes an image.
ARGUMENT: Schema = {"type": "string", "pattern": PATTERN}

_NAMED = re.compile(r"\bimg_[0-9a-f]{24}\b")


def wanted(constraint: Constraint) -> bool:
    """Return whether a tool that may be called takes an image."""
    return any(_takes(tool.parameters) for tool in constraint.callable)


def known(messages: Iterable[Message]) -> tuple[str, ...]:
    """Return the handles of a conversation in order: its images', and those in its text."""
    found: dict[str, None] = {}
    for message in messages:
        found |= dict.fromkeys(image.handle for image in message.images)
        found |= dict.fromkeys(_NAMED.findall(message.text))
    return tuple(found)


def narrowed(constraint: Constraint, messages: Iterable[Message]) -> Constraint:
    """Return a constraint whose image arguments take the handles of this conversation only."""
    if not wanted(constraint) or not (handles := known(messages)):
        return constraint
    tools = tuple(
        replace(tool, parameters=_narrowed(tool.parameters, handles)) for tool in constraint.tools
    )
    return replace(constraint, tools=tools)


def _takes(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("pattern") == PATTERN or any(map(_takes, schema.values()))
    return isinstance(schema, list) and any(map(_takes, schema))


def _narrowed(schema: Any, handles: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_narrowed(part, handles) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("pattern") == PATTERN:
        kept = {key: schema[key] for key in ("description", "title", "default") if key in schema}
        return {**kept, "type": "string", "enum": list(handles)}
    return {key: _narrowed(value, handles) for key, value in schema.items()}
