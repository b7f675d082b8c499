"""References (`$ref`) within a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llava_tools.core.constraints import Schema

#: References to references that are followed; more count as a circle.
MAX_STEPS = 100


def target(pointer: str, root: Schema) -> Schema:
    """Return the schema that a `$ref` points to; an empty one if it is not in this document."""
    if not pointer.startswith("#"):
        return {}
    schema: Any = root
    for step in pointer[1:].strip("/").split("/") if len(pointer) > 1 else ():
        name = step.replace("~1", "/").replace("~0", "~")
        schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def resolve_reference(schema: Any, root: Schema) -> Schema:
    """Follow `$ref`s within a document to the schema that they point to.

    If references form a circle, the last schema before it closes is returned.
    """
    visited: set[str] = set()
    while isinstance(schema, Mapping) and isinstance(pointer := schema.get("$ref"), str):
        if pointer in visited or len(visited) == MAX_STEPS:
            return schema
        if not pointer.startswith("#"):
            return {}
        visited.add(pointer)
        schema = target(pointer, root)
    return schema if isinstance(schema, Mapping) else {}
