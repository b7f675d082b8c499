"""Schemas of every kind that the grammar and the signatures know."""

from __future__ import annotations

from typing import Any

from tests.golden.inputs import IMAGE_ARGUMENT, NUMBER, PERSON, fields

STRING = {"type": "string"}
TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": fields(
            ["value"],
            value={"type": "integer"},
            children={"type": "array", "items": {"$ref": "#/$defs/Node"}},
        )
    },
}
TAGGED = {
    "oneOf": [
        fields(["kind"], kind={"const": "cat"}, lives={"type": "integer"}),
        fields(["kind"], kind={"const": "dog"}, good={"type": "boolean"}),
    ]
}
_KINDS = ["string", "integer", "number", "boolean", "null"]

#: By what is special about them.
SCHEMAS: dict[str, dict[str, Any]] = {
    "person": PERSON,
    "number": NUMBER,
    "no fields": {"type": "object", "properties": {}, "additionalProperties": False},
    "any object": {"type": "object"},
    "every scalar": fields(_KINDS, **{kind: {"type": kind} for kind in _KINDS}),
    "enumerations": fields(
        a={"enum": ["x", 1, None, True]}, b={"const": "ü"}, c={"type": "string", "enum": ["y"]}
    ),
    "bounds": fields(
        a={"type": "integer", "minimum": 1},
        b={"type": "integer", "exclusiveMaximum": 9},
        c={"type": "number", "minimum": 0.5, "maximum": 2},
        d={"type": "integer", "enum": [1, 2]},
    ),
    "arrays": fields(
        a={"type": "array", "items": STRING},
        b={"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "maxItems": 3},
        c={"type": "array", "prefixItems": [STRING, {"type": "integer"}]},
        d={"items": {"type": "integer"}},
        e={"type": "array"},
    ),
    "top array": {"type": "array", "items": NUMBER},
    "nested objects": fields(["in"], **{"in": fields(["deep"], deep=PERSON)}),
    "maps": fields(
        a={"type": "object", "additionalProperties": {"type": "integer"}},
        b={"type": "object", "patternProperties": {"^x": STRING}},
    ),
    "several types": fields(a={"type": ["string", "null"]}, b={"type": ["integer", "array"]}),
    "any of": fields(a={"anyOf": [STRING, {"type": "null"}, STRING]}, b={"anyOf": [NUMBER]}),
    "one of with tags": TAGGED,
    "one of that overlaps": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
    "all of": fields(a={"allOf": [{"$ref": "#/$defs/P"}, {"description": "p"}]})
    | {"$defs": {"P": PERSON}},
    "recursion": TREE,
    "reference to the root": fields(next={"anyOf": [{"$ref": "#"}, {"type": "null"}]}),
    "older definitions": fields(a={"$ref": "#/definitions/A"}) | {"definitions": {"A": PERSON}},
    "formats": fields(
        **{name: {"type": "string", "format": name} for name in ("date", "date-time", "time")},
        span={"type": "string", "format": "duration"},
        mail={"type": "string", "format": "email"},
        own={"type": "string", "format": "date", "pattern": "^2"},
    ),
    "patterns": fields(a={"type": "string", "pattern": "^[a-z]+$"}, image=IMAGE_ARGUMENT),
    "defaults and notes": fields(
        a={"type": "integer", "default": 3, "description": " Two\n lines "},
        b={**STRING, "default": None, "description": ""},
        c={**STRING, "default": "ü"},
    ),
    "nothing at all": {},
    "fields of true": {"type": "object", "properties": {"a": True, "b": {}}},
}
