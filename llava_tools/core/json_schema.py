"""Checks JSON schemas, and values against them; resolves references."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from llava_tools.core import patterns, validators
from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import OutputError, SchemaError

#: Largest integer that every JSON reader holds exactly (RFC 8259, section 6).
LARGEST_EXACT_INTEGER = 2**53 - 1


def check_constraint(constraint: Constraint) -> None:
    """Check that the schemas of a constraint are valid JSON schemas that a finite value satisfies.

    Their patterns have to be of the dialect in `patterns`; if the constraint is not strict, it is
    enough that texts can be checked against them.

    Raises:
        SchemaError: One is not; the message names the schema, the fault and its place.
    """
    schemas = [
        (f"The schema of the tool {t.name}", t.parameters) for t in constraint.callable_tools
    ]
    if constraint.schema is not None:
        schemas.append(("The schema of the answer", constraint.schema))
    for name, schema in schemas:
        fault, hint = _schema_fault(json.dumps(schema, default=dict), constraint.strict)
        if fault:
            raise SchemaError(f"{name} {fault}.", hint)


def validate(value: Any, schema: Schema, name: str) -> None:
    """Check that a JSON value satisfies a schema; `name` is the value's name in errors.

    Raises:
        OutputError: It does not; the message has the first fault and its place.
        SchemaError: A reference in the schema cannot be resolved.
    """
    from referencing.exceptions import Unresolvable

    try:
        for error in validators.validator(schema).iter_errors(value):
            raise OutputError(
                f"{name} is not of its schema at {error.json_path}: {error.message}",
                "Ask again, or make the schema simpler.",
            )
    except RecursionError:
        raise OutputError(
            f"{name} is nested too deeply to be checked.", "Limit the depth in the schema."
        ) from None
    except Unresolvable as error:
        raise SchemaError(
            f"The schema refers to {error.ref!r}, which it does not contain.",
            "Put every definition into the schema itself.",
        ) from error


def has_disjoint_branches(schema: Schema, root: Schema) -> bool:
    """Return whether the branches of a `oneOf` can be seen to exclude each other.

    That is so if their types differ, or if all of them require a property whose allowed values
    differ, as in pydantic's tagged unions.
    """
    branches = [resolve_reference(branch, root) for branch in schema["oneOf"]]
    types = [branch.get("type") for branch in branches]
    if all(isinstance(name, str) for name in types) and len(set(types)) == len(types):
        return not {"integer", "number"} <= set(types)
    tags = set.intersection(*(set(branch.get("required") or ()) for branch in branches))
    for tag in tags:
        allowed = [_allowed_values(branch.get("properties", {}).get(tag)) for branch in branches]
        values = [value for branch_values in allowed for value in branch_values]
        if all(allowed) and len(set(values)) == len(values):
            return True
    return False


def resolve_reference(schema: Any, root: Schema) -> Schema:
    """Follow `$ref`s within a document to the schema that they point to.

    If references form a circle, the last schema before it closes is returned.
    """
    visited: set[str] = set()
    while isinstance(schema, Mapping) and isinstance(pointer := schema.get("$ref"), str):
        if pointer in visited:
            return schema
        if not pointer.startswith("#"):
            return {}
        visited.add(pointer)
        schema = root
        for step in pointer[1:].strip("/").split("/") if len(pointer) > 1 else ():
            name = step.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def parts(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield a valid schema and all schemas in it, apart from booleans."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += validators.specification(schema).subresources_of(part)


def _allowed_values(schema: Any) -> list[str]:
    """Return the values of `const` or `enum` as JSON; none if other values are allowed too."""
    if not isinstance(schema, Mapping):
        return []
    allowed = [schema["const"]] if "const" in schema else schema.get("enum") or []
    return [json.dumps(value, sort_keys=True) for value in allowed]


def _is_address(value: object) -> bool:
    """Return whether a value can be the address of a dialect; jsonschema splits it."""
    if not isinstance(value, str):
        return False
    try:
        urlsplit(value)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)  # agents send the same schemas with every request
def _schema_fault(text: str, strict: bool) -> tuple[str, str]:
    """Return the fault of a schema and a hint, or two empty strings."""
    schema = json.loads(text)
    if not _is_address(schema.get("$schema", "")):
        return f"names its dialect by {schema['$schema']!r:.80}", "Leave '$schema' out."
    try:
        for error in validators.metaschema_validator(schema).iter_errors(schema):
            fault = f"is not a valid JSON schema: {error.message} at {error.json_path}"
            return fault, "See https://json-schema.org/learn."
        for part in parts(schema):
            if part is not schema and "$schema" in part:
                return "names a dialect within itself", "Leave the inner '$schema' out."
            if any(found := _pattern_fault(part, strict)) or any(found := _number_fault(part)):
                return found
        if not _has_finite_value(schema, schema, (), set()):
            fault = "refers to itself without end: no finite value satisfies it"
            return fault, "Make the recursive field optional, or allow null or an empty list."
    except RecursionError:
        return "refers to its parts too many times in a row", "Make it simpler."
    return "", ""


def _pattern_fault(schema: Schema, strict: bool) -> tuple[str, str]:
    """Return the fault of the patterns that a schema has itself, and a hint."""
    own = [*schema.get("patternProperties", ())]
    own += [schema["pattern"]] if "pattern" in schema else []
    for pattern in own:
        if reason := patterns.check_fault(pattern):
            fault = f"has the pattern {pattern!r:.120}, which is not supported: {reason}"
            return fault, "Use characters, classes, groups, alternatives and repetition."
        if strict and (reason := patterns.fault(pattern)):
            fault = f"has the pattern {pattern!r:.120}, which cannot be enforced: {reason}"
            return fault, "Rewrite it, or set strict=False: the answer is then checked afterwards."
    if "unevaluatedProperties" in schema and own:
        return "has patterns beside 'unevaluatedProperties'", "Leave one of them out."
    return "", ""


def _number_fault(schema: Schema) -> tuple[str, str]:
    """Return the fault of the numbers that a schema has itself, and a hint."""
    limit = LARGEST_EXACT_INTEGER
    numbers = [n for n in _numbers([schema.get("const"), schema.get("enum")]) if abs(n) > limit]
    lower = [schema.get(name) for name in ("minimum", "exclusiveMinimum")]
    upper = [schema.get(name) for name in ("maximum", "exclusiveMaximum")]
    numbers += [n for n in lower if isinstance(n, int | float) and n > limit]
    numbers += [n for n in upper if isinstance(n, int | float) and n < -limit]
    if numbers:
        fault = f"needs the number {numbers[0]}, which JSON readers do not hold exactly"
        return fault, f"Stay within {limit}, or use a string."
    return "", ""


def _numbers(value: Any) -> Iterator[float]:
    """Yield the numbers in a JSON value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, int | float) and not isinstance(part, bool):
            yield part


