"""A place: where a user, a planner, a tool or a client puts a text that reaches a prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from llava_tools.core.requests import Request
from llava_tools.testing import ScriptedBackend
from tests.strategies import encoded

#: An image in a file.
PHOTO = encoded(Image.new("RGB", (2, 2)), "PNG")
#: The parameters of a tool without arguments.
NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True)
class Place:
    """A place of a text.

    Attributes:
        send: Sends a text to the model.
        lines: Whether the lines of results and of the system's turn count: they do but where a
            speaker's own text may have any.
    """

    send: Callable[[str], object]
    lines: bool = True


def _respond(request: Request) -> str:
    """Answer in the form that is wanted, where that is simple."""
    schema = request.constraint.schema
    return "ok" if schema is None else "{}"


def make_backend() -> ScriptedBackend:
    """Return a model that records its requests."""
    return ScriptedBackend(_respond, image_tokens=4, context_length=100_000)


def json_fields(text: str) -> dict[str, dict[str, Any]]:
    """Return JSON schemas that hold a text, by its place in them."""
    return {
        "a description": {"type": "object", "description": text},
        "a title": {"type": "object", "title": text},
        "a property": {"type": "object", "properties": {text: {"type": "string"}}},
        "a property's description": {
            "type": "object",
            "properties": {"a": {"type": "string", "description": text}},
        },
        "an enum": {"type": "object", "properties": {"a": {"enum": [text, [text]]}}},
        "a default": {
            "type": "object",
            "properties": {"a": {"type": "string", "default": text}},
        },
    }


#: The names of `json_fields`.
JSON_FIELDS = tuple(json_fields("a"))
