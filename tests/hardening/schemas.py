"""Hostile schemas: each is a grammar within bounds of time, or one error of one line."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from llava_tools.core import json_schema
from llava_tools.core.constraints import Constraint
from llava_tools.engine.grammar_masks import GrammarCache
from llava_tools.errors import RequestError, SchemaError
from tests.checkpoints import llama_like_tokenizer
from tests.foreign_schemas import foreign_schemas
from tests.hardening.attack import Attack, Tally

#: Seconds of this process's time that the preparation of a schema may take.
LONGEST = 2.0
#: What outcomes say of that time.
_BOUNDS = (0.5, 1.0, 1.5, LONGEST)

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


#: Schemas that once took long, or ended in an error of another kind.
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
    "itself": {"$ref": "#"},
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


@cache
def _grammars() -> GrammarCache:
    grammars = GrammarCache(llama_like_tokenizer(), 700)
    grammars.matcher(Constraint(schema={"type": "null"}))  # modules are loaded
    return grammars


def outcome(schema: dict[str, Any], *, strict: bool) -> str:
    """Prepare a schema's grammar; return whether it has one, and the time."""
    start = time.process_time()
    try:
        constraint = Constraint(schema=schema, strict=strict)
        json_schema.check_constraint(constraint)
        _grammars().matcher(constraint)
        end = "grammar"
    except (SchemaError, RequestError) as error:
        if len(str(error).splitlines()) != 1:
            raise AssertionError(str(error)) from error
        end = "error"
    if (taken := time.process_time() - start) > LONGEST:
        raise AssertionError(f"{taken:.1f} s")
    return f"{end} within {next(bound for bound in _BOUNDS if taken <= bound)} s"


def attack(count: int, seed: int) -> Tally:
    """Prepare fixed, foreign and drawn schemas."""
    rng, tally = random.Random(seed), Tally()
    schemas = [*FIXED.values(), *(schema for _, schema in foreign_schemas(count // 20, seed))]
    schemas = schemas[:count]
    schemas += [draw(rng) for _ in range(count - len(schemas))]
    for schema in schemas:
        strict = rng.random() < 0.5
        what = f"strict={strict}: {json.dumps(schema):.300}"
        tally.add(partial(outcome, schema, strict=strict), what)
    return tally


ATTACK = Attack("schemas", "hostile schemas and patterns, prepared", attack, 2_000, 60)
