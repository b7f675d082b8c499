"""What a check of a value reaches in a schema, through its parts and references.

What no value is checked against, as unused definitions, is not reached and may refer to anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

from llava_tools.core import schema_cost, validators
from llava_tools.core.constraints import Schema

if TYPE_CHECKING:
    from referencing import Specification
    from referencing.jsonschema import SchemaResource

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
# Keywords whose schemas describe the same value; they are schemas, lists or objects of schemas.
_SAME_VALUE = (
    "not",
    "if",
    "then",
    "else",
    "allOf",
    "anyOf",
    "oneOf",
    "extends",
    "type",
    "disallow",
)
_SAME_VALUE_BY_NAME = ("dependentSchemas", "dependencies")
# Keywords with schemas that no value is checked against.
_UNCHECKED = ("$defs", "definitions", "contentSchema")
_OTHERS = frozenset({*_SAME_VALUE, *_SAME_VALUE_BY_NAME, *_UNCHECKED})
# Drafts in which nothing counts beside a `$ref`.
_LONE_REFERENCES = ("draft-03", "draft-04", "draft-06", "draft-07")


class LostReferenceError(Exception):
    """A reference leads to no schema; the only argument is what is wrong."""


@dataclass
class ReferenceGraph:
    """The schemas that a check reaches, by `id`, and those next to each for the same value."""

    schemas: dict[int, Schema] = field(default_factory=dict)
    same_value: dict[int, set[int]] = field(default_factory=dict)

    def has_circle(self) -> bool:
        """Return whether a schema leads back to itself without a part of the value between."""
        try:
            TopologicalSorter(self.same_value).prepare()
        except CycleError:
            return True
        return False


def reference_graph(root: Schema, parts: Collection[Schema]) -> ReferenceGraph:
    """Return what a check reaches from a valid schema; `parts` are the schemas in it.

    Raises:
        LostReferenceError: A reference leads to nothing, or to what is no schema.
    """
    from jsonschema_specifications import REGISTRY

    specification = validators.specification(root)
    resolver: Any = REGISTRY.resolver_with_root(specification.create_resource(root))
    draft = validators.keywords(root)
    valid = {id(part) for part in parts}
    units = 0
    graph = ReferenceGraph()
    waiting: list[tuple[Schema, Any]] = [(root, resolver)]
    while waiting:
        schema, resolver = waiting.pop()
        if id(schema) in graph.schemas:
            continue
        graph.schemas[id(schema)] = schema
        next_to_it = graph.same_value[id(schema)] = set()
        for keyword in _REFERENCES:
            if keyword in draft and isinstance(pointer := schema.get(keyword), str):
                found = _resolve(keyword, pointer, resolver)
                if isinstance(target := found.contents, bool):
                    continue
                if id(target) not in valid:
                    units += schema_cost.count_parts(target)
                    _check_schema(target, pointer, root, units)
                    valid.add(id(target))
                next_to_it.add(id(target))
                waiting.append((target, found.resolver))
        if "$ref" in schema and specification.name in _LONE_REFERENCES:
            continue
        same = [*_same_value(schema, draft)]
        next_to_it |= {id(part) for part in same}
        for part in (*same, *_of_parts(schema, specification)):
            waiting.append((part, _resolver_within(part, resolver, specification)))
    return graph


def _resolve(keyword: str, pointer: str, resolver: Any) -> Any:
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import lookup_recursive_ref

    try:
        if keyword == "$recursiveRef":
            return lookup_recursive_ref(resolver)
        return resolver.lookup(pointer)
    # Steps that are no index of a list, or go into a number, and addresses that cannot be split.
    except (Unresolvable, ValueError, TypeError):
        raise LostReferenceError(f"refers to {pointer!r:.120}, which it does not contain") from None


def _check_schema(target: Any, pointer: str, root: Schema, units: int) -> None:
    """Check what a reference leads to apart from the schemas in the document."""
    if units > schema_cost.MAX_PARTS:
        raise LostReferenceError(f"refers to more than {schema_cost.MAX_PARTS:,} parts")
    metaschema = validators.metaschema_validator(root)
    if not isinstance(target, Mapping) or not metaschema.is_valid(target):
        raise LostReferenceError(f"refers to {pointer!r:.120}, which is not a valid JSON schema")


def _resolver_within(part: Schema, resolver: Any, specification: Specification[Any]) -> Any:
    resource: SchemaResource = specification.create_resource(part)
    try:
        return resolver.in_subresource(resource)
    except ValueError:
        raise LostReferenceError(f"has the '$id' {resource.id()!r:.120}") from None


def _same_value(schema: Schema, draft: Collection[str]) -> Iterator[Schema]:
    """Yield the schemas in a schema that describe the same value."""
    for keyword in _SAME_VALUE:
        # `then` and `else` are checked by `if`.
        if ("if" if keyword in ("then", "else") else keyword) not in draft:
            continue
        if keyword in ("then", "else") and "if" not in schema:
            continue
        value = schema.get(keyword)
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, Mapping):
                yield part
    for keyword in _SAME_VALUE_BY_NAME:
        if keyword in draft and isinstance(value := schema.get(keyword), Mapping):
            yield from (part for part in value.values() if isinstance(part, Mapping))


def _of_parts(schema: Schema, specification: Specification[Any]) -> Iterator[Schema]:
    """Yield the schemas in a schema that describe parts of the value."""
    rest = {key: value for key, value in schema.items() if key not in _OTHERS}
    for part in specification.subresources_of(rest):
        if isinstance(part, Mapping):
            yield part
