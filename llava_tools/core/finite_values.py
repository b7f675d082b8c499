"""Whether a JSON schema has a value that does not contain itself without end.

The schemas in it are nodes of a graph: each needs the schemas of all parts that its values must
have, and one branch of each union. Those that need nothing are finite, and what needs only finite
ones is finite too. That takes time linear in the graph, however often schemas refer to each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llava_tools.core import references
from llava_tools.core.constraints import Schema

_UNIONS = ("anyOf", "oneOf")


@dataclass
class _Node:
    """A schema, and what is not known to be finite yet.

    `required` are the `id`s of the schemas that it needs, `unions` counts the unions of which no
    branch is finite.
    """

    schema: Schema  # kept, since its `id` names it
    required: set[int] = field(default_factory=set)
    unions: int = 0


def has_finite_value(root: Schema) -> bool:
    """Return whether a valid schema has a finite value."""
    nodes: dict[int, _Node] = {}
    dependents: defaultdict[int, list[int]] = defaultdict(list)
    choices: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        if id(schema) in nodes:
            continue
        node = nodes[id(schema)] = _Node(schema)
        for part in _required_parts(schema, root):
            node.required.add(id(part))
            dependents[id(part)].append(id(schema))
            waiting.append(part)
        for name in _open_unions(schema):
            node.unions += 1
            for branch in schema[name]:
                choices[id(branch)].append((id(schema), name))
                waiting.append(branch)
    open_unions = {(key, name) for reached in choices.values() for key, name in reached}
    done = [key for key, node in nodes.items() if not node.required and not node.unions]
    finite = set(done)
    while done:
        key = done.pop()
        changed = [other for other in dependents[key] if key in nodes[other].required]
        for other in changed:
            nodes[other].required.discard(key)
        for union in choices[key]:
            if union in open_unions:
                open_unions.remove(union)
                nodes[union[0]].unions -= 1
                changed.append(union[0])
        for other in changed:
            node = nodes[other]
            if not node.required and not node.unions and other not in finite:
                finite.add(other)
                done.append(other)
    return id(root) in finite


def _is_schema(value: object) -> bool:
    return isinstance(value, Mapping)


def _has_values(schema: Schema) -> bool:
    return "const" in schema or "enum" in schema


def _open_unions(schema: Schema) -> Iterator[str]:
    """Yield the unions of a schema without values of its own."""
    if _has_values(schema) or isinstance(schema.get("$ref"), str):
        return
    for name in _UNIONS:
        branches = schema.get(name)
        # A boolean is a finite branch.
        if isinstance(branches, list) and all(map(_is_schema, branches)):
            yield name


def _required_parts(schema: Schema, root: Schema) -> list[Schema]:
    """Return the schemas of the parts that every value of a schema has."""
    if isinstance(pointer := schema.get("$ref"), str):
        return [references.target(pointer, root)]
    if _has_values(schema):
        return []
    parts: list[Any] = list(schema.get("allOf") or ())
    types = schema.get("type", "object" if "required" in schema else None)
    if types in ("object", ["object"]):
        properties = schema.get("properties") or {}
        parts += [properties[name] for name in schema.get("required") or () if name in properties]
    if types in ("array", ["array"]) and schema.get("minItems", 0) > 0:
        parts.append(schema.get("items"))
    return [part for part in parts if _is_schema(part)]
