"""Grammars of constraints for llguidance: a Lark grammar of text, tool calls and JSON.

The engine compiles the grammar; servers that run llguidance receive it as text. Schemas are
prepared for it: integers get bounds, since digits could go on without end, and objects that name
their properties allow no others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from llava_tools.chat.tool_calls import CLOSE_TAG, OPEN_TAG, SEPARATOR
from llava_tools.core import json_schema, patterns
from llava_tools.core.constraints import Constraint, Schema
from llava_tools.errors import SchemaError

_LARGEST_INTEGER = 10**15 - 1
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_LOWER = frozenset({"minimum", "exclusiveMinimum"})
_UPPER = frozenset({"maximum", "exclusiveMaximum"})
_COMBINING_KEYWORDS = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef"})

# llguidance allows years, leap seconds, 29 February, fractions and durations that `datetime` and
# pydantic refuse.
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_COMMON_DAY = rf"{_YEAR}-((0[13-9]|1[0-2])-[0-9]{{2}}|02-([01][0-9]|2[0-8]))"
_LEAP_DAY = r"[0-9]{2}(0[48]|[2468][048]|[13579][26])-02-29"
_DATE = f"({_COMMON_DAY}|{_LEAP_DAY})"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-].*)"

#: Patterns that narrow RFC 3339's formats to the values that Python supports.
FORMAT_PATTERNS = {
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "time": f"^{_TIME}$",
    "duration": r"^P([0-9]{1,4}[YMWD])*(T([0-9]{1,4}[HMS])+)?$",
}

#: Prepares a schema for llguidance, or raises; the second argument names the schema in errors.
SchemaPreparer = Callable[[Schema, str], Mapping[str, Any]]


def write_grammar(constraint: Constraint, prepare: SchemaPreparer) -> str:
    """Return the grammar of the answers that a constraint allows, if it does not allow any text.

    `prepare` is called for each schema; see `schema_for_guidance`.
    """
    rules: list[str] = []
    alternatives: list[str] = []
    tools = constraint.callable_tools
    for number, tool in enumerate(tools):
        parameters = prepare(tool.parameters, f"The schema of the tool {tool.name}")
        begin = f'{OPEN_TAG}{{"name": {json.dumps(tool.name)}, "arguments": '
        rules += [
            # Some tokenizers begin the answer with a space, so it is optional before the tag.
            f"OPEN_{number}: / ?/ {json.dumps(begin)}",
            f"call_{number}: OPEN_{number} %json {json.dumps(parameters)} CLOSE",
        ]
    schema = None if constraint.requires_call else constraint.schema
    if schema is not None:
        prepared = prepare(schema, "The schema of the answer")
        rules.append(f"answer: / ?/ %json {json.dumps(prepared)}")
    if tools:
        several = constraint.parallel_tool_calls and constraint.tool_choice in ("auto", "any")
        call = " | ".join(f"call_{number}" for number in range(len(tools)))
        more = f" ({json.dumps(SEPARATOR)} call)*" if several else ""
        rules += [f'CLOSE: "}}{CLOSE_TAG}"', f"call: {call}", f"calls: call{more}"]
        alternatives.append("calls")
    if schema is not None:
        alternatives.append("answer")
    elif not constraint.requires_call:
        rules.append(rf"WORDS: /(.|\n)*/ & ~/(.|\n)*{OPEN_TAG}(.|\n)*/")
        alternatives.append("WORDS")
    return "\n".join([*rules, f"start: {' | '.join(alternatives)}"])


def schema_for_guidance(schema: Schema, *, strict: bool = True) -> dict[str, Any]:
    """Return a prepared schema with llguidance's options, for the JSON spacing of the prompts."""
    lenient = {} if strict else {"lenient": True, "coerce_one_of": True}
    return {**prepare_schema(schema, strict=strict), "x-guidance": {**_SPACING, **lenient}}


