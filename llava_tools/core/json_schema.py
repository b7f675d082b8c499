"""Checks JSON schemas, and values against them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from llava_tools.core import patterns, schema_cost, validators
from llava_tools.core.constraints import Constraint, Schema
from llava_tools.core.finite_values import has_finite_value
from llava_tools.core.reference_graph import LostReferenceError, reference_graph
from llava_tools.core.references import resolve_reference
from llava_tools.errors import OutputError, SchemaError

#: Largest integer that every JSON reader holds exactly (RFC 8259, section 6).
LARGEST_EXACT_INTEGER = 2**53 - 1

#: Smallest number but 0 that answers may have to be: grammars write all of its zeros.
SMALLEST_NUMBER = 1e-60


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
        for error in validators.errors(schema, value):
            raise OutputError(
                f"{name} is not of its schema at {_short(error.json_path, 100)}: "
                f"{_short(error.message, 250)}",
                "Ask again, or make the schema simpler.",
            )
    except RecursionError:
        raise OutputError(
            f"{name} is nested too deeply to be checked.", "Limit the depth in the schema."
        ) from None
    except validators.TooManyStepsError:
        raise OutputError(
            f"{name} takes too long to check against its schema.", "Make the schema simpler."
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
        values: set[object] = set()
        if all(_adds_values(branch.get("properties", {}).get(tag), values) for branch in branches):
            return True
    return False


def parts(schema: Schema) -> Iterator[dict[str, Any]]:
    """Yield a valid schema and all schemas in it, apart from booleans."""
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += validators.specification(schema).subresources_of(part)


def _short(text: str, longest: int) -> str:
    """Return a text on one line, without its middle if it is longer; names may hold any character.

    jsonschema quotes whole values and lists, and says behind them what is wrong.
    """
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    half = (longest - 1) // 2
    return line if len(line) <= longest else f"{line[:half]}…{line[-half:]}"


def _adds_values(schema: Any, known: set[object]) -> bool:
    """Add the values of `const` or `enum`; return whether they are new, and no others allowed.

    It ends at the first that is known: references may lead to the same long list again and again.
    """
    if not isinstance(schema, Mapping):
        return False
    allowed = [schema["const"]] if "const" in schema else schema.get("enum") or []
    for value in allowed:
        comparable = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value
        key = (type(value) if isinstance(value, dict | list | bool) else None, comparable)
        if key in known:
            return False
        known.add(key)
    return bool(allowed)


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
    if schema_cost.count_parts(schema) > schema_cost.MAX_PARTS:
        fault = f"has more than {schema_cost.MAX_PARTS:,} parts"
        return fault, "Leave parts out, or put what repeats into '$defs' and refer to it."
    try:
        for error in validators.metaschema_validator(schema).iter_errors(schema):
            place = _short(error.json_path, 100)
            fault = f"is not a valid JSON schema: {_short(error.message, 200)} at {place}"
            return fault, "See https://json-schema.org/learn."
        own = list(parts(schema))
        if any(part is not schema and "$schema" in part for part in own):
            return "names a dialect within itself", "Leave the inner '$schema' out."
        try:
            graph = reference_graph(schema, own)
        except LostReferenceError as error:
            return error.args[0], "Put every definition into '$defs' of the schema itself."
        known = set(map(id, own))
        all_parts = own + [part for key, part in graph.schemas.items() if key not in known]
        if any(found := _pattern_cost_fault(all_parts)):
            return found
        for part in all_parts:
            if any(found := _pattern_fault(part, strict)) or any(found := _number_fault(part)):
                return found
        if graph.has_circle():
            fault = "refers to itself without end: no part of the value lies between"
            return fault, "Refer to the whole in 'properties' or 'items' only."
        if any(found := _cost_fault(schema, all_parts)):
            return found
        if not has_finite_value(schema):
            fault = "refers to itself without end: no finite value satisfies it"
            return fault, "Make the recursive field optional, or allow null or an empty list."
    except RecursionError:
        return "refers to its parts too many times in a row", "Make it simpler."
    return "", ""


def _pattern_fault(schema: Schema, strict: bool) -> tuple[str, str]:
    """Return the fault of the patterns that a schema has itself, and a hint."""
    own = _patterns(schema)
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


def _patterns(schema: Schema) -> list[str]:
    """Return the patterns that a schema has itself."""
    own = [*schema.get("patternProperties", ())]
    return [*own, schema["pattern"]] if "pattern" in schema else own


def _pattern_cost_fault(all_parts: Collection[Schema]) -> tuple[str, str]:
    """Return why the patterns of a schema's parts cost too much to compile, and a hint."""
    different = {pattern for part in all_parts for pattern in _patterns(part)}
    if sum(map(schema_cost.pattern_units, different)) > schema_cost.MAX_PATTERN_UNITS:
        fault = "has too many patterns, or patterns that repeat too much"
        return fault, "Repeat fewer characters by '{n}', and use fewer Unicode classes."
    return "", ""


def _cost_fault(schema: Schema, all_parts: Collection[Schema]) -> tuple[str, str]:
    """Return why a schema with these parts costs too much to enforce, and a hint."""
    if schema_cost.divisor_units(all_parts) > schema_cost.MAX_DIVISORS:
        fault = "has a 'multipleOf' with too many digits, or too many of them"
        return fault, "Use a rounder number, or leave it out and check the answer."
    loads = schema_cost.PatternLoads(schema)
    if any(loads.most(part) > schema_cost.MAX_PATTERNS_AT_ONCE for part in all_parts):
        limit = schema_cost.MAX_PATTERNS_AT_ONCE
        fault = f"combines more than {limit} patterns and formats for one text"
        return fault, "Combine fewer by 'allOf' and references, or write one pattern."
    return "", ""


def _number_fault(schema: Schema) -> tuple[str, str]:
    """Return the fault of the numbers that a schema has itself, and a hint."""
    limit = LARGEST_EXACT_INTEGER
    values = [*numbers([schema.get("const"), schema.get("enum")])]
    inexact = [n for n in values if abs(n) > limit]
    lower = [schema.get(name) for name in ("minimum", "exclusiveMinimum")]
    upper = [schema.get(name) for name in ("maximum", "exclusiveMaximum")]
    inexact += [n for n in lower if isinstance(n, int | float) and n > limit]
    inexact += [n for n in upper if isinstance(n, int | float) and n < -limit]
    if inexact:
        fault = f"needs the number {inexact[0]!s:.40}, which JSON readers do not hold exactly"
        return fault, f"Stay within {limit}, or use a string."
    if tiny := [n for n in values if 0 < abs(n) < SMALLEST_NUMBER]:
        fault = f"needs the number {tiny[0]}, which has too many zeros to be written out"
        return fault, f"Use 0, a number of {SMALLEST_NUMBER:g} at least, or a string."
    return "", ""


def numbers(value: Any) -> Iterator[float]:
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
