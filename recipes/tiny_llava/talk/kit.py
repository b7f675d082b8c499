"""Tools that never were: names, descriptions and arguments made of common words.

Each comes with what is needed to ask for it: some, of a family such as "look a thing up" or
"create a named thing" (:mod:`~recipes.tiny_llava.talk.families`), can be asked for naturally; all
can be asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llava_tools.core.constraints import ToolSpec
from recipes.tiny_llava.phrasings import phrase
from recipes.tiny_llava.words import pick

from .names import ANY, NOUNS, named, subject
from .values import made_up, value, word


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool and how to ask for it.

    Attributes:
        spec: What the model is told.
        topic: What its result is called; "" for nothing in particular.
        asks: Templates of natural requests with ``<argument>`` slots; may be empty.
        make: How arguments are made that are not just any value of their type.
        about: What it is there for, where that is not its topic.
    """

    spec: ToolSpec
    topic: str = ""
    asks: tuple[str, ...] = ()
    make: Mapping[str, Callable[[np.random.Generator], Any]] = field(default_factory=dict)
    about: str = ""

    @property
    def properties(self) -> Mapping[str, Any]:
        """Schemas of the arguments by name."""
        found: Mapping[str, Any] = self.spec.parameters["properties"]
        return found

    def argument(self, rng: np.random.Generator, name: str) -> Any:
        """A value for the argument ``name``."""
        made = self.make.get(name)
        return made(rng) if made else value(rng, self.properties[name])


def object_schema(
    rng: np.random.Generator, properties: dict[str, Any], required: list[str]
) -> dict[str, Any]:
    """An object's schema as frameworks write it: with titles or without."""
    if rng.random() < 0.4:
        properties = {
            name: {**schema, "title": name.replace("_", " ").title()}
            for name, schema in properties.items()
        }
    return {"type": "object", "properties": properties, "required": required}


def new_tool(
    rng: np.random.Generator,
    name: str,
    description: str,
    properties: dict[str, Any],
    **rest: Any,
) -> Tool:
    """A tool of which every argument is required; at times nothing is told of it."""
    told = "" if rng.random() < 0.06 else description
    if told and rng.random() < 0.15:
        told = told.rstrip(".")
    schema = object_schema(rng, properties, list(properties))
    return Tool(ToolSpec(name, told, schema), **rest)


def string(rng: np.random.Generator, about: str = "") -> dict[str, Any]:
    """The schema of a string, at times with ``about`` as its description."""
    schema: dict[str, Any] = {"type": "string"}
    if about and rng.random() < 0.35:
        schema["description"] = about
    return schema


def argument_schema(rng: np.random.Generator) -> dict[str, Any]:
    """A schema of any type that an argument may have."""
    kind = str(
        rng.choice(
            ["integer", "string", "number", "boolean", "array", "enum"],
            p=[0.28, 0.4, 0.08, 0.08, 0.07, 0.09],
        )
    )
    if kind == "enum":
        return {"type": "string", "enum": [word(rng) for _ in range(int(rng.integers(2, 5)))]}
    if kind == "array":
        return {"type": "array", "items": {"type": pick(rng, ("string", "integer"))}}
    schema: dict[str, Any] = {"type": kind}
    if rng.random() < 0.2:
        schema["description"] = f"The {pick(rng, NOUNS)} {pick(rng, ('of', 'for', 'to'))} use."
    return schema


def properties(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """``count`` arguments or fields with names of one or two words, or single letters."""
    found: dict[str, Any] = {}
    letters = rng.random() < 0.15
    while len(found) < count:
        if letters:
            name = "abcdnpqstuvwxyz"[int(rng.integers(15))]
        else:
            name = subject(rng)
            if rng.random() < 0.25:
                name = named(rng, pick(rng, ANY), name).replace("-", "_")
            elif rng.random() < 0.15:
                name = pick(rng, ("input", "value", "x", "query", "data", "item", "number", "text"))
        found[name] = argument_schema(rng)
    return found


def random_tool(rng: np.random.Generator) -> Tool:
    """A name, a description and arguments that need not make sense together."""
    parts = [pick(rng, ANY if rng.random() < 0.65 else (made_up(rng),)) for _ in range(3)]
    name = named(rng, *parts[: int(rng.choice((1, 2, 2, 2, 3)))])
    if rng.random() < 0.15:
        ending = pick(rng, ("function", "tool", "fn", "no_args", "v2", "action", "api"))
        name = f"{parts[0]}_{ending}"
    count = int(rng.choice((0, 1, 2, 3, 4), p=(0.14, 0.44, 0.25, 0.12, 0.05)))
    described = phrase(
        rng,
        (
            f"{{Apply|Run|Compute|Calculate|Use|Do}} {{a|the}} {parts[0]} {pick(rng, NOUNS)} "
            f"{{|to {{an input|a value|it}}|on a {pick(rng, NOUNS)}}}.",
            f"{{Tool|Function}} {{for|to}} {parts[1]} the {pick(rng, NOUNS)}.",
            f"{parts[0].capitalize()} {pick(rng, NOUNS)}{{| and {pick(rng, NOUNS)}}}.",
        ),
    )
    fields = properties(rng, count)
    names = list(fields)
    required = [n for n in names if rng.random() < 0.8] if rng.random() < 0.35 else names
    for optional in set(names) - set(required):
        if fields[optional]["type"] == "integer" and rng.random() < 0.4:
            fields[optional]["default"] = int(rng.integers(10))
    schema = object_schema(rng, fields, required)
    return Tool(ToolSpec(name, described if rng.random() < 0.94 else "", schema))
