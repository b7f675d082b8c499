"""Schemas that are costly, contradictory or wrong: fixed ones, and ones of hostile parts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import partial
from typing import Any

_PATTERNS = (
    "^(a+)+$", "^((a+)+)+$", "^(a|a)*b$", "^a{1,100000}$", "^(a{1,100}){1,1000}$", r"^\p{L}{2,90}$",
    "^(a|b)*a(a|b){18}$", "(?=a)b", "(?<!a)b", r"\bfoo\b", r"(a)\1", "(?>a)", "^$a", "a^", "[",
    "(?=" + "|" * 2000 + ")", "^(?:(?=a)){1000000}$", "^.*[a-z]{40}.*$", "", "[^\\s\\S]",
    "^(" + "|".join(f"w{n}" for n in range(3000)) + ")$", "(" * 300 + ")" * 300, r"^\uD800$",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 0.1, 1e-9, 1e-300, 1e308, -1e308, 2**53, 2**63, 997, 1000003, 10**9, 1.234567)


def _doubling(keyword: str, last: Any, steps: int = 40) -> dict[str, Any]:
    parts = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(steps)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{steps}": last}}


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _properties(count: int, pattern: str) -> dict[str, Any]:
    parts = {f"p{n}": {"type": "string", "pattern": pattern.format(n)} for n in range(count)}
    return {"type": "object", "properties": parts}


#: Schemas that once took long, that take the longest now, or ended in an error of another kind.
FIXED: Mapping[str, dict[str, Any]] = {
    "a circle of unions": _doubling("anyOf", {"$ref": "#/$defs/a40"}),
    "a circle of parts": _doubling("allOf", {"$ref": "#/$defs/a40"}),
    "parts of parts": _doubling("allOf", {"type": "string"}),
    "patterns at once": {
        "allOf": [{"type": "string", "pattern": f"^.*[a-z]{{{n}}}.*$"} for n in range(1, 60)]
    },
    "a large divisor": {"type": "integer", "multipleOf": 99999989},
    "no dialect": {"$schema": []},
    "150 deep": _deep(150),
    "30 deep": _deep(30),
    "a long constant": {"const": "x" * 60_000},
    "many values": {"enum": [f"v{n}" for n in range(6000)]},
    "many names": {
        "type": "object",
        "properties": {f"p{n}": {"type": "integer"} for n in range(900)},
    },
    "too long": {"const": "x" * 70_000},
    "no value": {"type": "integer", "minimum": 5, "maximum": 1},
    "no text": {"type": "string", "pattern": "^a$", "minLength": 3},
    "an unsatisfiable property": {"properties": {"a": False}, "required": ["a"], "type": "object"},
    "1,000 Unicode classes": _properties(1000, r"^\p{{L}}+{}$"),
    "470 Unicode classes": {"anyOf": [{"pattern": rf"^\p{{L}}{n}$"} for n in range(470)]},
    "20 repeated classes": _properties(20, r"^\p{{L}}{{1,90}}{}$"),
    "200 repeated classes": _properties(200, r"^\p{{L}}{{1,90}}{}$"),
    "counted repeats": _properties(5, "^((ab){{1,50}}c){{1,900}}{}$"),
    "1,200 properties twice": {
        "anyOf": [{"type": "object", "properties": {f"p{n}": {} for n in range(1200)}}] * 2
    },
    "8 patterns at once": {
        "allOf": [{"type": "string", "pattern": f"^.*[a-z]{{{n}}}.*$"} for n in range(20, 28)]
    },
    "64 levels": _deep(32),
    "many divisors": {"anyOf": [{"type": "integer", "multipleOf": 101 + n} for n in range(400)]},
    "an unclosed class": {"type": "string", "pattern": r"\p{" * 16_000},
    "a count without end": {"type": "string", "pattern": "a{" + "1" * 60_000},
    "15,000 parts": {"anyOf": [{}] * 15_000},
    "2,000 integers": {"anyOf": [{"type": "integer"}] * 2_000},
    "1,900 properties like the whole": {
        "type": "object",
        "properties": {f"p{n}": {"$ref": "#"} for n in range(1_900)},
    },
    "many schemas of one name": {
        "$defs": {"a": {"type": "object", "properties": {f"p{n}": {} for n in range(900)}}},
        "anyOf": [{"$ref": "#/$defs/a"}] * 900,
    },
    "one tag of many values": {
        "$defs": {
            "a": {
                "type": "object",
                "properties": {"k": {"enum": [*range(3_000)]}},
                "required": ["k"],
            }
        },
        "oneOf": [{"$ref": "#/$defs/a"}] * 1_200,
    },
    "itself": {"$ref": "#"},
    "itself by one branch": {"oneOf": [{"$ref": "#"}, {"const": -1}]},
    "nothing but by 'not'": {"not": {"$ref": "#/lost"}},
    "a number of 300 zeros": {"const": 1e-300},
    "a number of 33 zeros": {"const": -6.62607015e-34},
    "a number that is read inexactly": {"const": 1e-50},
    "a foreign reference": {"$ref": "http://192.0.2.1/schema.json"},
}


def draw(rng: random.Random, depth: int = 3) -> dict[str, Any]:
    """Return a schema of hostile parts."""

    def part() -> dict[str, Any]:
        return draw(rng, depth - 1)

    kind = rng.randrange(9 if depth else 4)
    number = partial(rng.choice, _NUMBERS)
    if kind == 0:
        rules = {"minLength": rng.choice((0, 3, 50_000)), "maxLength": rng.choice((0, 5, 10**9))}
        names = rng.sample(list(rules), rng.randrange(3))
        schema = {"type": "string", "pattern": rng.choice(_PATTERNS)}
        return {**schema, **{name: rules[name] for name in names}}
    if kind == 1:
        names = rng.sample(
            ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"], 2
        )
        return {"type": rng.choice(("integer", "number")), **{name: number() for name in names}}
    if kind == 2:
        return rng.choice(({"enum": [number(), "a", None, [1]]}, {"const": number()}, {}))
    if kind == 3:
        return {"$ref": rng.choice(("#", "#/properties/a", "#/$defs/a", "#/lost"))}
    if kind == 4:
        bounds = {"minItems": rng.choice((0, 3, 10**6)), "maxItems": rng.choice((0, 5, 10**9))}
        return {"type": "array", "items": part(), **bounds}
    if kind == 5:
        properties = {name: part() for name in rng.sample("abcdefgh", rng.randrange(5))}
        required = [name for name in properties if rng.random() < 0.5]
        return {"type": "object", "properties": properties, "required": required}
    if kind == 6:
        return {"not": part()}
    keyword = rng.choice(("allOf", "anyOf", "oneOf"))
    return {keyword: [part() for _ in range(rng.choice((1, 2, 3, 12)))]}
