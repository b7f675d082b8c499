"""Image handles (`img_…`) as arguments of tools.

A tool takes an image by a string argument with the pattern `PATTERN`; `ARGUMENT` is such a schema.
The prompt lists the handles of the conversation's images, and the constraint of the answer allows
only those, so that a call cannot name an unknown image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.core.requests import Message
from llava_tools.images.ref import HANDLE_PATTERN

#: The form of `ImageRef.handle`.
PATTERN = f"^{HANDLE_PATTERN}$"
#: Schema of an argument that takes an image.
ARGUMENT: Schema = {"type": "string", "pattern": PATTERN}

_HANDLE = re.compile(rf"\b{HANDLE_PATTERN}\b")


def takes_images(constraint: Constraint) -> bool:
    """Return whether a tool that may be called takes an image."""
    return any(_has_image_argument(tool.parameters) for tool in constraint.callable_tools)


def handles_in(messages: Iterable[Message]) -> tuple[str, ...]:
    """Return the handles of a conversation's images and those in its text, in order."""
    handles: dict[str, None] = {}
    for message in messages:
        handles |= dict.fromkeys(image.handle for image in message.images)
        handles |= dict.fromkeys(_HANDLE.findall(message.text))
    return tuple(handles)


def narrow(constraint: Constraint, messages: Iterable[Message]) -> Constraint:
    """Return a constraint whose image arguments accept only the handles of a conversation."""
    if not takes_images(constraint) or not (handles := handles_in(messages)):
        return constraint
    tools = tuple(
        replace(tool, parameters=_narrow_schema(tool.parameters, handles))
        for tool in constraint.tools
    )
    return replace(constraint, tools=tools)


def _has_image_argument(schema: object) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("pattern") == PATTERN or any(map(_has_image_argument, schema.values()))
    return isinstance(schema, list) and any(map(_has_image_argument, schema))


def _narrow_schema(schema: Any, handles: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_narrow_schema(part, handles) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("pattern") == PATTERN:
        kept = {key: schema[key] for key in ("description", "title", "default") if key in schema}
        return {**kept, "type": "string", "enum": list(handles)}
    return {key: _narrow_schema(value, handles) for key, value in schema.items()}