def _has_finite_value(
    schema: Any, root: Schema, parents: tuple[int, ...], finite: set[int]
) -> bool:
    """Return whether a schema has a value that does not contain itself without end.

    `parents` has the ids of the schemas around this one, `finite` those with such a value.
    """
    schema = resolve_reference(schema, root)
    if id(schema) in finite:
        return True
    if id(schema) in parents or isinstance(schema.get("$ref"), str):
        return False

    def is_finite(part: Any) -> bool:
        return _has_finite_value(part, root, (*parents, id(schema)), finite)

    if not ("const" in schema or "enum" in schema):
        for union in ("anyOf", "oneOf"):
            if isinstance(schema.get(union), list) and not any(map(is_finite, schema[union])):
                return False
        if not all(map(is_finite, _required_parts(schema))):
            return False
    finite.add(id(schema))
    return True


def _required_parts(schema: Schema) -> list[Any]:
    """Return the schemas of the parts that every value of a schema has."""
    parts = list(schema.get("allOf") or ())
    types = schema.get("type", "object" if "required" in schema else None)
    if types in ("object", ["object"]):
        properties = schema.get("properties") or {}
        parts += [properties[name] for name in schema.get("required") or () if name in properties]
    if types in ("array", ["array"]) and schema.get("minItems", 0) > 0:
        parts.append(schema.get("items", {}))
    return parts
