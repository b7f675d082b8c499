"""JSON schemas checked with `jsonschema`: the schema itself before, the answer after generating."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import OutputError, SchemaError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def check_constraint(constraint: Constraint) -> None:
    """Refuse schemas that are none.

    Raises:
        SchemaError: What is wrong with which schema, and where.
    """
    for tool in constraint.callable:
        _check_schema(tool.parameters, f"The schema of the tool {tool.name}")
    if constraint.schema is not None:
        _check_schema(constraint.schema, "The schema of the answer")


def disjoint(schema: Schema, root: Schema) -> bool:
    """Return whether no value can satisfy two branches of a `oneOf`, by what is easily seen.

    Branches are told apart by their types, or by a property that every one requires with values
    of its own, as in the tagged unions of pydantic.
    """
    branches = [followed(branch, root) for branch in schema["oneOf"]]
    kinds = [branch.get("type") for branch in branches]
    if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds):
        return not {"integer", "number"} <= set(kinds)
    tags = set.intersection(*(set(branch.get("required") or ()) for branch in branches))
    return any(
        _apart([_values(branch.get("properties", {}).get(tag)) for branch in branches])
        for tag in tags
    )


def _apart(values: list[list[str]]) -> bool:
    every = [value for some in values for value in some]
    return all(values) and len(set(every)) == len(every)


def _values(schema: Any) -> list[str]:
    """Return the only values that a schema allows, as JSON; none if there are others."""
    if not isinstance(schema, Mapping):
        return []
    allowed = [schema["const"]] if "const" in schema else schema.get("enum") or []
    return [json.dumps(value, sort_keys=True) for value in allowed]


def followed(schema: Any, root: Schema) -> Schema:
    """Follow references within the document to the schema that they mean.

    Of references that lead in a circle the last one is returned.
    """
    seen: set[str] = set()
    while isinstance(schema, Mapping) and isinstance(pointer := schema.get("$ref"), str):
        if pointer in seen:
            return schema
        if not pointer.startswith("#"):
            return {}
        seen.add(pointer)
        schema = root
        for step in pointer[1:].strip("/").split("/") if len(pointer) > 1 else ():
            name = step.replace("~1", "/").replace("~0", "~")
            schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _finite(schema: Any, root: Schema, above: tuple[int, ...], known: set[int]) -> bool:
    """Return whether a schema has a value that does not contain itself without end.

    `above` are the schemas that this one stands in, `known` those that were found to have one.
    """
    schema = followed(schema, root)
    if id(schema) in known:
        return True
    if id(schema) in above or isinstance(schema.get("$ref"), str):
        return False
    inside = (*above, id(schema))

    def ends(part: Any) -> bool:
        return _finite(part, root, inside, known)

    if not ("const" in schema or "enum" in schema):
        for union in ("anyOf", "oneOf"):
            if isinstance(schema.get(union), list) and not any(map(ends, schema[union])):
                return False
        if not all(map(ends, _always_inside(schema))):
            return False
    known.add(id(schema))
    return True


def _always_inside(schema: Schema) -> list[Any]:
    """Return the schemas of what every value of a schema holds."""
    parts = list(schema.get("allOf") or ())
    kinds = _kinds(schema)
    if kinds == ["object"]:
        fields = schema.get("properties") or {}
        parts += [fields[name] for name in schema.get("required") or () if name in fields]
    if kinds == ["array"] and schema.get("minItems", 0) > 0:
        parts.append(schema.get("items", {}))
    return parts


def _kinds(schema: Schema) -> list[str]:
    kind = schema.get("type")
    if kind is None:
        return ["object"] if "required" in schema else []
    return [kind] if isinstance(kind, str) else list(kind)


def check(value: Any, schema: Schema, what: str) -> None:
    """Refuse a value that is not of its schema.

    Raises:
        OutputError: The first fault and where it is.
    """
    from referencing.exceptions import Unresolvable

    try:
        for error in _validator(schema).iter_errors(value):
            raise OutputError(
                f"{what} is not of its schema at {error.json_path}: {error.message}",
                "Ask again, or make the schema simpler.",
            )
    except Unresolvable as error:
        raise SchemaError(
            f"The schema refers to {error.ref!r}, which it does not hold.",
            "Put every definition into the schema itself.",
        ) from error


def _check_schema(schema: Schema, what: str) -> None:
    fault, hint = _schema_fault(json.dumps(schema, default=dict))
    if fault:
        raise SchemaError(f"{what} {fault}.", hint)


@lru_cache(maxsize=256)
def _schema_fault(text: str) -> tuple[str, str]:
    """Return what is wrong with a schema and what to do; agents send the same ones repeatedly."""
    schema = json.loads(text)
    for error in _meta(type(_validator(schema))).iter_errors(schema):
        fault = f"is no JSON schema: {error.message} at {error.json_path}"
        return fault, "See https://json-schema.org/learn."
    if not _finite(schema, schema, (), set()):
        fault = "refers to itself without end: no finite value satisfies them"
        return fault, "Make the recursive field optional, or allow null or an empty list."
    return "", ""


def _validator(schema: Schema) -> Validator:
    """Return a validator of the draft that the schema names; it never fetches a reference."""
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)


@cache
def _meta(kind: type[Validator]) -> Validator:
    from jsonschema.validators import validator_for

    return validator_for(kind.META_SCHEMA)(kind.META_SCHEMA)
