"""Constraints as text that llguidance reads: a Lark grammar of words, calls and JSON.

The engine compiles it, and servers that run llguidance are sent it. Two things are prepared in
schemas: integers are given bounds, since digits would go on without end, and objects that name
their properties are closed to others. Pure: needs neither torch nor llguidance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from llava_tools.chat.tool_calls import BETWEEN, CLOSE, OPEN
from llava_tools.core import json_schema
from llava_tools.core.constraints import Constraint, Schema

_LARGEST_INTEGER = 10**15 - 1
_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_COMBINING = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "$ref", "$dynamicRef"})

# llguidance allows years, leap seconds, 29 February, fractions and durations that `datetime` and
# pydantic refuse.
_YEAR = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_COMMON_DAY = rf"{_YEAR}-((0[13-9]|1[0-2])-[0-9]{{2}}|02-([01][0-9]|2[0-8]))"
_LEAP_DAY = r"[0-9]{2}(0[48]|[2468][048]|[13579][26])-02-29"
_DATE = f"({_COMMON_DAY}|{_LEAP_DAY})"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-].*)"

#: Patterns that narrow RFC 3339's formats to what Python can hold; the format itself still applies.
NARROWED = {
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "time": f"^{_TIME}$",
    "duration": r"^P([0-9]{1,4}[YMWD])*(T([0-9]{1,4}[HMS])+)?$",
}

#: Makes a schema ready for the grammar, or refuses it; what it is called is for the refusal.
Ready = Callable[[Schema, str], Mapping[str, Any]]


def write_grammar(constraint: Constraint, enforceable: Ready) -> str:
    """Return the grammar of every answer that a constraint allows.

    Args:
        constraint: What the answer has to be; not free.
        enforceable: Called for each schema; see `ready`.
    """
    rules = []
    for number, tool in enumerate(constraint.callable):
        schema = enforceable(tool.parameters, f"The schema of the tool {tool.name}")
        begin = f'{OPEN}{{"name": {json.dumps(tool.name)}, "arguments": '
        rules += [
            # Tokenizers may begin with a space of their own, so it is one with the tag.
            f"OPEN_{number}: / ?/ {json.dumps(begin)}",
            f"call_{number}: OPEN_{number} %json {json.dumps(schema)} CLOSE",
        ]
    if constraint.schema is not None and not constraint.forced:
        schema = enforceable(constraint.schema, "The schema of the answer")
        rules.append(f"answer: / ?/ %json {json.dumps(schema)}")
    return "\n".join([*rules, *_start(constraint)])


def schema_for_guidance(schema: Schema, *, strict: bool = True) -> dict[str, Any]:
    """Return a schema as llguidance takes it: `prepared`, in the spacing of this project's JSON."""
    loose = {} if strict else {"lenient": True, "coerce_one_of": True}
    return {**prepare_schema(schema), "x-guidance": {**_SPACING, **loose}}


def prepare_schema(schema: Schema) -> dict[str, Any]:
    """Return a schema with bounded integers and times, closed objects, `anyOf` for safe `oneOf`s.

    Whatever satisfies it satisfies the schema that was given.
    """
    closed: dict[str, Any] = _prepare(schema, schema, closing=True)
    return closed


def _prepare(schema: Any, root: Schema, *, closing: bool) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    ready = dict(schema)
    closing = closing and not _COMBINING & ready.keys()
    for key in ("properties", "$defs", "definitions", "patternProperties"):
        if isinstance(ready.get(key), Mapping):
            inside = closing or key in ("$defs", "definitions")
            ready[key] = {
                name: _prepare(field, root, closing=True if key == "properties" else inside)
                for name, field in ready[key].items()
            }
    for key in ("items", "additionalProperties"):
        if key in ready:
            ready[key] = _prepare(ready[key], root, closing=True)
    alone = not {"properties", "required", "allOf"} & ready.keys()
    for key in ("anyOf", "oneOf", "allOf"):
        if isinstance(ready.get(key), list):
            inside = alone and key != "allOf"
            ready[key] = [_prepare(part, root, closing=inside) for part in ready[key]]
    if isinstance(ready.get("prefixItems"), list):
        ready["prefixItems"] = [_prepare(p, root, closing=True) for p in ready["prefixItems"]]
    if ready.get("type") == "integer" and "enum" not in ready and "const" not in ready:
        if not {"minimum", "exclusiveMinimum"} & ready.keys():
            ready["minimum"] = -_LARGEST_INTEGER
        if not {"maximum", "exclusiveMaximum"} & ready.keys():
            ready["maximum"] = _LARGEST_INTEGER
    if ready.get("format") in NARROWED:
        ready.setdefault("pattern", NARROWED[ready["format"]])
    if "oneOf" in ready and "anyOf" not in ready and json_schema.disjoint(ready, root):
        ready["anyOf"] = ready.pop("oneOf")
    if closing and "properties" in ready and "patternProperties" not in ready:
        ready.setdefault("additionalProperties", False)
    return ready


def _start(constraint: Constraint) -> list[str]:
    """Return the rules that put calls, JSON and words together."""
    rules, ways = [], []
    tools = constraint.callable
    if tools:
        several = constraint.parallel_tool_calls and constraint.tool_choice in ("auto", "any")
        call = " | ".join(f"call_{number}" for number in range(len(tools)))
        more = f" ({json.dumps(BETWEEN)} call)*" if several else ""
        rules += [f'CLOSE: "}}{CLOSE}"', f"call: {call}", f"calls: call{more}"]
        ways.append("calls")
    if constraint.schema is not None and not constraint.forced:
        ways.append("answer")
    elif not constraint.forced:
        rules.append(rf"WORDS: /(.|\n)*/ & ~/(.|\n)*{OPEN}(.|\n)*/")
        ways.append("WORDS")
    return [*rules, f"start: {' | '.join(ways)}"]