def prepare_schema(schema: Schema, *, strict: bool = True) -> dict[str, Any]:
    """Return a schema with bounded integers and times, closed objects, `anyOf` for safe `oneOf`s.

    Every value that satisfies it satisfies the original schema. If not `strict`, patterns outside
    of the dialect that can be enforced are left out.
    """
    try:
        prepared: dict[str, Any] = _prepare(schema, schema, close=True)
    except RecursionError:
        raise SchemaError("A schema is nested too deeply.", "Make it flatter.") from None
    return prepared if strict else _without_foreign_patterns(prepared)


def _prepare(schema: Any, root: Schema, *, close: bool) -> Any:
    """Prepare a schema and its parts; `close`: no other schema adds properties to the object."""
    if not isinstance(schema, Mapping):
        return schema
    close = close and not _COMBINING_KEYWORDS & schema.keys()
    prepared = {key: _prepare_part(key, schema, root, close) for key in schema}
    _bound(prepared)
    if schema.get("format") in FORMAT_PATTERNS:
        prepared.setdefault("pattern", FORMAT_PATTERNS[schema["format"]])
    has_only_one_of = "oneOf" in schema and "anyOf" not in schema
    if has_only_one_of and json_schema.has_disjoint_branches(prepared, root):
        prepared["anyOf"] = prepared.pop("oneOf")
    if close and "properties" in schema and "patternProperties" not in schema:
        prepared.setdefault("additionalProperties", False)
    return prepared


def _without_foreign_patterns(schema: Schema) -> dict[str, Any]:
    """Return a copy of a schema without the patterns that cannot be enforced."""
    copy: dict[str, Any] = json.loads(json.dumps(schema, default=dict))
    for part in json_schema.parts(copy):
        if patterns.fault(part.get("pattern", "")):
            del part["pattern"]
        for pattern in filter(patterns.fault, [*part.get("patternProperties", ())]):
            del part["patternProperties"][pattern]
    return copy


def _bound(schema: dict[str, Any]) -> None:
    """Bound integers, and bring bounds that readers of JSON do not hold exactly within reach."""
    exact = json_schema.LARGEST_EXACT_INTEGER
    for names, sign in ((_LOWER, -1), (_UPPER, 1)):
        for name in names & schema.keys():
            value = schema[name]
            if not isinstance(value, bool) and sign * value > exact:
                schema[name] = sign * exact
    if schema.get("type") == "integer" and not {"enum", "const"} & schema.keys():
        bounds = [schema[name] for name in (_LOWER | _UPPER) & schema.keys()]
        limit = _LARGEST_INTEGER if all(abs(n) < _LARGEST_INTEGER for n in bounds) else exact
        if not _LOWER & schema.keys():
            schema["minimum"] = -limit
        if not _UPPER & schema.keys():
            schema["maximum"] = limit


def _check_numbers(value: Any) -> None:
    """Check that llguidance reads the numbers in a value exactly.

    Its reader (serde_json) takes the digits as an integer and multiplies by a power of ten, and
    both are rounded: those of up to 15 digits and 22 places are exact.
    """
    for number in json_schema.numbers(value):
        sign, digits, exponent = Decimal(repr(number)).as_tuple()
        whole = float(int("".join(map(str, digits))))
        power = float(f"1e{abs(int(exponent))}")
        read = whole * power if int(exponent) >= 0 else whole / power
        if (-read if sign else read) != number:
            raise SchemaError(
                f"A schema needs the number {number!r}, whose last digit cannot be enforced.",
                "Round it to 15 digits and 22 places, or use a string.",
            )


def _prepare_part(keyword: str, schema: Schema, root: Schema, close: bool) -> Any:
    """Return the prepared value of one keyword of a schema."""
    value = schema[keyword]
    if keyword in ("const", "enum"):
        _check_numbers(value)
    if keyword in ("items", "additionalProperties"):
        return _prepare(value, root, close=True)
    if keyword in ("properties", "$defs", "definitions", "patternProperties"):
        if isinstance(value, Mapping):
            close = close or keyword != "patternProperties"
            return {name: _prepare(part, root, close=close) for name, part in value.items()}
    elif keyword in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        alone = not {"properties", "required", "allOf"} & schema.keys()
        close = keyword == "prefixItems" or (alone and keyword != "allOf")
        return [_prepare(part, root, close=close) for part in value]
    return value
